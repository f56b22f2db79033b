// Exercise 12.2: a ring of three stages, with its waits.
//
// y[i] = sum over rows r of x[r, i]: one thread loads rows into the ring, a warp adds them up.
#include "common/common.cuh"

struct Rows {
  alignas(128) float rows[3][32];
  uint64_t full[3], empty[3];
};

__global__ void __launch_bounds__(64) ch12_row_sums(float* __restrict__ y,                // [32]
                                                    const __grid_constant__ TensorMap x,  // [32, rows]: boxes of 32 x 1
                                                    int rows) {
  DYNAMIC_SMEM(Rows, ring);
  if (threadIdx.x == 0) {
    for (int s = 0; s < 3; s++) {
      mbar_init(&ring->full[s], 1);
      mbar_init(&ring->empty[s], 1);
    }
    fence_mbar_init();
  }
  __syncthreads();

  if (threadIdx.x >= 32) {
    if (threadIdx.x > 32) return;
    for (int r = 0; r < rows; r++) {
      const int s = r % 3;
      mbar_wait(&ring->empty[s], r / 3 % 2 ^ 1);
      mbar_expect_tx(&ring->full[s], sizeof ring->rows[s]);
      tma_load_2d(ring->rows[s], &x, &ring->full[s], 0, r);
    }
    return;
  }
  float sum = 0.f;
  for (int r = 0; r < rows; r++) {
    const int s = r % 3;
    mbar_wait(&ring->full[s], r / 3 % 2);
    sum += ring->rows[s][threadIdx.x];
    __syncwarp();
    if (threadIdx.x == 0) mbar_arrive(&ring->empty[s]);
  }
  y[threadIdx.x] = sum;
}

EXPORT(ch12_row_sums)
