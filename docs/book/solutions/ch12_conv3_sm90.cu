// Version 3: roles. One thread loads, two warpgroups multiply; they meet at a ring of stages. The tile is 128 x 128.
#include "common/common.cuh"
#include "ch12_conv.cuh"

constexpr int STAGES3 = 4, STAGE3 = (128 + 128) * ROW;  // 128 output channels, then 16 x 8 pixels
struct alignas(1024) Shared3 {
  unsigned char stages[STAGES3][STAGE3];
  RingBarriers ring;
};

__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    ch12_conv3(__nv_bfloat16* __restrict__ y,        // [n, h, width, c_out]
               const __grid_constant__ TensorMap x,  // [channel, column, row, image]: boxes of 64 x 8 x 16 x 1
               const __grid_constant__ TensorMap w,  // [c_in, tap, c_out]: boxes of 64 x 1 x 128
               int n, int h, int width, int c_in, int c_out) {
  using namespace ch12;
  DYNAMIC_SMEM(Shared3, shared);
  const Tile tile = Tiles<16, 128>(n, h, width, c_out).at(blockIdx.x);
  const int warpgroup = threadIdx.x / WARPGROUP;
  Ring ring{&shared->ring, shared->stages[0], STAGE3, STAGES3};
  if (threadIdx.x == 0) {
    shared->ring.init();
    fence_mbar_init();
  }
  __syncthreads();

  if (warpgroup == CONSUMERS) {
    if (threadIdx.x != CONSUMERS * WARPGROUP) return;
    for (int k = 0; k < c_in; k += 64)
      for (int tap = 0; tap < 9; tap++) {
        ring.begin_load(STAGE3);
        tma_load_3d(ring.buffer(), &w, ring.full(), k, tap, tile.channel);
        tma_load_4d(ring.buffer() + 128 * ROW, &x, ring.full(), k, tile.column + tap % 3 - 1, tile.row + tap / 3 - 1,
                    tile.image);
        ring.advance();
      }
    return;
  }

  float d[64];
  uint64_t* left = nullptr;  // the stage whose products may still run
  for (int step = 0; step < c_in / 64 * 9; step++) {
    ring.wait_loaded();
    start_product<128>(d, ring.buffer() + warpgroup * 64 * ROW, ring.buffer() + 128 * ROW, step > 0);
    wgmma_wait<1>();
    leave(left);
    left = ring.empty();
    ring.advance();
  }
  wgmma_wait<0>(d);
  store<128>(y, d, tile, tile.channel + warpgroup * 64, n, h, width, c_out);
}

EXPORT(ch12_conv3)
