// One block: its threads, its shared memory, and where its threads meet.
#pragma once
#include "async_units.h"

namespace emu {

constexpr unsigned BARRIERS = 16;

class Block {
 public:
  Block() = default;
  Block(const Block&) = delete;
  ~Block() {
    for (Fiber& fiber : fibers) sanitizer::destroy(fiber.sanitizer_state);
    free(shared);
  }

  // Makes it block `index` of the grid, which is about to start: the one of such a rank in its cluster.
  void prepare(uint3 index, unsigned rank, dim3 dims, size_t shared_bytes);
  // A thread has returned from the kernel.
  void take_leave(const Fiber& thread);

  uint3 index;
  unsigned rank;
  std::vector<Fiber> fibers;  // the first `threads` are the block's
  unsigned threads = 0, alive = 0;
  AsyncUnits units{*this};

  // What follows is called by the running kernel.
  void* dynamic_shared(size_t wanted_bytes);
  void barrier(unsigned id, unsigned threads, const char* operation, Where at);
  // Every lane of `mask` brings an operand; the last to arrive runs `combine` on those of the warp's lanes (null for
  // lanes outside the mask).
  void warp_collective(unsigned mask, void* operand, void (*combine)(void** operands), const char* operation, Where at);
  // The 32-bit address of an object of so many bytes in dynamic shared memory, and back.
  uint32_t shared_address(const void* p, size_t bytes, const char* operation, Where at);
  unsigned char* shared_pointer(uint32_t address) { return shared + (address - SHARED_BASE); }
  size_t shared_end() const { return SHARED_BASE + shared_bytes; }

 private:
  struct Barrier {
    unsigned arrived, threads;
    const char* operation;
    Where at;
    // For the thread sanitizer: which of two marks orders this round. A thread that is slow to leave a round must not be
    // ordered after those that have already arrived at the next.
    unsigned round = 0;
    char mark[2];
    Fiber* waiting[MAX_BLOCK];
  };

  void release(Barrier& barrier);

  Barrier barriers[BARRIERS];
  unsigned warp_arrived[MAX_WARPS], warp_exited[MAX_WARPS];  // lane masks
  unsigned char* shared = nullptr;
  size_t shared_bytes = 0;
};

}  // namespace emu
