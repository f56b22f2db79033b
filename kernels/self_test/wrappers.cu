// One small kernel for every wrapper of an instruction, and for the functions that must agree on every device. No network
// launches them: tests/wrappers.rs does, to compare a GPU with plain arithmetic, and the emulator with both.
//
// Words pass through unconverted, so that what is compared is the instruction's own layout of its registers.
#include "common/common.cuh"

// d = a b + c in the fragment layout of mma.sync.m16n8k16.
__global__ void __launch_bounds__(32) wrapper_mma(float* __restrict__ d,           // [32, 4]
                                                  const uint32_t* __restrict__ a,  // [32, 4]
                                                  const uint32_t* __restrict__ b,  // [32, 2]
                                                  const float* __restrict__ c) {   // [32, 4]
  const int lane = threadIdx.x;
  uint32_t a_fragment[4], b_fragment[2];
  float sum[4];
  for (int i = 0; i < 4; i++) a_fragment[i] = a[lane * 4 + i], sum[i] = c[lane * 4 + i];
  for (int i = 0; i < 2; i++) b_fragment[i] = b[lane * 2 + i];
  mma_m16n8k16_bf16(sum, a_fragment, b_fragment);
  for (int i = 0; i < 4; i++) d[lane * 4 + i] = sum[i];
}

// Row `lane` of 16 bytes is stored at a place of its own, lane `lane` gives its address, and r is what each lane gets.
template <bool TRANSPOSED>
__global__ void __launch_bounds__(32) wrapper_ldmatrix(uint32_t* __restrict__ r,            // [32, 4]
                                                       const uint32_t* __restrict__ rows) { // [32, 4]
  DYNAMIC_SMEM(uint4, tile);  // [32]
  const int lane = threadIdx.x, place = lane * 11 % 32;
  tile[place] = make_uint4(rows[lane * 4], rows[lane * 4 + 1], rows[lane * 4 + 2], rows[lane * 4 + 3]);
  __syncwarp();
  uint32_t matrices[4];
  if (TRANSPOSED) ldmatrix_x4_trans(matrices, tile + place);
  else ldmatrix_x4(matrices, tile + place);
  for (int i = 0; i < 4; i++) r[lane * 4 + i] = matrices[i];
}

// Two groups of copies of BYTES bytes a thread, to shared memory in reverse order; every third thread's are predicated
// off. The first group is read while the second may still be under way.
template <int BYTES>
__global__ void __launch_bounds__(64) wrapper_cp_async(uint32_t* __restrict__ out,       // [2, 64, BYTES / 4]
                                                       const uint32_t* __restrict__ x) { // [2, 64, BYTES / 4]
  constexpr int WORDS = BYTES / 4, GROUP = 64 * WORDS;
  DYNAMIC_SMEM(uint32_t, buffer);  // [2, 64, WORDS]
  const int i = threadIdx.x, mirrored = 63 - i;
  for (int group = 0; group < 2; group++) {
    uint32_t* const dst = buffer + group * GROUP + mirrored * WORDS;
    const uint32_t* const src = x + group * GROUP + i * WORDS;
    if (BYTES == 16) cp_async_16(dst, src, i % 3 != 0);
    else cp_async_4(dst, src, i % 3 != 0);
    cp_async_commit();
  }
  for (int group = 0; group < 2; group++) {
    if (group == 0) cp_async_wait<1>();
    else cp_async_wait<0>();
    __syncthreads();
    for (int w = 0; w < WORDS; w++) out[group * GROUP + i * WORDS + w] = buffer[group * GROUP + i * WORDS + w];
  }
}

// c [16, 8] = a [16, 16] b by way of asynchronous copies, ldmatrix and mma, with b as [8, 16] (its columns) or,
// TRANSPOSED, as [16, 8].
template <bool TRANSPOSED>
__global__ void __launch_bounds__(32) wrapper_product(float* __restrict__ c, const __nv_bfloat16* __restrict__ a,
                                                      const __nv_bfloat16* __restrict__ b) {
  struct Tile {
    __nv_bfloat16 a[16][16], b[2][8][16];  // half of b is padding: ldmatrix reads four matrices
  };
  DYNAMIC_SMEM(Tile, tile);
  const int lane = threadIdx.x;
  cp_async_16(&tile->a[lane / 2][lane % 2 * 8], a + lane * 8);
  cp_async_16(&tile->b[0][0][0] + lane * 8, b + lane % 16 * 8, lane < 16);
  cp_async_commit();
  cp_async_wait<0>();
  __syncwarp();
  uint32_t a_fragment[4], b_matrices[4];
  ldmatrix_x4(a_fragment, &tile->a[lane % 16][lane / 16 * 8]);
  if (TRANSPOSED) ldmatrix_x4_trans(b_matrices, &tile->b[0][0][0] + lane * 8);
  else ldmatrix_x4(b_matrices, &tile->b[lane / 16][lane % 8][lane / 8 % 2 * 8]);
  const uint32_t b_fragment[2] = {b_matrices[0], b_matrices[1]};
  float d[4] = {};
  mma_m16n8k16_bf16(d, a_fragment, b_fragment);
  for (int i = 0; i < 4; i++) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

// Two warps pass a value back and forth through named barriers.
__global__ void __launch_bounds__(64) wrapper_named_barrier(float* __restrict__ out, int rounds) {
  DYNAMIC_SMEM(float, ball);
  if (threadIdx.x == 0) ball[0] = 0.f;
  __syncthreads();
  for (int r = 0; r < rounds; r++) {
    if (int(threadIdx.x) == r % 2 * 32) ball[0] += r;
    named_bar_sync(1 + r % 2, 64);
  }
  if (threadIdx.x == 0) out[0] = ball[0];
}

// Every warp operation and reduction, checked against what it should give: out[i] counts the mistakes of thread i.
__global__ void __launch_bounds__(64) wrapper_warp(int* __restrict__ out) {
  const int lane = threadIdx.x % 32, x = 100 + lane;
  int mistakes = 0;
  auto expect = [&](bool ok) { mistakes += !ok; };
  expect(__shfl_sync(~0u, x, 7) == 107);
  expect(__shfl_sync(~0u, x, 3, 8) == 100 + lane / 8 * 8 + 3);
  expect(__shfl_xor_sync(~0u, x, 5) == 100 + (lane ^ 5));
  expect(__shfl_up_sync(~0u, x, 2) == (lane < 2 ? x : x - 2));
  expect(__shfl_down_sync(~0u, x, 2, 16) == (lane % 16 > 13 ? x : x + 2));
  expect(__ballot_sync(~0u, lane % 3 == 0) == 0x49249249u);
  expect(__any_sync(~0u, lane == 31) && !__any_sync(~0u, lane > 31));
  expect(__all_sync(~0u, lane < 32) && !__all_sync(~0u, lane < 31));
  if (lane < 16) expect(__shfl_xor_sync(0xffffu, x, 1) == 100 + (lane ^ 1));
  __syncwarp();
  expect(warp_sum(float(lane)) == 496.f && warp_max(float(-lane)) == 0.f);
  expect(block_sum<64>(float(threadIdx.x)) == 2016.f && block_max<64>(float(threadIdx.x)) == 63.f);
  out[blockIdx.x * 64 + threadIdx.x] = mistakes;
}

// One counter a thread.
__global__ void __launch_bounds__(32) wrapper_philox(uint4* __restrict__ words,          // [n]
                                                     const uint4* __restrict__ counters, // [n]
                                                     const uint2* __restrict__ keys,     // [n]
                                                     int n) {
  const int i = blockIdx.x * 32 + threadIdx.x;
  if (i < n) words[i] = philox4x32(counters[i], keys[i]);
}

// Four normals a thread.
__global__ void __launch_bounds__(256) wrapper_normal(float* __restrict__ out,            // [4 * threads]
                                                      const uint32_t* __restrict__ rng) { // [4]
  const uint32_t quad = blockIdx.x * blockDim.x + threadIdx.x;
  const float4 n = normal4(philox_words(rng, 0, 0, quad));
  store_vec(out + quad * 4, Vec<float>{{n.x, n.y, n.z, n.w}});
}

// The polynomials of the normals.
__global__ void __launch_bounds__(32) wrapper_log(float* __restrict__ y, const float* __restrict__ x, int n) {
  const int i = blockIdx.x * 32 + threadIdx.x;
  if (i < n) y[i] = detail::natural_log(x[i]);
}
__global__ void __launch_bounds__(32) wrapper_sin_cos(float2* __restrict__ y, const float* __restrict__ turns, int n) {
  const int i = blockIdx.x * 32 + threadIdx.x;
  if (i < n) y[i] = detail::sin_cos_turns(turns[i]);
}

// The exponentials that kernels use, of which a GPU gives approximations: __expf, expf, exp2f, the logistic function and
// exp2_approx.
__global__ void __launch_bounds__(32) wrapper_exp(float* __restrict__ y,       // [5, n]
                                                  const float* __restrict__ x, // [n]
                                                  int n) {
  const int i = blockIdx.x * 32 + threadIdx.x;
  if (i >= n) return;
  y[i] = __expf(x[i]);
  y[n + i] = expf(x[i]);
  y[2 * n + i] = exp2f(x[i]);
  y[3 * n + i] = sigmoid(x[i]);
  y[4 * n + i] = exp2_approx(x[i]);
}

EXPORT(wrapper_mma)
EXPORT_AS(wrapper_ldmatrix, wrapper_ldmatrix<false>)
EXPORT_AS(wrapper_ldmatrix_trans, wrapper_ldmatrix<true>)
EXPORT_AS(wrapper_cp_async_16, wrapper_cp_async<16>)
EXPORT_AS(wrapper_cp_async_4, wrapper_cp_async<4>)
EXPORT_AS(wrapper_product, wrapper_product<false>)
EXPORT_AS(wrapper_product_trans, wrapper_product<true>)
EXPORT(wrapper_named_barrier)
EXPORT(wrapper_warp)
EXPORT(wrapper_philox)
EXPORT(wrapper_normal)
EXPORT(wrapper_log)
EXPORT(wrapper_sin_cos)
EXPORT(wrapper_exp)
