// What the five convolutions of chapter 12 share: tiles, a product, and the way of its result to memory.
//
//   y[p, o] = sum over (tap, c) of w[o, tap, c] * x[pixel under the tap, c]         3x3 taps, stride 1, zeros around
//
// As a product, D[m, n] = sum over k of A[m, k] B[n, k]: m an output channel, n a pixel of the tile, k a tap and 64 input
// channels. Channels are multiples of 64, of 128 from version 3 on.
#pragma once
#include "common/ring.cuh"

namespace ch12 {

constexpr int TILE_COLUMNS = 8;  // of pixels

// A tile of the result: pixels of one image from a corner on, and output channels.
struct Tile {
  int image, row, column, channel;
};

// Tiles of ROWS x 8 pixels and CHANNELS channels; the channels run fastest.
template <int ROWS, int CHANNELS> struct Tiles {
  int row_tiles, column_tiles, channel_tiles, count;

  __device__ __forceinline__ Tiles(int n, int h, int width, int c_out)
      : row_tiles((h + ROWS - 1) / ROWS), column_tiles((width + TILE_COLUMNS - 1) / TILE_COLUMNS),
        channel_tiles(c_out / CHANNELS), count(n * row_tiles * column_tiles * channel_tiles) {}

  __device__ __forceinline__ Tile at(int index) const {
    const int place = index / channel_tiles;
    return {place / column_tiles / row_tiles, place / column_tiles % row_tiles * ROWS,
            place % column_tiles * TILE_COLUMNS, index % channel_tiles * CHANNELS};
  }
};

// Starts d += weights * pixels^T over 64 input channels, by a warpgroup: weights [64, 64], pixels [N, 64], each with rows
// of 128 bytes in the swizzle. It runs until the warpgroup waits for it.
template <int N>
__device__ __forceinline__ void start_product(float (&d)[N / 2], const unsigned char* weights, const unsigned char* pixels,
                                              bool accumulate) {
  const uint64_t a = smem_desc_sw128(weights), b = smem_desc_sw128(pixels);
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < 64; k += 16)  // descriptors count in 16 bytes
    wgmma_m64k16_bf16<N>(d, a + k * 2 / 16, b + k * 2 / 16, accumulate || k > 0);
  wgmma_commit();
}

// Stores what a warpgroup holds: 64 channels from `channel` on, the N pixels of a tile.
template <int N>
__device__ __forceinline__ void store(__nv_bfloat16* y, const float (&d)[N / 2], Tile tile, int channel, int n, int h,
                                      int width, int c_out) {
  const int lane = threadIdx.x % 32, first = channel + threadIdx.x % WARPGROUP / 32 * 16 + lane / 4;
#pragma unroll
  for (int i = 0; i < N / 2; i++) {
    const int pixel = i / 4 * 8 + lane % 4 * 2 + i % 2, c = first + i / 2 % 2 * 8;
    const int row = tile.row + pixel / TILE_COLUMNS, column = tile.column + pixel % TILE_COLUMNS;
    if (tile.image < n && row < h && column < width)
      y[((size_t(tile.image) * h + row) * width + column) * c_out + c] = __float2bfloat16_rn(d[i]);
  }
}

}  // namespace ch12
