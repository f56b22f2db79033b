// The mean of all pixels of an image.
//
//   y[i, k] = 1/P sum over pixels p of x[i, p, k]        dx[i, p, k] = 1/P dy[i, k]
//
// A thread owns V neighbouring channels of what it writes: 16 bytes where c allows it, else one channel. It is meant for
// the few pixels at the end of a classifier, which one thread adds in order. grid.y = image.
#include "common/common.cuh"

template <int V, class T> __device__ __forceinline__ void pool_fwd(T* y, const T* x, int pixels, int c) {
  const int channel = (blockIdx.x * 256 + threadIdx.x) * V;
  if (channel >= c) return;
  const T* image = x + size_t(blockIdx.y) * pixels * c + channel;
  float sum[V] = {};
#pragma unroll 2
  for (int p = 0; p < pixels; p++) {
    float value[V];
    load_floats(value, image + size_t(p) * c);
#pragma unroll
    for (int k = 0; k < V; k++) sum[k] += value[k];
  }
  const float scale = 1.f / float(pixels);
#pragma unroll
  for (int k = 0; k < V; k++) sum[k] *= scale;
  store_floats(y + size_t(blockIdx.y) * c + channel, sum);
}

template <int V, class T> __device__ __forceinline__ void pool_bwd(T* dx, const T* dy, int pixels, int c) {
  const int slices = c / V, item = blockIdx.x * 256 + threadIdx.x;
  if (item / slices >= pixels) return;
  const float scale = 1.f / float(pixels);
  float d[V];
  load_floats(d, dy + size_t(blockIdx.y) * c + item % slices * V);
#pragma unroll
  for (int k = 0; k < V; k++) d[k] *= scale;
  store_floats(dx + size_t(blockIdx.y) * pixels * c + size_t(item) * V, d);
}

template <class T>
__global__ void __launch_bounds__(256) global_avg_pool_fwd(T* __restrict__ y,        // [n, c]
                                                           const T* __restrict__ x,  // [n, h, w, c]
                                                           int h, int w, int c) {
  if (rows_are_vectors<T>(c)) pool_fwd<Vec<T>::SIZE>(y, x, h * w, c);
  else pool_fwd<1>(y, x, h * w, c);
}

template <class T>
__global__ void __launch_bounds__(256) global_avg_pool_bwd(T* __restrict__ dx,        // [n, h, w, c]
                                                           const T* __restrict__ dy,  // [n, c]
                                                           int h, int w, int c) {
  if (rows_are_vectors<T>(c)) pool_bwd<Vec<T>::SIZE>(dx, dy, h * w, c);
  else pool_bwd<1>(dx, dy, h * w, c);
}

EXPORT_F32_BF16(global_avg_pool_fwd)
EXPORT_F32_BF16(global_avg_pool_bwd)
