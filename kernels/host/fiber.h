// One CUDA thread of the block that is running: a stack of its own, and what it waits for.
#pragma once
#include "cuda_types.h"

namespace emu {

// A place in a kernel's source: of a wait, of a fault.
struct Where {
  const char* file;
  int line;
  static constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
  bool operator==(const Where& other) const { return line == other.line && !strcmp(file, other.file); }
};

// An asynchronous copy that has been issued and not yet performed. No source: zeros.
struct Copy {
  void* dst;
  const void* src;
  int bytes;
};

struct Stack {
  char* base;
  size_t bytes;
};

struct Fiber {
  uint3 thread_idx;
  unsigned index, lane, warp;  // of the thread in its block, in its warp, and of the warp

  bool started, done;
  const char* waits_in;  // the operation it is in, and where
  Where waits_at;
  unsigned mask;  // of the warp operation
  void* operand;  // what it brings to the warp operation

  std::vector<Copy> copies;         // pending, oldest first
  std::vector<unsigned> group_end;  // how many of them the committed groups hold, cumulative

  Stack stack;
  void* stack_pointer;
  sanitizer::FiberState sanitizer_state;
};

}  // namespace emu
