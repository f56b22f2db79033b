// 3x3 convolution of same size to few output channels, at most 8: the last layer of a network.
//
//   y[p, o]        = bias[o] + sum over (r, q, c) of x[p + (r, q) - (1, 1), c] * w[o, r, q, c] + residual[p, o]
//   dw[o, r, q, c] = sum over p of dy[p, o] * x[p + (r, q) - (1, 1), c]          dbias[o] = sum over p of dy[p, o]
//
// A matrix product would compute 64 columns of which 3 are wanted, and read every pixel nine times. Here o is the narrow
// side of mma.sync (n = 8, what is missing is zero), and a pixel comes out of global memory once for a block.
//
// Forward: a block owns TILE x TILE pixels of an image. It walks over the input channels, 32 at a time: halo and weights of the
// next ones arrive in shared memory while these are multiplied. A warp owns four rows of 16 pixels. In shared memory it
// reads each row of the halo once for each column q of taps, and multiplies it for the rows of taps r that see it: its
// sums are those of the output rows above it, so three products share a load.
//
// dw: m is the channel, k the pixel. A block owns 32 channels and walks over its split of the tiles; the next tile arrives
// while this one is multiplied. A warp owns 16 channels under all nine taps, and half of the tile's rows; three products
// share a load as above, with dy of three rows in registers. In the end the two halves are added. Each split writes its own
// sums. The blocks of the first channels sum dy on its way through their registers.
//
// A line of shared memory (a pixel, or an output channel under a tap) is 32 channels, four chunks of 16 bytes; chunk j
// of line i lies at j ^ (i / 2 % 4), so that eight successive lines have a chunk in eight different groups of banks.
#include "common/common.cuh"

namespace few {

using bf16 = __nv_bfloat16;

constexpr int TILE = 16, HALO = TILE + 2, CHANNELS = 32, CHUNKS = 4, OUTPUTS = 8, TAPS = 9, THREADS = 128, ROWS = 4;

struct Stage {
  uint4 x[HALO * HALO * CHUNKS];
  uint4 w[TAPS * OUTPUTS * CHUNKS];
};

struct Shared {
  Stage stages[2];
};

struct GradientShared {
  struct {
    uint4 x[HALO * HALO * CHUNKS];
    uint4 dy[TILE * TILE];  // eight channels of a pixel
  } stages[2];
};

__device__ __forceinline__ int place(int line, int chunk) { return line * CHUNKS + (chunk ^ (line / 2 % 4)); }

// Copies channels c .. c + 31 of the halo around the tile at pixel (i0, j0) of the image x; zeros outside it.
__device__ __forceinline__ void load_halo(uint4* to, const bf16* __restrict__ x, int i0, int j0, int c, int h, int width,
                                          int c_in) {
  for (int i = threadIdx.x; i < HALO * HALO * CHUNKS; i += THREADS) {
    const int line = i / CHUNKS, chunk = i % CHUNKS, row = i0 - 1 + line / HALO, column = j0 - 1 + line % HALO;
    const bool inside = unsigned(row) < unsigned(h) && unsigned(column) < unsigned(width);
    const bf16* const from = x + (size_t(row) * width + column) * c_in + c + chunk * 8;
    cp_async_16(to + place(line, chunk), inside ? from : x, inside);
  }
}

// The same and the weights, zeros beyond c_out.
__device__ __forceinline__ void load(Stage& stage, const bf16* __restrict__ x, const bf16* __restrict__ w, int i0, int j0,
                                     int c, int h, int width, int c_in, int c_out) {
  load_halo(stage.x, x, i0, j0, c, h, width, c_in);
  for (int i = threadIdx.x; i < TAPS * OUTPUTS * CHUNKS; i += THREADS) {
    const int line = i / CHUNKS, chunk = i % CHUNKS, tap = line / OUTPUTS, o = line % OUTPUTS;
    const bool inside = o < c_out;
    cp_async_16(&stage.w[place(line, chunk)], inside ? w + (size_t(o) * TAPS + tap) * c_in + c + chunk * 8 : w, inside);
  }
  cp_async_commit();
}

// Adds the products of one stage to the sums of the warp's rows, the first of which is `top`.
__device__ __forceinline__ void multiply(float (&sums)[ROWS][4], const Stage& stage, int top) {
  const int lane = threadIdx.x % 32;
  for (int q = 0; q < 3; q++) {
    uint32_t b[3][4];  // of each r: two halves of channels 0 .. 15, two of 16 .. 31
#pragma unroll
    for (int r = 0; r < 3; r++) ldmatrix_x4(b[r], &stage.w[place((r * 3 + q) * OUTPUTS + lane % 8, lane / 8)]);
#pragma unroll
    for (int row = 0; row < ROWS + 2; row++) {
      const int line = (top + row) * HALO + q + lane % 16;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        uint32_t a[4];
        ldmatrix_x4(a, &stage.x[place(line, half * 2 + lane / 16)]);
#pragma unroll
        for (int r = 0; r < 3; r++) {
          if (row - r < 0 || row - r >= ROWS) continue;
          const uint32_t channels[2] = {b[r][half * 2], b[r][half * 2 + 1]};
          mma_m16n8k16_bf16(sums[row - r], a, channels);
        }
      }
    }
  }
}

// A tile of the pixels of all images.
struct Tile {
  int image, i0, j0;

  __device__ __forceinline__ Tile(int index, int rows, int columns)
      : image(index / columns / rows), i0(index / columns % rows * TILE), j0(index % columns * TILE) {}
};

// Two pixels of a tile of dy, which wait in registers.
struct Gradients {
  Vec<bf16> pixels[2];

  __device__ __forceinline__ void fetch(const bf16* __restrict__ dy, Tile tile, int h, int width, int c_out) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int pixel = threadIdx.x + i * THREADS, row = tile.i0 + pixel / TILE, column = tile.j0 + pixel % TILE;
      const bf16* const from = dy + ((size_t(tile.image) * h + row) * width + column) * c_out;
#pragma unroll
      for (int o = 0; o < OUTPUTS; o++)
        pixels[i][o] = row < h && column < width && o < c_out ? from[o] : from_float<bf16>(0.f);
    }
  }

  __device__ __forceinline__ void store(uint4* to, float (&sums)[OUTPUTS]) const {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      memcpy(to + threadIdx.x + i * THREADS, &pixels[i], 16);
#pragma unroll
      for (int o = 0; o < OUTPUTS; o++) sums[o] += to_float(pixels[i][o]);
    }
  }
};

// Adds the products of half a tile to the warp's sums, of each tap: rows from `top` on, channels from chunk `first` on.
__device__ __forceinline__ void multiply_gradient(float (&sums)[TAPS][4], const uint4* x, const uint4* dy, int top,
                                                  int first) {
  const int lane = threadIdx.x % 32;
  uint32_t b[TILE / 4][4];  // of two rows each: pixels 0 .. 7, 8 .. 15
#pragma unroll
  for (int pair = 0; pair < TILE / 4; pair++) ldmatrix_x4_trans(b[pair], dy + (top + 2 * pair) * TILE + lane);
#pragma unroll
  for (int q = 0; q < 3; q++)
#pragma unroll
    for (int row = 0; row < TILE / 2 + 2; row++) {
      uint32_t a[4];
      const int line = (top + row) * HALO + q + lane / 16 * 8 + lane % 8;
      ldmatrix_x4_trans(a, x + place(line, first + lane / 8 % 2));
#pragma unroll
      for (int r = 0; r < 3; r++) {
        const int out = row - r;
        if (out < 0 || out >= TILE / 2) continue;
        const uint32_t pixels[2] = {b[out / 2][out % 2 * 2], b[out / 2][out % 2 * 2 + 1]};
        mma_m16n8k16_bf16(sums[r * 3 + q], a, pixels);
      }
    }
}

}  // namespace few

// Block (x, y, z): columns of tiles, rows of tiles, images.
__global__ void __launch_bounds__(few::THREADS, 4)
    conv2d_fwd_few(__nv_bfloat16* __restrict__ y,               // [n, h, width, c_out]
                   const __nv_bfloat16* __restrict__ x,         // [n, h, width, c_in]
                   const __nv_bfloat16* __restrict__ w,         // [c_out, 3, 3, c_in]
                   const float* __restrict__ bias,              // [c_out] or null
                   const __nv_bfloat16* __restrict__ residual,  // as y, or null
                   int h, int width, int c_in, int c_out) {     // c_in a multiple of 32, c_out at most 8
  using namespace few;
  DYNAMIC_SMEM(Shared, shared);
  const int j0 = blockIdx.x * TILE, i0 = blockIdx.y * TILE, lane = threadIdx.x % 32, top = threadIdx.x / 32 * ROWS;
  const size_t image = size_t(blockIdx.z) * h * width;
  x += image * c_in;
  float sums[ROWS][4] = {};
  const int stages = c_in / CHANNELS;
  load(shared->stages[0], x, w, i0, j0, 0, h, width, c_in, c_out);
  for (int s = 0; s < stages; s++) {
    if (s + 1 < stages) {
      load(shared->stages[(s + 1) % 2], x, w, i0, j0, (s + 1) * CHANNELS, h, width, c_in, c_out);
      cp_async_wait<1>();
    } else {
      cp_async_wait<0>();
    }
    __syncthreads();  // all have copied
    multiply(sums, shared->stages[s % 2], top);
    __syncthreads();  // all have read: the next turn overwrites it
  }
#pragma unroll
  for (int row = 0; row < ROWS; row++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int line = i0 + top + row, column = j0 + lane / 4 + i / 2 * 8, o = lane % 4 * 2 + i % 2;
      if (line >= h || column >= width || o >= c_out) continue;
      const size_t at = (image + size_t(line) * width + column) * c_out + o;
      bf16 value = from_float<bf16>(sums[row][i] + (bias ? bias[o] : 0.f));
      if (residual) value = from_float<bf16>(to_float(value) + to_float(residual[at]));
      y[at] = value;
    }
}

// Block (x, y): 32 input channels, split y of the tiles.
__global__ void __launch_bounds__(few::THREADS, 4)
    conv2d_bwd_dw_few(float* __restrict__ dw,                 // [splits, c_out, 3, 3, c_in]
                      float* __restrict__ dbias,              // [splits, c_out] or null
                      const __nv_bfloat16* __restrict__ dy,   // [n, h, width, c_out]
                      const __nv_bfloat16* __restrict__ x,    // [n, h, width, c_in]
                      int n, int h, int width, int c_in, int c_out, int split_tiles) {
  using namespace few;
  DYNAMIC_SMEM(GradientShared, shared);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = blockIdx.x * CHANNELS;
  const int rows = (h + TILE - 1) / TILE, columns = (width + TILE - 1) / TILE;
  const int begin = blockIdx.y * split_tiles, end = min(begin + split_tiles, n * rows * columns);
  float sums[TAPS][4] = {}, column_sums[OUTPUTS] = {};
  const auto start = [&](int index) {
    const Tile tile(index, rows, columns);
    load_halo(shared->stages[(index - begin) % 2].x, x + size_t(tile.image) * h * width * c_in, tile.i0, tile.j0, c, h,
              width, c_in);
    cp_async_commit();
  };
  Gradients gradients;
  start(begin);
  gradients.fetch(dy, Tile(begin, rows, columns), h, width, c_out);
  for (int index = begin; index < end; index++) {
    auto& stage = shared->stages[(index - begin) % 2];
    gradients.store(stage.dy, column_sums);
    if (index + 1 < end) {
      start(index + 1);
      gradients.fetch(dy, Tile(index + 1, rows, columns), h, width, c_out);
      cp_async_wait<1>();
    } else {
      cp_async_wait<0>();
    }
    __syncthreads();  // all have copied
    multiply_gradient(sums, stage.x, stage.dy, warp / 2 * (TILE / 2), warp % 2 * 2);
    __syncthreads();  // all have read: the next turn overwrites it
  }

  // What the warps of the lower half have found goes to those of the upper, element by element.
  float* const lower = reinterpret_cast<float*>(shared->stages[0].x) + warp % 2 * TAPS * 4 * 32 + lane;
  float* const parts = reinterpret_cast<float*>(shared->stages[1].x);  // [warps, OUTPUTS]
  if (warp >= 2)
#pragma unroll
    for (int i = 0; i < TAPS * 4; i++) lower[i * 32] = sums[i / 4][i % 4];
#pragma unroll
  for (int o = 0; o < OUTPUTS; o++) {
    const float total = warp_sum(column_sums[o]);
    if (lane == 0) parts[warp * OUTPUTS + o] = total;
  }
  __syncthreads();
  dw += size_t(blockIdx.y) * c_out * TAPS * c_in;
  if (warp < 2)
#pragma unroll
    for (int i = 0; i < TAPS * 4; i++) {
      const int channel = c + warp * 16 + lane / 4 + i % 4 / 2 * 8, o = lane % 4 * 2 + i % 2;
      if (o < c_out) dw[(size_t(o) * TAPS + i / 4) * c_in + channel] = sums[i / 4][i % 4] + lower[i * 32];
    }
  const int o = threadIdx.x;
  if (dbias && blockIdx.x == 0 && o < c_out)
    dbias[size_t(blockIdx.y) * c_out + o] =
        ((parts[o] + parts[OUTPUTS + o]) + parts[2 * OUTPUTS + o]) + parts[3 * OUTPUTS + o];
}

EXPORT(conv2d_fwd_few)
EXPORT(conv2d_bwd_dw_few)
