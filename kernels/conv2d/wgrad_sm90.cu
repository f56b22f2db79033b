// Weight gradient of a convolution in bf16 on Hopper: TMA loads, wgmma multiplies.
//
//   dw[o, tap, c] = sum over pixels p of dy[p, o] * x[pixel of p under the tap, c]
//   dbias[o]      = sum over pixels p of dy[p, o]
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
// The pixels are split over thread blocks; each writes its own sum, and sum_parts adds them in order. With 64
// output channels the two consumer warpgroups halve each block of pixels, and add their sums through shared memory. TMA
// writes zeros for dy beyond the edges, so that a block of pixels may reach over them.
//
// The sums of dy itself are the business of two more warps, of the warpgroup that loads: in the blocks with blockIdx.y = 0,
// which are the first to see each split of each channel, they read dy from the same stages. The tensor cores and the warps
// that feed them do nothing for it.
#include "common/common.cuh"
#include "conv2d/taps.cuh"

constexpr int STEP_PIXELS = 32;  // the pixels of a block that a warpgroup takes are a multiple of this

constexpr int SUMMERS = 2;  // warps that sum dy, the second and third of the loading warpgroup

struct alignas(1024) WgradShared {
  RingBarriers stages;
};

template <int PRODUCTS, int SUMS, class F> __device__ __forceinline__ void for_each_sum(float (&d)[PRODUCTS][SUMS], F f) {
#pragma unroll
  for (int i = 0; i < PRODUCTS * SUMS; i++) f(i, d[i / SUMS][i % SUMS]);
}

// One of the SUMMERS warps: sums of dy over the pixels of `blocks` blocks, for its half of the block's output channels.
// A thread reads 16 bytes of every ROWS-th pixel; eight threads in succession read from all banks of shared memory.
template <int GROUPS>
__device__ __forceinline__ void sum_dy(float* __restrict__ dbias,  // of the warp's first channel
                                       int channels,               // of the warp's, that exist
                                       Ring ring, int blocks, int pixels, int summer) {
  constexpr int CHUNKS = 4 * GROUPS, ROWS = 32 / CHUNKS, UNROLL = 4;
  const int lane = threadIdx.x % 32, mine = lane % CHUNKS;
  const int chunk = GROUPS == 1 ? summer * CHUNKS + mine : mine, group = GROUPS == 1 ? 0 : summer;
  const int first = GROUPS == 1 ? lane / 8 + lane / 4 % 2 * 4 : lane / 8;
  float sums[8] = {};
  for (; blocks > 0; blocks--) {
    ring.wait_loaded();
    const unsigned char* const dy = ring.buffer() + (group * pixels + first) * ROW;
    for (int p = 0; p < pixels; p += UNROLL * ROWS) {
      uint4 words[UNROLL];
#pragma unroll
      for (int i = 0; i < UNROLL; i++)
        words[i] = *reinterpret_cast<const uint4*>(dy + (p + i * ROWS) * ROW + (chunk ^ (first + i * ROWS) % 8) * 16);
#pragma unroll
      for (int i = 0; i < UNROLL; i++) {
        const uint32_t pairs[4] = {words[i].x, words[i].y, words[i].z, words[i].w};
#pragma unroll
        for (int e = 0; e < 8; e++)  // a bf16 is the upper half of a float
          sums[e] += __uint_as_float(e % 2 ? pairs[e / 2] & 0xffff0000u : pairs[e / 2] << 16);
      }
    }
    __syncwarp();
    leave(ring.empty());
    ring.advance();
  }
#pragma unroll
  for (int e = 0; e < 8; e++)
#pragma unroll
    for (int lanes = CHUNKS; lanes < 32; lanes *= 2) sums[e] += __shfl_xor_sync(0xffffffffu, sums[e], lanes);
  if (lane < CHUNKS && mine * 8 < channels)
#pragma unroll
    for (int e = 0; e < 8; e += 4)
      store_vec(dbias + mine * 8 + e, Vec<float>{{sums[e], sums[e + 1], sums[e + 2], sums[e + 3]}});
}

// Block (x, y, z): CHANNELS output channels, PRODUCTS x ATOMS atoms, split z of the blocks of pixels.
template <int CHANNELS, int PRODUCTS, int ATOMS, bool COLUMN>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    conv2d_bwd_dw_sm90(float* __restrict__ dw,                    // [splits, c_out, kh, kw, c_in]
                       float* __restrict__ dbias,                 // [splits, c_out] or null
                       const __grid_constant__ TensorMap dy,      // [channel, column, image, row]
                       const __grid_constant__ TensorMap x,       // likewise
                       const __grid_constant__ TensorMap second,  // likewise: the channels of x from `split` on, if any
                       int n, int c_in, int c_out, int kh, int kw, int stride, int pad_top, int pad_left, int out_h,
                       int out_w, int split, int tile_columns, int tile_images, int tile_rows, int stages,
                       int split_blocks) {
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

  const bool sums_dy = dbias && blockIdx.y == 0;
  if (threadIdx.x == 0) {
    const int readers = CONSUMERS * WARPGROUP / 32 + (sums_dy ? SUMMERS : 0);
    shared->stages.init(readers);
    fence_mbar_init();
  }
  __syncthreads();

  if (warpgroup == CONSUMERS) {
    setmaxnreg_dec<LOADER_REGISTERS>();
    if (threadIdx.x != CONSUMERS * WARPGROUP) {
      const int summer = threadIdx.x % WARPGROUP / 32 - 1;
      if (sums_dy && 0 <= summer && summer < SUMMERS) {
        const int o = m0 + summer * CHANNELS / SUMMERS;
        sum_dy<GROUPS>(dbias + size_t(blockIdx.z) * c_out + o, c_out - o, ring, end - begin, pixels, summer);
      }
      return;
    }
    tma_prefetch(&dy);
    tma_prefetch(&x);
    tma_prefetch(&second);
    int column = begin % column_tiles * tile_columns, row = begin / column_tiles % row_tiles * tile_rows;
    int image = begin / column_tiles / row_tiles * tile_images;
    for (int block = begin; block < end; block++) {
      ring.begin_load(ring.buffer_bytes);
#pragma unroll
      for (int g = 0; g < GROUPS; g++)
        tma_load_4d(ring.buffer() + g * pixels * ROW, &dy, ring.full(), m0 + g * 64, column, image, row);
#pragma unroll
      for (int i = 0; i < COPIES; i++) {
        const auto atom = COLUMN ? atom_at(i, 0) : atom_at(i / ATOMS, i % ATOMS);
        const bool in_second = atom.c >= split;
        tma_load_4d(ring.buffer() + dy_bytes + i * copy_bytes, in_second ? &second : &x, ring.full(),
                    atom.c - (in_second ? split : 0),
                    column * stride - pad_left + atom.q, image, row * stride - pad_top + atom.r);
      }
      ring.advance();
      if ((column += tile_columns) >= out_w) column = 0, row += tile_rows;
      if (row >= out_h) row = 0, image += tile_images;
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
    int pixel = 0;
    do {
      // Each turn has its own fence and its own group: products that went from one turn to the next without would make the
      // assembler wait for all of them.
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < STEP_PIXELS; step += 16) {
        const int k = (pixel + step) * ROW / 16;  // descriptors count in 16 bytes
#pragma unroll
        for (int i = 0; i < PRODUCTS; i++)
          wgmma_m64k16_bf16<ATOMS * 64, true, true>(d[i], a + k, b + k + i * product_bytes / 16, accumulate);
        accumulate = true;
      }
      wgmma_commit();
      wgmma_wait<1>();
      leave(left);
      left = nullptr;
      pixel += STEP_PIXELS;
    } while (pixel < share);
    left = ring.empty();
    ring.advance();
  }
  wgmma_wait<0>(reinterpret_cast<float(&)[PRODUCTS * ATOMS * 32]>(d));
  leave(left);

  if (GROUPS == 1) {
    float* const sums = reinterpret_cast<float*>(buffers) + threadIdx.x % WARPGROUP;
    if (warpgroup == 1) {
      for (int i = 0; i < stages; i++, ring.advance()) ring.wait_left();  // nobody reads the buffers any more
      for_each_sum(d, [&](int i, float& sum) { sums[i * WARPGROUP] = sum; });
    }
    named_bar_sync(1, CONSUMERS * WARPGROUP);
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
