// Exercise 8.2: y[row] = sum over c of x[row, c]^2. One warp for each row, 8 rows in a block.
#include "common/common.cuh"

__global__ void __launch_bounds__(256) row_squares(float* __restrict__ y,        // [rows]
                                                   const float* __restrict__ x,  // [rows, columns]
                                                   int rows, int columns) {
  const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= rows) return;  // the whole warp: nobody waits for it
  float sum = 0.f;
  for (int c = lane; c < columns; c += 32) {
    const float v = x[size_t(row) * columns + c];
    sum += v * v;
  }
  sum = warp_sum(sum);
  if (lane == 0) y[row] = sum;
}

EXPORT(row_squares)
