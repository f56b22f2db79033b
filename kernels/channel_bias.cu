// A bias per image and channel, as the time embedding enters a residual block.
//
//   y[i, p, k] = x[i, p, k] + b[i, k]        dx = dy        db[i, k] = sum over pixels p of dy[i, p, k]
//
// b is the columns `first ..` of a matrix of so many columns, which holds the biases of several layers.
//
// Forward: a thread owns V neighbouring channels of one pixel (16 bytes where c allows it). grid.y = image.
// Backward: a block owns 8 V channels of one image; 32 rows of 8 threads stride over the pixels, and the 32 partial
// sums of a channel are added in row order. grid.y = image.
#include "common/common.cuh"

template <int V, class T>
__device__ __forceinline__ void bias_fwd(T* y, const T* x, const T* b, int pixels, int c, int columns, int first) {
  const int slices = c / V, item = blockIdx.x * 256 + threadIdx.x;
  if (item / slices >= pixels) return;
  const int channel = item % slices * V;
  const size_t image = blockIdx.y, i = image * pixels * c + size_t(item) * V;
  float value[V];
  load_floats(value, x + i);
#pragma unroll
  for (int k = 0; k < V; k++) value[k] += to_float(b[image * columns + first + channel + k]);
  store_floats(y + i, value);
}

template <int V, class T>
__device__ __forceinline__ void bias_bwd(T* db, const T* dy, int pixels, int c, int columns, int first_column) {
  constexpr int LANES = 8, ROWS = 32;
  __shared__ float partial[ROWS][LANES * V + 1];  // one more: rows start in different banks
  const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
  const int first = blockIdx.x * LANES * V, channel = first + lane * V;
  const size_t image = blockIdx.y;
  float sum[V] = {};
  if (channel < c) {
    for (int p = row; p < pixels; p += ROWS) {
      float d[V];
      load_floats(d, dy + (image * pixels + p) * c + channel);
#pragma unroll
      for (int k = 0; k < V; k++) sum[k] += d[k];
    }
  }
#pragma unroll
  for (int k = 0; k < V; k++) partial[row][lane * V + k] = sum[k];
  __syncthreads();
  const int k = threadIdx.x;
  if (k < LANES * V && first + k < c) {
    float total = 0.0f;
    for (int r = 0; r < ROWS; r++) total += partial[r][k];
    db[image * columns + first_column + first + k] = from_float<T>(total);
  }
}

template <class T>
__global__ void __launch_bounds__(256) channel_bias_fwd(T* __restrict__ y,        // [n, pixels, c]
                                                        const T* __restrict__ x,  // [n, pixels, c]
                                                        const T* __restrict__ b,  // [n, columns]
                                                        int pixels, int c, int columns, int first) {
  if (rows_are_vectors<T>(c)) bias_fwd<Vec<T>::SIZE>(y, x, b, pixels, c, columns, first);
  else bias_fwd<1>(y, x, b, pixels, c, columns, first);
}

template <class T>
__global__ void __launch_bounds__(256) channel_bias_bwd(T* __restrict__ db,        // [n, columns]
                                                        const T* __restrict__ dy,  // [n, pixels, c]
                                                        int pixels, int c, int columns, int first) {
  if (rows_are_vectors<T>(c)) bias_bwd<Vec<T>::SIZE>(db, dy, pixels, c, columns, first);
  else bias_bwd<1>(db, dy, pixels, c, columns, first);
}

EXPORT_F32_BF16(channel_bias_fwd)
EXPORT_F32_BF16(channel_bias_bwd)
