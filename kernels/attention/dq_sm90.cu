// Gradient of the queries of self-attention in bf16 on Hopper, for heads so long and narrow that ds is not worth its memory
// (backward_sm90.cu): the scores are computed again.
//
//   s = scale * q k^T    p = exp(s - lse)    dp = dout v^T    ds = p * (dp - delta)    dq = scale * ds k
//
// A warpgroup owns 64 queries of a head, as in forward_sm90.cu, with q and dout in shared memory, and walks over the keys:
//
//   for each tile of keys:
//     s = q k[tile]^T;  dp = dout v[tile]^T
//     s = exp(s - lse) * (dp - delta)
//     dq += s k[tile]                                  in registers: s has the layout of a left factor
#include "common/common.cuh"
#include "attention/heads.cuh"

namespace attention {

struct alignas(1024) LongShared {
  float lse_2[CONSUMERS * BOX], delta[CONSUMERS * BOX];  // of the block's queries, head by head
  RingBarriers queries, keys, values;
};

}  // namespace attention

template <int D>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    attention_bwd_dq_long_sm90(const __grid_constant__ TensorMap dqkv,       // [n, l, q k v, heads * D]: writes q
                               const __grid_constant__ TensorMap dout,       // [n, l, heads * D]
                               const __grid_constant__ TensorMap qkv,        // [n, l, q k v, heads * D]
                               const __nv_bfloat16* __restrict__ dout_rows,  // [n, l, heads, D]
                               const __nv_bfloat16* __restrict__ out,        // [n, l, heads, D]
                               const float* __restrict__ lse,                // [n, heads, l]
                               int l, int heads, int stages) {
  using namespace attention;
  using H = Heads<D>;
  constexpr int BOXES = CONSUMERS / H::OF_GROUP, QUERIES = BOXES * BOX;  // of a block
  constexpr int BYTES = BOX * H::TOKEN_BYTES;                            // of 64 tokens of any matrix
  DYNAMIC_SMEM(LongShared, shared);
  const int warpgroup = threadIdx.x / WARPGROUP;
  const int groups = (heads + H::OF_GROUP - 1) / H::OF_GROUP, query_tiles = (l + QUERIES - 1) / QUERIES;
  const int query = blockIdx.x % query_tiles * QUERIES, group = blockIdx.x / query_tiles % groups;
  const int image = blockIdx.x / query_tiles / groups, column = group * H::WIDTH;

  unsigned char* const queries = reinterpret_cast<unsigned char*>(shared) + sizeof(LongShared);
  unsigned char* const upstream = queries + BOXES * BYTES;
  unsigned char* const buffers = upstream + BOXES * BYTES;
  Ring keys{&shared->keys, buffers, BYTES, stages}, values{&shared->values, buffers + stages * BYTES, BYTES, stages};
  uint64_t* const loaded = &shared->queries.full[0];
  if (threadIdx.x == 0) {
    shared->queries.init();
    shared->keys.init();
    shared->values.init();
    fence_mbar_init();
  }
  __syncthreads();

  if (warpgroup == CONSUMERS) {
    setmaxnreg_dec<LOADER_REGISTERS>();
    if (threadIdx.x != CONSUMERS * WARPGROUP) return;
    tma_prefetch(&qkv);
    tma_prefetch(&dout);
    mbar_expect_tx(loaded, 2 * BOXES * BYTES);
    for (int box = 0; box < BOXES; box++) {
      load_tokens<D>(queries + box * BYTES, 1, &qkv, loaded, column, 0, query + box * BOX, image);
      for (int slab = 0; slab < H::SLABS; slab++)
        tma_load_3d(upstream + box * BYTES + slab * BOX_BYTES, &dout, loaded, column + slab * 64, query + box * BOX, image);
    }
    for (int key = 0; key < l; key += BOX) {
      keys.begin_load(BYTES);
      load_tokens<D>(keys.buffer(), 1, &qkv, keys.full(), column, 1, key, image);
      keys.advance();
      values.begin_load(BYTES);
      load_tokens<D>(values.buffer(), 1, &qkv, values.full(), column, 2, key, image);
      values.advance();
    }
    return;
  }

  setmaxnreg_inc<CONSUMER_REGISTERS>();
#pragma unroll
  for (int head = 0; head < H::OF_GROUP; head++) {
    const int number = min(group * H::OF_GROUP + head, heads - 1);
    const size_t first = ((size_t(image) * l + query) * heads + number) * D;
    sum_rows<D>(shared->lse_2 + head * QUERIES, shared->delta + head * QUERIES,
                lse + (size_t(image) * heads + number) * l + query, dout_rows + first, out + first, l - query, QUERIES,
                heads * D);
  }
  named_bar_sync(1, CONSUMERS * WARPGROUP);

  const int box = BOXES == 1 ? 0 : warpgroup, head = BOXES == 1 ? warpgroup : 0;
  const int thread = threadIdx.x % WARPGROUP;
  const float scale = rsqrtf(float(D)), c = scale * LOG2_E;
  unsigned char* const q = queries + box * BYTES;
  float shift[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {  // the warpgroups' queries follow each other, by boxes or by heads
    const int row = warpgroup * BOX + thread / 32 * 16 + thread % 32 / 4 + 8 * half;
    shift[half] = -shared->lse_2[row];
    delta[half] = shared->delta[row];
  }

  float d[D / 2], s[BOX / 2], dp[BOX / 2];
  uint32_t a[BOX / 16][4];
  uint64_t* left = nullptr;  // the keys whose last products may still run; they are left one tile later
  mbar_wait(loaded, 0);
  for (int key = 0; key < l; key += BOX) {
    keys.wait_loaded();
    values.wait_loaded();
    wgmma_fence();
    multiply_scores<D, BOX>(s, q, keys.buffer(), BOX_BYTES, head);
    multiply_scores<D, BOX>(dp, upstream + box * BYTES, values.buffer(), BOX_BYTES, head);
    wgmma_commit();
    wgmma_wait<0>(s);
    wgmma_wait<0>(dp);
    leave(left);
    leave(values.empty());
    values.advance();
    mask<BOX>(s, l - key);
#pragma unroll
    for (int i = 0; i < BOX / 2; i++)
      s[i] = exp2_approx(fmaf(s[i], c, shift[i / 2 % 2])) * (dp[i] - delta[i / 2 % 2]);
    pack<BOX>(a, s);
    wgmma_fence();
    multiply_tokens<D, BOX>(d, a, keys.buffer(), BOX_BYTES, head, key > 0);
    wgmma_commit();
    left = keys.empty();
    keys.advance();
  }
  wgmma_wait<0>(d);
  leave(left);

  // The result takes the place of the queries, once no warp's products read them.
  constexpr int STORING = BOXES == 1 ? CONSUMERS * WARPGROUP : WARPGROUP;
  const float factor[2] = {scale, scale};
  named_bar_sync(1 + box, STORING);
  write_slabs<D>(q, head * D / 8, d, factor);
  fence_proxy_async();
  named_bar_sync(1 + box, STORING);
  if (BOXES == 1 ? threadIdx.x == 0 : thread == 0) {
    store_tokens<D>(&dqkv, q, column, 0, query + box * BOX, image);
    tma_store_wait<0>();
  }
}

EXPORT_AS(attention_bwd_dq_long_sm90_32, attention_bwd_dq_long_sm90<32>)
EXPORT_AS(attention_bwd_dq_long_sm90_64, attention_bwd_dq_long_sm90<64>)
