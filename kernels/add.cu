// Sums of equally shaped tensors, flat over their n elements.
//
//   add_fwd   y  = a + b          the residual connection; da = db = dy, so there is no backward kernel
//   add_acc   y += x              a second contribution to the gradient of a parameter
//   axpy_acc  y += scale x        f32: the gradients of one micro-batch into the batch's
//
// One thread handles 8 consecutive elements: 16 bytes of bf16, 32 of float. The tail is done element by element.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) add_fwd(T* __restrict__ y,        // [n]
                                               const T* __restrict__ a,  // [n]
                                               const T* __restrict__ b,  // [n]
                                               size_t n) {
  const size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 8;
  float left[8], right[8];
  load_up_to<8>(left, a + first, first, n);
  load_up_to<8>(right, b + first, first, n);
#pragma unroll
  for (int k = 0; k < 8; k++) left[k] += right[k];
  store_up_to<8>(y + first, left, first, n);
}

template <class T>
__global__ void __launch_bounds__(256) add_acc(T* __restrict__ y,        // [n], added to
                                               const T* __restrict__ x,  // [n]
                                               size_t n) {
  const size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 8;
  float sum[8], term[8];
  load_up_to<8>(sum, y + first, first, n);
  load_up_to<8>(term, x + first, first, n);
#pragma unroll
  for (int k = 0; k < 8; k++) sum[k] += term[k];
  store_up_to<8>(y + first, sum, first, n);
}

__global__ void __launch_bounds__(256) axpy_acc(float* __restrict__ y,        // [n], added to
                                                const float* __restrict__ x,  // [n]
                                                size_t n,
                                                float scale) {
  const size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 8;
  float sum[8], term[8];
  load_up_to<8>(sum, y + first, first, n);
  load_up_to<8>(term, x + first, first, n);
#pragma unroll
  for (int k = 0; k < 8; k++) sum[k] += scale * term[k];
  store_up_to<8>(y + first, sum, first, n);
}

EXPORT_F32_BF16(add_fwd)
EXPORT_F32_BF16(add_acc)
EXPORT(axpy_acc)
