// Exercise 8.1. Softplus: y = ln(1 + e^x), dx = dy s(x) with the logistic function s.
// A thread: see common/elementwise.cuh.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) softplus_fwd(T* __restrict__ y,        // [n]
                                                    const T* __restrict__ x,  // [n]
                                                    size_t n) {
  elementwise(y, x, n, [](float x) { return fmaxf(x, 0.f) + log1pf(expf(-fabsf(x))); });
}

template <class T>
__global__ void __launch_bounds__(256) softplus_bwd(T* __restrict__ dx,        // [n]
                                                    const T* __restrict__ dy,  // [n]
                                                    const T* __restrict__ x,   // [n]
                                                    size_t n) {
  elementwise(dx, dy, x, n, [](float dy, float x) { return dy * sigmoid(x); });
}

EXPORT_F32_BF16(softplus_fwd)
EXPORT_F32_BF16(softplus_bwd)
