// Kernels that test the emulator: correct ones, and the same with one planted bug each. tests/emulator.rs runs them.
#include "common/common.cuh"

enum Bug { NONE, MISSING_BARRIER, MISSING_LAST_BARRIER, WRONG_WAIT };

// out[block] = sum of x[block * 256 ..][256], by halving in shared memory.
template <int BUG> __global__ void __launch_bounds__(256) sum_blocks(float* out, const float* x) {
  DYNAMIC_SMEM(float, part);
  const int i = threadIdx.x;
  part[i] = x[blockIdx.x * 256 + i];
  __syncthreads();
  for (int half = 128; half > 0; half /= 2) {
    if (i < half) part[i] += part[i + half];
    if (BUG != MISSING_BARRIER) __syncthreads();
  }
  if (i == 0) out[blockIdx.x] = part[0];
}

// out[i] = sum over the tiles t of x[t][255 - i]: tiles of 256 floats pass through two buffers, one ahead.
template <int BUG> __global__ void __launch_bounds__(64) sum_tiles(float* out, const float* x, int tiles) {
  DYNAMIC_SMEM(float, buffer);  // [2][256]
  const int i = threadIdx.x;
  auto load = [&](int t) {
    cp_async_16(buffer + t % 2 * 256 + i * 4, x + t * 256 + i * 4);
    cp_async_commit();
  };
  float sum[4] = {};
  load(0);
  for (int t = 0; t < tiles; t++) {
    if (t + 1 < tiles) load(t + 1);
    if (t + 1 < tiles || BUG == WRONG_WAIT) cp_async_wait<1>();
    else cp_async_wait<0>();
    __syncthreads();
    for (int k = 0; k < 4; k++) sum[k] += buffer[t % 2 * 256 + 255 - (i * 4 + k)];
    if (BUG != MISSING_LAST_BARRIER) __syncthreads();
  }
  for (int k = 0; k < 4; k++) out[i * 4 + k] = sum[k];
}

// Two warps pass a value back and forth through named barriers.
__global__ void __launch_bounds__(64) ping_pong(float* out, int rounds) {
  DYNAMIC_SMEM(float, ball);
  if (threadIdx.x == 0) ball[0] = 0.f;
  __syncthreads();
  for (int r = 0; r < rounds; r++) {
    if (int(threadIdx.x) == r % 2 * 32) ball[0] += r;
    named_bar_sync(1 + r % 2, 64);
  }
  if (threadIdx.x == 0) out[0] = ball[0];
}

// Every warp operation, checked against what it should give: out[i] counts the mistakes of thread i.
__global__ void __launch_bounds__(64) warp_operations(int* out) {
  const int lane = threadIdx.x % 32, x = 100 + lane;
  int mistakes = 0;
  auto expect = [&](bool ok) { mistakes += !ok; };
  expect(__shfl_sync(~0u, x, 7) == 107);
  expect(__shfl_sync(~0u, x, 3, 8) == 100 + lane / 8 * 8 + 3);
  expect(__shfl_xor_sync(~0u, x, 5) == 100 + (lane ^ 5));
  expect(__shfl_up_sync(~0u, x, 2) == (lane < 2 ? x : x - 2));
  expect(__shfl_down_sync(~0u, x, 2, 16) == (lane % 16 > 13 ? x : x + 2));
  expect(__ballot_sync(~0u, lane % 3 == 0) == 0x49249249u);
  expect(__any_sync(~0u, lane == 31) && !__any_sync(~0u, lane > 31));
  expect(__all_sync(~0u, lane < 32) && !__all_sync(~0u, lane < 31));
  if (lane < 16) expect(__shfl_xor_sync(0xffffu, x, 1) == 100 + (lane ^ 1));
  __syncwarp();
  expect(warp_sum(float(lane)) == 496.f && warp_max(float(-lane)) == 0.f);
  expect(block_sum<64>(float(threadIdx.x)) == 2016.f && block_max<64>(float(threadIdx.x)) == 63.f);
  out[threadIdx.x] = mistakes;
}

// c [16, 8] = a [16, 16] b, with b as [8, 16] (its columns) or, TRANSPOSED, as [16, 8].
template <int TRANSPOSED> __global__ void __launch_bounds__(32) multiply(float* c, const __nv_bfloat16* a, const __nv_bfloat16* b) {
  struct Tile {
    __nv_bfloat16 a[16][16], b[2][8][16];  // half of b is padding: ldmatrix reads four matrices
  };
  DYNAMIC_SMEM(Tile, tile);
  const int lane = threadIdx.x;
  cp_async_16(&tile->a[lane / 2][lane % 2 * 8], a + lane * 8);
  cp_async_16(&tile->b[0][0][0] + lane * 8, b + lane % 16 * 8, lane < 16);
  cp_async_commit();
  cp_async_wait<0>();
  __syncwarp();
  uint32_t a_fragment[4], b_matrices[4];
  ldmatrix_x4(a_fragment, &tile->a[lane % 16][lane / 16 * 8]);
  if (TRANSPOSED) ldmatrix_x4_trans(b_matrices, &tile->b[0][0][0] + lane * 8);
  else ldmatrix_x4(b_matrices, &tile->b[lane / 16][lane % 8][lane / 8 % 2 * 8]);
  const uint32_t b_fragment[2] = {b_matrices[0], b_matrices[1]};
  float d[4] = {};
  mma_m16n8k16_bf16(d, a_fragment, b_fragment);
  for (int i = 0; i < 4; i++) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

__global__ void philox_block(uint32_t* out, const uint32_t* counter, const uint32_t* key) {
  const uint4 words = philox4x32(make_uint4(counter[0], counter[1], counter[2], counter[3]), make_uint2(key[0], key[1]));
  out[0] = words.x, out[1] = words.y, out[2] = words.z, out[3] = words.w;
}

// Four normals a thread, from the words that they were made of.
__global__ void normals(float* out, uint32_t* words_out, const uint32_t* rng) {
  const uint32_t quad = blockIdx.x * blockDim.x + threadIdx.x;
  const uint4 words = philox_words(rng, 0, 0, quad);
  const float4 n = normal4(words);
  store_vec(out + quad * 4, Vec<float>{{n.x, n.y, n.z, n.w}});
  store_vec(words_out + quad * 4, Vec<uint32_t>{{words.x, words.y, words.z, words.w}});
}

// One mistake each.
__global__ void divergent_barrier(float* out) {
  if (threadIdx.x < 32) __syncthreads();
  else __syncthreads();
  out[threadIdx.x] = 0.f;
}
__global__ void deadlock(float* out) {
  if (threadIdx.x < 32) named_bar_sync(1, 64);
  else __syncthreads();
  out[threadIdx.x] = 0.f;
}
__global__ void shuffle_with_returned_lane(float* out) {
  if (threadIdx.x == 5) return;
  out[threadIdx.x] = __shfl_down_sync(~0u, 1.f, 1);
}
__global__ void shuffle_in_a_branch(float* out) {
  if (threadIdx.x % 2) out[threadIdx.x] = __shfl_xor_sync(~0u, 1.f, 2);
}
__global__ void misaligned_load(float* out, const float* x) { store_vec(out, load_vec(x + 1)); }
__global__ void misaligned_copy(float* out, const float* x) {
  DYNAMIC_SMEM(float, buffer);
  cp_async_16(buffer + 1, x);
  cp_async_commit();
  cp_async_wait<0>();
  out[0] = buffer[1];
}
__global__ void misaligned_ldmatrix(float* out) {
  DYNAMIC_SMEM(__nv_bfloat16, rows);
  uint32_t r[4];
  ldmatrix_x4(r, rows + 9 * threadIdx.x);
  out[threadIdx.x] = __uint_as_float(r[0]);
}
__global__ void reads_unwritten_shared(float* out) {
  DYNAMIC_SMEM(float, part);
  out[threadIdx.x] = part[threadIdx.x];
}
__global__ void global_out_of_bounds(float* out, const float* x, int n) { out[threadIdx.x] = x[threadIdx.x + n]; }
__global__ void global_write_out_of_bounds(float* out, int n) { out[threadIdx.x + n] = 0.f; }
__global__ void dynamic_shared_out_of_bounds(float* out, int n) {
  DYNAMIC_SMEM(float, part);
  part[threadIdx.x + n] = 1.f;
  out[threadIdx.x] = part[threadIdx.x + n];
}
__global__ void static_shared_out_of_bounds(float* out, int n) {
  __shared__ float part[32];
  part[threadIdx.x] = 1.f;
  __syncthreads();
  out[threadIdx.x] = part[threadIdx.x + n];
}
__global__ void copy_out_of_bounds(float* out, const float* x, int n) {
  DYNAMIC_SMEM(float, part);
  cp_async_16(part + threadIdx.x * 4, x + threadIdx.x * 4 + n);
  cp_async_commit();
  cp_async_wait<0>();
  out[threadIdx.x] = part[threadIdx.x * 4];
}

EXPORT_AS(sum_blocks, sum_blocks<NONE>)
EXPORT_AS(sum_blocks_missing_barrier, sum_blocks<MISSING_BARRIER>)
EXPORT_AS(sum_tiles, sum_tiles<NONE>)
EXPORT_AS(sum_tiles_missing_barrier, sum_tiles<MISSING_LAST_BARRIER>)
EXPORT_AS(sum_tiles_wrong_wait, sum_tiles<WRONG_WAIT>)
EXPORT_AS(multiply, multiply<0>)
EXPORT_AS(multiply_transposed, multiply<1>)
EXPORT(ping_pong)
EXPORT(warp_operations)
EXPORT(philox_block)
EXPORT(normals)
EXPORT(divergent_barrier)
EXPORT(deadlock)
EXPORT(shuffle_with_returned_lane)
EXPORT(shuffle_in_a_branch)
EXPORT(misaligned_load)
EXPORT(misaligned_copy)
EXPORT(misaligned_ldmatrix)
EXPORT(reads_unwritten_shared)
EXPORT(global_out_of_bounds)
EXPORT(global_write_out_of_bounds)
EXPORT(dynamic_shared_out_of_bounds)
EXPORT(static_shared_out_of_bounds)
EXPORT(copy_out_of_bounds)
