// Sums and maxima over a warp or a block, always in the same order: the result depends on the values alone.
#pragma once

// Every lane gets the result of the LANES neighbours that it is one of, a power of two. All 32 lanes must call.
template <int LANES = 32> __device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int offset = LANES / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}
template <int LANES = 32> __device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int offset = LANES / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}

// Every thread gets the N sums. All THREADS threads of a one-dimensional block must call; THREADS is a multiple of 32.
template <int THREADS, int N> __device__ __forceinline__ void block_sums(float (&x)[N]) {
  static_assert(THREADS % 32 == 0 && THREADS <= 1024, "whole warps, at most a block");
  __shared__ float partial[N][THREADS / 32];
#pragma unroll
  for (int i = 0; i < N; i++) x[i] = warp_sum(x[i]);
  __syncthreads();  // the previous call may still be reading `partial`
  if (threadIdx.x % 32 == 0) {
#pragma unroll
    for (int i = 0; i < N; i++) partial[i][threadIdx.x / 32] = x[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < N; i++) {
    x[i] = 0.f;
#pragma unroll
    for (int warp = 0; warp < THREADS / 32; warp++) x[i] += partial[i][warp];
  }
}
// The same for one sum.
template <int THREADS> __device__ __forceinline__ float block_sum(float x) {
  float values[1] = {x};
  block_sums<THREADS>(values);
  return values[0];
}

// Every thread gets the maximum. Calling conventions as for block_sums.
template <int THREADS> __device__ __forceinline__ float block_max(float x) {
  static_assert(THREADS % 32 == 0 && THREADS <= 1024, "whole warps, at most a block");
  __shared__ float partial[THREADS / 32];
  x = warp_max(x);
  __syncthreads();  // the previous call may still be reading `partial`
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  x = partial[0];
#pragma unroll
  for (int warp = 1; warp < THREADS / 32; warp++) x = fmaxf(x, partial[warp]);
  return x;
}
