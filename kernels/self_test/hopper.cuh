// Each wrapper of common/hopper.cuh by itself, and a matrix product that uses them together: correct as hopper_sm90.cu
// exports them, and with one planted bug each as tests/emu/hopper_sm90.cu does.
#pragma once

// A box of a tensor as it lies in shared memory.
template <int RANK>
__global__ void load_box(uint32_t* __restrict__ out,             // [words]
                         const __grid_constant__ TensorMap x, int words, int c0, int c1, int c2, int c3, int c4) {
  DYNAMIC_SMEM(uint32_t, box);
  __shared__ uint64_t full;
  if (threadIdx.x == 0) {
    tma_prefetch(&x);
    mbar_init(&full, 1);
    fence_mbar_init();
    mbar_expect_tx(&full, words * 4);
    if constexpr (RANK == 2) tma_load_2d(box, &x, &full, c0, c1);
    if constexpr (RANK == 3) tma_load_3d(box, &x, &full, c0, c1, c2);
    if constexpr (RANK == 4) tma_load_4d(box, &x, &full, c0, c1, c2, c3);
    if constexpr (RANK == 5) tma_load_5d(box, &x, &full, c0, c1, c2, c3, c4);
  }
  __syncthreads();
  mbar_wait(&full, 0);
  for (int i = threadIdx.x; i < words; i += blockDim.x) out[i] = box[i];
}

// The way back.
template <int RANK>
__global__ void store_box(const __grid_constant__ TensorMap y, const uint32_t* __restrict__ in,  // [words]
                          int words, int c0, int c1, int c2, int c3) {
  DYNAMIC_SMEM(uint32_t, box);
  for (int i = threadIdx.x; i < words; i += blockDim.x) box[i] = in[i];
  fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    if constexpr (RANK == 2) tma_store_2d(&y, box, c0, c1);
    if constexpr (RANK == 3) tma_store_3d(&y, box, c0, c1, c2);
    if constexpr (RANK == 4) tma_store_4d(&y, box, c0, c1, c2, c3);
    tma_store_commit();
    tma_store_wait<0>();
  }
}

// Writes 8 boxes through two buffers: with the bug, a buffer is overwritten while the copy engine may still read it.
enum StoreBug { STORES_WAIT, STORES_DO_NOT_WAIT, STORES_NEVER_WAIT, STORES_WITHOUT_FENCE };
template <int BUG> __global__ void store_many(const __grid_constant__ TensorMap y) {  // [8, 32]
  DYNAMIC_SMEM(float, boxes);                                                         // [2, 32]
  for (int i = 0; i < 8; i++) {
    boxes[i % 2 * 32 + threadIdx.x] = float(i * 32 + threadIdx.x);
    if (BUG != STORES_WITHOUT_FENCE) fence_proxy_async();
    __syncthreads();
    if (threadIdx.x == 0) {
      tma_store_2d(&y, boxes + i % 2 * 32, 0, i);
      tma_store_commit();
      if (BUG == STORES_WAIT || BUG == STORES_WITHOUT_FENCE) tma_store_wait_read<1>();
    }
    __syncthreads();
  }
  if (threadIdx.x == 0 && BUG != STORES_NEVER_WAIT) tma_store_wait<0>();
}

// c [64, N] = a b over `steps` times 64 of k, two stages deep: warps 0 to 3 multiply, a thread of warp 4 loads. `a` is
// [64, k], or [k, 64] if A_MN_MAJOR; `b` is [N, k], or [k, N] if B_MN_MAJOR. With A_FROM_REGISTERS, a comes from
// `a_rows` instead.
enum Bug {
  CORRECT,
  NO_FULL_WAIT,
  NO_EMPTY_WAIT,
  NO_PRODUCT_WAIT,
  LATE_PRODUCT_WAIT,
  HALF_ANNOUNCED,
  TOO_MUCH_ANNOUNCED,
  NO_FENCE,
  EXTRA_ARRIVAL,
  DESCRIPTOR_OVERRUN,
  MISALIGNED_BOX,
  DIFFERENT_DESCRIPTORS,
  NEVER_WAITED,
  NOT_INITIALISED,
  DOUBLED_WITHOUT_FENCE,
  DOUBLED = 15,    // no bug: the threads double a where it lies
  RESTARTED = 16,  // no bug: in the middle of a step, what was summed is forgotten
  SECOND_HALF = 17,  // no bug: of rows of b with 64 columns the last 32
};
template <int N> struct Stage {
  __nv_bfloat16 a[64 * 64], b[(N + 63) / 64 * 64 * 64];
};
template <int N> struct Pipeline {
  Stage<N> stages[2];
  uint64_t full[2], empty[2];
};

template <int N, bool A_MN_MAJOR, bool B_MN_MAJOR, bool A_FROM_REGISTERS = false, int BUG = CORRECT>
__global__ void __launch_bounds__(160)
    product(float* __restrict__ c,  // [64, N]
            const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
            const __nv_bfloat16* __restrict__ a_rows,  // [64, 64 * steps]
            int steps) {
  DYNAMIC_SMEM(Pipeline<N>, shared);
  if (threadIdx.x == 0 && BUG != NOT_INITIALISED) {
    for (int s = 0; s < 2; s++) {
      mbar_init(&shared->full[s], 1);
      mbar_init(&shared->empty[s], 128);
    }
    fence_mbar_init();
  }
  __syncthreads();

  if (threadIdx.x >= 128) {
    if (threadIdx.x > 128) return;
    for (int step = 0; step < steps; step++) {
      const int s = step % 2, k = step * 64;
      Stage<N>& stage = shared->stages[s];
      constexpr int BOXES = B_MN_MAJOR ? (N + 63) / 64 : 1, BYTES = 64 * 128 + (B_MN_MAJOR ? BOXES * 64 : N) * 128;
      if (BUG != NO_EMPTY_WAIT) mbar_wait(&shared->empty[s], (step / 2 & 1) ^ 1);
      mbar_expect_tx(&shared->full[s], BUG == HALF_ANNOUNCED ? 64 * 128 : BUG == TOO_MUCH_ANNOUNCED ? BYTES + 16 : BYTES);
      tma_load_2d(stage.a + (BUG == MISALIGNED_BOX ? 8 : 0), &a, &shared->full[s], A_MN_MAJOR ? 0 : k, A_MN_MAJOR ? k : 0);
      for (int box = 0; box < BOXES; box++)
        tma_load_2d(stage.b + box * 64 * 64, &b, &shared->full[s], B_MN_MAJOR ? box * 64 : k, B_MN_MAJOR ? k : 0);
    }
    return;
  }

  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  float d[N / 2];
  for (int step = 0; step < steps; step++) {
    const int s = step % 2;
    Stage<N>& stage = shared->stages[s];
    if (BUG != NO_FULL_WAIT) mbar_wait(&shared->full[s], step / 2 & 1);
    uint32_t fragments[4][4];
    if (A_FROM_REGISTERS) {
#pragma unroll
      for (int k = 0; k < 4; k++)
#pragma unroll
        for (int i = 0; i < 4; i++)
          fragments[k][i] = *reinterpret_cast<const uint32_t*>(
              &a_rows[size_t(warp * 16 + g + i % 2 * 8) * steps * 64 + step * 64 + k * 16 + 2 * t + i / 2 * 8]);
    }
    if (BUG == DOUBLED || BUG == DOUBLED_WITHOUT_FENCE) {
      for (int i = threadIdx.x; i < 64 * 64; i += 128) stage.a[i] = from_float<__nv_bfloat16>(2.f * to_float(stage.a[i]));
      if (BUG == DOUBLED) fence_proxy_async();
      named_bar_sync(1, 128);
    }
    if (BUG != NO_FENCE) wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const bool accumulate = step + k > 0 && !(BUG == RESTARTED && k == 2);
      const uint64_t b_desc =
          B_MN_MAJOR ? smem_desc_sw128_mn(stage.b + k * 16 * 64 + (BUG == SECOND_HALF ? 32 : 0), 64 * 128)
                     : smem_desc_sw128(stage.b + k * 16);
      if constexpr (A_FROM_REGISTERS) {
        wgmma_m64k16_bf16<N, B_MN_MAJOR>(d, fragments[k], b_desc, accumulate);
      } else {
        const __nv_bfloat16* base =
            BUG == DESCRIPTOR_OVERRUN ? shared->stages[1].b : BUG == DIFFERENT_DESCRIPTORS ? stage.a + warp * 64 : stage.a;
        const uint64_t a_desc = A_MN_MAJOR ? smem_desc_sw128_mn(base + k * 16 * 64, 0)
                                           : smem_desc_sw128(base + k * 16, BUG == DESCRIPTOR_OVERRUN ? 4096 : 1024);
        wgmma_m64k16_bf16<N, A_MN_MAJOR, B_MN_MAJOR>(d, a_desc, b_desc, accumulate);
      }
    }
    wgmma_commit();
    if (BUG == LATE_PRODUCT_WAIT) wgmma_wait<1>();
    else if (BUG != NO_PRODUCT_WAIT && BUG != NEVER_WAITED) wgmma_wait<0>(d);
    mbar_arrive(&shared->empty[s]);
    if (BUG == EXTRA_ARRIVAL && threadIdx.x == 0) mbar_arrive(&shared->empty[s]);
  }
  if (BUG == LATE_PRODUCT_WAIT) wgmma_wait<0>(d);
#pragma unroll
  for (int j = 0; j < N / 8; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) c[(warp * 16 + g + i / 2 * 8) * N + j * 8 + t * 2 + i % 2] = d[j * 4 + i];
  if (BUG == NO_PRODUCT_WAIT) wgmma_wait<0>(d);
}

// Matrices through stmatrix and ldmatrix, and the lane that is elected.
__global__ void store_matrices(uint32_t* __restrict__ out,  // [8, 32]: r after stmatrix and ldmatrix, plain and transposed
                               uint32_t* __restrict__ elected) {  // [1]
  DYNAMIC_SMEM(uint16_t, tile);                                   // [16, 16]
  const int lane = threadIdx.x;
  uint16_t* const row = tile + lane * 8;
  for (int transposed = 0; transposed < 2; transposed++) {
    uint32_t given[4], r[4];
    for (int i = 0; i < 4; i++) given[i] = uint32_t(i * 64 + lane * 2) | uint32_t(i * 64 + lane * 2 + 1) << 16;
    if (transposed) stmatrix_x4_trans(row, given);
    else stmatrix_x4(row, given);
    __syncwarp();
    ldmatrix_x4(r, row);
    __syncwarp();
    for (int i = 0; i < 4; i++) out[(transposed * 4 + i) * 32 + lane] = r[i];
  }
  if (elect_one()) elected[0] = 1;
}
