// Sums of equally shaped tensors, flat over their n elements.
//
//   add_fwd   y  = a + b          the residual connection; da = db = dy, so there is no backward kernel
//   add_acc   y += x              a second contribution to the gradient of a parameter
//   axpy_acc  y += scale x        f32: the gradients of one micro-batch into the batch's
//
// A thread: see common/elementwise.cuh.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) add_fwd(T* __restrict__ y,        // [n]
                                               const T* __restrict__ a,  // [n]
                                               const T* __restrict__ b,  // [n]
                                               size_t n) {
  elementwise(y, a, b, n, [](float a, float b) { return a + b; });
}

template <class T>
__global__ void __launch_bounds__(256) add_acc(T* __restrict__ y,        // [n], added to
                                               const T* __restrict__ x,  // [n]
                                               size_t n) {
  elementwise(y, y, x, n, [](float y, float x) { return y + x; });
}

__global__ void __launch_bounds__(256) axpy_acc(float* __restrict__ y,        // [n], added to
                                                const float* __restrict__ x,  // [n]
                                                size_t n,
                                                float scale) {
  elementwise(y, y, x, n, [=](float y, float x) { return y + scale * x; });
}

EXPORT_F32_BF16(add_fwd)
EXPORT_F32_BF16(add_acc)
EXPORT(axpy_acc)
