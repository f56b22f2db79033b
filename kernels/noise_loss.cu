// The two ends of a training step: input and target of the network, and the loss of its prediction.
//
//   noise   z = a x + sigma eps,  target = c_x x + c_eps eps,  eps ~ N(0, I)          q_sample, and any linear target
//   loss    loss_i = w_i sum over d of (pred - target)^2,  dpred = 2 w_i (pred - target),  total = sum of loss_i
//
// a, sigma, c_x, c_eps and w are per image: the schedule, the target (eps, x, v, score) and the loss weight are data.
//
// noise_fwd: a thread owns four elements, whose noise is one counter's; eps is never stored. grid.y = image.
// loss_fwd: a block owns an image and leaves its sum; the last block adds the images' in a fixed order.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) noise_fwd(T* __restrict__ z,                        // [n, d], the network's input
                                                 float* __restrict__ target,               // [n, d]
                                                 const float* __restrict__ x,              // [n, d]
                                                 const NoiseRecord* __restrict__ records,  // [n]
                                                 const uint32_t* __restrict__ rng,         // [4]
                                                 int d,
                                                 uint32_t stream) {
  const uint32_t quad = blockIdx.x * 256 + threadIdx.x, first = 4 * quad;
  const size_t at = size_t(blockIdx.y) * d + first;
  const float4 noise = normal4(philox_words(rng, stream, blockIdx.y, quad));
  const float eps[4] = {noise.x, noise.y, noise.z, noise.w};
  const NoiseRecord c = records[blockIdx.y];
  float clean[4], noisy[4], aim[4];
  load_up_to<4>(clean, x + at, first, d);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    noisy[k] = c.a * clean[k] + c.sigma * eps[k];
    aim[k] = c.c_x * clean[k] + c.c_eps * eps[k];
  }
  store_up_to<4>(z + at, noisy, first, d);
  store_up_to<4>(target + at, aim, first, d);
}

template <class T>
__global__ void __launch_bounds__(256) loss_fwd(float* __restrict__ loss,          // [n]
                                                float* __restrict__ total,         // [1]
                                                T* __restrict__ dpred,             // [n, d]
                                                unsigned* __restrict__ counter,    // [1]
                                                const T* __restrict__ pred,        // [n, d]
                                                const float* __restrict__ target,  // [n, d]
                                                const float* __restrict__ weight,  // [n]
                                                int d) {
  const float w = weight[blockIdx.x];
  float sum = 0.0f;
  for (int first = threadIdx.x * 4; first < d; first += 256 * 4) {
    const size_t at = size_t(blockIdx.x) * d + first;
    float predicted[4], aim[4];
    load_up_to<4>(predicted, pred + at, first, d);
    load_up_to<4>(aim, target + at, first, d);
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const float error = predicted[k] - aim[k];
      sum += error * error;
      predicted[k] = 2.0f * w * error;
    }
    store_up_to<4>(dpred + at, predicted, first, d);
  }
  sum = w * block_sum<256>(sum);
  if (grid_sum<256>(sum, loss, counter)) *total = sum;
}

EXPORT_F32_BF16(noise_fwd)
EXPORT_F32_BF16(loss_fwd)
