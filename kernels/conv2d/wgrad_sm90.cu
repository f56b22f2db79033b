// Weight gradient of a convolution in bf16 on Hopper: TMA loads, wgmma multiplies.
//
//   dw[o, tap, c] = sum over pixels p of dy[p, o] * x[pixel of p under the tap, c]
//
// As a matrix product, D[m, n] = sum over k of A[m, k] B[n, k], with both operands as they lie in NHWC, m- and n-major:
//
//   m   output channels      A   64 channels of dy for each 64 of m
//   n   ATOMS x 64           B   64 channels of x under one tap for each 64 of n
//   k   pixels               in blocks of `tile_rows` rows of `tile_columns` columns of `tile_images` images
//
// An atom of n is 64 input channels under one tap, and a product has ATOMS of them. In `conv2d_bwd_dw_sm90_column` they
// are the three taps of a column of a 3x3 kernel with stride 1: one copy of x with two more rows serves them all, since
// the next tap down is the same operand a row further on, which is what the descriptor's leading offset says; there are
// one or two products, each with its own 64 channels. In `_any` each atom has a copy of its own, of whatever tap and
// channels come next on the axis (tap, 64 channels): any kernel, any stride.
//
// The pixels are split over thread blocks; each writes its own sum, and conv2d_sum_splits adds them in order. With 64
// output channels the two consumer warpgroups halve each block of pixels, and add their sums through shared memory. TMA
// writes zeros for dy beyond the edges, so that a block of pixels may reach over them.
#include "common/common.cuh"
#include "conv2d/ring.cuh"

constexpr int STEP_PIXELS = 32;  // the pixels of a block that a warpgroup takes are a multiple of this

struct alignas(1024) WgradShared {
  RingBarriers stages;
};

template <int PRODUCTS, int SUMS, class F> __device__ __forceinline__ void for_each_sum(float (&d)[PRODUCTS][SUMS], F f) {
#pragma unroll
  for (int i = 0; i < PRODUCTS * SUMS; i++) f(i, d[i / SUMS][i % SUMS]);
}

// Block (x, y, z): CHANNELS output channels, PRODUCTS x ATOMS atoms, split z of the blocks of pixels.
template <int CHANNELS, int PRODUCTS, int ATOMS, bool COLUMN>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    conv2d_bwd_dw_sm90(float* __restrict__ dw,                // [splits, c_out, kh, kw, c_in]
                       const __grid_constant__ TensorMap dy,  // [channel, column, image, row]
                       const __grid_constant__ TensorMap x,   // likewise
                       int n, int c_in, int c_out, int kh, int kw, int stride, int pad_top, int pad_left, int out_h,
                       int out_w, int tile_columns, int tile_images, int tile_rows, int stages, int split_blocks) {
  constexpr int GROUPS = CHANNELS / 64;  // of 64 output channels: one a warpgroup, or both share one and halve the pixels
  constexpr int COPIES = COLUMN ? PRODUCTS : PRODUCTS * ATOMS;
  DYNAMIC_SMEM(WgradShared, shared);
  const int warpgroup = threadIdx.x / WARPGROUP;

  const int line = tile_images * tile_columns, pixels = tile_rows * line;
  const int copy_bytes = (pixels + (COLUMN ? (ATOMS - 1) * line : 0)) * ROW, dy_bytes = GROUPS * pixels * ROW;
  const int atom_bytes = COLUMN ? line * ROW : copy_bytes, product_bytes = COLUMN ? copy_bytes : ATOMS * copy_bytes;
  unsigned char* const buffers = reinterpret_cast<unsigned char*>(shared) + sizeof(WgradShared);
  Ring ring{&shared->stages, buffers, dy_bytes + COPIES * copy_bytes, stages};

  const int column_tiles = (out_w + tile_columns - 1) / tile_columns, row_tiles = (out_h + tile_rows - 1) / tile_rows;
  const int blocks = column_tiles * row_tiles * ((n + tile_images - 1) / tile_images);
  const int begin = blockIdx.z * split_blocks, end = min(begin + split_blocks, blocks);
  const int m0 = blockIdx.x * CHANNELS, channel_blocks = (c_in + 63) / 64;
  // Tap and input channels of an atom.
  auto atom_at = [&](int product, int i) {
    struct Atom {
      int r, q, c;
    };
    if (COLUMN) return Atom{i, int(blockIdx.y) % kw, (int(blockIdx.y) / kw * PRODUCTS + product) * 64};
    const int at = (blockIdx.y * PRODUCTS + product) * ATOMS + i, tap = at / channel_blocks;
    return Atom{tap / kw, tap % kw, at % channel_blocks * 64};
  };

  if (threadIdx.x == 0) {
    shared->stages.init();
    fence_mbar_init();
  }
  __syncthreads();

  if (warpgroup == CONSUMERS) {
    setmaxnreg_dec<LOADER_REGISTERS>();
    if (threadIdx.x != CONSUMERS * WARPGROUP) return;
    tma_prefetch(&dy);
    tma_prefetch(&x);
    for (int block = begin; block < end; block++) {
      const int column = block % column_tiles * tile_columns, row = block / column_tiles % row_tiles * tile_rows;
      const int image = block / column_tiles / row_tiles * tile_images;
      ring.begin_load(ring.buffer_bytes);
#pragma unroll
      for (int g = 0; g < GROUPS; g++)
        tma_load_4d(ring.buffer() + g * pixels * ROW, &dy, ring.full(), m0 + g * 64, column, image, row);
#pragma unroll
      for (int i = 0; i < COPIES; i++) {
        const auto atom = COLUMN ? atom_at(i, 0) : atom_at(i / ATOMS, i % ATOMS);
        tma_load_4d(ring.buffer() + dy_bytes + i * copy_bytes, &x, ring.full(), atom.c,
                    column * stride - pad_left + atom.q, image, row * stride - pad_top + atom.r);
      }
      ring.advance();
    }
    return;
  }

  setmaxnreg_inc<CONSUMER_REGISTERS>();
  const int share = GROUPS == 1 ? pixels / CONSUMERS : pixels;  // of the pixels of a block
  const int group = GROUPS == 1 ? 0 : warpgroup, first = GROUPS == 1 ? warpgroup * share : 0;
  float d[PRODUCTS][ATOMS * 32];
  uint64_t* left = nullptr;  // the buffer whose last products may still run
  bool accumulate = false;
  for (int block = begin; block < end; block++) {
    ring.wait_loaded();
    const uint64_t a = smem_desc_sw128_mn(ring.buffer() + (group * pixels + first) * ROW, 0);
    const uint64_t b = smem_desc_sw128_mn(ring.buffer() + dy_bytes + first * ROW, atom_bytes);
    wgmma_fence();
    int pixel = 0;
    do {
#pragma unroll
      for (int step = 0; step < STEP_PIXELS; step += 16) {
        const int k = (pixel + step) * ROW / 16;  // descriptors count in 16 bytes
#pragma unroll
        for (int i = 0; i < PRODUCTS; i++)
          wgmma_m64k16_bf16<ATOMS * 64, true, true>(d[i], a + k, b + k + i * product_bytes / 16, accumulate);
        accumulate = true;
      }
      pixel += STEP_PIXELS;
    } while (pixel < share);
    wgmma_commit();
    wgmma_wait<1>();
    leave(left);
    left = ring.empty();
    ring.advance();
  }
  wgmma_wait<0>(reinterpret_cast<float(&)[PRODUCTS * ATOMS * 32]>(d));

  if (GROUPS == 1) {
    float* const sums = reinterpret_cast<float*>(buffers) + threadIdx.x % WARPGROUP;
    named_bar_sync(1, CONSUMERS * WARPGROUP);  // both have read their last operands
    if (warpgroup == 1)
      for_each_sum(d, [&](int i, float& sum) { sums[i * WARPGROUP] = sum; });
    named_bar_sync(2, CONSUMERS * WARPGROUP);
    if (warpgroup == 1) return;
    for_each_sum(d, [&](int i, float& sum) { sum += sums[i * WARPGROUP]; });
  }

  const int lane = threadIdx.x % 32;
  const int o = m0 + group * 64 + threadIdx.x % WARPGROUP / 32 * 16 + lane / 4, taps = kh * kw;
#pragma unroll
  for (int i = 0; i < PRODUCTS * ATOMS; i++) {
    const auto atom = atom_at(i / ATOMS, i % ATOMS);
    if (atom.r >= kh) continue;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      if (o + half * 8 >= c_out) continue;
      float* const row =
          dw + ((size_t(blockIdx.z) * c_out + o + half * 8) * taps + atom.r * kw + atom.q) * c_in + atom.c + lane % 4 * 2;
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const float* at = &d[i / ATOMS][i % ATOMS * 32 + j * 4 + half * 2];
        if (atom.c + j * 8 < c_in) store_vec(row + j * 8, Vec<float, 2>{{at[0], at[1]}});
      }
    }
  }
}

EXPORT_AS(conv2d_bwd_dw_sm90_column_128x128, conv2d_bwd_dw_sm90<128, 2, 3, true>)
EXPORT_AS(conv2d_bwd_dw_sm90_column_128x64, conv2d_bwd_dw_sm90<128, 1, 3, true>)
EXPORT_AS(conv2d_bwd_dw_sm90_column_64x128, conv2d_bwd_dw_sm90<64, 2, 3, true>)
EXPORT_AS(conv2d_bwd_dw_sm90_column_64x64, conv2d_bwd_dw_sm90<64, 1, 3, true>)
EXPORT_AS(conv2d_bwd_dw_sm90_any_128, conv2d_bwd_dw_sm90<128, 1, 4, false>)
EXPORT_AS(conv2d_bwd_dw_sm90_any_64, conv2d_bwd_dw_sm90<64, 1, 4, false>)
