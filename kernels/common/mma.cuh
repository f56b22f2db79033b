// Tensor-core, asynchronous-copy, named-barrier and exponential instructions. The only place with PTX: every wrapper has
// a device body and a host body that does the same arithmetic.
#pragma once

// d += a b for a warp: a [16, 16] row-major, b [16, 8] column-major, d [16, 8] float, in the fragment layout of
// mma.sync.m16n8k16: with g = lane / 4 and t = lane % 4,
//   a[i] = row g + 8 (i % 2), columns 2t + 8 (i / 2) and the next;  b[i] = rows 2t + 8 i and the next, column g;
//   d[i] = row g + 8 (i / 2), column 2t + i % 2.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] EMU_AT) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emu::mma_m16n8k16_bf16(d, a, b, at);
#endif
}

// Four 8x8 matrices of 16-bit elements from shared memory. Lane l gives the address of row l % 8 of matrix l / 8, aligned
// to 16 bytes; r[i] gets elements 2t and 2t + 1 of row g of matrix i (g, t as above).
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row EMU_AT) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(uint32_t(__cvta_generic_to_shared(row)))
               : "memory");
#else
  emu::ldmatrix_x4(r, row, at);
#endif
}

// The same with each matrix transposed: r[i] gets elements 2t and 2t + 1 of column g of matrix i.
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row EMU_AT) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(uint32_t(__cvta_generic_to_shared(row)))
               : "memory");
#else
  emu::ldmatrix_x4_trans(r, row, at);
#endif
}

// Starts to copy 16 bytes from global to shared memory, both aligned to 16; writes zeros instead if !pred.
__device__ __forceinline__ void cp_async_16(void* dst, const void* src, bool pred = true EMU_AT) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(uint32_t(__cvta_generic_to_shared(dst))), "l"(src),
               "r"(pred ? 16 : 0)
               : "memory");
#else
  emu::cp_async(dst, src, 16, pred, at);
#endif
}

// The same for 4 bytes aligned to 4: the path of rows whose length is not a multiple of 16 bytes.
__device__ __forceinline__ void cp_async_4(void* dst, const void* src, bool pred = true EMU_AT) {
#if defined(__CUDACC__)
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(uint32_t(__cvta_generic_to_shared(dst))), "l"(src),
               "r"(pred ? 4 : 0)
               : "memory");
#else
  emu::cp_async(dst, src, 4, pred, at);
#endif
}

// Closes this thread's current group of copies.
__device__ __forceinline__ void cp_async_commit() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emu::cp_async_commit();
#endif
}

// Waits until at most N of this thread's groups are unfinished. Other threads' copies need a barrier after it.
template <int N> __device__ __forceinline__ void cp_async_wait() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#else
  emu::cp_async_wait(N);
#endif
}

// Barrier `id` (1..15) among `threads` threads, a multiple of 32.
__device__ __forceinline__ void named_bar_sync(int id, unsigned threads EMU_AT) {
#if defined(__CUDACC__)
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  emu::named_barrier(id, threads, at);
#endif
}

// 2^x to 2 units in the last place, in one instruction: what exp2f spends on results below 2^-126 is spared, they are 0.
__device__ __forceinline__ float exp2_approx(float x) {
#if defined(__CUDACC__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return x < -126.f ? 0.f : exp2f(x);
#endif
}
