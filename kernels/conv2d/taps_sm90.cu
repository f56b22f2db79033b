// Forward pass and input gradient of a convolution in bf16 on Hopper: TMA loads, wgmma multiplies.
//
//   y [p, o] = bias[o] + sum over (tap, c) of w[o, tap, c] * x [pixel under the tap, c] + addend[p, o]
//   dx[p, c] = bias[c] + sum over (tap, o) of w[o, tap, c] * dy[pixel under the tap, o] + addend[p, c]
//
// The addend (the residual of conv2d.cu, or the earlier gradients) is added to the sums as stored.
//
// docs/kernels/convolution.md has the picture. As a matrix product, D[m, n] = sum over k of A[m, k] B[n, k]:
//
//   m   output channels      A   weights: k-major (forward), m-major as they lie (dx)
//   n   pixels of a tile     B   rows of 64 input channels of the pixels under one tap: always k-major
//   k   tap, input channel       in blocks of 64 channels
//
// A tile of pixels is `tile_rows` rows of `tile_columns` columns of `tile_images` images, in the order (row, image,
// column). A *copy* is such a tile as the taps of one column of the kernel see it, with the rows that the other taps of
// that column add: in shared memory the next tap down is tile_images * tile_columns pixels further on, a multiple of 8
// (1024 bytes), so that one copy serves all taps of the column with plain descriptors. TMA writes zeros for what lies
// outside the image.
//
//   for each tile:                                   (blocks are persistent; loader and consumers meet only at rings)
//     for each 64 input channels, column of taps, copy:
//       for each tap of the copy:
//         D += weights of the tap * pixels of the copy, from the tap's row on
//     y = bf16(D + bias) + addend
//
// x may be two tensors, the channels of one after those of the other: the first one's are whole blocks of k, so a block
// of k belongs to one of them.
//
// With stride 2 a copy holds every second row and column, and serves the taps of one parity. dx with stride 2 falls
// into four phases as in conv2d.cu, each a convolution with stride 1; a tile belongs to one phase.
//
// In clusters of two blocks, each takes one of two tiles of pixels that are neighbours, of the same output channels and
// phase: the blocks need the same weights in the same order. Each loads half of every stage of weights, for both; a stage
// is loaded over when the warps of both have left it. Their pixels are their own. Of an odd number of tiles the last
// one's neighbour lies outside the images: zeros are loaded for it, and nothing is stored.
#include "common/common.cuh"
#include "conv2d/taps.cuh"

constexpr int STORE_PIXELS = 64;  // pixels that a warpgroup stages for its stores at a time

// Taps by which the second warpgroup begins later than the first, and stays behind: one stores its tile while the other
// multiplies.
constexpr int LAG = 2;

template <int PIXELS> struct alignas(1024) TapsShared {
  unsigned char staging[CONSUMERS][STORE_PIXELS * ROW];
  uint32_t place[PIXELS];  // of the tile's pixels: row, image, column
  RingBarriers pixels, weights;
  uint64_t lag;  // the first warpgroup has done LAG taps
};

// Place of a tile in the output; the phases are 0 but for dx with a stride.
struct TapsTile {
  int row_phase, column_phase, image, row, column, channel;
};

template <int CHANNELS, int PIXELS, bool BACKWARD, int CLUSTER>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    conv2d_taps_sm90(__nv_bfloat16* __restrict__ out,           // y [n, out_h, out_w, c_out], or dx [n, h, width, c_in]
                     const __grid_constant__ TensorMap in,      // x or dy, as [channel, column, image, row]
                     const __grid_constant__ TensorMap second,  // likewise, of x: the channels from `split` on, if any
                     const __grid_constant__ TensorMap w,       // [c_in, tap, c_out]
                     const float* __restrict__ bias,            // [channels of out] or null
                     const __nv_bfloat16* __restrict__ addend,  // as out, or null
                     int n, int h, int width, int c_in, int c_out, int kh, int kw, int stride, int pad_top, int pad_left,
                     int out_h, int out_w, int split, int tile_columns, int tile_images, int tile_rows,
                     int pixel_stages, int weight_stages) {
  constexpr int GROUPS = CHANNELS / 64;           // of 64 channels: one a warpgroup, or both share one
  constexpr int N = PIXELS * GROUPS / CONSUMERS;  // pixels of a warpgroup
  constexpr int WEIGHT_BYTES = CHANNELS * ROW;
  constexpr int BOXES = BACKWARD && GROUPS > CLUSTER ? GROUPS : CLUSTER;  // of a stage of weights
  static_assert(BOXES % CLUSTER == 0, "each block loads as much as the others");
  constexpr int STORES = STORE_PIXELS * 8 / WARPGROUP;  // 16 bytes each, that a thread stores of the staged pixels
  DYNAMIC_SMEM(TapsShared<PIXELS>, shared);
  const int warpgroup = threadIdx.x / WARPGROUP;
  const int rank = CLUSTER == 1 ? 0 : cluster_rank(), cluster = blockIdx.x / CLUSTER, clusters = gridDim.x / CLUSTER;

  const int channels = BACKWARD ? c_in : c_out, k_blocks = ((BACKWARD ? c_out : c_in) + 63) / 64;
  const int phases = BACKWARD ? stride : 1;  // along each axis
  const int grid_h = BACKWARD ? (h + stride - 1) / stride : out_h;
  const int grid_w = BACKWARD ? (width + stride - 1) / stride : out_w;
  const int channel_tiles = (channels + CHANNELS - 1) / CHANNELS, image_tiles = (n + tile_images - 1) / tile_images;
  const int column_tiles = (grid_w + tile_columns - 1) / tile_columns, row_tiles = (grid_h + tile_rows - 1) / tile_rows;
  // Of a channel tile and a phase, as many tiles at a time as a cluster has blocks.
  const int turns = (column_tiles * row_tiles * image_tiles + CLUSTER - 1) / CLUSTER;
  const int tiles = channel_tiles * turns * phases * phases;
  auto tile_at = [&](int index) {
    TapsTile tile;
    tile.channel = index % channel_tiles * CHANNELS, index /= channel_tiles;
    int place = index % turns * CLUSTER + rank;
    tile.column = place % column_tiles * tile_columns, place /= column_tiles;
    tile.row = place % row_tiles * tile_rows, place /= row_tiles;
    tile.image = place * tile_images, index /= turns;
    // The phases with most taps come first: the last tiles that blocks take are the shortest.
    tile.row_phase = (index / phases + phases - pad_top % phases) % phases;
    tile.column_phase = (index % phases + phases - pad_left % phases) % phases;
    return tile;
  };
  auto taps_of = [&](int taps, int pad, int phase) {
    return BACKWARD ? TapLine::backward(taps, stride, pad, phase) : TapLine::forward(taps, stride, pad);
  };

  const int line = tile_images * tile_columns;          // pixels from a tap to the next below it
  const int taps_of_copy = (kh + stride - 1) / stride;  // at most
  const int copy_bytes = (tile_rows + taps_of_copy - 1) * line * ROW;
  const int pixel_bytes = ((max(PIXELS, tile_rows * line) + (taps_of_copy - 1) * line) * ROW + 1023) / 1024 * 1024;
  unsigned char* const buffers = reinterpret_cast<unsigned char*>(shared) + sizeof(TapsShared<PIXELS>);
  Ring pixels{&shared->pixels, buffers, pixel_bytes, pixel_stages};
  Ring weights{&shared->weights, buffers + pixel_stages * pixel_bytes, WEIGHT_BYTES, weight_stages};

  for (int p = threadIdx.x; p < PIXELS; p += HOPPER_THREADS)
    shared->place[p] = p / line << 20 | p % line / tile_columns << 10 | p % tile_columns;
  if (threadIdx.x == 0) {
    shared->pixels.init();
    shared->weights.init(CLUSTER * CONSUMERS * WARPGROUP / 32);
    mbar_init(&shared->lag, WARPGROUP / 32);
    fence_mbar_init();
  }
  if (CLUSTER == 1) {
    __syncthreads();
  } else {
    cluster_arrive();
    cluster_wait();
  }

  if (warpgroup == CONSUMERS) {
    setmaxnreg_dec<LOADER_REGISTERS>();
    if (threadIdx.x != CONSUMERS * WARPGROUP) return;
    tma_prefetch(&in);
    if (!BACKWARD) tma_prefetch(&second);
    tma_prefetch(&w);
    for (int index = cluster; index < tiles; index += clusters) {
      const TapsTile tile = tile_at(index);
      const TapLine rows = taps_of(kh, pad_top, tile.row_phase), columns = taps_of(kw, pad_left, tile.column_phase);
      const int row = tile.row * rows.stride + rows.start, column = tile.column * columns.stride + columns.start;
      for (int k = 0; k < k_blocks; k++) {
        const bool in_second = !BACKWARD && k * 64 >= split;
        const TensorMap* const map = in_second ? &second : &in;
        const int channel = k * 64 - (in_second ? split : 0);
        for (int q = 0; q < columns.count; q++)
          for (int parity = 0; parity < min(rows.stride, rows.count); parity++) {
            pixels.begin_load(copy_bytes);
            tma_load_4d(pixels.buffer(), map, pixels.full(), channel, column + q, tile.image, row + parity);
            pixels.advance();
            for (int r = parity; r < rows.count; r += rows.stride) {
              const int tap = (rows.first + r * rows.step) * kw + columns.first + q * columns.step;
              weights.begin_load(WEIGHT_BYTES);
              for (int box = 0; box < BOXES / CLUSTER; box++) {
                // The stage's rows are output channels (forward), or for each 64 channels the 64 of k (dx).
                const int first = (box * CLUSTER + rank) * (CHANNELS / BOXES);
                unsigned char* const at = weights.buffer() + first * ROW;
                const int c_in_at = BACKWARD ? tile.channel + first / 64 * 64 : k * 64;
                const int c_out_at = BACKWARD ? k * 64 + first % 64 : tile.channel + first;
                if (CLUSTER == 1) tma_load_3d(at, &w, weights.full(), c_in_at, tap, c_out_at);
                else tma_load_3d_multicast(at, &w, weights.full(), (1 << CLUSTER) - 1, c_in_at, tap, c_out_at);
              }
              weights.advance();
            }
          }
      }
    }
    return;
  }

  setmaxnreg_inc<CONSUMER_REGISTERS>();
  const int first_pixel = GROUPS == 1 ? warpgroup * N : 0, group = GROUPS == 1 ? 0 : warpgroup;
  const int thread = threadIdx.x % WARPGROUP, lane = threadIdx.x % 32, warp = thread / 32;
  unsigned char* const staging = shared->staging[warpgroup];
  float d[N / 2];
  int ahead = warpgroup == 0 ? LAG : 0;  // taps until the other may begin
  if (warpgroup == 1 && cluster < tiles) mbar_wait(&shared->lag, 0);
  for (int index = cluster; index < tiles; index += clusters) {
    const TapsTile tile = tile_at(index);
    const TapLine rows = taps_of(kh, pad_top, tile.row_phase), columns = taps_of(kw, pad_left, tile.column_phase);
    // Of the warp's 16 channels this thread holds numbers lane / 4 and lane / 4 + 8.
    const int channel = tile.channel + group * 64;
    float add[2] = {};
    if (bias) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int c = channel + warp * 16 + lane / 4 + i * 8;
        if (c < channels) add[i] = bias[c];
      }
    }
    // Buffers whose last products may still run; they are left one tap later.
    uint64_t *left_pixels = nullptr, *left_weights = nullptr;
    bool accumulate = false;
    for (int copy = k_blocks * columns.count; copy > 0; copy--)
      for (int parity = 0; parity < min(rows.stride, rows.count); parity++) {
        pixels.wait_loaded();
        const unsigned char* pixels_at = pixels.buffer() + first_pixel * ROW;
        for (int r = parity; r < rows.count; r += rows.stride) {
          weights.wait_loaded();
          const unsigned char* weights_at = weights.buffer() + group * 64 * ROW;
          const uint64_t a = BACKWARD ? smem_desc_sw128_mn(weights_at, 0) : smem_desc_sw128(weights_at);
          const uint64_t b = smem_desc_sw128(pixels_at);
          wgmma_fence();
#pragma unroll
          for (int k = 0; k < 64; k += 16) {  // descriptors count in 16 bytes
            wgmma_m64k16_bf16<N, BACKWARD, false>(d, a + k * (BACKWARD ? ROW : 2) / 16, b + k * 2 / 16, accumulate);
            accumulate = true;
          }
          wgmma_commit();
          wgmma_wait<1>();
          leave<CLUSTER>(left_weights);
          leave(left_pixels);
          left_weights = weights.empty();
          left_pixels = r + rows.stride < rows.count ? nullptr : pixels.empty();
          weights.advance();
          pixels_at += line * ROW;
          if (ahead > 0 && --ahead == 0) leave(&shared->lag);
        }
        pixels.advance();
      }

    const int pitch = BACKWARD ? stride : 1, out_rows = BACKWARD ? h : out_h, out_columns = BACKWARD ? width : out_w;
    const int image_left = n - tile.image;
    const int out_row = tile.row * pitch + tile.row_phase, out_column = tile.column * pitch + tile.column_phase;
    const size_t corner =
        ((size_t(tile.image) * out_rows + out_row) * out_columns + out_column) * channels + channel + thread % 8 * 8;
    // Stores go out as 16 bytes a thread, eight threads a pixel: f(i, staged pixel, where in the output) for each that
    // lies inside.
    auto for_each_store = [&](int p0, auto f) {
#pragma unroll
      for (int i = 0; i < STORES; i++) {
        const int p = i * (WARPGROUP / 8) + thread / 8;
        const uint32_t place = shared->place[first_pixel + p0 + p];
        const int row = place >> 20, image = place >> 10 & 1023, column = place & 1023;
        const bool inside = row < tile_rows && image < image_left && out_row + row * pitch < out_rows &&
                            out_column + column * pitch < out_columns && channel + thread % 8 * 8 < channels;
        const size_t pixel = (size_t(image) * out_rows + row * pitch) * out_columns + column * pitch;
        if (inside) f(i, p, corner + pixel * channels);
      }
    };
    Vec<__nv_bfloat16> added[STORES];  // to the next pixels: under way while those before are stored
    auto fetch_added = [&](int p0) {
      if (addend) for_each_store(p0, [&](int i, int, size_t at) { added[i] = load_vec(addend + at); });
    };
    fetch_added(0);
    wgmma_wait<0>(d);
    leave<CLUSTER>(left_weights);
    leave(left_pixels);
    if (ahead > 0) leave(&shared->lag);
    ahead = 0;

#pragma unroll
    for (int p0 = 0; p0 < N; p0 += STORE_PIXELS) {
      named_bar_sync(1 + warpgroup, WARPGROUP);  // the staging buffer is free
#pragma unroll
      for (int p = 0; p < STORE_PIXELS; p += 16) {
        uint32_t pairs[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {  // channel lane / 4 + 8 (i % 2), pixels 8 (i / 2) + 2 (lane % 4) and the next
          const int at = (p0 + p) / 2 + i / 2 * 4 + i % 2 * 2;
          const __nv_bfloat162 pair = __floats2bfloat162_rn(d[at] + add[i % 2], d[at + 1] + add[i % 2]);
          memcpy(&pairs[i], &pair, sizeof pair);
        }
        const int row = p + lane / 16 * 8 + lane % 8, chunk = warp * 2 + lane / 8 % 2;
        stmatrix_x4_trans(staging + row * ROW + (chunk ^ row % 8) * 16, pairs);
      }
      named_bar_sync(1 + warpgroup, WARPGROUP);
      for_each_store(p0, [&](int i, int p, size_t at) {
        const auto* from = reinterpret_cast<const __nv_bfloat16*>(staging + p * ROW + (thread % 8 ^ p % 8) * 16);
        const Vec<__nv_bfloat16> result = load_vec(from);
        store_vec(out + at, addend ? sum(result, added[i]) : result);
      });
      if (p0 + STORE_PIXELS < N) fetch_added(p0 + STORE_PIXELS);
    }
  }
  // The other block may still load into this one, and its warps leave this one's stages.
  if (CLUSTER > 1) {
    cluster_arrive();
    cluster_wait();
  }
}

EXPORT_AS(conv2d_fwd_sm90_128x256, conv2d_taps_sm90<128, 256, false, 1>)
EXPORT_CLUSTER_AS(conv2d_fwd_sm90_128x256_pair, 2, conv2d_taps_sm90<128, 256, false, 2>)
EXPORT_AS(conv2d_fwd_sm90_128x128, conv2d_taps_sm90<128, 128, false, 1>)
EXPORT_CLUSTER_AS(conv2d_fwd_sm90_128x128_pair, 2, conv2d_taps_sm90<128, 128, false, 2>)
EXPORT_AS(conv2d_fwd_sm90_64x512, conv2d_taps_sm90<64, 512, false, 1>)
EXPORT_CLUSTER_AS(conv2d_fwd_sm90_64x512_pair, 2, conv2d_taps_sm90<64, 512, false, 2>)
EXPORT_AS(conv2d_fwd_sm90_64x256, conv2d_taps_sm90<64, 256, false, 1>)
EXPORT_CLUSTER_AS(conv2d_fwd_sm90_64x256_pair, 2, conv2d_taps_sm90<64, 256, false, 2>)
EXPORT_AS(conv2d_fwd_sm90_64x128, conv2d_taps_sm90<64, 128, false, 1>)
EXPORT_CLUSTER_AS(conv2d_fwd_sm90_64x128_pair, 2, conv2d_taps_sm90<64, 128, false, 2>)
EXPORT_AS(conv2d_bwd_dx_sm90_128x256, conv2d_taps_sm90<128, 256, true, 1>)
EXPORT_CLUSTER_AS(conv2d_bwd_dx_sm90_128x256_pair, 2, conv2d_taps_sm90<128, 256, true, 2>)
EXPORT_AS(conv2d_bwd_dx_sm90_128x128, conv2d_taps_sm90<128, 128, true, 1>)
EXPORT_CLUSTER_AS(conv2d_bwd_dx_sm90_128x128_pair, 2, conv2d_taps_sm90<128, 128, true, 2>)
EXPORT_AS(conv2d_bwd_dx_sm90_64x512, conv2d_taps_sm90<64, 512, true, 1>)
EXPORT_CLUSTER_AS(conv2d_bwd_dx_sm90_64x512_pair, 2, conv2d_taps_sm90<64, 512, true, 2>)
EXPORT_AS(conv2d_bwd_dx_sm90_64x256, conv2d_taps_sm90<64, 256, true, 1>)
EXPORT_CLUSTER_AS(conv2d_bwd_dx_sm90_64x256_pair, 2, conv2d_taps_sm90<64, 256, true, 2>)
EXPORT_AS(conv2d_bwd_dx_sm90_64x128, conv2d_taps_sm90<64, 128, true, 1>)
EXPORT_CLUSTER_AS(conv2d_bwd_dx_sm90_64x128_pair, 2, conv2d_taps_sm90<64, 128, true, 2>)
