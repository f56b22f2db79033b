// Self-attention in bf16 on Hopper, forward: TMA loads, wgmma multiplies. docs/kernels/attention.md has the picture.
//
//   s = scale * q k^T      p = softmax(s) by rows = exp(s - lse)      out = p v          scale = 1 / sqrt(D)
//
// A warpgroup owns 64 queries of a head and walks over tiles of keys. The products of a tile's values run while the next
// tile's scores become probabilities:
//
//   s = q k[0]^T;  p = softmax so far
//   for each further tile of keys:
//     start s = q k[tile]^T;  start out += p v[tile - 1]
//     s is there:    raise the running row maximum;  s = exp(s - maximum)
//     out is there:  out *= exp(old maximum - new);  p = s
//   out += p v[last];  out /= row sum
//
// p never leaves the registers: accumulators of one product have the layout of the next one's left operand. The two
// multiplying warpgroups of a block have 128 queries of one head, or, if heads have 32 dimensions, 64 queries of two heads
// that lie side by side. Blocks are persistent; the loader runs ahead into the next tile of queries.
#include "common/common.cuh"
#include "attention/heads.cuh"

namespace attention {

struct alignas(1024) ForwardShared {
  RingBarriers queries, keys, values;
};

// Adds a tile of scores to the softmax: s becomes exp(scale * s - maximum), and what was summed before fades.
template <int KEYS>
__device__ __forceinline__ void soften(float (&s)[KEYS / 2], float (&maximum)[2], float (&sum)[2], float (&fade)[2],
                                       float c) {  // in powers of two: exp(scale * s) = exp2(c * s)
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float highest = maximum[half];
#pragma unroll
    for (int i = 2 * half; i < KEYS / 2; i += 4) highest = fmaxf(highest, fmaxf(s[i], s[i + 1]));
    highest = warp_max<4>(highest);  // four lanes hold a row
    fade[half] = exp2_approx((maximum[half] - highest) * c);
    maximum[half] = highest;
    sum[half] *= fade[half];
    const float shift = -highest * c;
#pragma unroll
    for (int i = 2 * half; i < KEYS / 2; i += 4)
#pragma unroll
      for (int e = i; e < i + 2; e++) {
        s[e] = exp2_approx(fmaf(s[e], c, shift));
        sum[half] += s[e];
      }
  }
}

}  // namespace attention

template <int D, int KEYS>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    attention_fwd_sm90(const __grid_constant__ TensorMap out,  // [n, l, heads * D]
                       float* __restrict__ lse,                // [n, heads, l]
                       const __grid_constant__ TensorMap qkv,  // [n, l, q k v, heads * D]
                       int n, int l, int heads, int stages) {
  using namespace attention;
  using H = Heads<D>;
  constexpr int BOXES = CONSUMERS / H::OF_GROUP, QUERIES = BOXES * BOX;  // of a block
  constexpr int KEY_SLAB = KEYS * ROW, KEY_BYTES = KEYS * H::TOKEN_BYTES;
  DYNAMIC_SMEM(ForwardShared, shared);
  const int warpgroup = threadIdx.x / WARPGROUP;
  const int groups = (heads + H::OF_GROUP - 1) / H::OF_GROUP, query_tiles = (l + QUERIES - 1) / QUERIES;
  const int key_tiles = (l + KEYS - 1) / KEYS, tiles = n * groups * query_tiles;

  unsigned char* const buffers = reinterpret_cast<unsigned char*>(shared) + sizeof(ForwardShared);
  unsigned char* const key_buffers = buffers + QUERIES * H::TOKEN_BYTES;
  Ring queries{&shared->queries, buffers, QUERIES * H::TOKEN_BYTES, 1};
  Ring keys{&shared->keys, key_buffers, KEY_BYTES, stages};
  Ring values{&shared->values, key_buffers + stages * KEY_BYTES, KEY_BYTES, stages};
  if (threadIdx.x == 0) {
    shared->queries.init(BOXES);  // left by the threads that store
    shared->keys.init();
    shared->values.init();
    fence_mbar_init();
  }
  __syncthreads();

  if (warpgroup == CONSUMERS) {
    setmaxnreg_dec<LOADER_REGISTERS>();
    if (threadIdx.x != CONSUMERS * WARPGROUP) return;
    tma_prefetch(&qkv);
    for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
      const int query = index % query_tiles * QUERIES, group = index / query_tiles % groups;
      const int image = index / query_tiles / groups, column = group * H::WIDTH;
      queries.begin_load(QUERIES * H::TOKEN_BYTES);
      for (int box = 0; box < BOXES; box++)  // each warpgroup's slabs together
        load_tokens<D>(queries.buffer() + box * BOX * H::TOKEN_BYTES, 1, &qkv, queries.full(), column, 0,
                       query + box * BOX, image);
      queries.advance();
      for (int key = 0; key < l; key += KEYS) {
        keys.begin_load(KEY_BYTES);
        load_tokens<D>(keys.buffer(), KEYS / BOX, &qkv, keys.full(), column, 1, key, image);
        keys.advance();
        values.begin_load(KEY_BYTES);
        load_tokens<D>(values.buffer(), KEYS / BOX, &qkv, values.full(), column, 2, key, image);
        values.advance();
      }
    }
    return;
  }

  setmaxnreg_inc<CONSUMER_REGISTERS>();
  const int box = BOXES == 1 ? 0 : warpgroup, head = BOXES == 1 ? warpgroup : 0;
  const int thread = threadIdx.x % WARPGROUP;
  const bool stores = BOXES == 1 ? threadIdx.x == 0 : thread == 0;
  const float c = LOG2_E * rsqrtf(float(D));
  float d[D / 2], s[KEYS / 2], maximum[2], sum[2], fade[2];
  uint32_t p[KEYS / 16][4];
  for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
    const int query = index % query_tiles * QUERIES + box * BOX, group = index / query_tiles % groups;
    const int image = index / query_tiles / groups;
    unsigned char* const q = queries.buffer() + box * BOX * H::TOKEN_BYTES;
    maximum[0] = maximum[1] = -INFINITY;
    sum[0] = sum[1] = 0.f;

    queries.wait_loaded();
    keys.wait_loaded();
    wgmma_fence();
    multiply_scores<D, KEYS>(s, q, keys.buffer(), KEY_SLAB, head);
    wgmma_commit();
    wgmma_wait<0>(s);
    leave(keys.empty());
    keys.advance();
    mask<KEYS>(s, l);
    soften<KEYS>(s, maximum, sum, fade, c);
    pack<KEYS>(p, s);
    if (key_tiles > 1) keys.wait_loaded();
    for (int tile = 1; tile < key_tiles; tile++) {
      wgmma_fence();
      multiply_scores<D, KEYS>(s, q, keys.buffer(), KEY_SLAB, head);
      wgmma_commit();
      values.wait_loaded();
      wgmma_fence();
      multiply_tokens<D, KEYS>(d, p, values.buffer(), KEY_SLAB, head, tile > 1);
      wgmma_commit();
      wgmma_wait<1>(s);
      leave(keys.empty());
      keys.advance();
      mask<KEYS>(s, l - tile * KEYS);
      soften<KEYS>(s, maximum, sum, fade, c);
      // Between the exponentials and the wait, so that the assembler keeps them in this order.
      if (tile + 1 < key_tiles) keys.wait_loaded();
      wgmma_wait<0>(d);
      leave(values.empty());
      values.advance();
#pragma unroll
      for (int i = 0; i < D / 2; i++) d[i] *= fade[i / 2 % 2];
      pack<KEYS>(p, s);
    }
    values.wait_loaded();
    wgmma_fence();
    multiply_tokens<D, KEYS>(d, p, values.buffer(), KEY_SLAB, head, key_tiles > 1);
    wgmma_commit();
    wgmma_wait<0>(d);
    leave(values.empty());
    values.advance();

    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const float total = warp_sum<4>(sum[half]);
      const int row = query + thread / 32 * 16 + thread % 32 / 4 + 8 * half, number = group * H::OF_GROUP + head;
      factor[half] = __fdividef(1.f, total);
      if (thread % 4 == 0 && row < l && number < heads)
        lse[(size_t(image) * heads + number) * l + row] = maximum[half] * c / LOG2_E + logf(total);
    }
    // The result takes the place of the queries, once no warp's products read them.
    constexpr int STORING = BOXES == 1 ? CONSUMERS * WARPGROUP : WARPGROUP;
    named_bar_sync(1 + box, STORING);
    write_slabs<D>(q, head * D / 8, d, factor);
    fence_proxy_async();
    named_bar_sync(1 + box, STORING);
    if (stores) {
      for (int slab = 0; slab < H::SLABS; slab++)
        tma_store_3d(&out, q + slab * BOX_BYTES, group * H::WIDTH + slab * 64, query, image);
      tma_store_commit();
      tma_store_wait_read<0>();
      mbar_arrive(queries.empty());
    }
    queries.advance();
  }
  if (stores) tma_store_wait<0>();
}

EXPORT_AS(attention_fwd_sm90_32, attention_fwd_sm90<32, 64>)
EXPORT_AS(attention_fwd_sm90_64, attention_fwd_sm90<64, 64>)
EXPORT_AS(attention_fwd_sm90_128, attention_fwd_sm90<128, 128>)
EXPORT_AS(attention_fwd_sm90_256, attention_fwd_sm90<256, 64>)
