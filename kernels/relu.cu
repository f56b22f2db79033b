// ReLU: y = max(x, 0), a NaN stays one; dx = dy where y > 0, else 0.
// One thread handles 8 consecutive elements: 16 bytes of bf16, 32 of float. The tail is done element by element.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) relu_fwd(T* __restrict__ y,        // [n]
                                                const T* __restrict__ x,  // [n]
                                                size_t n) {
  const size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 8;
  float v[8];
  load_up_to<8>(v, x + first, first, n);
#pragma unroll
  for (int k = 0; k < 8; k++) v[k] = v[k] < 0.f ? 0.f : v[k];
  store_up_to<8>(y + first, v, first, n);
}

template <class T>
__global__ void __launch_bounds__(256) relu_bwd(T* __restrict__ dx,        // [n]
                                                const T* __restrict__ dy,  // [n]
                                                const T* __restrict__ y,   // [n]
                                                size_t n) {
  const size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 8;
  float g[8], v[8];
  load_up_to<8>(g, dy + first, first, n);
  load_up_to<8>(v, y + first, first, n);
#pragma unroll
  for (int k = 0; k < 8; k++) g[k] = v[k] > 0.f ? g[k] : 0.f;
  store_up_to<8>(dx + first, g, first, n);
}

EXPORT_F32_BF16(relu_fwd)
EXPORT_F32_BF16(relu_bwd)
