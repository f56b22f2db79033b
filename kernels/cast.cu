// Between the storage types: y = x, rounded to nearest even where y is narrower. The gradient is the opposite cast.
//
// One thread handles 8 consecutive elements: 16 bytes of bf16, 32 of float. The tail is done element by element.
#include "common/common.cuh"

__global__ void __launch_bounds__(256) cast_to_bf16(__nv_bfloat16* __restrict__ y,  // [n]
                                                    const float* __restrict__ x,    // [n]
                                                    size_t n) {
  const size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 8;
  float value[8];
  load_up_to<8>(value, x + first, first, n);
  store_up_to<8>(y + first, value, first, n);
}

__global__ void __launch_bounds__(256) cast_to_f32(float* __restrict__ y,                // [n]
                                                   const __nv_bfloat16* __restrict__ x,  // [n]
                                                   size_t n) {
  const size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 8;
  float value[8];
  load_up_to<8>(value, x + first, first, n);
  store_up_to<8>(y + first, value, first, n);
}

EXPORT(cast_to_bf16)
EXPORT(cast_to_f32)
