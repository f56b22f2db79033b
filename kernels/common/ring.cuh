// What kernels for Hopper share that load with one thread and multiply with two warpgroups: the ring of stages between
// them.
#pragma once
#include "common.cuh"

// One warpgroup loads, two multiply. At entry all have the same number of registers; then the loader gives its own away.
constexpr int CONSUMERS = 2, WARPGROUP = 128, HOPPER_THREADS = (CONSUMERS + 1) * WARPGROUP;
constexpr int LOADER_REGISTERS = 40, CONSUMER_REGISTERS = 232;
constexpr int START_REGISTERS = 65536 / HOPPER_THREADS / 8 * 8;  // of each thread, as the kernels' launch bounds say
static_assert(LOADER_REGISTERS + CONSUMERS * CONSUMER_REGISTERS <= (CONSUMERS + 1) * START_REGISTERS,
              "warpgroups share out what the block has at its start");

// A row of 64 bf16: what the 128-byte swizzle permutes, and how wide every box is that TMA loads here.
constexpr int ROW = 128;

constexpr int MAX_STAGES = 8;
struct RingBarriers {
  uint64_t full[MAX_STAGES], empty[MAX_STAGES];

  // So many warps read each buffer, or threads if each of them says so; and so many threads fill it.
  __device__ __forceinline__ void init(int readers = CONSUMERS * WARPGROUP / 32, int loaders = 1) {
    for (int i = 0; i < MAX_STAGES; i++) {
      mbar_init(&full[i], loaders);
      mbar_init(&empty[i], readers);
    }
  }
};

// A ring of buffers as one of its users sees it: loader and consumers walk it in the same order, each with its own copy
// of this struct.
struct Ring {
  RingBarriers* barriers;
  unsigned char* buffers;
  int buffer_bytes, stages;
  int stage = 0;
  unsigned parity = 0;

  __device__ __forceinline__ unsigned char* buffer() const { return buffers + stage * buffer_bytes; }
  __device__ __forceinline__ uint64_t* full() const { return &barriers->full[stage]; }
  __device__ __forceinline__ uint64_t* empty() const { return &barriers->empty[stage]; }

  __device__ __forceinline__ void advance() {
    if (++stage == stages) stage = 0, parity ^= 1;
  }

  // Waits until all readers have left what the buffer held a round before.
  __device__ __forceinline__ void wait_left() const { mbar_wait(empty(), parity ^ 1); }

  // The loader: waits for that, and says what will come into the buffer.
  __device__ __forceinline__ void begin_load(int bytes) const {
    wait_left();
    mbar_expect_tx(full(), bytes);
  }

  // A reader: waits until the buffer is loaded.
  __device__ __forceinline__ void wait_loaded() const { mbar_wait(full(), parity); }
};

// One lane of each reading warp says that its warp has left a buffer; null: none was held. In a cluster of CLUSTER blocks
// that load for each other, one lane for each of them.
template <int CLUSTER = 1> __device__ __forceinline__ void leave(uint64_t* empty) {
  const int lane = threadIdx.x % 32;
  if (CLUSTER == 1 && empty && lane == 0) mbar_arrive(empty);
  if (CLUSTER > 1 && empty && lane < CLUSTER) mbar_arrive_cluster(empty, lane);
}
