// Runs a kernel's blocks on the CPU, one fiber a CUDA thread.
//
// Each OS thread has an Engine, which runs one block at a time. A fiber runs until it meets an operation that waits for
// others (a barrier, a warp operation), then hands the CPU to the next fiber that can run. Which one that is, the
// schedule says:
//
//   Fifo  threads take turns in order: fast, and every thread advances evenly.
//   Skew  each warp has a random priority, redrawn now and then: one warp runs as far ahead as barriers allow, which is
//         what exposes a barrier that is missing.
//
// An asynchronous copy is performed when it is issued (Early), when it is waited for (Late), or as a coin decides each
// time (Coin): reading before the wait, or overwriting a buffer whose copy is pending, gives a wrong result. The same
// holds for tensor copies and warpgroup products (async_units.h).
//
// A kernel whose result differs between schedules has a race. Reported as errors with file and line: deadlock, a barrier
// or warp operation that diverges, a warp operation that names lanes which have exited, misaligned vector and
// asynchronous accesses. Dynamic shared memory holds NaN when a block starts.
#pragma once
#include "async_units.h"

namespace emu {

enum class Schedule : int { Fifo, Skew };
enum class AsyncCopies : int { Early, Late, Coin };

struct Options {
  Schedule schedule = Schedule::Fifo;
  AsyncCopies async = AsyncCopies::Early;
  uint64_t seed = 0;
  unsigned os_threads = 1;
};

constexpr unsigned BARRIERS = 16;

// The fibers that can run, in the order that the schedule gives them.
class ReadyQueue {
 public:
  void reset(Schedule schedule, uint64_t seed);
  void push(Fiber* fiber);
  Fiber* pop();  // null when none can run
  uint64_t random();

 private:
  Schedule schedule;
  uint64_t random_state;
  Fiber* ring[MAX_BLOCK];  // Fifo
  unsigned head, tail;
  Fiber* of_warp[MAX_WARPS][32];  // Skew
  unsigned count[MAX_WARPS];
  uint32_t priority[MAX_WARPS], ready_warps;
};

class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  ~Engine() {
    for (Fiber& fiber : fibers) sanitizer::destroy(fiber.sanitizer_state);
  }
  uint3 block_idx;
  dim3 grid, block;

  // Runs one block of `kernel(args)`. Returns false if it failed; `error` then says how.
  bool run_block(uint3 block_idx, dim3 grid, dim3 block, size_t shared_bytes, void (*kernel)(void** args), void** args,
                 const Options& options);
  std::string error;

  // What follows is called by the running kernel.
  [[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 2, 3)));
  void* dynamic_shared(size_t wanted_bytes);
  void barrier(unsigned id, unsigned threads, const char* operation, Where at);
  // Every lane of `mask` brings an operand; the last to arrive runs `combine` on those of the warp's lanes (null for
  // lanes outside the mask).
  void warp_collective(unsigned mask, void* operand, void (*combine)(void** operands), const char* operation, Where at);
  bool copies_wait();
  size_t choose(size_t n);  // one of n operations that have waited: the oldest, or any
  // The 32-bit address of an object of so many bytes in dynamic shared memory, and back.
  uint32_t shared_address(const void* p, size_t bytes, const char* operation, Where at);
  unsigned char* shared_pointer(uint32_t address) { return shared + (address - SHARED_BASE); }
  size_t shared_end() const { return SHARED_BASE + shared_bytes; }
  unsigned block_threads() const { return threads; }
  // The running thread waits until another calls wake().
  void sleep(const char* operation, Where at);
  void wake(Fiber* fiber) { ready.push(fiber); }
  AsyncUnits units;

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

  void prepare(dim3 block);
  void switch_to(Fiber* next);
  void start_on_own_stack(Fiber* fiber);
  void wait();
  void release(Barrier& barrier);
  Fiber* finish_running();
  Fiber* next_fiber();
  [[noreturn]] void report_deadlock();
  [[noreturn]] static void fiber_main();

  Fiber root{};  // the OS thread itself
  char block_begins, block_ends;  // for the thread sanitizer: what orders the root and the fibers
  std::vector<Fiber> fibers;
  std::vector<Stack> free_stacks;
  ReadyQueue ready;
  unsigned threads = 0, alive = 0;
  Barrier barriers[BARRIERS];
  unsigned warp_arrived[MAX_WARPS], warp_exited[MAX_WARPS];  // lane masks
  unsigned char* shared = nullptr;
  size_t shared_bytes = 0;
  AsyncCopies async = AsyncCopies::Early;
  void (*kernel)(void** args) = nullptr;
  void** args = nullptr;
};

// __thread, not thread_local: they need no initialisation, and are reached without asking for one.
extern __thread Engine* engine;  // of this OS thread while it runs a block
extern __thread Fiber* running;  // the CUDA thread that is executing

inline void* dynamic_shared(size_t wanted_bytes) { return engine->dynamic_shared(wanted_bytes); }

inline void require_aligned(const void* p, size_t bytes, const char* operation) {
  if (reinterpret_cast<uintptr_t>(p) % bytes) engine->fail("%s: address %p is not aligned to %zu bytes", operation, p, bytes);
}

}  // namespace emu
