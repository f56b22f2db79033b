// Exercise 13.3: a product whose left factor is the result of another, without a detour through memory.
//
// out = (q k^T) v with q [16, 16], k [16, 16], v [16, 8], by one warp. The scores s = q k^T are two results of 16 x 8.
#include "common/common.cuh"

__global__ void __launch_bounds__(32) ch13_two_products(float* __restrict__ out,              // [16, 8]
                                                        const __nv_bfloat16* __restrict__ q,  // [16, 16]
                                                        const __nv_bfloat16* __restrict__ k,  // [16, 16]: 16 keys
                                                        const __nv_bfloat16* __restrict__ v) {  // [16, 8]
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto pair = [](__nv_bfloat16 low, __nv_bfloat16 high) {
    const __nv_bfloat16 both[2] = {low, high};
    uint32_t word;
    memcpy(&word, both, sizeof word);
    return word;
  };
  uint32_t a[4];  // register i: row g + 8 (i % 2), columns 2 t + 8 (i / 2) and the next
  for (int i = 0; i < 4; i++) {
    const __nv_bfloat16* at = q + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;
    a[i] = pair(at[0], at[1]);
  }
  float s[2][4] = {};  // s[j][i]: row g + 8 (i / 2), column 8 j + 2 t + i % 2
  for (int j = 0; j < 2; j++) {
    uint32_t b[2];  // register i: rows of k^T 2 t + 8 i and the next, column g
    for (int i = 0; i < 2; i++) {
      const __nv_bfloat16* at = k + (8 * j + g) * 16 + 2 * t + 8 * i;
      b[i] = pair(at[0], at[1]);
    }
    mma_m16n8k16_bf16(s[j], a, b);
  }

  // Both have rows g and g + 8, columns 2 t and 2 t + 1 in a lane: columns 0 to 7 come from s[0],
  // 8 to 15 from s[1].
  for (int i = 0; i < 4; i++) {
    const float* half = s[i / 2] + 2 * (i % 2);
    a[i] = pair(__float2bfloat16_rn(half[0]), __float2bfloat16_rn(half[1]));
  }

  float d[4] = {};
  uint32_t b[2];
  for (int i = 0; i < 2; i++) b[i] = pair(v[(2 * t + 8 * i) * 8 + g], v[(2 * t + 8 * i + 1) * 8 + g]);
  mma_m16n8k16_bf16(d, a, b);
  for (int i = 0; i < 4; i++) out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

EXPORT(ch13_two_products)
