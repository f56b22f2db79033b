// Kernels that treat every element alike and by itself, flat over n elements: a kernel names the function, here are the
// threads. Each handles 8 consecutive elements, 16 bytes of bf16 and 32 of float, and the tail element by element. Read and
// computed with as float, whatever the storage type.
#pragma once

// y[i] = f(a[i])
template <class Y, class A, class F>
__device__ __forceinline__ void elementwise(Y* y, const A* a, size_t n, F f) {
  const size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 8;
  float v[8];
  load_up_to<8>(v, a + first, first, n);
#pragma unroll
  for (int k = 0; k < 8; k++) v[k] = f(v[k]);
  store_up_to<8>(y + first, v, first, n);
}

// y[i] = f(a[i], b[i]); y may be a or b.
template <class Y, class A, class B, class F>
__device__ __forceinline__ void elementwise(Y* y, const A* a, const B* b, size_t n, F f) {
  const size_t first = (size_t(blockIdx.x) * 256 + threadIdx.x) * 8;
  float v[8], w[8];
  load_up_to<8>(v, a + first, first, n);
  load_up_to<8>(w, b + first, first, n);
#pragma unroll
  for (int k = 0; k < 8; k++) v[k] = f(v[k], w[k]);
  store_up_to<8>(y + first, v, first, n);
}
