// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011), and uniform and normal variates from its words.
//
//   key     = (seed_lo, seed_hi)
//   counter = (element / 4, image, step, stream)
//
// A value depends on these and on nothing else, so it is the same on every device. To keep that true of the normals to
// the last bit, they are built only from correctly rounded operations (multiply, add, square root; no fused
// multiply-add, no special-function unit); src/engine/random repeats them operation by operation.
#pragma once

__device__ __forceinline__ uint4 philox4x32(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const uint64_t product0 = uint64_t(0xD2511F53u) * counter.x, product1 = uint64_t(0xCD9E8D57u) * counter.z;
    counter = make_uint4(uint32_t(product1 >> 32) ^ counter.y ^ key.x, uint32_t(product1),
                         uint32_t(product0 >> 32) ^ counter.w ^ key.y, uint32_t(product0));
    key.x += 0x9E3779B9u;
    key.y += 0xBB67AE85u;
  }
  return counter;
}

// The four words of elements 4 * quad .. 4 * quad + 3 of an image. `rng` = {seed_lo, seed_hi, step, first_image}.
__device__ __forceinline__ uint4 philox_words(const uint32_t* __restrict__ rng,  // [4]
                                              uint32_t stream, uint32_t image, uint32_t quad) {
  return philox4x32(make_uint4(quad, rng[3] + image, rng[2], stream), make_uint2(rng[0], rng[1]));
}

// (word / 256 + 1/2) * 2^-24, in (0, 1): the one value that would round up to 1 is kept below it.
__device__ __forceinline__ float uniform_open(uint32_t word) {
  return fminf(__fmul_rn(__fadd_rn(float(word >> 8), 0.5f), 0x1p-24f), 0x1.fffffep-1f);
}

namespace detail {
// c[0] x^(N-1) + ... + c[N-1]
template <int N> __device__ __forceinline__ float horner(float x, const float (&c)[N]) {
  float y = c[0];
#pragma unroll
  for (int i = 1; i < N; i++) y = __fadd_rn(__fmul_rn(y, x), c[i]);
  return y;
}

// ln x for normal x > 0, to 1 ulp: x = 2^e (1 + f), |f| < sqrt(2) - 1, and Cephes' polynomial for ln(1 + f).
__device__ __forceinline__ float natural_log(float x) {
  const uint32_t bits = __float_as_uint(x) - 0x3f3504f3u;  // the bits of sqrt(1/2)
  const float e = float(int32_t(bits) >> 23), f = __fadd_rn(__uint_as_float((bits & 0x7fffffu) + 0x3f3504f3u), -1.f);
  const float c[9] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,  -1.2420140846e-1f, 1.4249322787e-1f,
                      -1.6668057665e-1f, 2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
  const float f2 = __fmul_rn(f, f);
  float y = __fmul_rn(__fmul_rn(f, f2), horner(f, c));
  y = __fadd_rn(y, __fmul_rn(e, -2.12194440e-4f));  // ln 2 = 0.693359375 - 2.12194440e-4
  y = __fadd_rn(y, __fmul_rn(f2, -0.5f));
  return __fadd_rn(__fadd_rn(f, y), __fmul_rn(e, 0.693359375f));
}

// sin and cos of 2 pi u for u in [0, 1]. The reduction to a quarter turn around 0 is exact.
__device__ __forceinline__ float2 sin_cos_turns(float u) {
  const float quarters = __fmul_rn(u, 4.f);
  const int quadrant = int(__fadd_rn(quarters, 0.5f));
  const float x = __fmul_rn(__fadd_rn(quarters, -float(quadrant)), 1.57079632679f), x2 = __fmul_rn(x, x);
  const float sine[3] = {-1.9515295891e-4f, 8.3321608736e-3f, -1.6666654611e-1f};
  const float cosine[3] = {2.443315711809948e-5f, -1.388731625493765e-3f, 4.166664568298827e-2f};
  const float s = __fadd_rn(__fmul_rn(__fmul_rn(x, x2), horner(x2, sine)), x);
  const float c = __fadd_rn(__fadd_rn(__fmul_rn(__fmul_rn(x2, x2), horner(x2, cosine)), __fmul_rn(x2, -0.5f)), 1.f);
  switch (quadrant & 3) {
    case 0: return make_float2(s, c);
    case 1: return make_float2(c, -s);
    case 2: return make_float2(-s, -c);
    default: return make_float2(-c, s);
  }
}

// Box-Muller: sqrt(-2 ln u1) (cos, sin)(2 pi u2)
__device__ __forceinline__ float2 box_muller(uint32_t word1, uint32_t word2) {
  const float radius = __fsqrt_rn(__fmul_rn(natural_log(uniform_open(word1)), -2.f));
  const float2 turn = sin_cos_turns(uniform_open(word2));
  return make_float2(__fmul_rn(radius, turn.y), __fmul_rn(radius, turn.x));
}
}  // namespace detail

// Four independent standard normals from the four words of one counter.
__device__ __forceinline__ float4 normal4(uint4 words) {
  const float2 a = detail::box_muller(words.x, words.y), b = detail::box_muller(words.z, words.w);
  return make_float4(a.x, a.y, b.x, b.y);
}
__device__ __forceinline__ float4 uniform4(uint4 words) {
  return make_float4(uniform_open(words.x), uniform_open(words.y), uniform_open(words.z), uniform_open(words.w));
}
