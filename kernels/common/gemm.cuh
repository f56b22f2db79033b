// One matrix product for every convolution: C[m, n] = sum over k of A[m, k] * B[n, k].
//
// A block computes a BM x BN tile of C. It walks along k in steps of BK elements (64 bytes); a step copies a
// BM x BK tile of A and a BN x BK tile of B into shared memory, several steps ahead of the arithmetic:
//
//   for step in 0..steps:
//     wait until the tiles of `step` have arrived; barrier
//     start copying the tiles of step + STAGES - 1 into the stage that the previous step has just left
//     acc += tile A * tile B
//
// What A and B are is the business of two *operands*, which only answer "where do the next 16 bytes of this line of the
// tile come from" (they gather patches of images, transposed weights, ...). Per type of element there is one
// accumulator: tensor cores (mma.sync m16n8k16) for bf16, a register tile of fused multiply-adds for f32.
#pragma once
#include "common.cuh"

// 16 bytes of a matrix in global memory, of which the first `count` elements exist (none if it is 0 or less).
template <class T> struct Chunk {
  T* data;
  int count;
};

// Where 16 bytes of C lie: so many elements from its beginning, of which the first `count` exist.
struct Place {
  size_t at;
  int count;
};

// A chunk with zeros for what does not exist. `aligned`: every chunk is whole or empty, and lies on a 16-byte boundary.
template <class T> __device__ __forceinline__ Vec<T> load_chunk(Chunk<const T> chunk, bool aligned) {
  if (aligned && chunk.count > 0) return load_vec(chunk.data);
  Vec<T> value;
#pragma unroll
  for (int e = 0; e < Vec<T>::SIZE; e++) value[e] = !aligned && e < chunk.count ? chunk.data[e] : from_float<T>(0.f);
  return value;
}

// Writes what exists of a chunk.
template <class T> __device__ __forceinline__ void store_chunk(Chunk<T> chunk, const Vec<T>& value, bool aligned) {
  if (aligned) {
    if (chunk.count > 0) store_vec(chunk.data, value);
  } else {
#pragma unroll
    for (int e = 0; e < Vec<T>::SIZE; e++)
      if (e < chunk.count) chunk.data[e] = value[e];
  }
}

// Copies a chunk to shared memory.
template <class T> __device__ __forceinline__ void copy_chunk(T* dst, Chunk<const T> chunk, bool aligned) {
  if (aligned) {
    cp_async_16(dst, chunk.data, chunk.count > 0);
  } else {
    store_vec(dst, load_chunk(chunk, false));
  }
}

// How the threads of a block share the copying of a tile of LINES lines of WIDTH elements.
template <class T, int LINES, int WIDTH, int THREADS> struct CopyMap {
  static constexpr int VEC = Vec<T>::SIZE, CHUNKS = WIDTH / VEC, STEP = THREADS / CHUNKS, COPIES = LINES / STEP;
  static_assert(THREADS % CHUNKS == 0 && LINES % STEP == 0, "every thread copies the same number of chunks");
  static __device__ __forceinline__ int line(int copy) { return threadIdx.x / CHUNKS + copy * STEP; }
  static __device__ __forceinline__ int column() { return threadIdx.x % CHUNKS * VEC; }
};

// A tile of an operand that is contiguous along k in memory. The 16 bytes of padding make the reads of 8 successive
// lines fall into different banks.
template <class T, int ROWS, int THREADS_> struct KTile {
  using Element = T;
  static constexpr int SIZE = ROWS, THREADS = THREADS_, BK = 64 / sizeof(T);
  using Map = CopyMap<T, ROWS, BK, THREADS>;
  T data[ROWS][BK + Map::VEC];

  // The four 8x8 matrices at (row, k), (row + 8, k), (row, k + 8), (row + 8, k + 8).
  __device__ __forceinline__ void load_16x16(uint32_t (&r)[4], int row, int k) const {
    const int lane = threadIdx.x % 32;
    ldmatrix_x4(r, &data[row + lane % 16][k + lane / 16 * 8]);
  }

  // The i-th row of thread `t` among `threads` that share the rows, and 4 successive k of its rows i .. i + 3.
  static __device__ __forceinline__ int row(int t, int threads, int i) { return i * threads + t; }
  __device__ __forceinline__ void load_4x4(float (*r)[4], int t, int threads, int i, int k) const {
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const Vec<T> v = load_vec(&data[row(t, threads, i + e)][k]);
#pragma unroll
      for (int j = 0; j < 4; j++) r[e][j] = v[j];
    }
  }
};

// A tile of an operand that is contiguous along its rows (m or n) in memory: stored as it comes, k by k.
template <class T, int ROWS, int THREADS_> struct RowTile {
  using Element = T;
  static constexpr int SIZE = ROWS, THREADS = THREADS_, BK = 64 / sizeof(T);
  using Map = CopyMap<T, BK, ROWS, THREADS>;
  T data[BK][ROWS + Map::VEC];

  __device__ __forceinline__ void load_16x16(uint32_t (&r)[4], int row, int k) const {
    const int lane = threadIdx.x % 32;
    ldmatrix_x4_trans(r, &data[k + lane % 8 + lane / 16 * 8][row + (lane & 8)]);
  }

  static __device__ __forceinline__ int row(int t, int threads, int i) { return (i / 4 * threads + t) * 4 + i % 4; }
  __device__ __forceinline__ void load_4x4(float (*r)[4], int t, int threads, int i, int k) const {
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const Vec<T> v = load_vec(&data[k + e][row(t, threads, i)]);
#pragma unroll
      for (int j = 0; j < 4; j++) r[j][e] = v[j];
    }
  }
};

template <class T, class TileA, class TileB> struct Accumulator;

// Tensor cores: two rows of warps, each warp a grid of 16x8 fragments.
template <class TileA, class TileB> struct Accumulator<__nv_bfloat16, TileA, TileB> {
  static constexpr int WARP_COLUMNS = TileA::THREADS / 64, WM = TileA::SIZE / 2, WN = TileB::SIZE / WARP_COLUMNS;
  static constexpr int MI = WM / 16, NI = WN / 8;
  float acc[MI][NI][4] = {};

  static __device__ __forceinline__ int warp_m() { return threadIdx.x / 32 / WARP_COLUMNS * WM; }
  static __device__ __forceinline__ int warp_n() { return threadIdx.x / 32 % WARP_COLUMNS * WN; }

  __device__ __forceinline__ void multiply(const TileA& ta, const TileB& tb) {
#pragma unroll
    for (int k = 0; k < TileA::BK; k += 16) {
      uint32_t a[MI][4], b[NI][2];
#pragma unroll
      for (int i = 0; i < MI; i++) ta.load_16x16(a[i], warp_m() + i * 16, k);
#pragma unroll
      for (int j = 0; j < NI; j += 2) {
        uint32_t t[4];
        tb.load_16x16(t, warp_n() + j * 8, k);
        b[j][0] = t[0], b[j][1] = t[2], b[j + 1][0] = t[1], b[j + 1][1] = t[3];
      }
#pragma unroll
      for (int i = 0; i < MI; i++)
#pragma unroll
        for (int j = 0; j < NI; j++) mma_m16n8k16_bf16(acc[i][j], a[i], b[j]);
    }
  }

  // Calls f(row, column, value) for every element of the tile that this thread holds.
  template <class F> __device__ __forceinline__ void each(F f) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < MI; i++)
#pragma unroll
      for (int j = 0; j < NI; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
          f(warp_m() + i * 16 + lane / 4 + e / 2 * 8, warp_n() + j * 8 + lane % 4 * 2 + e % 2, acc[i][j][e]);
  }
};

// Fused multiply-adds: 16 rows of threads.
template <class TileA, class TileB> struct Accumulator<float, TileA, TileB> {
  static constexpr int TY = 16, TX = TileA::THREADS / TY, MI = TileA::SIZE / TY, NI = TileB::SIZE / TX;
  float acc[MI][NI] = {};

  __device__ __forceinline__ void multiply(const TileA& ta, const TileB& tb) {
    const int ty = threadIdx.x / TX, tx = threadIdx.x % TX;
#pragma unroll 1
    for (int k = 0; k < TileA::BK; k += 4) {
      float a[MI][4], b[4][4];
#pragma unroll
      for (int i = 0; i < MI; i += 4) ta.load_4x4(a + i, ty, TY, i, k);
#pragma unroll
      for (int j = 0; j < NI; j += 4) {
        tb.load_4x4(b, tx, TX, j, k);
#pragma unroll
        for (int e = 0; e < 4; e++)
#pragma unroll
          for (int i = 0; i < MI; i++)
#pragma unroll
            for (int h = 0; h < 4; h++) acc[i][j + h] = fmaf(a[i][e], b[h][e], acc[i][j + h]);
      }
    }
  }

  template <class F> __device__ __forceinline__ void each(F f) const {
    const int ty = threadIdx.x / TX, tx = threadIdx.x % TX;
#pragma unroll
    for (int i = 0; i < MI; i++)
#pragma unroll
      for (int j = 0; j < NI; j++) f(TileA::row(ty, TY, i), TileB::row(tx, TX, j), acc[i][j]);
  }
};

// The product of one block: operands in, tile out. `Out` is the type of C in memory.
template <class TileA, class TileB, class Out> struct Gemm {
  using T = typename TileA::Element;
  static constexpr int BM = TileA::SIZE, BN = TileB::SIZE, THREADS = TileA::THREADS, STAGES = BM == 128 ? 3 : 4;

  struct Stages {
    TileA a[STAGES];
    TileB b[STAGES];
  };
  union Shared {
    Stages stages;
    Out c[BM][BN + Vec<Out>::SIZE];  // C passes through here on its way out, so that global stores are whole lines
  };
  static_assert(sizeof(Shared) <= (BM == 128 ? 67584 : 40960), "the launch reserves this much shared memory");

  template <class Tile, class Operand> static __device__ __forceinline__ void copy(Tile& tile, Operand& operand) {
    using Map = typename Tile::Map;
#pragma unroll
    for (int i = 0; i < Map::COPIES; i++)
      copy_chunk(&tile.data[Map::line(i)][Map::column()], operand.chunk(i), operand.aligned);
    operand.advance();
  }

  // Runs `steps` steps over the operands, then hands every 16 bytes of the tile to the memory of C: `bias(column)` is
  // added to the sums, and what `addend` holds in the same place to the stored result, unless it is null. `place(row,
  // column)` says where they go; `aligned` as for copy_chunk. Rows and columns count from the corner of the block's tile.
  // `watch(tile)` sees every tile of A.
  template <class A, class B, class Bias, class Where, class Watch>
  static __device__ __forceinline__ void run(A& a, B& b, int steps, Bias bias, Out* c, const Out* addend, Where place,
                                             bool aligned, Watch watch) {
    DYNAMIC_SMEM(Shared, shared);
    Stages& s = shared->stages;
    Accumulator<T, TileA, TileB> acc;

#pragma unroll
    for (int i = 0; i < STAGES - 1; i++) {
      if (i < steps) copy(s.a[i], a), copy(s.b[i], b);
      cp_async_commit();
    }
    int now = 0, next = STAGES - 1;
    for (int step = 0; step < steps; step++) {
      cp_async_wait<STAGES - 2>();
      __syncthreads();
      if (step + STAGES - 1 < steps) copy(s.a[next], a), copy(s.b[next], b);
      cp_async_commit();
      acc.multiply(s.a[now], s.b[now]);
      watch(s.a[now]);
      now = now + 1 == STAGES ? 0 : now + 1;
      next = next + 1 == STAGES ? 0 : next + 1;
    }

    __syncthreads();
    acc.each([&](int row, int column, float v) { shared->c[row][column] = from_float<Out>(v + bias(column)); });
    using Map = CopyMap<Out, BM, BN, THREADS>;
    Place to[Map::COPIES];
    Vec<Out> added[Map::COPIES];  // all under way at once
#pragma unroll
    for (int i = 0; i < Map::COPIES; i++) {
      to[i] = place(Map::line(i), Map::column());
      if (addend) added[i] = load_chunk(Chunk<const Out>{addend + to[i].at, to[i].count}, aligned);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < Map::COPIES; i++) {
      Vec<Out> v = load_vec(&shared->c[Map::line(i)][Map::column()]);
      if (addend) v = sum(v, added[i]);
      store_chunk(Chunk<Out>{c + to[i].at, to[i].count}, v, aligned);
    }
  }

  template <class A, class B, class Bias, class Where>
  static __device__ __forceinline__ void run(A& a, B& b, int steps, Bias bias, Out* c, const Out* addend, Where place,
                                             bool aligned) {
    run(a, b, steps, bias, c, addend, place, aligned, [](const TileA&) {});
  }
};
