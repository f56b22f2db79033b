// For exercise 10.1, nothing is missing here: a product whose element (row, column) is 8 row + column. a has row in its
// first column of k and 1 in its second; b has 8 and column.
#include "common/common.cuh"

__global__ void __launch_bounds__(32) held_by_lanes(float* __restrict__ held) {  // [32, 4]
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  auto pair = [](float first, float second) {
    return uint32_t(__bfloat16_as_ushort(__float2bfloat16_rn(first))) |
           uint32_t(__bfloat16_as_ushort(__float2bfloat16_rn(second))) << 16;
  };
  const uint32_t a[4] = {t == 0 ? pair(float(g), 1.f) : 0u, t == 0 ? pair(float(g + 8), 1.f) : 0u, 0u, 0u};
  const uint32_t b[2] = {t == 0 ? pair(8.f, float(g)) : 0u, 0u};
  float d[4] = {};
  mma_m16n8k16_bf16(d, a, b);
  for (int i = 0; i < 4; i++) held[lane * 4 + i] = d[i];
}

EXPORT(held_by_lanes)
