// Gradients of self-attention in bf16 on Hopper: TMA loads, wgmma multiplies. docs/kernels/attention.md has the picture.
//
//   s  = scale * q k^T    p = exp(s - lse)    dp = dout v^T    ds = p * (dp - delta)    delta = row sums of dout * out
//   dv = p^T dout         dk = scale * ds^T q                  dq = scale * ds k        scale = 1 / sqrt(D)
//
// Two launches, five products, no atomics. The first owns keys and walks over queries. Its two multiplying warpgroups share
// out the work of a tile of 64 keys by 64 queries, so that each has one product of scores and one gradient in registers:
//
//   first:   dp^T = v dout^T;  ds^T = p^T * (dp^T - delta);  dk += ds^T q          ds^T goes to memory, as bf16
//   second:  s^T  = k q^T;     p^T = exp(s^T - lse), handed to the first;  dv += p^T dout
//
// The second launch owns queries: dq = scale * ds k, a plain product. Where ds would take too much memory the first keeps it
// to itself, and the second is that of dq_sm90.cu. `splits` blocks share the keys of a head.
#include "common/common.cuh"
#include "attention/heads.cuh"

namespace attention {

struct alignas(1024) KeysShared {
  unsigned char ds[BOX_BYTES];           // [64 keys, 64 queries]
  float4 p[BOX * BOX / WARPGROUP / 4][WARPGROUP];  // as the threads' registers hold it
  RingBarriers keys, values, queries, upstream, handover;
};

struct alignas(1024) QueriesShared {
  RingBarriers stages;
};

}  // namespace attention

template <int D>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    attention_bwd_dkv_sm90(const __grid_constant__ TensorMap dqkv,       // [n, l, q k v, heads * D]: writes k and v
                           const __grid_constant__ TensorMap ds,         // [n * heads, l keys, l queries], if keeps_ds
                           const __grid_constant__ TensorMap dout,       // [n, l, heads * D]
                           const __grid_constant__ TensorMap qkv,        // [n, l, q k v, heads * D]
                           const __nv_bfloat16* __restrict__ dout_rows,  // [n, l, heads, D]
                           const __nv_bfloat16* __restrict__ out,        // [n, l, heads, D]
                           const float* __restrict__ lse,                // [n, heads, l]
                           int l, int heads, int keeps_ds, int splits, int stages) {
  using namespace attention;
  using H = Heads<D>;
  constexpr int BYTES = BOX * H::TOKEN_BYTES;  // of a tile of any matrix
  DYNAMIC_SMEM(KeysShared, shared);
  const int warpgroup = threadIdx.x / WARPGROUP;
  const int groups = (heads + H::OF_GROUP - 1) / H::OF_GROUP, tiles = (l + BOX - 1) / BOX, padded = tiles * BOX;
  const int split = blockIdx.x % splits, group = blockIdx.x / splits % groups, image = blockIdx.x / splits / groups;
  const int first_tile = split * tiles / splits, end_tile = (split + 1) * tiles / splits;
  const int column = group * H::WIDTH, heads_left = heads - group * H::OF_GROUP;

  unsigned char* const buffers = reinterpret_cast<unsigned char*>(shared) + sizeof(KeysShared);
  Ring keys{&shared->keys, buffers, BYTES, 1}, values{&shared->values, buffers + BYTES, BYTES, 1};
  Ring queries{&shared->queries, buffers + 2 * BYTES, BYTES, stages};
  Ring upstream{&shared->upstream, buffers + (2 + stages) * BYTES, BYTES, stages};
  Ring handover{&shared->handover, nullptr, 0, 1};
  float* const lse_2 = reinterpret_cast<float*>(buffers + (2 + 2 * stages) * BYTES);  // [heads of the group, padded]
  float* const delta = lse_2 + H::OF_GROUP * padded;
  if (threadIdx.x == 0) {
    shared->keys.init(1);  // left by the thread that stores the result from there
    shared->values.init(1);
    shared->queries.init();
    shared->upstream.init();
    shared->handover.init(WARPGROUP, WARPGROUP);
    fence_mbar_init();
  }
  __syncthreads();

  if (warpgroup == CONSUMERS) {
    setmaxnreg_dec<LOADER_REGISTERS>();
    if (threadIdx.x != CONSUMERS * WARPGROUP) return;
    tma_prefetch(&qkv);
    tma_prefetch(&dout);
    for (int tile = first_tile; tile < end_tile; tile++) {
      values.begin_load(BYTES);
      load_tokens<D>(values.buffer(), 1, &qkv, values.full(), column, 2, tile * BOX, image);
      values.advance();
      keys.begin_load(BYTES);
      load_tokens<D>(keys.buffer(), 1, &qkv, keys.full(), column, 1, tile * BOX, image);
      keys.advance();
      for (int query = 0; query < l; query += BOX) {
        upstream.begin_load(BYTES);
        for (int slab = 0; slab < H::SLABS; slab++)
          tma_load_3d(upstream.buffer() + slab * BOX_BYTES, &dout, upstream.full(), column + slab * 64, query, image);
        upstream.advance();
        queries.begin_load(BYTES);
        load_tokens<D>(queries.buffer(), 1, &qkv, queries.full(), column, 0, query, image);
        queries.advance();
      }
    }
    return;
  }

  setmaxnreg_inc<CONSUMER_REGISTERS>();
#pragma unroll
  for (int head = 0; head < H::OF_GROUP; head++) {
    const int number = group * H::OF_GROUP + min(head, heads_left - 1);
    const size_t first = (size_t(image) * l * heads + number) * D;
    sum_rows<D>(lse_2 + head * padded, delta + head * padded, lse + (size_t(image) * heads + number) * l,
                dout_rows + first, out + first, l, padded, heads * D);
  }
  named_bar_sync(1, CONSUMERS * WARPGROUP);

  const int thread = threadIdx.x % WARPGROUP, pair = threadIdx.x % 4 * 2;
  const float scale = rsqrtf(float(D)), c = scale * LOG2_E;
  float d[H::OF_GROUP][D / 2], s[BOX / 2];
  uint32_t a[BOX / 16][4];
  for (int tile = first_tile; tile < end_tile; tile++) {
    // The buffer whose products of the gradient may still run; it is left one tile later.
    uint64_t* left = nullptr;
    if (warpgroup == 0) {
      values.wait_loaded();
      for (int query = 0; query < l; query += BOX) {
        upstream.wait_loaded();
#pragma unroll
        for (int head = 0; head < H::OF_GROUP; head++) {
          wgmma_fence();
          multiply_scores<D, BOX>(s, values.buffer(), upstream.buffer(), BOX_BYTES, head);
          wgmma_commit();
          wgmma_wait<0>(s);
          leave(head == 0 ? left : nullptr);
          leave(head == H::OF_GROUP - 1 ? upstream.empty() : nullptr);
          handover.wait_loaded();
#pragma unroll
          for (int j = 0; j < BOX / 8; j++) {
            const float4 p = shared->p[j][thread];
            const float2 shift = *reinterpret_cast<const float2*>(delta + head * padded + query + j * 8 + pair);
            s[4 * j] = p.x * (s[4 * j] - shift.x);
            s[4 * j + 1] = p.y * (s[4 * j + 1] - shift.y);
            s[4 * j + 2] = p.z * (s[4 * j + 2] - shift.x);
            s[4 * j + 3] = p.w * (s[4 * j + 3] - shift.y);
          }
          mbar_arrive(handover.empty());
          handover.advance();
          pack<BOX>(a, s);
          if (head == 0) queries.wait_loaded();
          wgmma_fence();
          multiply_tokens<D, BOX>(d[head], a, queries.buffer(), BOX_BYTES, head, query > 0);
          wgmma_commit();

          if (!keeps_ds) continue;
          if (thread == 0) tma_store_wait_read<0>();
          named_bar_sync(2, WARPGROUP);  // the last tile of ds has left the buffer
          const float one[2] = {1.f, 1.f};
          write_slabs<BOX>(shared->ds, 0, s, one);
          fence_proxy_async();
          named_bar_sync(2, WARPGROUP);
          if (thread == 0 && head < heads_left) {
            tma_store_3d(&ds, shared->ds, query, tile * BOX, image * heads + group * H::OF_GROUP + head);
            tma_store_commit();
          }
        }
        upstream.advance();
        left = queries.empty();
        queries.advance();
      }
    } else {
      keys.wait_loaded();
      for (int query = 0; query < l; query += BOX) {
        queries.wait_loaded();
#pragma unroll
        for (int head = 0; head < H::OF_GROUP; head++) {
          wgmma_fence();
          multiply_scores<D, BOX>(s, keys.buffer(), queries.buffer(), BOX_BYTES, head);
          wgmma_commit();
          wgmma_wait<0>(s);
          leave(head == 0 ? left : nullptr);
          leave(head == H::OF_GROUP - 1 ? queries.empty() : nullptr);
#pragma unroll
          for (int j = 0; j < BOX / 8; j++) {
            const float2 shift = *reinterpret_cast<const float2*>(lse_2 + head * padded + query + j * 8 + pair);
#pragma unroll
            for (int i = 0; i < 4; i++)
              s[4 * j + i] = exp2_approx(fmaf(s[4 * j + i], c, i % 2 ? -shift.y : -shift.x));
          }
          handover.wait_left();
#pragma unroll
          for (int j = 0; j < BOX / 8; j++)
            shared->p[j][thread] = make_float4(s[4 * j], s[4 * j + 1], s[4 * j + 2], s[4 * j + 3]);
          mbar_arrive(handover.full());
          handover.advance();
          pack<BOX>(a, s);
          if (head == 0) upstream.wait_loaded();
          wgmma_fence();
          multiply_tokens<D, BOX>(d[head], a, upstream.buffer(), BOX_BYTES, head, query > 0);
          wgmma_commit();
        }
        queries.advance();
        left = upstream.empty();
        upstream.advance();
      }
    }
#pragma unroll
    for (int head = 0; head < H::OF_GROUP; head++) wgmma_wait<0>(d[head]);
    leave(left);

    // The gradient takes the place of the keys or values that only this warpgroup reads.
    unsigned char* const own = warpgroup == 0 ? values.buffer() : keys.buffer();
    const float factor[2] = {warpgroup == 0 ? scale : 1.f, warpgroup == 0 ? scale : 1.f};
    named_bar_sync(2 + warpgroup, WARPGROUP);
#pragma unroll
    for (int head = 0; head < H::OF_GROUP; head++) write_slabs<D>(own, head * D / 8, d[head], factor);
    fence_proxy_async();
    named_bar_sync(2 + warpgroup, WARPGROUP);
    if (thread == 0) {
      store_tokens<D>(&dqkv, own, column, 1 + warpgroup, tile * BOX, image);
      tma_store_wait_read<0>();
      mbar_arrive(warpgroup == 0 ? values.empty() : keys.empty());
    }
    keys.advance();
    values.advance();
  }
  if (thread == 0) tma_store_wait<0>();
}

template <int D>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    attention_bwd_dq_sm90(const __grid_constant__ TensorMap dqkv,  // [n, l, q k v, heads * D]: writes q
                          const __grid_constant__ TensorMap ds,    // [n * heads, l keys, l queries], unscaled
                          const __grid_constant__ TensorMap qkv,   // [n, l, q k v, heads * D]
                          int n, int l, int heads, int stages) {
  using namespace attention;
  using H = Heads<D>;
  constexpr int BOXES = CONSUMERS / H::OF_GROUP, QUERIES = BOXES * BOX;  // of a block
  constexpr int STAGE_BYTES = CONSUMERS * BOX_BYTES + BOX * H::TOKEN_BYTES;
  DYNAMIC_SMEM(QueriesShared, shared);
  const int warpgroup = threadIdx.x / WARPGROUP;
  const int groups = (heads + H::OF_GROUP - 1) / H::OF_GROUP, query_tiles = (l + QUERIES - 1) / QUERIES;
  const int tiles = n * groups * query_tiles;
  unsigned char* const results = reinterpret_cast<unsigned char*>(shared) + sizeof(QueriesShared);
  Ring ring{&shared->stages, results + QUERIES * H::TOKEN_BYTES, STAGE_BYTES, stages};
  if (threadIdx.x == 0) {
    shared->stages.init();
    fence_mbar_init();
  }
  __syncthreads();

  if (warpgroup == CONSUMERS) {
    setmaxnreg_dec<LOADER_REGISTERS>();
    if (threadIdx.x != CONSUMERS * WARPGROUP) return;
    tma_prefetch(&ds);
    tma_prefetch(&qkv);
    for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
      const int query = index % query_tiles * QUERIES, group = index / query_tiles % groups;
      const int image = index / query_tiles / groups, number = image * heads + group * H::OF_GROUP;
      for (int key = 0; key < l; key += BOX) {
        ring.begin_load(STAGE_BYTES);
        for (int i = 0; i < CONSUMERS; i++)  // a pair's second head may not exist: then nobody wants its sums
          tma_load_3d(ring.buffer() + i * BOX_BYTES, &ds, ring.full(), BOXES == 1 ? query : query + i * BOX, key,
                      BOXES == 1 ? number + i : number);
        load_tokens<D>(ring.buffer() + CONSUMERS * BOX_BYTES, 1, &qkv, ring.full(), group * H::WIDTH, 1, key, image);
        ring.advance();
      }
    }
    return;
  }

  setmaxnreg_inc<CONSUMER_REGISTERS>();
  const int box = BOXES == 1 ? 0 : warpgroup, head = BOXES == 1 ? warpgroup : 0;
  const bool stores = BOXES == 1 ? threadIdx.x == 0 : threadIdx.x % WARPGROUP == 0;
  constexpr int STORING = BOXES == 1 ? CONSUMERS * WARPGROUP : WARPGROUP;
  unsigned char* const result = results + box * BOX * H::TOKEN_BYTES;
  const float factor[2] = {rsqrtf(float(D)), rsqrtf(float(D))};
  float d[D / 2];
  for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
    const int query = index % query_tiles * QUERIES + box * BOX, group = index / query_tiles % groups;
    const int image = index / query_tiles / groups;
    uint64_t* left = nullptr;  // the buffer whose products may still run; it is left one tile later
    for (int key = 0; key < l; key += BOX) {
      ring.wait_loaded();
      const unsigned char* const keys = ring.buffer() + CONSUMERS * BOX_BYTES;
      const uint64_t a = smem_desc_sw128_mn(ring.buffer() + warpgroup * BOX_BYTES, 0);
      const uint64_t b = smem_desc_sw128_mn(keys + head * D % 64 * 2, BOX_BYTES);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < BOX; k += 16)
        wgmma_m64k16_bf16<D, true, true>(d, a + k * ROW / 16, b + k * ROW / 16, key + k > 0);
      wgmma_commit();
      wgmma_wait<1>();
      leave(left);
      left = ring.empty();
      ring.advance();
    }
    wgmma_wait<0>(d);
    leave(left);

    if (stores) tma_store_wait_read<0>();
    named_bar_sync(1 + box, STORING);  // the last result is on its way
    write_slabs<D>(result, head * D / 8, d, factor);
    fence_proxy_async();
    named_bar_sync(1 + box, STORING);
    if (stores) store_tokens<D>(&dqkv, result, group * H::WIDTH, 0, query, image);
  }
  if (stores) tma_store_wait<0>();
}

EXPORT_AS(attention_bwd_dkv_sm90_32, attention_bwd_dkv_sm90<32>)
EXPORT_AS(attention_bwd_dkv_sm90_64, attention_bwd_dkv_sm90<64>)
EXPORT_AS(attention_bwd_dkv_sm90_128, attention_bwd_dkv_sm90<128>)
EXPORT_AS(attention_bwd_dkv_sm90_256, attention_bwd_dkv_sm90<256>)
EXPORT_AS(attention_bwd_dq_sm90_32, attention_bwd_dq_sm90<32>)
EXPORT_AS(attention_bwd_dq_sm90_64, attention_bwd_dq_sm90<64>)
EXPORT_AS(attention_bwd_dq_sm90_128, attention_bwd_dq_sm90<128>)
EXPORT_AS(attention_bwd_dq_sm90_256, attention_bwd_dq_sm90<256>)
