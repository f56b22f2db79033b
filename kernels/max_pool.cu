// Maximum pooling: windows of kernel x kernel pixels of x [n, h, w, c], which start at multiples of the stride less pad.
//
//   y[i, j]   = max over a, b in 0..kernel of x[i stride - pad + a, j stride - pad + b]; what lies outside is left out
//   dx[u, v]  = sum of dy[i, j] over the windows in which (u, v) is the first maximum in row-major order
//
// A thread owns V neighbouring channels of one pixel of what it writes: 16 bytes where c allows it, else one channel.
// Backward gathers, so overlapping windows need no atomics: a pixel that equals y[i, j] is the first maximum unless an
// earlier pixel of the window equals it too. grid.y = image.
#include "common/common.cuh"

struct Windows {
  int h, w, c, out_h, out_w, kernel, stride, pad;

  // The pixels begin .. end - 1 of window i along an axis of `size` pixels.
  __device__ __forceinline__ int begin(int i) const { return max(i * stride - pad, 0); }
  __device__ __forceinline__ int end(int i, int size) const { return min(i * stride - pad + kernel, size); }

  // The windows first .. last, of `count`, that pixel u lies in.
  __device__ __forceinline__ int first(int u) const { return max(u + pad - kernel + stride, 0) / stride; }
  __device__ __forceinline__ int last(int u, int count) const { return min((u + pad) / stride, count - 1); }
};

template <int V, class T> __device__ __forceinline__ void pool_fwd(T* y, const T* x, Windows s) {
  const int slices = s.c / V, item = blockIdx.x * 256 + threadIdx.x, pixel = item / slices;
  if (pixel >= s.out_h * s.out_w) return;
  const int i = pixel / s.out_w, j = pixel % s.out_w, channel = item % slices * V;
  const size_t image = blockIdx.y;
  float best[V];
#pragma unroll
  for (int k = 0; k < V; k++) best[k] = -INFINITY;
#pragma unroll 1
  for (int u = s.begin(i); u < s.end(i, s.h); u++) {
#pragma unroll 1
    for (int v = s.begin(j); v < s.end(j, s.w); v++) {
      float value[V];
      load_floats(value, x + ((image * s.h + u) * s.w + v) * s.c + channel);
#pragma unroll
      for (int k = 0; k < V; k++)
        if (value[k] > best[k] || value[k] != value[k]) best[k] = value[k];
    }
  }
  store_floats(y + ((image * s.out_h + i) * s.out_w + j) * s.c + channel, best);
}

template <int V, class T>
__device__ __forceinline__ void pool_bwd(T* dx, const T* dy, const T* x, const T* y, Windows s) {
  const int slices = s.c / V, item = blockIdx.x * 256 + threadIdx.x, pixel = item / slices;
  if (pixel >= s.h * s.w) return;
  const int u = pixel / s.w, v = pixel % s.w, channel = item % slices * V;
  const T* images = x + size_t(blockIdx.y) * s.h * s.w * s.c + channel;
  float mine[V], sum[V] = {};
  load_floats(mine, images + size_t(pixel) * s.c);
  for (int i = s.first(u); i <= s.last(u, s.out_h); i++) {
    for (int j = s.first(v); j <= s.last(v, s.out_w); j++) {
      const size_t at = ((size_t(blockIdx.y) * s.out_h + i) * s.out_w + j) * s.c + channel;
      float g[V], top[V];
      load_floats(g, dy + at);
      load_floats(top, y + at);
#pragma unroll
      for (int k = 0; k < V; k++) g[k] = mine[k] == top[k] ? g[k] : 0.f;
#pragma unroll 1
      for (int a = s.begin(i); a <= u; a++) {
        const int end = a == u ? v : s.end(j, s.w);
#pragma unroll 1
        for (int b = s.begin(j); b < end; b++) {
          float earlier[V];
          load_floats(earlier, images + size_t(a * s.w + b) * s.c);
#pragma unroll
          for (int k = 0; k < V; k++) g[k] = earlier[k] == top[k] ? 0.f : g[k];
        }
      }
#pragma unroll
      for (int k = 0; k < V; k++) sum[k] += g[k];
    }
  }
  store_floats(dx + (size_t(blockIdx.y) * s.h * s.w + pixel) * s.c + channel, sum);
}

template <class T>
__global__ void __launch_bounds__(256, 6) max_pool_fwd(T* __restrict__ y,        // [n, out_h, out_w, c]
                                                       const T* __restrict__ x,  // [n, h, w, c]
                                                       int h, int w, int c, int out_h, int out_w, int kernel,
                                                       int stride, int pad) {
  const Windows s = {h, w, c, out_h, out_w, kernel, stride, pad};
  if (rows_are_vectors<T>(c)) pool_fwd<Vec<T>::SIZE>(y, x, s);
  else pool_fwd<1>(y, x, s);
}

template <class T>
__global__ void __launch_bounds__(256) max_pool_bwd(T* __restrict__ dx,        // [n, h, w, c]
                                                    const T* __restrict__ dy,  // [n, out_h, out_w, c]
                                                    const T* __restrict__ x,   // [n, h, w, c]
                                                    const T* __restrict__ y,   // [n, out_h, out_w, c]
                                                    int h, int w, int c, int out_h, int out_w, int kernel, int stride,
                                                    int pad) {
  const Windows s = {h, w, c, out_h, out_w, kernel, stride, pad};
  if (rows_are_vectors<T>(c)) pool_bwd<Vec<T>::SIZE>(dx, dy, x, y, s);
  else pool_bwd<1>(dx, dy, x, y, s);
}

EXPORT_F32_BF16(max_pool_fwd)
EXPORT_F32_BF16(max_pool_bwd)
