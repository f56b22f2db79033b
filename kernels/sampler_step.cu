// One reverse diffusion step, for any linear prediction target and any sampler whose step is linear in z, in the current
// and the previous estimate of x_0 and in the network's output:
//
//   out = w_class out_class + w_none out_none + shift                   where guided, else the network's output itself
//   x_0 = clip(p_z z + p_out out, -limit, limit)
//   z'  = m_z z + m_x x_0 + m_previous x_0' + m_out out + rho xi,       xi ~ N(0, I), x_0' the step's before
//
// Where the network also predicts the variance, v beside each mean, rho is multiplied by exp(1/2 ln variance) with
//
//   ln variance = f log_max + (1 - f) log_min,   f = (v + 1) / 2        (Nichol and Dhariwal 2021, eq. 15)
//
// A classifier's guidance is the shift of the output. The coefficients change from step to step and lie in device memory,
// so that one recorded step replays for all. An infinite limit does not clip. xi of sample i depends on the seed, the
// step and i alone, or on the first two where the samples share it.
//
// A thread owns four elements, whose xi is one counter's. z is replaced in place. grid.y = image; a guided network has
// evaluated 2 n images, the conditional half first.
#include "common/common.cuh"

// Elements first .. first + 3 of an image of pixels of `c` values, of which `stride` lie in memory per pixel.
template <class T>
__device__ __forceinline__ void load_channels(float (&v)[4], const T* __restrict__ image, int first, int d, int c,
                                              int stride, int offset) {
  if (stride == c) return load_up_to<4>(v, image + first, first, d);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const int e = first + k;
    v[k] = e < d ? to_float(image[size_t(e / c) * stride + e % c + offset]) : 0.0f;
  }
}

template <class T>
__global__ void __launch_bounds__(256, 4) sampler_step(
    float* __restrict__ z,                     // [n, d], z in, z' out
    T* __restrict__ input,                     // [n or 2 n, d], z' as the next network input; may be null
    float* __restrict__ x0,                    // [n, d], x_0' in, x_0 out
    const T* __restrict__ out,                 // [n or 2 n, d / c, c or 2 c], the network's output for z
    const float* __restrict__ shift,           // [n, d], added to the output; may be null
    const SamplerRecord* __restrict__ record,  // [1]
    const uint32_t* __restrict__ rng,          // [4]
    int d, int c, int guided, int learned, int shared, uint32_t stream) {
  const uint32_t quad = blockIdx.x * 256 + threadIdx.x, first = 4 * quad;
  const int stride = learned ? 2 * c : c;
  const size_t at = size_t(blockIdx.y) * d + first, image = size_t(d / c) * stride;
  const size_t unconditional = size_t(gridDim.y) + blockIdx.y;
  const SamplerRecord by = *record;
  float noisy[4], predicted[4], clean[4], previous[4] = {}, xi[4] = {};
  load_up_to<4>(noisy, z + at, first, d);
  load_channels(predicted, out + blockIdx.y * image, first, d, c, stride, 0);
  if (guided) {
    float without[4];
    load_channels(without, out + unconditional * image, first, d, c, stride, 0);
#pragma unroll
    for (int k = 0; k < 4; k++) predicted[k] = by.w_class * predicted[k] + by.w_none * without[k];
  }
  if (shift != nullptr) {
    float by_classifier[4];
    load_up_to<4>(by_classifier, shift + at, first, d);
#pragma unroll
    for (int k = 0; k < 4; k++) predicted[k] += by_classifier[k];
  }
  if (by.m_previous != 0.0f) load_up_to<4>(previous, x0 + at, first, d);
  if (by.rho != 0.0f) {
    const float4 noise = normal4(philox_words(rng, stream, shared ? 0 : blockIdx.y, quad));
    xi[0] = by.rho * noise.x, xi[1] = by.rho * noise.y, xi[2] = by.rho * noise.z, xi[3] = by.rho * noise.w;
    if (learned) {
      float v[4];
      load_channels(v, out + blockIdx.y * image, first, d, c, stride, c);
#pragma unroll
      for (int k = 0; k < 4; k++) {
        const float f = 0.5f * (v[k] + 1.0f);
        xi[k] *= expf(0.5f * (f * by.log_max + (1.0f - f) * by.log_min));
      }
    }
  }
#pragma unroll
  for (int k = 0; k < 4; k++) {
    clean[k] = by.p_z * noisy[k] + by.p_out * predicted[k];
    // Comparisons, not fminf and fmaxf: those would turn a NaN into a plausible pixel.
    clean[k] = clean[k] > by.limit ? by.limit : clean[k] < -by.limit ? -by.limit : clean[k];
    noisy[k] = by.m_z * noisy[k] + by.m_x * clean[k] + by.m_previous * previous[k] + by.m_out * predicted[k] + xi[k];
  }
  store_up_to<4>(z + at, noisy, first, d);
  if (input != nullptr) store_up_to<4>(input + at, noisy, first, d);
  if (input != nullptr && guided) store_up_to<4>(input + unconditional * d + first, noisy, first, d);
  store_up_to<4>(x0 + at, clean, first, d);
}

EXPORT_F32_BF16(sampler_step)
