// Outcome of a step: the Euclidean norm of all gradients, g [n] flat, the loss, and whether both are finite.
//
//   outcome[0] = sqrt(sum of g^2)    outcome[1] = loss    outcome[2] = 1 once either was not finite
//
// One infinite or NaN gradient suffices. The 1 stays, so that steps which are enqueued already update nothing.
//
// The grid strides over g, every block leaves one partial sum, and the last one adds them. The number of blocks is a
// function of n alone, so the order of the additions is too.
#include "common/common.cuh"

__global__ void __launch_bounds__(256) grad_norm(float* __restrict__ outcome,     // [3]: norm, loss, broken
                                                 float* __restrict__ partial,     // [gridDim.x]
                                                 unsigned* __restrict__ counter,  // [1]
                                                 const float* __restrict__ g,     // [n]
                                                 const float* __restrict__ loss,  // [1] or null
                                                 size_t n) {
  constexpr float MOST = 3.402823466e38f;
  float sums[4] = {};
  const size_t stride = size_t(gridDim.x) * 256 * 4;
  for (size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 4; first < n; first += stride) {
    float value[4];
    load_up_to<4>(value, g + first, first, n);
#pragma unroll
    for (int k = 0; k < 4; k++) sums[k] += value[k] * value[k];
  }
  float sum = block_sum<256>((sums[0] + sums[1]) + (sums[2] + sums[3]));
  if (grid_sum<256>(sum, partial, counter)) {
    const float norm = sqrtf(sum), of_loss = loss ? *loss : 0.0f;
    outcome[0] = norm;
    outcome[1] = of_loss;
    if (!(norm <= MOST && fabsf(of_loss) <= MOST)) outcome[2] = 1.0f;  // NaN is not below anything
  }
}

EXPORT(grad_norm)
