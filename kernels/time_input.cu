// Diffusion times t [n] as plain inputs of a network.
//
//   scaled_time:  y[i] = scale t_i              nearest_row:  row[i] = t_i rounded, ties to even, kept in 0..rows
//
// t has no gradient. A thread owns one time.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) scaled_time_fwd(T* __restrict__ y,            // [n, 1]
                                                       const float* __restrict__ t,  // [n]
                                                       int n, float scale) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  if (i < n) y[i] = from_float<T>(scale * t[i]);
}

// fmaxf and fminf give the other operand where one is NaN: whatever the time, the row exists.
__global__ void __launch_bounds__(256) nearest_row_fwd(int32_t* __restrict__ row,    // [n]
                                                       const float* __restrict__ t,  // [n]
                                                       int n, int rows) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  if (i < n) row[i] = int32_t(fminf(fmaxf(rintf(t[i]), 0.0f), float(rows - 1)));
}

EXPORT_F32_BF16(scaled_time_fwd)
EXPORT(nearest_row_fwd)
