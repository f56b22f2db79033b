// Version 5: two blocks of a cluster share the weights. Each takes one of two tiles of pixels of the same output channels,
// loads half of every stage of weights, and sends it to both.
#include "common/common.cuh"
#include "ch12_conv.cuh"

constexpr int ROWS5 = 32, PIXELS5 = ROWS5 * ch12::TILE_COLUMNS, LINE5 = ch12::TILE_COLUMNS * ROW;  // of 8 pixels
constexpr int COPY5 = (ROWS5 + 2) * LINE5, COPIES5 = 3;  // the tile under a column of taps, with two rows more
constexpr int WEIGHTS5 = 128 * ROW, STAGES5 = 6;
struct alignas(1024) Shared5 {
  unsigned char pixels[COPIES5][COPY5], weights[STAGES5][WEIGHTS5];
  RingBarriers pixel_ring, weight_ring;
};

template <int CLUSTER>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    conv_in_cluster(__nv_bfloat16* __restrict__ y,       // [n, h, width, c_out]
                    const __grid_constant__ TensorMap x,  // [channel, column, row, image]: boxes of 64 x 8 x 34 x 1
                    const __grid_constant__ TensorMap w,  // [c_in, tap, c_out]: boxes of 64 x 1 x 64
                    int n, int h, int width, int c_in, int c_out) {
  using namespace ch12;
  DYNAMIC_SMEM(Shared5, shared);
  const Tiles<ROWS5, 128> tiles(n, h, width, c_out);
  const int warpgroup = threadIdx.x / WARPGROUP, rank = cluster_rank();
  const int channel_tiles = tiles.channel_tiles, places = tiles.count / channel_tiles;
  const int turns = (places + CLUSTER - 1) / CLUSTER * channel_tiles;
  // Of a turn both blocks have the channels, and neighbouring pixels. Of an odd number of places the last one's neighbour
  // is no image: zeros are loaded for it, and nothing is stored.
  auto tile_of = [&](int turn) {
    return tiles.at((turn / channel_tiles * CLUSTER + rank) * channel_tiles + turn % channel_tiles);
  };
  Ring pixels{&shared->pixel_ring, shared->pixels[0], COPY5, COPIES5};
  Ring weights{&shared->weight_ring, shared->weights[0], WEIGHTS5, STAGES5};
  if (threadIdx.x == 0) {
    shared->pixel_ring.init();
    shared->weight_ring.init(CLUSTER * CONSUMERS * WARPGROUP / 32);
    fence_mbar_init();
  }
  cluster_arrive();
  cluster_wait();

  if (warpgroup == CONSUMERS) {
    setmaxnreg_dec<LOADER_REGISTERS>();
    if (threadIdx.x != CONSUMERS * WARPGROUP) return;
    for (int turn = blockIdx.x / CLUSTER; turn < turns; turn += gridDim.x / CLUSTER) {
      const Tile tile = tile_of(turn);
      for (int k = 0; k < c_in; k += 64)
        for (int q = 0; q < 3; q++) {
          pixels.begin_load(COPY5);
          tma_load_4d(pixels.buffer(), &x, pixels.full(), k, tile.column + q - 1, tile.row - 1, tile.image);
          pixels.advance();
          for (int r = 0; r < 3; r++) {
            weights.begin_load(WEIGHTS5);  // all of it, though this block asks for half
            tma_load_3d_multicast(weights.buffer() + rank * 64 * ROW, &w, weights.full(), 3, k, r * 3 + q,
                                  tile.channel + rank * 64);
            weights.advance();
          }
        }
    }
    return;
  }

  setmaxnreg_inc<CONSUMER_REGISTERS>();
  float d[PIXELS5 / 2];
  for (int turn = blockIdx.x / CLUSTER; turn < turns; turn += gridDim.x / CLUSTER) {
    const Tile tile = tile_of(turn);
    uint64_t *left_pixels = nullptr, *left_weights = nullptr;
    for (int copy = 0; copy < c_in / 64 * 3; copy++) {
      pixels.wait_loaded();
      for (int r = 0; r < 3; r++) {
        weights.wait_loaded();
        start_product<PIXELS5>(d, weights.buffer() + warpgroup * 64 * ROW, pixels.buffer() + r * LINE5, copy + r > 0);
        wgmma_wait<1>();
        leave<CLUSTER>(left_weights);
        leave(left_pixels);
        left_weights = weights.empty();
        left_pixels = r == 2 ? pixels.empty() : nullptr;
        weights.advance();
      }
      pixels.advance();
    }
    wgmma_wait<0>(d);
    leave<CLUSTER>(left_weights);
    leave(left_pixels);
    store<PIXELS5>(y, d, tile, tile.channel + warpgroup * 64, n, h, width, c_out);
  }
  cluster_arrive();
  cluster_wait();
}

EXPORT_CLUSTER_AS(ch12_conv5, 2, conv_in_cluster<2>)
