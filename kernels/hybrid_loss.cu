// The loss of a network that also predicts the variance of a step back, v beside each mean (Nichol and Dhariwal 2021, eq.
// 15-16):
//
//   loss_i    = w_i sum over d of (mean - target)^2 + w_vb_i sum over d of bits
//   ln rho^2  = f log_max + (1 - f) log_min,  f = (v + 1) / 2;      e = share (x - p_z z - p_out mean)
//   bits      = 1/2 (ln rho^2 - log_min + exp(log_min - ln rho^2) + e^2 / rho^2 - 1) / ln 2           KL(q || p), t >= 2
//   bits      = -log2 (Phi((e + 1/255) / rho) - Phi((e - 1/255) / rho)), open at the ends of [-1, 1]  decoder, t = 1
//
// The mean that enters `bits` is not differentiated through: the bound trains v alone, the squared error the mean.
// A block owns an image and leaves its sum; the last block adds the images' in a fixed order.
#include "common/common.cuh"

struct Bits {
  float value, d_log_variance;
};

__device__ __forceinline__ Bits kl_bits(float e, float log_variance, float log_min) {
  const float ratio = expf(log_min - log_variance), error = e * e * expf(-log_variance);
  const float half_bit = 0.5f * 1.44269504f;
  return {half_bit * (log_variance - log_min + ratio + error - 1.0f), half_bit * (1.0f - ratio - error)};
}

__device__ __forceinline__ Bits decoder_bits(float e, float x, float log_variance) {
  const float inverse = expf(-0.5f * log_variance);
  const float upper = (e + 1.0f / 255.0f) * inverse, lower = (e - 1.0f / 255.0f) * inverse;
  const bool top = x > 0.999f, bottom = x < -0.999f;
  // Of two nearly equal probabilities near 1, the complements are subtracted.
  const float sign = lower > 0.0f ? 1.0f : -1.0f, root_half = 0.70710678f;
  const float tail_upper = top ? (lower > 0.0f ? 0.0f : 2.0f) : erfcf(sign * upper * root_half);
  const float tail_lower = bottom ? (lower > 0.0f ? 2.0f : 0.0f) : erfcf(sign * lower * root_half);
  const float p = 0.5f * sign * (tail_lower - tail_upper);
  if (p <= 1e-12f) return {39.863137f, 0.0f};
  const float density_upper = top ? 0.0f : upper * expf(-0.5f * upper * upper);
  const float density_lower = bottom ? 0.0f : lower * expf(-0.5f * lower * lower);
  const float dp = -0.5f * 0.39894228f * (density_upper - density_lower);
  return {-1.44269504f * logf(p), -1.44269504f * dp / p};
}

template <class T>
__global__ void __launch_bounds__(256) hybrid_loss_fwd(
    float* __restrict__ loss,                      // [n]
    float* __restrict__ total,                     // [1]
    T* __restrict__ dpred,                         // [n, pixels, 2 c]
    unsigned* __restrict__ counter,                // [1]
    const T* __restrict__ pred,                    // [n, pixels, 2 c], means, then v
    const float* __restrict__ target,              // [n, pixels, c]
    const T* __restrict__ z,                       // [n, pixels, c]
    const float* __restrict__ x,                   // [n, pixels, c]
    const HybridLossRecord* __restrict__ records,  // [n]
    int d, int c) {
  const HybridLossRecord of = records[blockIdx.x];
  const float range = of.log_max - of.log_min;
  float sums[2] = {};
  for (int i = threadIdx.x; i < d; i += 256) {
    const size_t single = size_t(blockIdx.x) * d + i;
    const size_t mean = size_t(blockIdx.x) * 2 * d + size_t(i / c) * 2 * c + i % c;
    const float predicted = to_float(pred[mean]), f = 0.5f * (to_float(pred[mean + c]) + 1.0f), clean = x[single];
    const float error = predicted - target[single], e = of.share * (clean - of.p_z * to_float(z[single]) - of.p_out * predicted);
    const float log_variance = of.log_min + f * range;
    const Bits bits =
        of.decodes != 0.0f ? decoder_bits(e, clean, log_variance) : kl_bits(e, log_variance, of.log_min);
    sums[0] += error * error;
    sums[1] += bits.value;
    dpred[mean] = from_float<T>(2.0f * of.w * error);
    dpred[mean + c] = from_float<T>(0.5f * of.w_vb * range * bits.d_log_variance);
  }
  block_sums<256>(sums);
  float sum = of.w * sums[0] + of.w_vb * sums[1];
  if (grid_sum<256>(sum, loss, counter)) *total = sum;
}

EXPORT_F32_BF16(hybrid_loss_fwd)
