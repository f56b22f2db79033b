// A residual connection whose branch has one learned gain.
//
//   z = x + gamma y,     dx = dz (shared, no kernel),     dy = gamma dz,     dgamma = sum of dz y
//
// A thread works on 8 consecutive elements, as in common/elementwise.cuh. For dgamma the grid strides over the elements
// and every block leaves one partial sum; a single block adds them. The number of blocks is a function of n alone, so the
// order of the additions is too.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) scale_add_fwd(T* __restrict__ z,                // [n]
                                                     const T* __restrict__ x,          // [n]
                                                     const float* __restrict__ gamma,  // [1]
                                                     const T* __restrict__ y,          // [n]
                                                     size_t n) {
  elementwise(z, x, y, n, [gain = gamma[0]](float x, float y) { return x + gain * y; });
}

template <class T>
__global__ void __launch_bounds__(256) scale_add_bwd_dy(T* __restrict__ dy,               // [n]
                                                        const T* __restrict__ dz,         // [n]
                                                        const float* __restrict__ gamma,  // [1]
                                                        size_t n) {
  elementwise(dy, dz, n, [gain = gamma[0]](float dz) { return gain * dz; });
}

template <class T>
__global__ void __launch_bounds__(256) scale_add_bwd_dgamma_partial(float* __restrict__ partial,  // [gridDim.x]
                                                                    const T* __restrict__ dz,     // [n]
                                                                    const T* __restrict__ y,      // [n]
                                                                    size_t n) {
  float sum[2] = {};
  const size_t stride = size_t(gridDim.x) * 256 * 8;
  for (size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 8; first < n; first += stride) {
    float g[8], v[8];
    load_up_to<8>(g, dz + first, first, n);
    load_up_to<8>(v, y + first, first, n);
#pragma unroll
    for (int k = 0; k < 8; k++) sum[k % 2] += g[k] * v[k];
  }
  const float total = block_sum<256>(sum[0] + sum[1]);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

__global__ void __launch_bounds__(256) scale_add_bwd_dgamma_total(float* __restrict__ dgamma,         // [1]
                                                                  const float* __restrict__ partial,  // [count]
                                                                  int count) {
  float sum = 0.f;
  for (int i = threadIdx.x; i < count; i += 256) sum += partial[i];
  sum = block_sum<256>(sum);
  if (threadIdx.x == 0) dgamma[0] = sum;
}

EXPORT_F32_BF16(scale_add_fwd)
EXPORT_F32_BF16(scale_add_bwd_dy)
EXPORT_F32_BF16(scale_add_bwd_dgamma_partial)
EXPORT(scale_add_bwd_dgamma_total)
