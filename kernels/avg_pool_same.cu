// Average pooling over the 3 x 3 pixels around every pixel of x [n, h, w, c], cut off at the edges of the image. With
// N(p) the pixels that are at most one row and one column away from p:
//
//   y[p]   = 1 / |N(p)| sum over q in N(p) of x[q]
//   dx[q]  = sum over p in N(q) of dy[p] / |N(p)|
//
// Both gather the same nine pixels; they differ in whose neighbours are counted. A thread owns V neighbouring channels
// of one pixel: 16 bytes where c allows it, else one channel. grid.y = image.
#include "common/common.cuh"

// Places at most one away from i on an axis of `size`.
__device__ __forceinline__ int around(int i, int size) { return 1 + (i > 0) + (i + 1 < size); }

template <int V, bool BACKWARD, class T>
__device__ __forceinline__ void sum_neighbours(T* out, const T* source, int h, int w, int c) {
  const int slices = c / V, item = blockIdx.x * 256 + threadIdx.x, pixel = item / slices;
  if (pixel >= h * w) return;
  const int i = pixel / w, j = pixel % w, channel = item % slices * V;
  const size_t image = size_t(blockIdx.y) * h * w * c + channel;
  float sum[V] = {};
#pragma unroll 1
  for (int u = max(i - 1, 0); u <= min(i + 1, h - 1); u++) {
#pragma unroll 1
    for (int v = max(j - 1, 0); v <= min(j + 1, w - 1); v++) {
      const float weight = 1.f / float(BACKWARD ? around(u, h) * around(v, w) : around(i, h) * around(j, w));
      float value[V];
      load_floats(value, source + image + size_t(u * w + v) * c);
#pragma unroll
      for (int k = 0; k < V; k++) sum[k] += weight * value[k];
    }
  }
  store_floats(out + image + size_t(pixel) * c, sum);
}

template <class T>
__global__ void __launch_bounds__(256) avg_pool_same_fwd(T* __restrict__ y,        // [n, h, w, c]
                                                         const T* __restrict__ x,  // [n, h, w, c]
                                                         int h, int w, int c) {
  if (rows_are_vectors<T>(c)) sum_neighbours<Vec<T>::SIZE, false>(y, x, h, w, c);
  else sum_neighbours<1, false>(y, x, h, w, c);
}

template <class T>
__global__ void __launch_bounds__(256) avg_pool_same_bwd(T* __restrict__ dx,        // [n, h, w, c]
                                                         const T* __restrict__ dy,  // [n, h, w, c]
                                                         int h, int w, int c) {
  if (rows_are_vectors<T>(c)) sum_neighbours<Vec<T>::SIZE, true>(dx, dy, h, w, c);
  else sum_neighbours<1, true>(dx, dy, h, w, c);
}

EXPORT_F32_BF16(avg_pool_same_fwd)
EXPORT_F32_BF16(avg_pool_same_bwd)
