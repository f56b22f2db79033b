// ReLU: y = max(x, 0), a NaN stays one; dx = dy where y > 0, else 0. A thread: see common/elementwise.cuh.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) relu_fwd(T* __restrict__ y,        // [n]
                                                const T* __restrict__ x,  // [n]
                                                size_t n) {
  elementwise(y, x, n, [](float x) { return x < 0.f ? 0.f : x; });
}

template <class T>
__global__ void __launch_bounds__(256) relu_bwd(T* __restrict__ dx,        // [n]
                                                const T* __restrict__ dy,  // [n]
                                                const T* __restrict__ y,   // [n]
                                                size_t n) {
  elementwise(dx, dy, y, n, [](float dy, float y) { return y > 0.f ? dy : 0.f; });
}

EXPORT_F32_BF16(relu_fwd)
EXPORT_F32_BF16(relu_bwd)
