// SiLU: y = x s(x), dx = dy s(x) (1 + x (1 - s(x))), with the logistic function s(x) = 1 / (1 + e^-x).
// A thread: see common/elementwise.cuh.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) silu_fwd(T* __restrict__ y,        // [n]
                                                const T* __restrict__ x,  // [n]
                                                size_t n) {
  elementwise(y, x, n, [](float x) { return x * sigmoid(x); });
}

template <class T>
__global__ void __launch_bounds__(256) silu_bwd(T* __restrict__ dx,        // [n]
                                                const T* __restrict__ dy,  // [n]
                                                const T* __restrict__ x,   // [n]
                                                size_t n) {
  elementwise(dx, dy, x, n, [](float dy, float x) {
    const float s = sigmoid(x);
    return dy * s * (1.f + x * (1.f - s));
  });
}

EXPORT_F32_BF16(silu_fwd)
EXPORT_F32_BF16(silu_bwd)
