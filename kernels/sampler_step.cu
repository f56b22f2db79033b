// One reverse diffusion step, for any linear prediction target and any sampler whose step is linear in z, x_0 and out:
//
//   x_0 = clip(p_z z + p_out out, -limit, limit)
//   z'  = m_z z + m_x x_0 + m_out out + rho xi,   xi ~ N(0, I)
//
// The seven coefficients change from step to step and lie in device memory, so that one recorded step replays for all.
// An infinite limit does not clip. xi of sample i depends on the seed, the step and i alone.
//
// A thread owns four elements, whose xi is one counter's. z is replaced in place. grid.y = image.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) sampler_step(
    float* __restrict__ z,                  // [n, d], z in, z' out
    T* __restrict__ input,                  // [n, d], z' as the next network input; may be null
    float* __restrict__ x0,                 // [n, d]
    const T* __restrict__ out,              // [n, d], what the network said of z
    const float* __restrict__ coefficient,  // [8]: p_z, p_out, limit, m_z, m_x, m_out, rho, unused
    const uint32_t* __restrict__ rng,       // [4]
    int d,
    uint32_t stream) {
  const uint32_t quad = blockIdx.x * 256 + threadIdx.x, first = 4 * quad;
  const size_t at = size_t(blockIdx.y) * d + first;
  const float p_z = coefficient[0], p_out = coefficient[1], limit = coefficient[2], m_z = coefficient[3],
              m_x = coefficient[4], m_out = coefficient[5], rho = coefficient[6];
  float noisy[4], said[4], clean[4], xi[4] = {};
  load_up_to<4>(noisy, z + at, first, d);
  load_up_to<4>(said, out + at, first, d);
  if (rho != 0.0f) {
    const float4 noise = normal4(philox_words(rng, stream, blockIdx.y, quad));
    xi[0] = noise.x, xi[1] = noise.y, xi[2] = noise.z, xi[3] = noise.w;
  }
#pragma unroll
  for (int k = 0; k < 4; k++) {
    clean[k] = p_z * noisy[k] + p_out * said[k];
    // Comparisons, not fminf and fmaxf: those would turn a NaN into a plausible pixel.
    clean[k] = clean[k] > limit ? limit : clean[k] < -limit ? -limit : clean[k];
    noisy[k] = m_z * noisy[k] + m_x * clean[k] + m_out * said[k] + rho * xi[k];
  }
  store_up_to<4>(z + at, noisy, first, d);
  if (input != nullptr) store_up_to<4>(input + at, noisy, first, d);
  store_up_to<4>(x0 + at, clean, first, d);
}

EXPORT_F32_BF16(sampler_step)
