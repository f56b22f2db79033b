// Average pooling over 2 x 2 pixels: x [n, h, w, c] into y [n, h/2, w/2, c]. An odd last row or column is left out.
//
//   y[i, j]   = 1/4 sum over a, b in {0, 1} of x[2i + a, 2j + b]
//   dx[p, q]  = 1/4 dy[p/2, q/2], and 0 in a row or column that was left out
//
// A thread owns V neighbouring channels of one pixel of what it writes: 16 bytes where c allows it, else one channel.
// grid.y = image.
#include "common/common.cuh"

template <int V, class T>
__device__ __forceinline__ void pool_fwd(T* y, const T* x, int h, int w, int c) {
  const int slices = c / V, item = blockIdx.x * 256 + threadIdx.x, pixel = item / slices;
  const int out_h = h / 2, out_w = w / 2;
  if (pixel >= out_h * out_w) return;
  const int i = pixel / out_w, j = pixel % out_w, channel = item % slices * V;
  const size_t image = blockIdx.y;
  float sum[V] = {};
#pragma unroll
  for (int a = 0; a < 2; a++) {
    const T* row = x + ((image * h + 2 * i + a) * w + 2 * j) * c + channel;
#pragma unroll
    for (int b = 0; b < 2; b++) {
      float value[V];
      load_floats(value, row + b * c);
#pragma unroll
      for (int k = 0; k < V; k++) sum[k] += value[k];
    }
  }
#pragma unroll
  for (int k = 0; k < V; k++) sum[k] *= 0.25f;
  store_floats(y + ((image * out_h + i) * out_w + j) * c + channel, sum);
}

template <int V, class T>
__device__ __forceinline__ void pool_bwd(T* dx, const T* dy, int h, int w, int c) {
  const int slices = c / V, item = blockIdx.x * 256 + threadIdx.x, pixel = item / slices;
  if (pixel >= h * w) return;
  const int p = pixel / w, q = pixel % w, channel = item % slices * V;
  const int out_h = h / 2, out_w = w / 2;
  const size_t image = blockIdx.y;
  float d[V] = {};
  if (p / 2 < out_h && q / 2 < out_w) {
    load_floats(d, dy + ((image * out_h + p / 2) * out_w + q / 2) * c + channel);
#pragma unroll
    for (int k = 0; k < V; k++) d[k] *= 0.25f;
  }
  store_floats(dx + ((image * h + p) * w + q) * c + channel, d);
}

template <class T>
__global__ void __launch_bounds__(256) avg_pool_fwd(T* __restrict__ y,        // [n, h/2, w/2, c]
                                                    const T* __restrict__ x,  // [n, h, w, c]
                                                    int h, int w, int c) {
  if (rows_are_vectors<T>(c)) pool_fwd<Vec<T>::SIZE>(y, x, h, w, c);
  else pool_fwd<1>(y, x, h, w, c);
}

template <class T>
__global__ void __launch_bounds__(256) avg_pool_bwd(T* __restrict__ dx,        // [n, h, w, c]
                                                    const T* __restrict__ dy,  // [n, h/2, w/2, c]
                                                    int h, int w, int c) {
  if (rows_are_vectors<T>(c)) pool_bwd<Vec<T>::SIZE>(dx, dy, h, w, c);
  else pool_bwd<1>(dx, dy, h, w, c);
}

EXPORT_F32_BF16(avg_pool_fwd)
EXPORT_F32_BF16(avg_pool_bwd)
