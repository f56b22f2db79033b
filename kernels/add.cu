// Sums of equally shaped tensors, flat over their n elements.
//
//   add_fwd   y  = a + b          the residual connection; da = db = dy, so there is no backward kernel
//   add_acc   y += x              a second contribution to a gradient
//   axpy_acc  y += scale x        f32: the gradients of one micro-batch into the batch's
//
// A thread owns one 16-byte vector; the thread at the ragged end goes element by element.
#include "common/common.cuh"

// y[i] = f(a[i], b[i]); y may be a.
template <class T, class F>
__device__ __forceinline__ void zip(T* y, const T* a, const T* b, size_t n, F f) {
  constexpr int V = Vec<T>::SIZE;
  const size_t i = (size_t(blockIdx.x) * blockDim.x + threadIdx.x) * V;
  if (i + V <= n) {
    float left[V], right[V];
    load_floats(left, a + i);
    load_floats(right, b + i);
#pragma unroll
    for (int k = 0; k < V; k++) left[k] = f(left[k], right[k]);
    store_floats(y + i, left);
  } else {
    for (size_t j = i; j < n; j++) y[j] = from_float<T>(f(to_float(a[j]), to_float(b[j])));
  }
}

template <class T>
__global__ void __launch_bounds__(256) add_fwd(T* __restrict__ y,        // [n]
                                               const T* __restrict__ a,  // [n]
                                               const T* __restrict__ b,  // [n]
                                               size_t n) {
  zip(y, a, b, n, [](float left, float right) { return left + right; });
}

template <class T>
__global__ void __launch_bounds__(256) add_acc(T* y,                     // [n], added to
                                               const T* __restrict__ x,  // [n]
                                               size_t n) {
  zip(y, y, x, n, [](float left, float right) { return left + right; });
}

__global__ void __launch_bounds__(256) axpy_acc(float* y,                     // [n], added to
                                                const float* __restrict__ x,  // [n]
                                                size_t n, float scale) {
  zip(y, y, x, n, [scale](float left, float right) { return left + scale * right; });
}

EXPORT_F32_BF16(add_fwd)
EXPORT_F32_BF16(add_acc)
EXPORT(axpy_acc)
