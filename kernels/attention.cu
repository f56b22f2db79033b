// Self-attention per (image, head), without the l x l matrix of probabilities in global memory.
//
//   s = scale * q k^T      p = softmax(s) by rows = exp(s - lse)      out = p v          scale = 1 / sqrt(dk)
//   dp = dout v^T          ds = p * (dp - delta)                      delta = sum over dv of dout * out, per query
//   dq = scale * ds k      dk = scale * ds^T q                        dv = p^T dout
//
// Forward (flash attention): a warp owns 16 queries; the block's warps walk over the keys:
//
//   for each tile of keys (64):
//     s = 0;  for each chunk of head dimensions:  s += q[:, chunk] k[tile, chunk]^T
//     raise the running row maximum, rescale the running row sum and `out`;  p = exp(s - maximum)
//     for each chunk of value dimensions:  out[:, chunk] += p v[tile, chunk]
//
// The three gradients have one form: rows of the result stay in registers, columns stream by. For dq the rows are
// queries and the columns keys; for dk and dv the rows are keys and the columns queries, so that s^T, p^T, ds^T come out
// directly and no sum crosses blocks. Recomputing s for each gradient costs products, but needs no atomics:
//
//   for each tile of columns (64, or 32 beside a wide result):
//     s  = sum over chunks of  rows_a[:, chunk] columns_a[tile, chunk]^T         (q, k)  or  (k, q)
//     dp = sum over chunks of  rows_b[:, chunk] columns_b[tile, chunk]^T         (dout, v)  or  (v, dout);  not for dv
//     result += (p or ds) * (k, q, or dout)[tile]
//
// All column operands are [columns, chunk] tiles that pass through one ring of shared-memory buffers (cp.async), whatever
// matrix they belong to; the row operands stay in shared memory for the block's life. A block holds at most D of the
// result's columns in registers: wider heads take several blocks (blockIdx.y), which compute the same s.
//
// On Hopper most heads in bf16 run on kernels/attention/ instead.
//
// bf16 multiplies with mma.sync; f32 with fused multiply-adds in the same register layout. A thread (lane = 4 g + t)
// holds of each 16 x 8 fragment the elements (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
#include "common/common.cuh"

namespace attention {

constexpr float LOG2_E = 1.4426950408889634f;

// Sizes that follow from the storage type, the result's width D and the columns of a tile of scores. The padding of a row
// by 16 bytes lets 8 rows be read at once without bank conflicts.
template <class T, int D, int COLUMNS_> struct Shape {
  static constexpr int COLUMNS = COLUMNS_, TILES = COLUMNS / 8;  // fragments across the columns
  static constexpr int CHUNK = D < 64 ? D : 4096 / COLUMNS, CHUNKS = D / CHUNK, PAD = Vec<T>::SIZE, LD = CHUNK + PAD;
  static constexpr int BUFFER = COLUMNS * LD, BUFFERS = sizeof(T) == 2 ? 3 : 2;
  __device__ __forceinline__ static constexpr int chunks(int dims) { return (dims + CHUNK - 1) / CHUNK; }
};

// One head's matrix in global memory.
template <class T> struct Matrix {
  T* data;
  int stride;    // between rows, in elements
  int rows, dims;
  bool aligned;  // every row starts on a 16-byte boundary and is a multiple of 16 bytes long
};

// Copies [rows, WIDTH] elements at (row0, dim0) to shared memory with leading dimension ld, zeros beyond the ends.
template <int WIDTH, class T>
__device__ __forceinline__ void copy_tile(T* tile, int ld, const Matrix<const T>& m, int row0, int rows, int dim0) {
  constexpr int PER_ROW = WIDTH / Vec<T>::SIZE;
  for (int i = threadIdx.x; i < rows * PER_ROW; i += blockDim.x) {
    const int r = i / PER_ROW, c = i % PER_ROW * Vec<T>::SIZE, row = row0 + r, dim = dim0 + c;
    const T* source = m.data + int64_t(row) * m.stride + dim;
    T* target = tile + r * ld + c;
    if (m.aligned) {
      const bool inside = row < m.rows && dim < m.dims;
      cp_async_16(target, inside ? source : m.data, inside);
    } else {
#pragma unroll
      for (int e = 0; e < Vec<T>::SIZE; e++)
        target[e] = row < m.rows && dim + e < m.dims ? source[e] : from_float<T>(0.f);
    }
  }
}

// The rows of this block, kept in shared memory: [rows, chunks(dims) * CHUNK + PAD].
template <class S, class T>
__device__ __forceinline__ void copy_rows(T* target, int ld, const Matrix<const T>& m, int row0, int rows) {
  for (int chunk = 0; chunk < S::chunks(m.dims); chunk++)
    copy_tile<S::CHUNK>(target + chunk * S::CHUNK, ld, m, row0, rows, chunk * S::CHUNK);
}

// A stream of [COLUMNS, CHUNK] tiles through the ring. `source(i, buffer)` starts the copy of the i-th one.
template <class S, class T, class Source> struct Stream {
  T* buffers;
  Source source;
  int head = 0;

  __device__ __forceinline__ Stream(T* buffers, Source source) : buffers(buffers), source(source) {
#pragma unroll
    for (int i = 0; i < S::BUFFERS - 1; i++) fetch(i);
  }
  // Also past the end of the stream, where it copies nothing: one commit per tile keeps the count for the wait.
  __device__ __forceinline__ void fetch(int i) {
    source(i, buffers + i % S::BUFFERS * S::BUFFER);
    cp_async_commit();
  }
  // Waits for the next tile. The barrier shows it to all warps, and says that the buffer before it is free.
  __device__ __forceinline__ const T* next() {
    cp_async_wait<S::BUFFERS - 2>();
    __syncthreads();
    fetch(head + S::BUFFERS - 1);
    return buffers + head++ % S::BUFFERS * S::BUFFER;
  }
};
template <class S, class T, class Source>
__device__ __forceinline__ Stream<S, T, Source> make_stream(T* buffers, Source source) {
  return Stream<S, T, Source>(buffers, source);
}

// s += a b^T: a [16, DEPTH] and b [8 TILES, DEPTH] in shared memory, leading dimensions lda and LDB.
template <int DEPTH, int LDB, int TILES>
__device__ __forceinline__ void add_scores(float (&s)[TILES][4], const __nv_bfloat16* a, int lda, const __nv_bfloat16* b) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < DEPTH; k += 16) {
    uint32_t fa[4];
    ldmatrix_x4(fa, a + lane % 16 * lda + k + lane / 16 * 8);
#pragma unroll
    for (int j = 0; j < TILES; j += 2) {
      uint32_t fb[4];
      ldmatrix_x4(fb, b + (j * 8 + lane % 8 + lane / 16 * 8) * LDB + k + lane / 8 % 2 * 8);
      const uint32_t left[2] = {fb[0], fb[1]}, right[2] = {fb[2], fb[3]};
      mma_m16n8k16_bf16(s[j], fa, left);
      mma_m16n8k16_bf16(s[j + 1], fa, right);
    }
  }
}

template <int DEPTH, int LDB, int TILES>
__device__ __forceinline__ void add_scores(float (&s)[TILES][4], const float* a, int lda, const float* b) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const auto dot = [](float sum, float4 x, float4 y) { return sum + x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w; };
  const auto at = [](const float* p) { return *reinterpret_cast<const float4*>(p); };
#pragma unroll 1
  for (int k = 0; k < DEPTH; k += 4) {
    const float4 upper = at(a + g * lda + k), lower = at(a + (g + 8) * lda + k);
#pragma unroll
    for (int j = 0; j < TILES; j++) {
      const float4 left = at(b + (j * 8 + 2 * t) * LDB + k), right = at(b + (j * 8 + 2 * t + 1) * LDB + k);
      s[j][0] = dot(s[j][0], upper, left);
      s[j][1] = dot(s[j][1], upper, right);
      s[j][2] = dot(s[j][2], lower, left);
      s[j][3] = dot(s[j][3], lower, right);
    }
  }
}

// result += p b: p [16, 8 TILES] in the registers of the warp, b [8 TILES, 8 N] in shared memory.
// The layout of a product's result is that of the next one's left factor, once pairs are packed to bf16.
template <int LDB, int N, int TILES>
__device__ __forceinline__ void add_product(float (&result)[N][4], const float (&p)[TILES][4], const __nv_bfloat16* b) {
  const int lane = threadIdx.x % 32;
  const auto pack = [](float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  };
#pragma unroll
  for (int k = 0; k < 8 * TILES; k += 16) {
    const float(&low)[4] = p[k / 8];
    const float(&high)[4] = p[k / 8 + 1];
    const uint32_t fa[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]), pack(high[2], high[3])};
#pragma unroll
    for (int j = 0; j < N; j += 2) {
      uint32_t fb[4];
      ldmatrix_x4_trans(fb, b + (k + lane % 16) * LDB + j * 8 + lane / 16 * 8);
      const uint32_t left[2] = {fb[0], fb[1]}, right[2] = {fb[2], fb[3]};
      mma_m16n8k16_bf16(result[j], fa, left);
      mma_m16n8k16_bf16(result[j + 1], fa, right);
    }
  }
}

// Column 8 j + 2 u + e of p lies in lane 4 g + u: the four lanes of a row hand it round.
template <int LDB, int N, int TILES>
__device__ __forceinline__ void add_product(float (&result)[N][4], const float (&p)[TILES][4], const float* b) {
  const int lane = threadIdx.x % 32, t = lane % 4;
#pragma unroll
  for (int j = 0; j < TILES; j++)
#pragma unroll
    for (int e = 0; e < 2; e++)
#pragma unroll 1
      for (int u = 0; u < 4; u++) {
        const float upper = __shfl_sync(0xffffffffu, p[j][e], lane - t + u);
        const float lower = __shfl_sync(0xffffffffu, p[j][2 + e], lane - t + u);
        const float* row = b + (j * 8 + 2 * u + e) * LDB + 2 * t;
#pragma unroll
        for (int i = 0; i < N; i++) {
          const float2 value = *reinterpret_cast<const float2*>(row + i * 8);
          result[i][0] += upper * value.x;
          result[i][1] += upper * value.y;
          result[i][2] += lower * value.x;
          result[i][3] += lower * value.y;
        }
      }
}

// Writes this warp's 16 rows of the result; rows and columns beyond the ends are left out.
template <int CHUNKS, int N, class T>
__device__ __forceinline__ void store_rows(const Matrix<T>& m, int row0, int dim0, const float (&result)[CHUNKS][N][4],
                                           const float (&factor)[2]) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = row0 + g + 8 * half;
    if (row >= m.rows) continue;
    T* target = m.data + int64_t(row) * m.stride;
#pragma unroll
    for (int c = 0; c < CHUNKS; c++)
#pragma unroll
      for (int j = 0; j < N; j++) {
        const int dim = dim0 + (c * N + j) * 8 + 2 * t;
        const float pair[2] = {result[c][j][2 * half] * factor[half], result[c][j][2 * half + 1] * factor[half]};
        if (m.aligned) {
          if (dim < m.dims) store_floats(target + dim, pair);
        } else {
          if (dim < m.dims) target[dim] = from_float<T>(pair[0]);
          if (dim + 1 < m.dims) target[dim + 1] = from_float<T>(pair[1]);
        }
      }
  }
}

// The blocks' share of the work: blockIdx.x counts (image, head, tile of rows), rows fastest.
struct Place {
  int image, head, row0, rows;
  __device__ __forceinline__ Place(int l, int heads) {
    rows = blockDim.x / 2;  // 16 per warp
    const int tiles = (l + rows - 1) / rows, pair = blockIdx.x / tiles;
    row0 = blockIdx.x % tiles * rows;
    image = pair / heads;
    head = pair % heads;
  }
};

// The matrices of one head. `T` is const for inputs.
template <class T> struct Heads {
  Matrix<T> q, k, v;
  __device__ __forceinline__ Heads(T* qkv, const Place& at, int l, int heads, int dk, int dv) {
    const int stride = heads * (2 * dk + dv);
    T* first = qkv + int64_t(at.image) * l * stride;
    const bool aligned = dk % Vec<T>::SIZE == 0 && dv % Vec<T>::SIZE == 0;
    q = {first + at.head * dk, stride, l, dk, aligned};
    k = {first + (heads + at.head) * dk, stride, l, dk, aligned};
    v = {first + 2 * heads * dk + at.head * dv, stride, l, dv, aligned};
  }
};
template <class T>
__device__ __forceinline__ Matrix<T> head_of_out(T* out, const Place& at, int l, int heads, int dv) {
  const int stride = heads * dv;
  return {out + int64_t(at.image) * l * stride + at.head * dv, stride, l, dv, dv % Vec<T>::SIZE == 0};
}

template <class T, int D>
__device__ __forceinline__ void forward(T* __restrict__ out, float* __restrict__ lse, const T* __restrict__ qkv, int l,
                                        int heads, int dk, int dv) {
  using S = Shape<T, D, 64>;
  DYNAMIC_SMEM(T, shared);
  const Place at(l, heads);
  const Heads<const T> in(qkv, at, l, heads, dk, dv);
  const int slab = blockIdx.y * D, key_chunks = S::chunks(dk), value_chunks = S::chunks(min(D, dv - slab));
  const int per_tile = key_chunks + value_chunks, tiles = (l + S::COLUMNS - 1) / S::COLUMNS;
  const int ld = key_chunks * S::CHUNK + S::PAD, warp_row = threadIdx.x / 32 * 16;

  copy_rows<S>(shared, ld, in.q, at.row0, at.rows);
  auto stream = make_stream<S>(shared + at.rows * ld, [=](int i, T* buffer) {
    const int tile = i / per_tile, chunk = i % per_tile;
    if (tile >= tiles) return;
    if (chunk < key_chunks)
      copy_tile<S::CHUNK>(buffer, S::LD, in.k, tile * S::COLUMNS, S::COLUMNS, chunk * S::CHUNK);
    else
      copy_tile<S::CHUNK>(buffer, S::LD, in.v, tile * S::COLUMNS, S::COLUMNS, slab + (chunk - key_chunks) * S::CHUNK);
  });

  // In powers of two: exp(scale * s) = exp2(s * c).
  const float c = LOG2_E * rsqrtf(float(dk));
  float result[S::CHUNKS][S::CHUNK / 8][4] = {}, maximum[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  for (int tile = 0; tile < tiles; tile++) {
    float s[S::TILES][4] = {};
    for (int chunk = 0; chunk < key_chunks; chunk++)
      add_scores<S::CHUNK, S::LD>(s, shared + warp_row * ld + chunk * S::CHUNK, ld, stream.next());

    const int first = tile * S::COLUMNS + threadIdx.x % 4 * 2;
    if ((tile + 1) * S::COLUMNS > l)
#pragma unroll
      for (int j = 0; j < S::TILES; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
          if (first + j * 8 + e % 2 >= l) s[j][e] = -INFINITY;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float highest = maximum[half];
#pragma unroll
      for (int j = 0; j < S::TILES; j++) highest = fmaxf(highest, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
      highest = warp_max<4>(highest);  // four lanes hold a row
      const float fade = exp2f((maximum[half] - highest) * c);
      maximum[half] = highest;
      sum[half] *= fade;
#pragma unroll
      for (int chunk = 0; chunk < S::CHUNKS; chunk++)
#pragma unroll
        for (int j = 0; j < S::CHUNK / 8; j++) {
          result[chunk][j][2 * half] *= fade;
          result[chunk][j][2 * half + 1] *= fade;
        }
#pragma unroll
      for (int j = 0; j < S::TILES; j++)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; e++) {
          s[j][e] = exp2f((s[j][e] - highest) * c);
          sum[half] += s[j][e];
        }
    }

#pragma unroll
    for (int chunk = 0; chunk < S::CHUNKS; chunk++)
      if (chunk < value_chunks) add_product<S::LD>(result[chunk], s, stream.next());
  }

  float factor[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const float total = warp_sum<4>(sum[half]);
    const int row = at.row0 + warp_row + threadIdx.x % 32 / 4 + 8 * half;
    factor[half] = 1.f / total;
    if (blockIdx.y == 0 && threadIdx.x % 4 == 0 && row < l)
      lse[(int64_t(at.image) * heads + at.head) * l + row] = maximum[half] * c / LOG2_E + logf(total);
  }
  store_rows(head_of_out(out, at, l, heads, dv), at.row0 + warp_row, slab, result, factor);
}

enum class Gradient { Q, K, V };

// One slab of D columns, from `slab` on, of one of the three gradients.
template <class T, int D, Gradient OF>
__device__ __forceinline__ void backward(T* __restrict__ dqkv, const T* __restrict__ dout, const T* __restrict__ qkv,
                                         const float* __restrict__ lse, const float* __restrict__ delta, int l,
                                         int heads, int dk, int dv, int slab) {
  using S = Shape<T, D, D == 256 ? 32 : 64>;  // both s and dp must fit beside the result
  constexpr bool QUERIES = OF == Gradient::Q, NEEDS_DP = OF != Gradient::V;
  DYNAMIC_SMEM(T, shared);
  const Place at(l, heads);
  const Heads<const T> in(qkv, at, l, heads, dk, dv);
  const Matrix<const T> upstream = head_of_out(dout, at, l, heads, dv);
  const Matrix<const T> rows_a = QUERIES ? in.q : in.k, columns_a = QUERIES ? in.k : in.q;
  const Matrix<const T> rows_b = QUERIES ? upstream : in.v, columns_b = QUERIES ? in.v : upstream;
  const Matrix<const T> factor = NEEDS_DP ? columns_a : columns_b;
  const int a_chunks = S::chunks(dk), b_chunks = NEEDS_DP ? S::chunks(dv) : 0;
  const int result_chunks = S::chunks(min(D, factor.dims - slab)), per_tile = a_chunks + b_chunks + result_chunks;
  const int tiles = (l + S::COLUMNS - 1) / S::COLUMNS, warp_row = threadIdx.x / 32 * 16;
  const int lda = a_chunks * S::CHUNK + S::PAD, ldb = b_chunks * S::CHUNK + S::PAD;

  T* shared_a = shared;
  T* shared_b = shared_a + at.rows * lda;
  T* buffers = NEEDS_DP ? shared_b + at.rows * ldb : shared_b;
  float* column_lse = reinterpret_cast<float*>(buffers + S::BUFFERS * S::BUFFER);  // [S::COLUMNS], if columns are queries
  float* column_delta = column_lse + S::COLUMNS;
  copy_rows<S>(shared_a, lda, rows_a, at.row0, at.rows);
  if (NEEDS_DP) copy_rows<S>(shared_b, ldb, rows_b, at.row0, at.rows);
  auto stream = make_stream<S>(buffers, [=](int i, T* buffer) {
    const int tile = i / per_tile, chunk = i % per_tile;
    if (tile >= tiles) return;
    if (chunk < a_chunks)
      copy_tile<S::CHUNK>(buffer, S::LD, columns_a, tile * S::COLUMNS, S::COLUMNS, chunk * S::CHUNK);
    else if (chunk < a_chunks + b_chunks)
      copy_tile<S::CHUNK>(buffer, S::LD, columns_b, tile * S::COLUMNS, S::COLUMNS, (chunk - a_chunks) * S::CHUNK);
    else
      copy_tile<S::CHUNK>(buffer, S::LD, factor, tile * S::COLUMNS, S::COLUMNS,
                          slab + (chunk - a_chunks - b_chunks) * S::CHUNK);
  });

  const float scale = rsqrtf(float(dk)), c = scale * LOG2_E;
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const float* head_lse = lse + (int64_t(at.image) * heads + at.head) * l;
  const float* head_delta = delta + (int64_t(at.image) * heads + at.head) * l;
  float row_lse[2] = {}, row_delta[2] = {};
  if (QUERIES)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = at.row0 + warp_row + g + 8 * half;
      row_lse[half] = row < l ? head_lse[row] * LOG2_E : 0.f;
      row_delta[half] = row < l ? head_delta[row] : 0.f;
    }

  float result[S::CHUNKS][S::CHUNK / 8][4] = {};
  for (int tile = 0; tile < tiles; tile++) {
    // The last readers passed a barrier in the product below, the next ones wait at the barrier of the first chunk.
    if (!QUERIES)
      for (int i = threadIdx.x; i < S::COLUMNS; i += blockDim.x) {
        const int column = tile * S::COLUMNS + i;
        column_lse[i] = column < l ? head_lse[column] * LOG2_E : 0.f;
        if (NEEDS_DP) column_delta[i] = column < l ? head_delta[column] : 0.f;
      }

    float s[S::TILES][4] = {}, dp[S::TILES][4] = {};
    for (int chunk = 0; chunk < a_chunks; chunk++)
      add_scores<S::CHUNK, S::LD>(s, shared_a + warp_row * lda + chunk * S::CHUNK, lda, stream.next());
    for (int chunk = 0; chunk < b_chunks; chunk++)
      add_scores<S::CHUNK, S::LD>(dp, shared_b + warp_row * ldb + chunk * S::CHUNK, ldb, stream.next());

#pragma unroll
    for (int j = 0; j < S::TILES; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int column = j * 8 + 2 * t + e % 2;
        const float shift = QUERIES ? row_lse[e / 2] : column_lse[column];
        // Beyond the last column s is 0, and exp2(-shift) could overflow.
        s[j][e] = tile * S::COLUMNS + column < l ? exp2f(s[j][e] * c - shift) : 0.f;
        if (NEEDS_DP) s[j][e] *= dp[j][e] - (QUERIES ? row_delta[e / 2] : column_delta[column]);
      }

#pragma unroll
    for (int chunk = 0; chunk < S::CHUNKS; chunk++)
      if (chunk < result_chunks) add_product<S::LD>(result[chunk], s, stream.next());
  }

  const Heads<T> gradients(dqkv, at, l, heads, dk, dv);
  const Matrix<T> target = OF == Gradient::Q ? gradients.q : OF == Gradient::K ? gradients.k : gradients.v;
  const float last = NEEDS_DP ? scale : 1.f;
  const float last_factor[2] = {last, last};
  store_rows(target, at.row0 + warp_row, slab, result, last_factor);
}

}  // namespace attention

// delta[image, head, token] = sum over dv of dout * out. One warp per (image, token, head).
template <class T>
__global__ void __launch_bounds__(256)
    attention_bwd_delta(float* __restrict__ delta,    // [n, heads, l]
                        const T* __restrict__ dout,   // [n, l, heads, dv]
                        const T* __restrict__ out,    // [n, l, heads, dv]
                        int n, int l, int heads, int dv) {
  const int lane = threadIdx.x % 32;
  const int64_t row = int64_t(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= int64_t(n) * l * heads) return;
  const T* a = dout + row * dv;
  const T* b = out + row * dv;
  float sum = 0.f;
  if (dv % Vec<T>::SIZE == 0) {
    for (int i = lane * Vec<T>::SIZE; i < dv; i += 32 * Vec<T>::SIZE) {
      float x[Vec<T>::SIZE], y[Vec<T>::SIZE];
      load_floats(x, a + i);
      load_floats(y, b + i);
#pragma unroll
      for (int e = 0; e < Vec<T>::SIZE; e++) sum += x[e] * y[e];
    }
  } else {
    for (int i = lane; i < dv; i += 32) sum += to_float(a[i]) * to_float(b[i]);
  }
  sum = warp_sum(sum);
  const int head = row % heads, token = row / heads % l;
  if (lane == 0) delta[(row / heads / l * heads + head) * l + token] = sum;
}

// The kernels below: blockIdx.x counts (image, head, tile of rows), blockIdx.y slabs of D columns of the result.
template <class T, int D>
__global__ void __launch_bounds__(128, 1)
    attention_fwd(T* __restrict__ out,          // [n, l, heads, dv]
                  float* __restrict__ lse,      // [n, heads, l]
                  const T* __restrict__ qkv,    // [n, l, heads * (dk + dk + dv)]
                  int l, int heads, int dk, int dv) {
  attention::forward<T, D>(out, lse, qkv, l, heads, dk, dv);
}

template <class T, int D>
__global__ void __launch_bounds__(128, 1)
    attention_bwd_dq(T* __restrict__ dqkv,             // [n, l, heads * (dk + dk + dv)]: writes the part of q
                     const T* __restrict__ dout,       // [n, l, heads, dv]
                     const T* __restrict__ qkv,        // [n, l, heads * (dk + dk + dv)]
                     const float* __restrict__ lse,    // [n, heads, l]
                     const float* __restrict__ delta,  // [n, heads, l]
                     int l, int heads, int dk, int dv) {
  attention::backward<T, D, attention::Gradient::Q>(dqkv, dout, qkv, lse, delta, l, heads, dk, dv, blockIdx.y * D);
}

// blockIdx.y: first the slabs of dk, then those of dv.
template <class T, int D>
__global__ void __launch_bounds__(128, 1)
    attention_bwd_dkv(T* __restrict__ dqkv,             // [n, l, heads * (dk + dk + dv)]: writes the parts of k and v
                      const T* __restrict__ dout,       // [n, l, heads, dv]
                      const T* __restrict__ qkv,        // [n, l, heads * (dk + dk + dv)]
                      const float* __restrict__ lse,    // [n, heads, l]
                      const float* __restrict__ delta,  // [n, heads, l]
                      int l, int heads, int dk, int dv) {
  using attention::Gradient;
  const int slab = blockIdx.y, slabs = (dk + D - 1) / D;
  if (slab < slabs)
    attention::backward<T, D, Gradient::K>(dqkv, dout, qkv, lse, delta, l, heads, dk, dv, slab * D);
  else
    attention::backward<T, D, Gradient::V>(dqkv, dout, qkv, lse, delta, l, heads, dk, dv, (slab - slabs) * D);
}

EXPORT_F32_BF16(attention_bwd_delta)
EXPORT_AS(attention_fwd_d32_f32, attention_fwd<float, 32>)
EXPORT_AS(attention_fwd_d32_bf16, attention_fwd<__nv_bfloat16, 32>)
EXPORT_AS(attention_fwd_d64_f32, attention_fwd<float, 64>)
EXPORT_AS(attention_fwd_d64_bf16, attention_fwd<__nv_bfloat16, 64>)
EXPORT_AS(attention_fwd_d128_f32, attention_fwd<float, 128>)
EXPORT_AS(attention_fwd_d128_bf16, attention_fwd<__nv_bfloat16, 128>)
EXPORT_AS(attention_fwd_d256_f32, attention_fwd<float, 256>)
EXPORT_AS(attention_fwd_d256_bf16, attention_fwd<__nv_bfloat16, 256>)
EXPORT_AS(attention_bwd_dq_d32_f32, attention_bwd_dq<float, 32>)
EXPORT_AS(attention_bwd_dq_d32_bf16, attention_bwd_dq<__nv_bfloat16, 32>)
EXPORT_AS(attention_bwd_dq_d64_f32, attention_bwd_dq<float, 64>)
EXPORT_AS(attention_bwd_dq_d64_bf16, attention_bwd_dq<__nv_bfloat16, 64>)
EXPORT_AS(attention_bwd_dq_d128_f32, attention_bwd_dq<float, 128>)
EXPORT_AS(attention_bwd_dq_d128_bf16, attention_bwd_dq<__nv_bfloat16, 128>)
EXPORT_AS(attention_bwd_dq_d256_f32, attention_bwd_dq<float, 256>)
EXPORT_AS(attention_bwd_dq_d256_bf16, attention_bwd_dq<__nv_bfloat16, 256>)
EXPORT_AS(attention_bwd_dkv_d32_f32, attention_bwd_dkv<float, 32>)
EXPORT_AS(attention_bwd_dkv_d32_bf16, attention_bwd_dkv<__nv_bfloat16, 32>)
EXPORT_AS(attention_bwd_dkv_d64_f32, attention_bwd_dkv<float, 64>)
EXPORT_AS(attention_bwd_dkv_d64_bf16, attention_bwd_dkv<__nv_bfloat16, 64>)
EXPORT_AS(attention_bwd_dkv_d128_f32, attention_bwd_dkv<float, 128>)
EXPORT_AS(attention_bwd_dkv_d128_bf16, attention_bwd_dkv<__nv_bfloat16, 128>)
EXPORT_AS(attention_bwd_dkv_d256_f32, attention_bwd_dkv<float, 256>)
EXPORT_AS(attention_bwd_dkv_d256_bf16, attention_bwd_dkv<__nv_bfloat16, 256>)
