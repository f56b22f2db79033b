// Runs a kernel's blocks on the CPU, one fiber a CUDA thread.
//
// Each OS thread has an Engine, which runs one block at a time, or the blocks of one cluster together. A fiber runs until
// it meets an operation that waits for others (a barrier, a warp operation), then hands the CPU to the next fiber that can
// run. Which one that is, the schedule says:
//
//   Fifo  threads take turns in order: fast, and every thread advances evenly.
//   Skew  each warp has a random priority, redrawn now and then: one warp runs as far ahead as barriers allow, which is
//         what exposes a barrier that is missing. In a cluster so does one block.
//
// An asynchronous copy is performed when it is issued (Early), when it is waited for (Late), or as a coin decides each
// time (Coin): reading before the wait, or overwriting a buffer whose copy is pending, gives a wrong result. The same
// holds for tensor copies and warpgroup products (async_units.h).
//
// A kernel whose result differs between schedules has a race. Reported as errors with file and line: deadlock, a barrier
// or warp operation that diverges, a warp operation that names lanes which have exited, misaligned vector and
// asynchronous accesses, whatever reaches for a block of the cluster that has ended. Dynamic shared memory holds NaN when
// a block starts.
//
// Static shared memory belongs to the OS thread, so the blocks of a cluster would share it: a kernel that runs in
// clusters has dynamic shared memory alone.
#pragma once
#include <memory>

#include "block.h"

namespace emu {

enum class Schedule : int { Fifo, Skew };
enum class AsyncCopies : int { Early, Late, Coin };

struct Options {
  Schedule schedule = Schedule::Fifo;
  AsyncCopies async = AsyncCopies::Early;
  uint64_t seed = 0;
  unsigned os_threads = 1;
};

// What is launched.
struct Work {
  void (*kernel)(void** args);
  void** args;
  dim3 grid, block;
  unsigned cluster;  // blocks of a cluster, neighbours along x
  size_t shared_bytes;
};

// Of the blocks that run together.
constexpr unsigned MAX_RUNNING_WARPS = 64, MAX_RUNNING = MAX_RUNNING_WARPS * 32;

// The fibers that can run, in the order that the schedule gives them.
class ReadyQueue {
 public:
  void reset(Schedule schedule, uint64_t seed, unsigned warps);
  void push(Fiber* fiber) {
    if (schedule == Schedule::Fifo) {
      ring[tail++ & ring_mask] = fiber;
    } else {
      const unsigned warp = fiber->cluster_warp;
      of_warp[warp][count[warp]++] = fiber;
      ready_warps |= uint64_t(1) << warp;
    }
  }
  Fiber* pop();  // null when none can run
  uint64_t random();

 private:
  Schedule schedule;
  uint64_t random_state;
  Fiber* ring[MAX_RUNNING];  // Fifo
  unsigned head, tail, ring_mask;
  Fiber* of_warp[MAX_RUNNING_WARPS][32];  // Skew
  unsigned count[MAX_RUNNING_WARPS];
  uint32_t priority[MAX_RUNNING_WARPS];
  uint64_t ready_warps;
};

class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  ~Engine();
  dim3 grid, block;

  // Runs the blocks of one cluster, of which `first` has rank 0. Returns false if one failed; `error` then says how.
  bool run_cluster(uint3 first, const Work& work, const Options& options);
  std::string error;

  // What follows is called by the running kernel.
  [[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 2, 3)));
  bool copies_wait();
  size_t choose(size_t n);  // one of n operations that have waited: the oldest, or any
  // The running thread waits until another calls wake().
  void sleep(const char* operation, Where at);
  void wake(Fiber* fiber) { ready.push(fiber); }
  // The running thread's cluster: how many blocks it has, one of those that have not ended, its barrier.
  unsigned cluster_blocks() const { return cluster; }
  Block& block_of_cluster(unsigned rank, const char* operation, Where at);
  void cluster_arrive(Where at);
  void cluster_wait(Where at);

 private:
  void switch_to(Fiber* next);
  void start_on_own_stack(Fiber* fiber);
  void wait();
  Fiber* finish_running();
  Fiber* next_fiber();
  bool complete_one_load();
  void finish_cluster_round();
  [[noreturn]] void report_deadlock();
  [[noreturn]] static void fiber_main();

  Fiber root{};  // the OS thread itself
  char launch_begins, launch_ends;  // for the thread sanitizer: what orders the root and the fibers
  std::vector<std::unique_ptr<Block>> blocks;  // the first `cluster` are running
  unsigned cluster = 1, alive = 0;             // threads of all of them
  std::vector<Stack> stacks, free_stacks;      // all that were made; those that no fiber has
  ReadyQueue ready;
  AsyncCopies async = AsyncCopies::Early;
  void (*kernel)(void** args) = nullptr;
  void** args = nullptr;

  unsigned cluster_arrived = 0, cluster_round = 0;  // at the barrier of the cluster
  char cluster_mark[2];                             // as those of Block::Barrier
  std::vector<Fiber*> cluster_waiting;
};

// __thread, not thread_local: they need no initialisation, and are reached without asking for one.
extern __thread Engine* engine;  // of this OS thread while it runs blocks
extern __thread Fiber* running;  // the CUDA thread that is executing
inline Block& this_block() { return *running->block; }

inline void* dynamic_shared(size_t wanted_bytes) { return this_block().dynamic_shared(wanted_bytes); }

inline void require_aligned(const void* p, size_t bytes, const char* operation) {
  if (reinterpret_cast<uintptr_t>(p) % bytes) engine->fail("%s: address %p is not aligned to %zu bytes", operation, p, bytes);
}

}  // namespace emu
