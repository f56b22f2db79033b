// Version 2: one thread asks the copy engine for both operands, and a transaction barrier says when they are there.
#include "common/common.cuh"
#include "ch12_conv.cuh"

struct alignas(1024) Operands2 {
  unsigned char weights[64 * ROW], pixels[64 * ROW];
  uint64_t full;
};

__global__ void __launch_bounds__(128)
    ch12_conv2(__nv_bfloat16* __restrict__ y,         // [n, h, width, c_out]
               const __grid_constant__ TensorMap x,   // [channel, column, row, image]: boxes of 64 x 8 x 8 x 1
               const __grid_constant__ TensorMap w,   // [c_in, tap, c_out]: boxes of 64 x 1 x 64
               int n, int h, int width, int c_in, int c_out) {
  using namespace ch12;
  DYNAMIC_SMEM(Operands2, shared);
  const Tile tile = Tiles<8, 64>(n, h, width, c_out).at(blockIdx.x);
  if (threadIdx.x == 0) {
    mbar_init(&shared->full, 1);
    fence_mbar_init();
  }
  __syncthreads();
  float d[32];
  unsigned parity = 0;
  for (int k = 0; k < c_in; k += 64)
    for (int tap = 0; tap < 9; tap++) {
      if (threadIdx.x == 0) {  // the copies
        mbar_expect_tx(&shared->full, sizeof shared->weights + sizeof shared->pixels);
        tma_load_3d(shared->weights, &w, &shared->full, k, tap, tile.channel);
        tma_load_4d(shared->pixels, &x, &shared->full, k, tile.column + tap % 3 - 1, tile.row + tap / 3 - 1, tile.image);
      }
      mbar_wait(&shared->full, parity);
      parity ^= 1;
      start_product<64>(d, shared->weights, shared->pixels, k + tap > 0);
      wgmma_wait<0>(d);
      __syncthreads();
    }
  store<64>(y, d, tile, tile.channel, n, h, width, c_out);
}

EXPORT(ch12_conv2)
