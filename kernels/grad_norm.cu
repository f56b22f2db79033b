// The Euclidean norm of all gradients, g [n] flat, and whether it is finite.
//
//   norm[0] = sqrt(sum of g^2)        norm[1] = 1 if that is finite, else 0: one infinite or NaN gradient suffices
//
// The grid strides over g and every block leaves one partial sum; a single block adds them. The number of blocks is a
// function of n alone, so the order of the additions is too.
#include "common/common.cuh"

__global__ void __launch_bounds__(256) grad_norm_partial(float* __restrict__ partial,  // [gridDim.x]
                                                         const float* __restrict__ g,  // [n]
                                                         size_t n) {
  float sum[4] = {};
  const size_t stride = size_t(gridDim.x) * 256 * 4;
  for (size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 4; first < n; first += stride) {
    float value[4];
    load_up_to<4>(value, g + first, first, n);
#pragma unroll
    for (int k = 0; k < 4; k++) sum[k] += value[k] * value[k];
  }
  const float total = block_sum<256>((sum[0] + sum[1]) + (sum[2] + sum[3]));
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

__global__ void __launch_bounds__(256) grad_norm_total(float* __restrict__ norm,           // [2]: norm, finite
                                                       const float* __restrict__ partial,  // [count]
                                                       int count) {
  float sum = 0.0f;
  for (int i = threadIdx.x; i < count; i += 256) sum += partial[i];
  sum = block_sum<256>(sum);
  if (threadIdx.x == 0) {
    const float value = sqrtf(sum);
    norm[0] = value;
    norm[1] = value <= 3.402823466e38f ? 1.0f : 0.0f;  // false for NaN
  }
}

EXPORT(grad_norm_partial)
EXPORT(grad_norm_total)
