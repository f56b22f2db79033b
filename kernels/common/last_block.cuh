// Work on what other blocks of the same launch have written: the block that finishes last does it.
//
//   every block:  writes its part;   if (last_block(counter, blocks)) reads all parts, in a fixed order
//
// Which block is the last differs from run to run, but not what it computes: it adds the same numbers in the same order,
// whoever it is. So the result is deterministic where an atomic sum of floats would not be.
#pragma once

// True in all threads of the block that is the last of `blocks` to call this with the same counter; all its threads must
// call. The counter is 0 before the first call and after the last. What any of the blocks wrote before is then there to be
// read by the last one, but not through its first-level cache: read it with __ldcg.
__device__ __forceinline__ bool last_block(unsigned* counter, unsigned blocks) {
  __shared__ bool is_last;
  __syncthreads();  // the whole block has written its part
  if (threadIdx.x == 0) {
    __threadfence();  // that part, seen by this thread, is seen by all before the counter moves
    is_last = atomicAdd(counter, 1u) == blocks - 1;
    __threadfence();  // nothing is read before the counter has told that it is there
    if (is_last) atomicExch(counter, 0u);
  }
  __syncthreads();
  return is_last;
}

// Adds up one value of each block of a one-dimensional grid, which thread 0 gives, in an order that depends on the number of
// blocks alone. Thread 0 of the last block gets the sum: there this is true. All THREADS threads call; `parts` has a place
// for each block.
template <int THREADS>
__device__ __forceinline__ bool grid_sum(float& x, float* __restrict__ parts, unsigned* __restrict__ counter) {
  if (threadIdx.x == 0) parts[blockIdx.x] = x;
  if (!last_block(counter, gridDim.x)) return false;
  float sum = 0.f;
  for (unsigned i = threadIdx.x; i < gridDim.x; i += THREADS) sum += __ldcg(parts + i);
  x = block_sum<THREADS>(sum);
  return threadIdx.x == 0;
}
