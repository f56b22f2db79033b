// SiLU: y = x s(x), dx = dy s(x) (1 + x (1 - s(x))), with the logistic function s(x) = 1 / (1 + e^-x).
// One thread handles 8 consecutive elements: 16 bytes of bf16, 32 of float. The tail is done element by element.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) silu_fwd(
    T* __restrict__ y,        // [n]
    const T* __restrict__ x,  // [n]
    int n) {
  const size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 8;
  float v[8];
  load_up_to<8>(v, x + first, first, n);
#pragma unroll
  for (int i = 0; i < 8; i++) v[i] = v[i] * sigmoid(v[i]);
  store_up_to<8>(y + first, v, first, n);
}

template <class T>
__global__ void __launch_bounds__(256) silu_bwd(
    T* __restrict__ dx,        // [n]
    const T* __restrict__ dy,  // [n]
    const T* __restrict__ x,   // [n]
    int n) {
  const size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 8;
  float g[8], v[8];
  load_up_to<8>(g, dy + first, first, n);
  load_up_to<8>(v, x + first, first, n);
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const float s = sigmoid(v[i]);
    g[i] = g[i] * s * (1.f + v[i] * (1.f - s));
  }
  store_up_to<8>(dx + first, g, first, n);
}

EXPORT_F32_BF16(silu_fwd)
EXPORT_F32_BF16(silu_bwd)
