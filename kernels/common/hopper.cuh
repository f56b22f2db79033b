// Hopper's asynchronous machinery (sm_90a): tensor copies (TMA), transaction barriers (mbarrier), warpgroup matrix
// products (wgmma). With mma.cuh the only place with PTX; every wrapper has a device body and a host body that does the
// same (emulator/hopper.h). A kernel that uses these lives in a file `*_sm90.cu`, which is compiled for sm_90a alone;
// compiled for anything else, each wrapper traps.
//
// The usual pipeline, one producer thread and consumers:
//
//   producer, for each stage:                            consumers, for each stage:
//     mbar_wait(&empty[s], parity ^ 1)                     mbar_wait(&full[s], parity)
//     mbar_expect_tx(&full[s], bytes of all boxes)         wgmma_fence(); wgmma...; wgmma_commit(); wgmma_wait<0>(d)
//     tma_load_4d(tile[s], &map, &full[s], ...)            mbar_arrive(&empty[s])
#pragma once

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PTX_SM90(...) asm volatile(__VA_ARGS__)
#else
#define PTX_SM90(...) __trap()
#endif

// A box of a tensor in global memory, as KernelArg::TensorMap of src/engine/device/driver.rs describes it. A kernel takes it as
// `const __grid_constant__ TensorMap x` and passes its address on. On the device the 128 bytes are the driver's
// CUtensorMap.
#if defined(__CUDACC__)
struct alignas(64) TensorMap {
  unsigned char opaque[128];
};
#endif

// The 32-bit address of an object in shared memory. Dynamic shared memory starts at a multiple of 1024.
__device__ __forceinline__ uint32_t smem_u32(const void* p EMU_AT) {
#if defined(__CUDACC__)
  return uint32_t(__cvta_generic_to_shared(p));
#else
  return emu::this_block().shared_address(p, 0, "smem_u32", at);
#endif
}

// True in one lane of a warp, always the same one. All 32 lanes must call.
__device__ __forceinline__ bool elect_one() {
#if defined(__CUDACC__)
  uint32_t elected = 0;
  PTX_SM90("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(elected));
  return elected != 0;
#else
  return emu::running->lane == 0;
#endif
}

// Transaction barriers: 8 bytes of shared memory, of which one thread makes a barrier. Its current phase completes when
// `arrivals` threads have arrived and all bytes that were announced have come; the next begins at once. Phases are waited
// for by parity: mbar_wait(bar, p) returns once the phase of parity p has completed. The first phase has parity 0, so
// mbar_wait(bar, 1) on a fresh barrier returns at once.
__device__ __forceinline__ void mbar_init(uint64_t* bar, unsigned arrivals EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(smem_u32(bar)), "r"(arrivals) : "memory");
#else
  emu::mbar_init(bar, arrivals, at);
#endif
}

// By the thread that made barriers, after the last: the copy engine sees them. The block's threads need __syncthreads().
__device__ __forceinline__ void fence_mbar_init() {
#if defined(__CUDACC__)
  PTX_SM90("fence.mbarrier_init.release.cluster;\nfence.proxy.async;" ::: "memory");
#endif
}

// Arrives, and announces `bytes` more bytes for the current phase: the sum of the boxes that are loaded into it, also
// where a box reaches over the tensor's edge.
__device__ __forceinline__ void mbar_expect_tx(uint64_t* bar, unsigned bytes EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(smem_u32(bar)), "r"(bytes) : "memory");
#else
  emu::mbar_expect_tx(bar, bytes, at);
#endif
}

__device__ __forceinline__ void mbar_arrive(uint64_t* bar EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(smem_u32(bar)) : "memory");
#else
  emu::mbar_arrive(bar, at);
#endif
}

__device__ __forceinline__ void mbar_wait(uint64_t* bar, unsigned parity EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90(
      "{\n.reg .pred done;\n"
      "AGAIN: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra AGAIN;\n}" ::"r"(smem_u32(bar)),
      "r"(parity)
      : "memory");
#else
  emu::mbar_wait(bar, parity, at);
#endif
}

// Clusters (EXPORT_CLUSTER_AS): blocks that run at the same time and reach each other's shared memory, which has the same
// layout in each. A block's rank in its cluster is blockIdx.x modulo the cluster's size.
__device__ __forceinline__ unsigned cluster_rank() {
#if defined(__CUDACC__)
  unsigned rank = 0;
  PTX_SM90("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#else
  return emu::this_block().rank;
#endif
}

// A barrier of all threads of the cluster that have not returned: those that arrive must wait before they arrive again or
// return. What was written before the arrival, barriers that were made included, is seen after the wait. It comes before
// the first use of another block's shared memory, and after the last use by another block, before this one ends.
__device__ __forceinline__ void cluster_arrive(EMU_HERE) {
#if defined(__CUDACC__)
  PTX_SM90("barrier.cluster.arrive.release;" ::: "memory");
#else
  emu::engine->cluster_arrive(at);
#endif
}
__device__ __forceinline__ void cluster_wait(EMU_HERE) {
#if defined(__CUDACC__)
  PTX_SM90("barrier.cluster.wait.acquire;" ::: "memory");
#else
  emu::engine->cluster_wait(at);
#endif
}

// Arrives at the barrier that lies where `bar` does in the cluster's block of such a rank, which may be this one. Between
// blocks it orders products and tensor copies, not ordinary reads and writes: for these there is .release.cluster, before
// which the thread would wait until all its stores have reached memory.
__device__ __forceinline__ void mbar_arrive_cluster(uint64_t* bar, unsigned rank EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90(
      "{\n.reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(smem_u32(bar)),
      "r"(rank)
      : "memory");
#else
  emu::mbar_arrive_cluster(bar, rank, at);
#endif
}

// Tensor copies, started by one thread. Coordinates count elements from the innermost dimension outwards and may lie
// outside the tensor: loads give zeros there, stores leave it alone. Shared memory holds the box densely, aligned to 128
// bytes; with the 128-byte swizzle the innermost extent of the box is 128 bytes at most, the box is aligned to 1024, and
// the 16-byte chunk c of its 128-byte row r lies at chunk c ^ (r % 8).
__device__ __forceinline__ void tma_prefetch(const TensorMap* map) {
#if defined(__CUDACC__)
  PTX_SM90("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#endif
}

// Loads complete on `bar`, to which the whole box's bytes must be announced.
__device__ __forceinline__ void tma_load_2d(void* dst, const TensorMap* map, uint64_t* bar, int c0, int c1 EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
          smem_u32(dst)),
      "l"(map), "r"(smem_u32(bar)), "r"(c0), "r"(c1)
      : "memory");
#else
  emu::tma_load(dst, map, bar, {c0, c1}, at);
#endif
}
__device__ __forceinline__ void tma_load_3d(void* dst, const TensorMap* map, uint64_t* bar, int c0, int c1,
                                            int c2 EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];" ::"r"(smem_u32(dst)),
      "l"(map), "r"(smem_u32(bar)), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
#else
  emu::tma_load(dst, map, bar, {c0, c1, c2}, at);
#endif
}
__device__ __forceinline__ void tma_load_4d(void* dst, const TensorMap* map, uint64_t* bar, int c0, int c1, int c2,
                                            int c3 EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(smem_u32(dst)),
      "l"(map), "r"(smem_u32(bar)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
#else
  emu::tma_load(dst, map, bar, {c0, c1, c2, c3}, at);
#endif
}
__device__ __forceinline__ void tma_load_5d(void* dst, const TensorMap* map, uint64_t* bar, int c0, int c1, int c2, int c3,
                                            int c4 EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], "
      "[%2];" ::"r"(smem_u32(dst)),
      "l"(map), "r"(smem_u32(bar)), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
      : "memory");
#else
  emu::tma_load(dst, map, bar, {c0, c1, c2, c3, c4}, at);
#endif
}

// The same into every block of the cluster whose rank is set in `ranks`: the box to the same place of its shared memory,
// where its bytes complete on its own `bar`, to which that block must announce them.
__device__ __forceinline__ void tma_load_3d_multicast(void* dst, const TensorMap* map, uint64_t* bar, uint16_t ranks,
                                                      int c0, int c1, int c2 EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%4, %5, %6}], [%2], %3;" ::"r"(smem_u32(dst)),
      "l"(map), "r"(smem_u32(bar)), "h"(ranks), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
#else
  emu::tma_load_multicast(dst, map, bar, ranks, {c0, c1, c2}, at);
#endif
}
__device__ __forceinline__ void tma_load_4d_multicast(void* dst, const TensorMap* map, uint64_t* bar, uint16_t ranks,
                                                      int c0, int c1, int c2, int c3 EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%4, %5, %6, %7}], [%2], %3;" ::"r"(smem_u32(dst)),
      "l"(map), "r"(smem_u32(bar)), "h"(ranks), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
#else
  emu::tma_load_multicast(dst, map, bar, ranks, {c0, c1, c2, c3}, at);
#endif
}

// Stores join the thread's current bulk group. Before them every thread that wrote the box calls fence_proxy_async(),
// then a barrier.
__device__ __forceinline__ void tma_store_2d(const TensorMap* map, const void* src, int c0, int c1 EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
           "r"(smem_u32(src)), "r"(c0), "r"(c1)
           : "memory");
#else
  emu::tma_store(map, src, {c0, c1}, at);
#endif
}
__device__ __forceinline__ void tma_store_3d(const TensorMap* map, const void* src, int c0, int c1, int c2 EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
           "r"(smem_u32(src)), "r"(c0), "r"(c1), "r"(c2)
           : "memory");
#else
  emu::tma_store(map, src, {c0, c1, c2}, at);
#endif
}
__device__ __forceinline__ void tma_store_4d(const TensorMap* map, const void* src, int c0, int c1, int c2,
                                             int c3 EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map),
           "r"(smem_u32(src)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
           : "memory");
#else
  emu::tma_store(map, src, {c0, c1, c2, c3}, at);
#endif
}

// Closes this thread's current group of stores.
__device__ __forceinline__ void tma_store_commit() {
#if defined(__CUDACC__)
  PTX_SM90("cp.async.bulk.commit_group;" ::: "memory");
#else
  emu::tma_store_commit();
#endif
}

// Waits until at most N of this thread's groups are unfinished; a thread that stored calls tma_store_wait<0>() before it
// returns. The second form waits only until their shared memory has been read and may be overwritten.
template <int N> __device__ __forceinline__ void tma_store_wait() {
#if defined(__CUDACC__)
  PTX_SM90("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
#else
  emu::tma_store_wait(N);
#endif
}
template <int N> __device__ __forceinline__ void tma_store_wait_read() {
#if defined(__CUDACC__)
  PTX_SM90("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
#else
  emu::tma_store_wait_read(N);
#endif
}

// What this thread has written to shared memory with ordinary stores becomes visible to TMA and wgmma.
__device__ __forceinline__ void fence_proxy_async() {
#if defined(__CUDACC__)
  PTX_SM90("fence.proxy.async.shared::cta;" ::: "memory");
#else
  emu::fence_proxy_async();
#endif
}

// Matrix products of a warpgroup (128 threads, the first a multiple of 128): all of them call, with the same arguments.
//
// wgmma_fence() comes before the first product, and after any ordinary write to its registers. Products run on their own
// until a wait for their group: until then the accumulators must be neither read nor written, and the shared memory of
// the operands not overwritten.
__device__ __forceinline__ void wgmma_fence(EMU_HERE) {
#if defined(__CUDACC__)
  PTX_SM90("wgmma.fence.sync.aligned;" ::: "memory");
#else
  emu::wgmma_fence(at);
#endif
}

// Closes the warpgroup's current group of products.
__device__ __forceinline__ void wgmma_commit(EMU_HERE) {
#if defined(__CUDACC__)
  PTX_SM90("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  emu::wgmma_commit(at);
#endif
}

// Waits until at most PENDING groups are unfinished.
template <int PENDING> __device__ __forceinline__ void wgmma_wait(EMU_HERE) {
#if defined(__CUDACC__)
  PTX_SM90("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
#else
  emu::wgmma_wait(PENDING, at);
#endif
}

// The same, and the compiler is told that the accumulators change: it may not read them earlier. To be used where they
// are read next.
template <int PENDING, int R> __device__ __forceinline__ void wgmma_wait(float (&d)[R] EMU_AT) {
#if defined(__CUDACC__)
  wgmma_wait<PENDING>();
#pragma unroll
  for (int i = 0; i < R; i++) asm volatile("" : "+f"(d[i])::"memory");
#else
  (void)d;
  emu::wgmma_wait(PENDING, at);
#endif
}

// A matrix descriptor says where an operand lies in shared memory. Its fields, each a number of bytes divided by 16
// (PTX manual, "Matrix descriptor"; rows run along m or n, columns along k):
//
//   bits  0..13  start address
//   bits 16..29  leading dimension byte offset
//   bits 32..45  stride dimension byte offset
//   bits 49..51  base offset, 0: the swizzle's pattern repeats from every multiple of 1024
//   bits 62..63  swizzle, 1: 128 bytes
//
// K-major: a row's 64 elements of k are 128 contiguous bytes, 8 rows are 1024 contiguous bytes. The stride offset leads
// from 8 rows to the next 8; the leading offset is not used. The next 16 of k are 32 bytes on: add them to the pointer.
__device__ __forceinline__ uint64_t smem_desc_sw128(const void* p, unsigned stride_bytes = 1024) {
  return uint64_t(smem_u32(p) >> 4 & 0x3fff) | uint64_t(1) << 16 | uint64_t(stride_bytes >> 4) << 32 | uint64_t(1) << 62;
}

// MN-major: 64 elements of m or n are 128 contiguous bytes, 8 of k are 1024 contiguous bytes. The leading offset leads
// from 64 elements of m or n to the next 64 (not used where there are no more), the stride offset from 8 of k to the next
// 8. The next 16 of k are two stride offsets on.
__device__ __forceinline__ uint64_t smem_desc_sw128_mn(const void* p, unsigned leading_bytes,
                                                       unsigned stride_bytes = 1024) {
  return uint64_t(smem_u32(p) >> 4 & 0x3fff) | uint64_t(leading_bytes >> 4) << 16 | uint64_t(stride_bytes >> 4) << 32 |
         uint64_t(1) << 62;
}

// CASE(n, registers, their constraints, the numbers of the operands that follow them)
#define WGMMA_SHAPES(CASE)                                                                                      \
  CASE(8, WGMMA_R4, WGMMA_D4(0), 4, 5, 6, 7, 8, 9, 10)                                                          \
  CASE(16, WGMMA_R8, WGMMA_D8(0), 8, 9, 10, 11, 12, 13, 14)                                                     \
  CASE(32, WGMMA_R16, WGMMA_D16(0), 16, 17, 18, 19, 20, 21, 22)                                                 \
  CASE(64, WGMMA_R32, WGMMA_D32(0), 32, 33, 34, 35, 36, 37, 38)                                                 \
  CASE(96, WGMMA_R48, WGMMA_D32(0) WGMMA_AND WGMMA_D16(32), 48, 49, 50, 51, 52, 53, 54)                         \
  CASE(128, WGMMA_R64, WGMMA_D64(0), 64, 65, 66, 67, 68, 69, 70)                                                \
  CASE(192, WGMMA_R96, WGMMA_D64(0) WGMMA_AND WGMMA_D32(64), 96, 97, 98, 99, 100, 101, 102)                     \
  CASE(256, WGMMA_R128, WGMMA_D64(0) WGMMA_AND WGMMA_D64(64), 128, 129, 130, 131, 132, 133, 134)
#define WGMMA_AND ,

#define WGMMA_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WGMMA_D8(i) WGMMA_D4(i), WGMMA_D4(i + 4)
#define WGMMA_D16(i) WGMMA_D8(i), WGMMA_D8(i + 8)
#define WGMMA_D32(i) WGMMA_D16(i), WGMMA_D16(i + 16)
#define WGMMA_D64(i) WGMMA_D32(i), WGMMA_D32(i + 32)

#define WGMMA_R4 "%0,%1,%2,%3"
#define WGMMA_R8 WGMMA_R4 ",%4,%5,%6,%7"
#define WGMMA_R16 WGMMA_R8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define WGMMA_R32 WGMMA_R16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define WGMMA_R48 WGMMA_R32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define WGMMA_R64 WGMMA_R48 ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define WGMMA_R80 WGMMA_R64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
#define WGMMA_R96 WGMMA_R80 ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define WGMMA_R112 WGMMA_R96 ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111"
#define WGMMA_R128 WGMMA_R112 ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"

// d += a b, or d = a b if !accumulate: a [64, 16] and b [16, N] bf16, d [64, N] float. Of d, lane l of warp w of the
// warpgroup holds, with g = l / 4 and t = l % 4,
//   d[4 j + i] = row 16 w + g + 8 (i / 2), column 8 j + 2 t + i % 2.
template <int N, bool A_MN_MAJOR = false, bool B_MN_MAJOR = false>
__device__ __forceinline__ void wgmma_m64k16_bf16(float (&d)[N / 2], uint64_t a_desc, uint64_t b_desc,
                                                  bool accumulate = true EMU_AT) {
  static_assert(N == 8 || N == 16 || N == 32 || N == 64 || N == 96 || N == 128 || N == 192 || N == 256, "one of these");
#if defined(__CUDACC__)
#define WGMMA_CASE(n, registers, constraints, a, b, scale, a_major, b_major, ...)                                        \
  if constexpr (N == n)                                                                                                  \
    PTX_SM90("{\n.reg .pred p;\nsetp.ne.b32 p, %" #scale ", 0;\n"                                                        \
             "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" registers "}, %" #a ", %" #b ", p, 1, 1, %"    \
             #a_major ", %" #b_major ";\n}"                                                                              \
             : constraints                                                                                               \
             : "l"(a_desc), "l"(b_desc), "r"(int(accumulate)), "n"(int(A_MN_MAJOR)), "n"(int(B_MN_MAJOR)));
  WGMMA_SHAPES(WGMMA_CASE)
#undef WGMMA_CASE
#else
  emu::wgmma({d, N, nullptr, a_desc, b_desc, A_MN_MAJOR, B_MN_MAJOR, accumulate}, at);
#endif
}

// The same with a from registers, each warp its 16 rows, in the layout of a of mma_m16n8k16_bf16. The registers must not
// change before the wait.
template <int N, bool B_MN_MAJOR = false>
__device__ __forceinline__ void wgmma_m64k16_bf16(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b_desc,
                                                  bool accumulate = true EMU_AT) {
  static_assert(N == 8 || N == 16 || N == 32 || N == 64 || N == 96 || N == 128 || N == 192 || N == 256, "one of these");
#if defined(__CUDACC__)
#define WGMMA_CASE(n, registers, constraints, a0, a1, a2, a3, b, scale, b_major)                                      \
  if constexpr (N == n)                                                                                               \
    PTX_SM90("{\n.reg .pred p;\nsetp.ne.b32 p, %" #scale ", 0;\n"                                                     \
             "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" registers "}, {%" #a0 ",%" #a1 ",%" #a2     \
             ",%" #a3 "}, %" #b ", p, 1, 1, %" #b_major ";\n}"                                                        \
             : constraints                                                                                            \
             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_desc), "r"(int(accumulate)), "n"(int(B_MN_MAJOR)));
  WGMMA_SHAPES(WGMMA_CASE)
#undef WGMMA_CASE
#else
  emu::wgmma({d, N, a, 0, b_desc, false, B_MN_MAJOR, accumulate}, at);
#endif
}

// Four 8x8 matrices of 16-bit elements to shared memory: the counterpart of ldmatrix_x4 (mma.cuh), with the same layout.
__device__ __forceinline__ void stmatrix_x4(void* row, const uint32_t (&r)[4] EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(smem_u32(row)), "r"(r[0]), "r"(r[1]),
           "r"(r[2]), "r"(r[3])
           : "memory");
#else
  emu::stmatrix_x4(row, r, at);
#endif
}
__device__ __forceinline__ void stmatrix_x4_trans(void* row, const uint32_t (&r)[4] EMU_AT) {
#if defined(__CUDACC__)
  PTX_SM90("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(smem_u32(row)), "r"(r[0]),
           "r"(r[1]), "r"(r[2]), "r"(r[3])
           : "memory");
#else
  emu::stmatrix_x4_trans(row, r, at);
#endif
}

// A warpgroup asks for up to N registers a thread, or gives back all but N (multiples of 8, 24..256). All its warps must
// call. The kernel needs __launch_bounds__(threads, 1), or ptxas does not know how many it starts with and ignores this.
template <int N> __device__ __forceinline__ void setmaxnreg_inc() {
#if defined(__CUDACC__)
  PTX_SM90("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
#endif
}
template <int N> __device__ __forceinline__ void setmaxnreg_dec() {
#if defined(__CUDACC__)
  PTX_SM90("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
#endif
}

// Programmatic dependent launch: waits until the kernel before this one has finished and its writes are visible; lets the
// kernel after this one start. Without the launch attribute both do nothing.
__device__ __forceinline__ void griddepcontrol_wait() {
#if defined(__CUDACC__)
  PTX_SM90("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void griddepcontrol_launch() {
#if defined(__CUDACC__)
  PTX_SM90("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
