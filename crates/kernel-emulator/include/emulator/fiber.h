// One CUDA thread of a block that is running: a stack of its own, and what it waits for.
#pragma once
#include "cuda_types.h"

namespace emu {

// A place in a kernel's source: of a wait, of a fault.
struct Where {
  const char* file;
  int line;
  static constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
  bool operator==(const Where& other) const { return line == other.line && (file == other.file || !strcmp(file, other.file)); }
};

// An asynchronous copy that has been issued and not yet performed. No source: zeros.
struct Copy {
  void* dst;
  const void* src;
  int bytes;
};

// A box that a tensor store writes.
struct BoxStore {
  TensorMap map;
  const unsigned char* src;
  int corner[5];
  Where at;
  bool done;
};

// What a thread has started, oldest first, in the groups that it has committed.
template <class T> class CommitGroups {
 public:
  void clear() {
    started.clear();
    group_end.clear();
  }
  bool empty() const { return started.empty(); }
  const T& oldest() const { return started.front(); }
  void push(const T& item) { started.push_back(item); }
  void commit() { group_end.push_back(unsigned(started.size())); }
  // Finishes all but the last `unfinished` groups: f(item) for each of their items.
  template <class F> void wait(unsigned unfinished, F f) {
    if (group_end.size() <= unfinished) return;
    const size_t groups = group_end.size() - unfinished;
    const unsigned finished = group_end[groups - 1];
    for (unsigned i = 0; i < finished; i++) f(started[i]);
    started.erase(started.begin(), started.begin() + finished);
    group_end.erase(group_end.begin(), group_end.begin() + groups);
    for (unsigned& end : group_end) end -= finished;
  }

 private:
  std::vector<T> started;
  std::vector<unsigned> group_end;  // how many the committed groups hold, cumulative
};

struct Stack {
  char* base;
  size_t bytes;
};

class Block;

struct Fiber {
  Block* block;
  uint3 thread_idx;
  unsigned index, lane, warp;  // of the thread in its block, in its warp, and of the warp
  unsigned cluster_warp;       // of the warp among those of all blocks that run together

  bool started, done;
  const char* waits_in;  // the operation it is in, and where
  Where waits_at;
  unsigned mask;  // of the warp operation
  void* operand;  // what it brings to the warp operation

  CommitGroups<Copy> copies;
  CommitGroups<BoxStore> stores;
  // Warpgroup products: how many it has issued, the groups that it has committed, how many of each it has waited for.
  unsigned products, groups, waited_products, waited_groups;
  bool fenced;  // it has called wgmma_fence() since it last waited

  bool at_cluster_barrier;  // it has arrived there, in such a round, and has not waited since
  unsigned cluster_round;

  Stack stack;
  void* stack_pointer;
  sanitizer::FiberState sanitizer_state;
};

}  // namespace emu
