// One pass over all parameters, flat over their n elements: clip, Adam or AdamW, moving average, bf16 copy.
//
//   g <- g min(1, max_norm / (norm + 1e-6)) if max_norm > 0           (clip_grad_norm_)
//   Adam:   g <- g + decay p            AdamW:  p <- p - lr decay p
//   m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
//   p <- p - lr (m c1) / (sqrt(v c2) + eps),   c1 = 1 / (1 - beta1^t),  c2 = 1 / (1 - beta2^t)
//   ema <- ema + (1 - ema_decay) (p - ema)        p_bf16 <- p
//   the same for every further average, each with a decay of its own
//
// Once a gradient or a loss was not finite, nothing is changed. What changes from step to step lies in a record.
//
// A thread owns four elements: 38 bytes of traffic an element, 8 more for every further average, and nothing else to wait
// for.
#include "common/common.cuh"

__global__ void __launch_bounds__(256) adam(
    float* __restrict__ p,                // [n]
    float* __restrict__ m,                // [n]
    float* __restrict__ v,                // [n]
    float* __restrict__ ema,              // [n]
    float* __restrict__ further,          // [averages, n]; may be null
    __nv_bfloat16* __restrict__ copy,     // [n]; may be null
    const float* __restrict__ g,          // [n]
    const AdamRecord* __restrict__ step,  // [1]
    const float* __restrict__ outcome,    // [3]: norm, loss, broken
    const float* __restrict__ decays,     // [averages]; may be null
    size_t n,
    float max_norm,
    int decoupled,  // 1: AdamW
    int averages) {  // beside the first
  if (outcome[2] != 0.0f) return;
  const size_t at = (size_t(blockIdx.x) * 256 + threadIdx.x) * 4;
  const AdamRecord by = *step;
  const float clip = max_norm > 0.0f ? fminf(1.0f, max_norm / (outcome[0] + 1e-6f)) : 1.0f;
  float weight[4], first[4], second[4], average[4], gradient[4];
  load_up_to<4>(weight, p + at, at, n);
  load_up_to<4>(first, m + at, at, n);
  load_up_to<4>(second, v + at, at, n);
  load_up_to<4>(average, ema + at, at, n);
  load_up_to<4>(gradient, g + at, at, n);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    float d = gradient[k] * clip;
    if (decoupled) weight[k] -= by.lr * by.decay * weight[k];
    else d += by.decay * weight[k];
    first[k] = by.beta1 * first[k] + (1.0f - by.beta1) * d;
    second[k] = by.beta2 * second[k] + (1.0f - by.beta2) * d * d;
    weight[k] -= by.lr * (first[k] * by.c1) / (sqrtf(second[k] * by.c2) + by.eps);
    average[k] += (1.0f - by.ema_decay) * (weight[k] - average[k]);
  }
  store_up_to<4>(p + at, weight, at, n);
  store_up_to<4>(m + at, first, at, n);
  store_up_to<4>(v + at, second, at, n);
  store_up_to<4>(ema + at, average, at, n);
  for (int j = 0; j < averages; j++) {
    float* own = further + size_t(j) * n + at;
    const float share = 1.0f - decays[j];
    load_up_to<4>(average, own, at, n);
#pragma unroll
    for (int k = 0; k < 4; k++) average[k] += share * (weight[k] - average[k]);
    store_up_to<4>(own, average, at, n);
  }
  if (copy != nullptr) store_up_to<4>(copy + at, weight, at, n);
}

EXPORT(adam)
