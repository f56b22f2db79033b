// CUDA's built-in variables and functions, and the host bodies of the wrappers in common/mma.cuh.
#pragma once
#include "hopper.h"

#define threadIdx (::emu::running->thread_idx)
#define blockIdx (::emu::this_block().index)
#define blockDim (::emu::engine->block)
#define gridDim (::emu::engine->grid)
constexpr int warpSize = 32;

inline void __syncthreads(emu::Where at = emu::Where::here()) { emu::this_block().barrier(0, 0, "__syncthreads", at); }
inline void __syncwarp(unsigned mask = ~0u, emu::Where at = emu::Where::here()) {
  emu::this_block().warp_collective(mask, nullptr, nullptr, "__syncwarp", at);
}
// Blocks run on several OS threads. The thread sanitizer, which takes blocks to be in order anyway, sees nothing in it.
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

namespace emu {

template <class T> struct ShuffleOperand {
  T given, received;
  int argument, width;
};

// Lane `l` of a segment that starts at `base` receives from lane source(l, base, argument), or keeps its own value when
// that lies outside the segment.
template <int (*SOURCE)(int lane, int base, int argument), class T>
T shuffle(unsigned mask, T value, int argument, int width, const char* operation, Where at) {
  ShuffleOperand<T> mine{value, value, argument, width};
  this_block().warp_collective(
      mask, &mine,
      [](void** operands) {
        auto lanes = reinterpret_cast<ShuffleOperand<T>**>(operands);
        for (int lane = 0; lane < 32; lane++) {
          if (!lanes[lane]) continue;
          const int width = lanes[lane]->width, base = lane & ~(width - 1);
          const int source = SOURCE(lane, base, lanes[lane]->argument);
          if (source < base || source >= base + width) continue;
          if (!lanes[source]) engine->fail("shuffle: lane %d reads lane %d, which is not in the mask", lane, source);
          lanes[lane]->received = lanes[source]->given;
        }
      },
      operation, at);
  return mine.received;
}
inline int lane_xor(int lane, int, int argument) { return lane ^ argument; }
inline int lane_down(int lane, int, int argument) { return lane + argument; }
inline int lane_up(int lane, int, int argument) { return lane - argument; }
inline int lane_index(int, int base, int argument) { return base + argument; }

inline unsigned ballot(unsigned mask, bool predicate, const char* operation, Where at) {
  struct Operand {
    bool predicate;
    unsigned result;
  } mine{predicate, 0};
  this_block().warp_collective(
      mask, &mine,
      [](void** operands) {
        auto lanes = reinterpret_cast<Operand**>(operands);
        unsigned result = 0;
        for (int lane = 0; lane < 32; lane++)
          if (lanes[lane] && lanes[lane]->predicate) result |= 1u << lane;
        for (int lane = 0; lane < 32; lane++)
          if (lanes[lane]) lanes[lane]->result = result;
      },
      operation, at);
  return mine.result;
}

void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Where at);
void ldmatrix_x4(uint32_t (&r)[4], const void* row, Where at);
void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row, Where at);
void cp_async(void* dst, const void* src, int bytes, bool pred, Where at);
void cp_async_commit();
void cp_async_wait(unsigned unfinished_groups);
void named_barrier(int id, unsigned threads, Where at);

}  // namespace emu

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, emu::Where at = emu::Where::here()) {
  return emu::shuffle<emu::lane_xor>(mask, value, lanes, width, "__shfl_xor_sync", at);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = 32, emu::Where at = emu::Where::here()) {
  return emu::shuffle<emu::lane_down>(mask, value, int(lanes), width, "__shfl_down_sync", at);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = 32, emu::Where at = emu::Where::here()) {
  return emu::shuffle<emu::lane_up>(mask, value, int(lanes), width, "__shfl_up_sync", at);
}
template <class T> T __shfl_sync(unsigned mask, T value, int lane, int width = 32, emu::Where at = emu::Where::here()) {
  return emu::shuffle<emu::lane_index>(mask, value, lane & (width - 1), width, "__shfl_sync", at);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, emu::Where at = emu::Where::here()) {
  return emu::ballot(mask, predicate, "__ballot_sync", at);
}
inline int __any_sync(unsigned mask, int predicate, emu::Where at = emu::Where::here()) {
  return emu::ballot(mask, predicate, "__any_sync", at) != 0;
}
inline int __all_sync(unsigned mask, int predicate, emu::Where at = emu::Where::here()) {
  return emu::ballot(mask, predicate, "__all_sync", at) == mask;
}

// Integers only: a float atomic would make a sum depend on the order of arrival.
template <class T> T atomicAdd(T* p, T value) {
  static_assert(std::is_integral_v<T>, "reductions of floats have a fixed order: no atomics");
  return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
}
template <class T> T atomicOr(T* p, T value) { return __atomic_fetch_or(p, value, __ATOMIC_RELAXED); }
template <class T> T atomicExch(T* p, T value) { return __atomic_exchange_n(p, value, __ATOMIC_RELAXED); }
template <class T> T atomicCAS(T* p, T expected, T desired) {
  __atomic_compare_exchange_n(p, &expected, desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
template <class T> T atomicMin(T* p, T value) {
  T old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (value < old && !__atomic_compare_exchange_n(p, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <class T> T atomicMax(T* p, T value) {
  T old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (old < value && !__atomic_compare_exchange_n(p, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

template <class T> T __ldg(const T* p) { return *p; }
template <class T> T __ldcg(const T* p) { return *p; }
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> void __stcs(T* p, T value) { *p = value; }

template <class A, class B> constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B> constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return T(a) < T(b) ? T(b) : T(a);
}

// The C library declares some of these names itself, hence macros.
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
#define __fdividef(x, y) ((x) / (y))
#define rsqrtf(x) (1.0f / sqrtf(x))

inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __saturatef(float x) { return x > 0.f ? (x < 1.f ? x : 1.f) : 0.f; }
inline int __float2int_rd(float x) { return int(floorf(x)); }
inline int __float2int_rn(float x) { return int(rintf(x)); }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned(uint64_t(x) * y >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
