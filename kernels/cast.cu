// Between the storage types: y = x, rounded to nearest even where y is narrower. The gradient is the opposite cast.
// A thread: see common/elementwise.cuh.
#include "common/common.cuh"

__global__ void __launch_bounds__(256) cast_to_bf16(__nv_bfloat16* __restrict__ y,  // [n]
                                                    const float* __restrict__ x,    // [n]
                                                    size_t n) {
  elementwise(y, x, n, [](float x) { return x; });
}

__global__ void __launch_bounds__(256) cast_to_f32(float* __restrict__ y,                // [n]
                                                   const __nv_bfloat16* __restrict__ x,  // [n]
                                                   size_t n) {
  elementwise(y, x, n, [](float x) { return x; });
}

EXPORT(cast_to_bf16)
EXPORT(cast_to_f32)
