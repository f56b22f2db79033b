// Exercise 8.2: y[row] = sum over c of x[row, c]^2.
//
// One warp for each row: 8 warps in a block of 256 threads, so a block has 8 rows. The lanes of a warp take elements
// lane, lane + 32, lane + 64, ... of their row, so that neighbouring lanes read neighbouring addresses. Then the warp adds
// up its lanes' sums, and one lane writes.
#include "common/common.cuh"

__global__ void __launch_bounds__(256) row_squares(float* __restrict__ y,        // [rows]
                                                   const float* __restrict__ x,  // [rows, columns]
                                                   int rows, int columns) {
  // Exercise 8.2.
}

EXPORT(row_squares)
