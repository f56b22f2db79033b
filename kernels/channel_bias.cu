// A bias per image and channel, as the time embedding enters a residual block, optionally followed by dropout.
//
//   y[i, p, k] = mask[i, p, k] (x[i, p, k] + b[i, k]) / (1 - q)        mask and q: see dropout.cu; without, y = x + b
//   dx[i, p, k] = mask[i, p, k] dy[i, p, k] / (1 - q)                  db[i, k] = sum over pixels p of dx[i, p, k]
//
// b is the columns `first ..` of a matrix of so many columns, which holds the biases of several layers. Where nothing is
// dropped dx is dy, and not written. The sum is of the values of dx before they are rounded.
//
// Forward: a thread owns V neighbouring channels of one pixel (16 bytes where c allows it). grid.y = image.
// Backward: a block owns 8 V channels of one image, its threads are rows of 8 that stride over the pixels. A thread has
// the loads of two pixels in flight, since an image of many pixels and few channels is one block, and that block has to
// keep its multiprocessor's share of memory busy. The sums of a thread, of the rows of a warp, and of the warps are each
// taken in a fixed order. grid.y = image.
#include "common/common.cuh"

template <bool DROPS> struct BiasMask : DropoutMask {
  using DropoutMask::DropoutMask;
};
template <> struct BiasMask<false> {
  __device__ __forceinline__ BiasMask(const uint32_t*, uint32_t, const Dropout&) {}
  template <int N> __device__ __forceinline__ void apply(float (&)[N], uint32_t) const {}
};

template <int V, class T, bool DROPS>
__device__ __forceinline__ void bias_fwd(T* y, const T* x, const T* b, const BiasMask<DROPS>& mask, int pixels, int c,
                                         int columns, int first) {
  const int slices = c / V, item = blockIdx.x * 256 + threadIdx.x;
  if (item / slices >= pixels) return;
  const int channel = item % slices * V;
  const size_t image = blockIdx.y, i = image * pixels * c + size_t(item) * V;
  float value[V];
  load_floats(value, x + i);
#pragma unroll
  for (int k = 0; k < V; k++) value[k] += to_float(b[image * columns + first + channel + k]);
  mask.apply(value, uint32_t(item) * V);
  store_floats(y + i, value);
}

constexpr int BIAS_LANES = 8, BIAS_WARPS = 32;

template <int V, class T, bool DROPS>
__device__ __forceinline__ void bias_bwd(T* dx, T* db, const T* dy, const BiasMask<DROPS>& mask, int pixels, int c,
                                         int columns, int first_column) {
  constexpr int IN_FLIGHT = 2;
  __shared__ float partial[BIAS_WARPS][BIAS_LANES * V];
  const int lane = threadIdx.x % BIAS_LANES, rows = blockDim.x / BIAS_LANES;
  const int first = blockIdx.x * BIAS_LANES * V, channel = first + lane * V;
  const size_t image = blockIdx.y, start = image * pixels * c;
  float sum[V] = {};
  if (channel < c) {
    for (int p0 = threadIdx.x / BIAS_LANES; p0 < pixels; p0 += IN_FLIGHT * rows) {
      Vec<T, V> loaded[IN_FLIGHT];
#pragma unroll
      for (int f = 0; f < IN_FLIGHT; f++)
        if (p0 + f * rows < pixels) loaded[f] = load_vec<V>(dy + start + size_t(p0 + f * rows) * c + channel);
#pragma unroll
      for (int f = 0; f < IN_FLIGHT; f++) {
        if (p0 + f * rows >= pixels) continue;
        const uint32_t element = uint32_t(p0 + f * rows) * c + channel;
        float d[V];
#pragma unroll
        for (int k = 0; k < V; k++) d[k] = to_float(loaded[f][k]);
        mask.apply(d, element);
        if (DROPS) store_floats(dx + start + element, d);
#pragma unroll
        for (int k = 0; k < V; k++) sum[k] += d[k];
      }
    }
  }
  if (!db) return;
  // The rows of a warp, which are four.
#pragma unroll
  for (int k = 0; k < V; k++) {
    sum[k] += __shfl_xor_sync(~0u, sum[k], BIAS_LANES);
    sum[k] += __shfl_xor_sync(~0u, sum[k], 2 * BIAS_LANES);
    if (threadIdx.x % 32 < BIAS_LANES) partial[threadIdx.x / 32][lane * V + k] = sum[k];
  }
  __syncthreads();
  const int k = threadIdx.x;
  if (k < BIAS_LANES * V && first + k < c) {
    float total = 0.f;
    for (int w = 0; w < int(blockDim.x) / 32; w++) total += partial[w][k];
    db[image * columns + first_column + first + k] = from_float<T>(total);
  }
}

template <class T, bool DROPS>
__global__ void __launch_bounds__(256) channel_bias_fwd(T* __restrict__ y,                 // [n, pixels, c]
                                                        const T* __restrict__ x,           // [n, pixels, c]
                                                        const T* __restrict__ b,           // [n, columns]
                                                        const uint32_t* __restrict__ rng,  // [4], of dropout
                                                        int pixels, int c, int columns, int first, Dropout layer) {
  const BiasMask<DROPS> mask(rng, blockIdx.y, layer);
  if (rows_are_vectors<T>(c)) bias_fwd<Vec<T>::SIZE>(y, x, b, mask, pixels, c, columns, first);
  else bias_fwd<1>(y, x, b, mask, pixels, c, columns, first);
}

// Blocks of 64 threads at least: as many as they own channels.
template <class T, bool DROPS>
__global__ void __launch_bounds__(1024) channel_bias_bwd(T* __restrict__ dx,                // [n, pixels, c], if DROPS
                                                         T* __restrict__ db,                // [n, columns], may be absent
                                                         const T* __restrict__ dy,          // [n, pixels, c]
                                                         const uint32_t* __restrict__ rng,  // [4], of dropout
                                                         int pixels, int c, int columns, int first, Dropout layer) {
  const BiasMask<DROPS> mask(rng, blockIdx.y, layer);
  if (rows_are_vectors<T>(c)) bias_bwd<Vec<T>::SIZE>(dx, db, dy, mask, pixels, c, columns, first);
  else bias_bwd<1>(dx, db, dy, mask, pixels, c, columns, first);
}

EXPORT_AS(channel_bias_fwd_f32, channel_bias_fwd<float, false>)
EXPORT_AS(channel_bias_fwd_bf16, channel_bias_fwd<__nv_bfloat16, false>)
EXPORT_AS(channel_bias_bwd_f32, channel_bias_bwd<float, false>)
EXPORT_AS(channel_bias_bwd_bf16, channel_bias_bwd<__nv_bfloat16, false>)
EXPORT_AS(channel_bias_dropout_fwd_f32, channel_bias_fwd<float, true>)
EXPORT_AS(channel_bias_dropout_fwd_bf16, channel_bias_fwd<__nv_bfloat16, true>)
EXPORT_AS(channel_bias_dropout_bwd_f32, channel_bias_bwd<float, true>)
EXPORT_AS(channel_bias_dropout_bwd_bf16, channel_bias_bwd<__nv_bfloat16, true>)
