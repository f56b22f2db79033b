// What the Hopper kernels of attention share: how a head's matrices lie in shared memory, and the products of a warpgroup.
//
// A matrix is loaded as *slabs*: 64 tokens by 64 dimensions are one box, 64 rows of 128 bytes with the swizzle, and the
// rows of more tokens follow below. Dimensions beyond 64 are in the next slab. Heads of 32 dimensions go in pairs, which
// share a slab: a *group* of heads is one wide head, or two narrow ones.
#pragma once
#include "../common/ring.cuh"

namespace attention {

constexpr float LOG2_E = 1.4426950408889634f;

constexpr int BOX = 64, BOX_BYTES = BOX * ROW;  // tokens of a box

// Heads of D dimensions.
template <int D> struct Heads {
  static constexpr int OF_GROUP = D < 64 ? 64 / D : 1, SLABS = D < 64 ? 1 : D / 64, WIDTH = SLABS * 64;
  static constexpr int TOKEN_BYTES = SLABS * ROW;  // of a group's matrix
};

// Loads `boxes` times 64 tokens from `token` on, all slabs of a group. In the map, dimensions are [column of the matrix
// among those of all heads, q k or v, token, image].
template <int D>
__device__ __forceinline__ void load_tokens(unsigned char* to, int boxes, const TensorMap* qkv, uint64_t* full, int column,
                                            int matrix, int token, int image) {
#pragma unroll 1
  for (int slab = 0; slab < Heads<D>::SLABS; slab++)
#pragma unroll 1
    for (int i = 0; i < boxes; i++)
      tma_load_4d(to + (slab * boxes + i) * BOX_BYTES, qkv, full, column + slab * 64, matrix, token + i * BOX, image);
}

// s = a b^T of head `head` of the group: a [64 tokens, D], b [N tokens, D]. Slabs are that many bytes apart.
template <int D, int N>
__device__ __forceinline__ void multiply_scores(float (&s)[N / 2], const unsigned char* a, const unsigned char* b,
                                                int b_slab, int head) {
  const uint64_t a_desc = smem_desc_sw128(a), b_desc = smem_desc_sw128(b);
#pragma unroll
  for (int k = 0; k < D; k += 16) {  // descriptors count in 16 bytes
    const int slab = k / 64, inside = (head * D + k) % 64 * 2;
    wgmma_m64k16_bf16<N>(s, a_desc + (slab * BOX_BYTES + inside) / 16, b_desc + (slab * b_slab + inside) / 16, k > 0);
  }
}

// The accumulators of a product as left operand of the next: pairs of columns become bf16.
template <int N> __device__ __forceinline__ void pack(uint32_t (&a)[N / 16][4], const float (&d)[N / 2]) {
#pragma unroll
  for (int i = 0; i < N / 4; i++) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(d[2 * i], d[2 * i + 1]);
    memcpy(&a[i / 4][i % 4], &pair, sizeof pair);
  }
}

// d += a b, or d = a b, of head `head` of the group: a [64, K tokens] in registers, b [K tokens, D].
template <int D, int K>
__device__ __forceinline__ void multiply_tokens(float (&d)[D / 2], const uint32_t (&a)[K / 16][4], const unsigned char* b,
                                                int b_slab, int head, bool accumulate) {
  const uint64_t b_desc = smem_desc_sw128_mn(b + head * D % 64 * 2, b_slab);
#pragma unroll
  for (int k = 0; k < K; k += 16)
    wgmma_m64k16_bf16<D, true>(d, a[k / 16], b_desc + k * ROW / 16, accumulate || k > 0);
}

// Writes a warpgroup's [64, N] as bf16 to slabs of 64 tokens, from column 8 * `chunk` on, each row times a factor.
template <int N>
__device__ __forceinline__ void write_slabs(unsigned char* slabs, int chunk, const float (&d)[N / 2],
                                            const float (&factor)[2]) {
  const int lane = threadIdx.x % 32, row = threadIdx.x % WARPGROUP / 32 * 16 + lane % 16;
#pragma unroll
  for (int j = 0; j < N / 8; j += 2) {
    uint32_t pairs[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {  // rows lane / 4 + 8 (i % 2), columns of chunk j + i / 2
      const int at = 4 * (j + i / 2) + 2 * (i % 2);
      const __nv_bfloat162 pair = __floats2bfloat162_rn(d[at] * factor[i % 2], d[at + 1] * factor[i % 2]);
      memcpy(&pairs[i], &pair, sizeof pair);
    }
    const int column = chunk + j + lane / 16;
    stmatrix_x4(slabs + column / 8 * BOX_BYTES + row * ROW + (column % 8 ^ row % 8) * 16, pairs);
  }
}

// Columns of a tile of scores that are no keys, of which there are `left`.
template <int KEYS> __device__ __forceinline__ void mask(float (&s)[KEYS / 2], int left) {
  if (left >= KEYS) return;
#pragma unroll
  for (int i = 0; i < KEYS / 2; i++)
    if (i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2 >= left) s[i] = -INFINITY;
}

// Rows of dout and out that a warp has on their way at once, to sum up delta.
constexpr int ROWS_AHEAD = 8;

// What the gradients need of each query of one head: lse in powers of two, and delta. By the multiplying warps. Past the
// last of `l` queries s and dp are 0, and p must be.
template <int D>
__device__ __forceinline__ void sum_rows(float* lse_2, float* delta,  // [queries]
                                         const float* lse,            // [l]
                                         const __nv_bfloat16* dout,   // [l, D], rows `stride` apart
                                         const __nv_bfloat16* out,    // the same
                                         int l, int queries, int stride) {
  for (int i = threadIdx.x; i < queries; i += CONSUMERS * WARPGROUP) lse_2[i] = i < l ? lse[i] * LOG2_E : INFINITY;
  constexpr int LANES = D / 8, ROWS = 32 / LANES;  // 16 bytes a lane
  constexpr int STEP = ROWS * ROWS_AHEAD;          // rows of a warp at a time
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, part = lane % LANES;
  for (int first = warp * STEP; first < queries; first += CONSUMERS * WARPGROUP / 32 * STEP) {
    Vec<__nv_bfloat16> a[ROWS_AHEAD], b[ROWS_AHEAD];
#pragma unroll
    for (int i = 0; i < ROWS_AHEAD; i++) {
      const size_t at = size_t(min(first + i * ROWS + lane / LANES, l - 1)) * stride + part * 8;
      a[i] = load_vec(dout + at), b[i] = load_vec(out + at);
    }
#pragma unroll
    for (int i = 0; i < ROWS_AHEAD; i++) {
      const int row = first + i * ROWS + lane / LANES;
      float sum = 0.f;
#pragma unroll
      for (int e = 0; e < 8; e++) sum += to_float(a[i][e]) * to_float(b[i][e]);
      sum = warp_sum<LANES>(sum);
      if (part == 0 && row < queries) delta[row] = row < l ? sum : 0.f;
    }
  }
}

// Sends a warpgroup's gradient, in slabs of 64 tokens, on its way; by one thread.
template <int D>
__device__ __forceinline__ void store_tokens(const TensorMap* dqkv, const unsigned char* slabs, int column, int matrix,
                                             int token, int image) {
  for (int slab = 0; slab < Heads<D>::SLABS; slab++)
    tma_store_4d(dqkv, slabs + slab * BOX_BYTES, column + slab * 64, matrix, token, image);
  tma_store_commit();
}

}  // namespace attention
