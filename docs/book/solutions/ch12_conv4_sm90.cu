// Version 4: a tap is an offset. Pixels are loaded once for each column of taps, tiles are 128 x 256, and blocks take one
// tile after the other.
#include "common/common.cuh"
#include "ch12_conv.cuh"

constexpr int ROWS4 = 32, PIXELS4 = ROWS4 * ch12::TILE_COLUMNS, LINE4 = ch12::TILE_COLUMNS * ROW;  // of 8 pixels
constexpr int COPY4 = (ROWS4 + 2) * LINE4, COPIES4 = 3;  // the tile under a column of taps, with two rows more
constexpr int WEIGHTS4 = 128 * ROW, STAGES4 = 6;
struct alignas(1024) Shared4 {
  unsigned char pixels[COPIES4][COPY4], weights[STAGES4][WEIGHTS4];
  RingBarriers pixel_ring, weight_ring;
};

__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    ch12_conv4(__nv_bfloat16* __restrict__ y,        // [n, h, width, c_out]
               const __grid_constant__ TensorMap x,  // [channel, column, row, image]: boxes of 64 x 8 x 34 x 1
               const __grid_constant__ TensorMap w,  // [c_in, tap, c_out]: boxes of 64 x 1 x 128
               int n, int h, int width, int c_in, int c_out) {
  using namespace ch12;
  DYNAMIC_SMEM(Shared4, shared);
  const Tiles<ROWS4, 128> tiles(n, h, width, c_out);
  const int warpgroup = threadIdx.x / WARPGROUP;
  Ring pixels{&shared->pixel_ring, shared->pixels[0], COPY4, COPIES4};
  Ring weights{&shared->weight_ring, shared->weights[0], WEIGHTS4, STAGES4};
  if (threadIdx.x == 0) {
    shared->pixel_ring.init();
    shared->weight_ring.init();
    fence_mbar_init();
  }
  __syncthreads();

  if (warpgroup == CONSUMERS) {
    setmaxnreg_dec<LOADER_REGISTERS>();
    if (threadIdx.x != CONSUMERS * WARPGROUP) return;
    for (int index = blockIdx.x; index < tiles.count; index += gridDim.x) {  // loads
      const Tile tile = tiles.at(index);
      for (int k = 0; k < c_in; k += 64)
        for (int q = 0; q < 3; q++) {
          pixels.begin_load(COPY4);
          tma_load_4d(pixels.buffer(), &x, pixels.full(), k, tile.column + q - 1, tile.row - 1, tile.image);
          pixels.advance();
          for (int r = 0; r < 3; r++) {
            weights.begin_load(WEIGHTS4);
            tma_load_3d(weights.buffer(), &w, weights.full(), k, r * 3 + q, tile.channel);
            weights.advance();
          }
        }
    }
    return;
  }

  setmaxnreg_inc<CONSUMER_REGISTERS>();
  float d[PIXELS4 / 2];
  for (int index = blockIdx.x; index < tiles.count; index += gridDim.x) {
    const Tile tile = tiles.at(index);
    uint64_t *left_pixels = nullptr, *left_weights = nullptr;
    for (int copy = 0; copy < c_in / 64 * 3; copy++) {
      pixels.wait_loaded();
      for (int r = 0; r < 3; r++) {
        weights.wait_loaded();
        start_product<PIXELS4>(d, weights.buffer() + warpgroup * 64 * ROW, pixels.buffer() + r * LINE4, copy + r > 0);
        wgmma_wait<1>();
        leave(left_weights);
        leave(left_pixels);
        left_weights = weights.empty();
        left_pixels = r == 2 ? pixels.empty() : nullptr;
        weights.advance();
      }
      pixels.advance();
    }
    wgmma_wait<0>(d);
    leave(left_weights);
    leave(left_pixels);
    store<PIXELS4>(y, d, tile, tile.channel + warpgroup * 64, n, h, width, c_out);
  }
}

EXPORT(ch12_conv4)
