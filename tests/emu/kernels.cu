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

// out[i] = sum over the blocks b of x[b][63 - i], by the block that is last. Every block copies its 64 floats to parts,
// and what a thread adds another one has copied.
template <int BUG>
__global__ void __launch_bounds__(64) sum_grid(float* out, float* parts, unsigned* counter, const float* x) {
  const int i = threadIdx.x, blocks = gridDim.x;
  parts[blockIdx.x * 64 + i] = x[blockIdx.x * 64 + i];
  bool is_last;
  if (BUG == MISSING_BARRIER) {
    __shared__ bool shared;
    if (i == 0) shared = atomicAdd(counter, 1u) == unsigned(blocks - 1);
    __syncwarp();
    is_last = shared;
  } else {
    is_last = last_block(counter, blocks);
  }
  if (!is_last) return;
  float sum = 0.f;
  for (int b = 0; b < blocks; b++) sum += __ldcg(parts + b * 64 + 63 - i);
  out[i] = sum + *counter;
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
EXPORT_AS(sum_grid, sum_grid<NONE>)
EXPORT_AS(sum_grid_missing_barrier, sum_grid<MISSING_BARRIER>)
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
