// What the address and thread sanitizers must be told: which stack is in use, what orders what, who touches memory.
// Without a sanitizer every function here is empty.
//
// Under the thread sanitizer the emulator's own files are built without instrumentation and with -DEMU_TSAN=1, so that
// its bookkeeping is invisible; kernels are instrumented.
#pragma once
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#elif !defined(EMU_ASAN)
#define EMU_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) && !defined(EMU_TSAN)
#define EMU_TSAN 1
#elif !defined(EMU_TSAN)
#define EMU_TSAN 0
#endif
#if EMU_TSAN
#include <sanitizer/tsan_interface.h>
extern "C" void __tsan_read_range(void* p, unsigned long bytes);
extern "C" void __tsan_write_range(void* p, unsigned long bytes);
extern "C" void __tsan_func_entry(void* call_pc);
extern "C" void __tsan_func_exit();
extern "C" void AnnotateIgnoreReadsBegin(const char* file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char* file, int line);
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#endif

namespace emu::sanitizer {

struct FiberState {
  void* fake_stack = nullptr;  // address sanitizer
  void* thread = nullptr;      // thread sanitizer
};

// Makes every access to a range of memory an error; allows it again.
inline void forbid([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) {
#if EMU_ASAN
  __asan_poison_memory_region(p, bytes);
#endif
}
inline void allow([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) {
#if EMU_ASAN
  __asan_unpoison_memory_region(p, bytes);
#endif
}

inline void create(FiberState& fiber) {
#if EMU_TSAN
  if (!fiber.thread) fiber.thread = __tsan_create_fiber(0);
#else
  (void)fiber;
#endif
}
// The thread sanitizer keeps memory for every fiber, and a process can have only so many pieces of it.
inline void destroy(FiberState& fiber) {
#if EMU_TSAN
  if (fiber.thread) __tsan_destroy_fiber(fiber.thread);
#else
  (void)fiber;
#endif
}
inline void adopt_os_thread(FiberState& root) {
#if EMU_TSAN
  root.thread = __tsan_get_current_fiber();
#else
  (void)root;
#endif
}

inline void before_switch([[maybe_unused]] FiberState& from, [[maybe_unused]] bool from_is_done,
                          [[maybe_unused]] const FiberState& to, [[maybe_unused]] char* to_stack,
                          [[maybe_unused]] size_t to_bytes) {
#if EMU_ASAN
  __sanitizer_start_switch_fiber(from_is_done ? nullptr : &from.fake_stack, to_stack, to_bytes);
#endif
#if EMU_TSAN
  __tsan_switch_to_fiber(to.thread, __tsan_switch_to_fiber_no_sync);
#endif
}
inline void after_switch([[maybe_unused]] FiberState& now) {
#if EMU_ASAN
  __sanitizer_finish_switch_fiber(now.fake_stack, nullptr, nullptr);
#endif
}
// The first switch into a fiber; tells where the stack lies that it came from.
inline void first_switch([[maybe_unused]] const void*& from_stack, [[maybe_unused]] size_t& from_bytes) {
#if EMU_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &from_stack, &from_bytes);
#endif
}

// Everything before release(p) is ordered before everything after a later acquire(p).
inline void release([[maybe_unused]] void* p) {
#if EMU_TSAN
  __tsan_release(p);
#endif
}
inline void acquire([[maybe_unused]] void* p) {
#if EMU_TSAN
  __tsan_acquire(p);
#endif
}

// While one lives, allocation and the C library's copies are none of the thread sanitizer's business: what the emulator
// keeps for several CUDA threads is ordered by its being one OS thread. The fiber must not be switched meanwhile, except
// by a failure, which ends it.
class Unseen {
 public:
  Unseen() {
#if EMU_TSAN
    depth++;
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
  }
  ~Unseen() { end(); }
  Unseen(const Unseen&) = delete;
  static void end_all() {
#if EMU_TSAN
    while (depth > 0) end();
#endif
  }

 private:
  static void end() {
#if EMU_TSAN
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    depth--;
#endif
  }
#if EMU_TSAN
  static inline __thread int depth = 0;
#endif
};

// While one lives, reports of what the emulator reads and writes name the line of the kernel to which it will return.
class CalledFrom {
 public:
  explicit CalledFrom([[maybe_unused]] void* kernel) {
#if EMU_TSAN
    __tsan_func_entry(kernel);
#endif
  }
  ~CalledFrom() {
#if EMU_TSAN
    __tsan_func_exit();
#endif
  }
  CalledFrom(const CalledFrom&) = delete;
};

// Accesses that the emulator makes on behalf of the running CUDA thread.
inline void reads([[maybe_unused]] const void* p, [[maybe_unused]] size_t bytes) {
#if EMU_TSAN
  __tsan_read_range(const_cast<void*>(p), bytes);
#endif
}
inline void writes([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) {
#if EMU_TSAN
  __tsan_write_range(p, bytes);
#endif
}

}  // namespace emu::sanitizer
