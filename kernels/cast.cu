// Between the storage types: y = x, rounded to nearest even where y is narrower. The gradient is the opposite cast.
//
// A thread owns eight elements: 16 bytes of bf16 and 32 of f32; the thread at the ragged end goes element by element.
#include "common/common.cuh"

template <class To, class From>
__device__ __forceinline__ void cast(To* y, const From* x, size_t n) {
  const size_t i = (size_t(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
  if (i + 8 <= n) {
    Vec<From> in[8 / Vec<From>::SIZE];
    Vec<To> out[8 / Vec<To>::SIZE];
#pragma unroll
    for (int v = 0; v < 8 / Vec<From>::SIZE; v++) in[v] = load_vec(x + i + v * Vec<From>::SIZE);
#pragma unroll
    for (int k = 0; k < 8; k++) {
      out[k / Vec<To>::SIZE][k % Vec<To>::SIZE] = from_float<To>(to_float(in[k / Vec<From>::SIZE][k % Vec<From>::SIZE]));
    }
#pragma unroll
    for (int v = 0; v < 8 / Vec<To>::SIZE; v++) store_vec(y + i + v * Vec<To>::SIZE, out[v]);
  } else {
    for (size_t j = i; j < n; j++) y[j] = from_float<To>(to_float(x[j]));
  }
}

__global__ void __launch_bounds__(256) cast_to_bf16(__nv_bfloat16* __restrict__ y,  // [n]
                                                    const float* __restrict__ x,    // [n]
                                                    size_t n) {
  cast(y, x, n);
}

__global__ void __launch_bounds__(256) cast_to_f32(float* __restrict__ y,                // [n]
                                                   const __nv_bfloat16* __restrict__ x,  // [n]
                                                   size_t n) {
  cast(y, x, n);
}

EXPORT(cast_to_bf16)
EXPORT(cast_to_f32)
