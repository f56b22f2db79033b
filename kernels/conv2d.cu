// 2-D convolution, NHWC, as implicit matrix products: no patch is ever written to global memory.
//
//   y [p, o]        = bias[o] + sum over (r, q, c) of x[p * stride - pad + (r, q), c] * w[o, r, q, c]
//   dx[p, c]        =           sum over (r, q, o) of dy[(p + pad - (r, q)) / stride, o] * w[o, r, q, c]
//   dw[o, r, q, c]  =           sum over p of dy[p, o] * x[p * stride - pad + (r, q), c]
//   dbias[o]        =           sum over p of dy[p, o]
//
// p is a pixel (image, row, column), (r, q) a tap of the kernel. As C[m, n] = sum of A[m, k] B[n, k] (common/gemm.cuh):
//
//          m        n        k              A                          B
//   fwd    pixel    o        tap, c         patches of x               w, as it lies
//   dx     pixel    c        tap, o         patches of dy              w, read across
//   dw     o        tap, c   pixel          dy, read across            patches of x, read across
//
// For dx only the taps for which the division by the stride leaves no remainder count, and which these are depends on
// (row % stride, column % stride) alone. So the pixels of dx fall into stride * stride phases (blockIdx.z), and each
// phase is a stride-1 convolution with the taps that it shares: no multiplication by a zero.
//
// The axis (tap, channel) is padded per tap to whole 16-byte chunks, so that a chunk never crosses a tap; where a
// channel count is no multiple of that, chunks are copied element by element. All divisions of indices stand before
// the loops, which then only add and compare. dw is long in k and small in m and n: blockIdx.z splits k, each split
// writes its own sum, and sum_splits adds them in order.
#include "common/common.cuh"
#include "common/gemm.cuh"

// Blocks that share a multiprocessor, and by that the registers that a thread may use.
template <class T, int TILE> constexpr int MIN_BLOCKS = sizeof(T) == 4 ? 128 / TILE : 256 / TILE;

template <class T> __device__ __forceinline__ int whole_chunks(int channels) {
  constexpr int VEC = 16 / sizeof(T);
  return (channels + VEC - 1) / VEC * VEC;
}

// A place on the padded (tap, channel) axis.
struct TapWalk {
  int r, q, c;

  __device__ __forceinline__ void advance(int by, int kw, int channels) {
    c += by;
    while (c >= channels) {
      c -= channels;
      if (++q == kw) q = 0, r++;
    }
  }
};

// A pixel of [n, height, width].
struct Pixel {
  int image, i, j;

  static __device__ __forceinline__ Pixel at(int index, int height, int width) {
    return {index / width / height, index / width % height, index % width};
  }

  __device__ __forceinline__ void advance(Pixel by, int height, int width) {
    image += by.image, i += by.i, j += by.j;
    if (j >= width) j -= width, i++;
    if (i >= height) i -= height, image++;
  }
};

// Images seen through the window of a kernel.
template <class T> struct Images {
  const T* data;  // [n, height, width, channels]
  int height, width, channels;

  __device__ __forceinline__ Chunk<const T> chunk(bool exists, int image, int i, int j, int c) const {
    if (!exists || unsigned(i) >= unsigned(height) || unsigned(j) >= unsigned(width)) return {data, 0};
    return {data + size_t((image * height + i) * width + j) * channels + c, channels - c};
  }
};

// Line: a pixel, whose window has its first tap at `corner`. Along k: tap, channel. The window of dx is mirrored:
// its taps go backwards through the image.
template <class T, class Tile> struct Patches {
  Images<T> images;
  int kh, kw, direction, channels;
  bool aligned;
  Pixel corner[Tile::Map::COPIES];
  TapWalk tap;

  // `corner_of(line)` returns the corner, its image negative where the line does not exist.
  template <class F>
  __device__ __forceinline__ Patches(Images<T> images, int kh, int kw, int direction, F corner_of)
      : images(images), kh(kh), kw(kw), direction(direction), channels(whole_chunks<T>(images.channels)),
        aligned(channels == images.channels), tap{0, 0, 0} {
#pragma unroll
    for (int i = 0; i < Tile::Map::COPIES; i++) corner[i] = corner_of(Tile::Map::line(i));
    tap.advance(Tile::Map::column(), kw, channels);
  }

  __device__ __forceinline__ Chunk<const T> chunk(int i) const {
    const Pixel p = corner[i];
    return images.chunk(p.image >= 0 && tap.r < kh, p.image, p.i + direction * tap.r, p.j + direction * tap.q, tap.c);
  }

  __device__ __forceinline__ void advance() { tap.advance(Tile::BK, kw, channels); }
};

// Line: a pixel, along k. Column: a tap and a channel.
template <class T, class Tile> struct PatchColumns {
  Images<T> images;
  int stride, pad_top, pad_left, out_h, out_w, end, index;
  bool exists, aligned;
  Pixel pixel[Tile::Map::COPIES], step;
  TapWalk tap;

  __device__ __forceinline__ PatchColumns(Images<T> images, int kh, int kw, int stride, int pad_top, int pad_left,
                                          int out_h, int out_w, int column, int begin, int end)
      : images(images), stride(stride), pad_top(pad_top), pad_left(pad_left), out_h(out_h), out_w(out_w), end(end),
        index(begin), step(Pixel::at(Tile::BK, out_h, out_w)) {
    const int channels = whole_chunks<T>(images.channels), at = column + Tile::Map::column();
    aligned = channels == images.channels;
    tap = {at / channels / kw, at / channels % kw, at % channels};
    exists = tap.r < kh;
#pragma unroll
    for (int i = 0; i < Tile::Map::COPIES; i++) pixel[i] = Pixel::at(begin + Tile::Map::line(i), out_h, out_w);
  }

  __device__ __forceinline__ Chunk<const T> chunk(int i) const {
    const Pixel p = pixel[i];
    return images.chunk(exists && index + Tile::Map::line(i) < end, p.image, p.i * stride - pad_top + tap.r,
                        p.j * stride - pad_left + tap.q, tap.c);
  }

  __device__ __forceinline__ void advance() {
    index += Tile::BK;
#pragma unroll
    for (int i = 0; i < Tile::Map::COPIES; i++) pixel[i].advance(step, out_h, out_w);
  }
};

// Line: a row of a matrix, along k. Column: a column of it.
template <class T, class Tile> struct MatrixColumns {
  const T* data;  // [rows, columns]
  int columns, column, index, end;
  bool aligned;

  __device__ __forceinline__ MatrixColumns(const T* data, int columns, int column, int begin, int end)
      : data(data), columns(columns), column(column + Tile::Map::column()), index(begin), end(end),
        aligned(whole_chunks<T>(columns) == columns) {}

  __device__ __forceinline__ Chunk<const T> chunk(int i) const {
    const int row = index + Tile::Map::line(i);
    if (row >= end || column >= columns) return {data, 0};
    return {data + size_t(row) * columns + column, columns - column};
  }

  __device__ __forceinline__ void advance() { index += Tile::BK; }
};

// Line: an output channel. Along k: tap, input channel.
template <class T, class Tile> struct WeightRows {
  const T* data;  // [c_out, kh, kw, c_in]
  int c_out, kh, kw, c_in, channels, line;
  bool aligned;
  TapWalk tap;

  __device__ __forceinline__ WeightRows(const T* data, int c_out, int kh, int kw, int c_in, int line)
      : data(data), c_out(c_out), kh(kh), kw(kw), c_in(c_in), channels(whole_chunks<T>(c_in)), line(line),
        aligned(channels == c_in), tap{0, 0, 0} {
    tap.advance(Tile::Map::column(), kw, channels);
  }

  __device__ __forceinline__ Chunk<const T> chunk(int i) const {
    const int o = line + Tile::Map::line(i);
    if (o >= c_out || tap.r >= kh) return {data, 0};
    return {data + (size_t(o * kh + tap.r) * kw + tap.q) * c_in + tap.c, c_in - tap.c};
  }

  __device__ __forceinline__ void advance() { tap.advance(Tile::BK, kw, channels); }
};

// The taps of one phase along one axis: first, first + stride, ...; `count` of them.
struct PhaseTaps {
  int first, count, offset;

  __device__ __forceinline__ PhaseTaps(int phase, int stride, int pad, int taps) {
    first = (phase + pad) % stride;
    count = first < taps ? (taps - first + stride - 1) / stride : 0;
    offset = (phase + pad - first) / stride;  // where the window of the phase's first pixel starts in dy
  }
};

// Line: a tap of the phase and an output channel, along k. Column: an input channel.
template <class T, class Tile> struct WeightColumns {
  const T* data;  // [c_out, kh, kw, c_in]
  PhaseTaps rows, columns;
  int stride, c_out, kh, kw, c_in, channels, column;
  bool aligned;
  TapWalk tap[Tile::Map::COPIES];

  __device__ __forceinline__ WeightColumns(const T* data, PhaseTaps rows, PhaseTaps columns, int stride, int c_out,
                                           int kh, int kw, int c_in, int column)
      : data(data), rows(rows), columns(columns), stride(stride), c_out(c_out), kh(kh), kw(kw), c_in(c_in),
        channels(whole_chunks<T>(c_out)), column(column + Tile::Map::column()), aligned(whole_chunks<T>(c_in) == c_in) {
#pragma unroll
    for (int i = 0; i < Tile::Map::COPIES; i++) {
      tap[i] = {0, 0, 0};
      tap[i].advance(Tile::Map::line(i), columns.count, channels);
    }
  }

  __device__ __forceinline__ Chunk<const T> chunk(int i) const {
    const TapWalk t = tap[i];
    if (t.r >= rows.count || t.c >= c_out || column >= c_in) return {data, 0};
    const int r = rows.first + stride * t.r, q = columns.first + stride * t.q;
    return {data + (size_t(t.c * kh + r) * kw + q) * c_in + column, c_in - column};
  }

  __device__ __forceinline__ void advance() {
#pragma unroll
    for (int i = 0; i < Tile::Map::COPIES; i++) tap[i].advance(Tile::BK, columns.count, channels);
  }
};

// Block (x, y): TILE output pixels, TILE output channels.
template <class T, int TILE>
__global__ void __launch_bounds__(2 * TILE, MIN_BLOCKS<T, TILE>)
    conv2d_fwd(T* __restrict__ y,                 // [n, out_h, out_w, c_out]
               const T* __restrict__ x,           // [n, h, width, c_in]
               const T* __restrict__ w,           // [c_out, kh, kw, c_in]
               const float* __restrict__ bias,    // [c_out] or null
               int n, int h, int width, int c_in, int c_out, int kh, int kw, int stride, int pad_top, int pad_left,
               int out_h, int out_w) {
  using TileA = KTile<T, TILE, 2 * TILE>;
  using TileB = KTile<T, TILE, 2 * TILE>;
  const int m0 = blockIdx.x * TILE, n0 = blockIdx.y * TILE, pixels = n * out_h * out_w;
  Patches<T, TileA> a({x, h, width, c_in}, kh, kw, 1, [&](int line) {
    Pixel p = Pixel::at(m0 + line, out_h, out_w);
    return Pixel{m0 + line < pixels ? p.image : -1, p.i * stride - pad_top, p.j * stride - pad_left};
  });
  WeightRows<T, TileB> b(w, c_out, kh, kw, c_in, n0);
  const int steps = (kh * kw * whole_chunks<T>(c_in) + TileA::BK - 1) / TileA::BK;
  Gemm<TileA, TileB, T>::run(
      a, b, steps, [&](int column) { return bias && n0 + column < c_out ? bias[n0 + column] : 0.f; },
      [&](int row, int column) {
        const int m = m0 + row, o = n0 + column;
        return Chunk<T>{y + size_t(m) * c_out + o, m < pixels ? c_out - o : 0};
      },
      whole_chunks<T>(c_out) == c_out);
}

// Block (x, y, z): TILE input pixels of phase z, TILE input channels.
template <class T, int TILE>
__global__ void __launch_bounds__(2 * TILE, MIN_BLOCKS<T, TILE>)
    conv2d_bwd_dx(T* __restrict__ dx,        // [n, h, width, c_in]
                  const T* __restrict__ dy,  // [n, out_h, out_w, c_out]
                  const T* __restrict__ w,   // [c_out, kh, kw, c_in]
                  int n, int h, int width, int c_in, int c_out, int kh, int kw, int stride, int pad_top, int pad_left,
                  int out_h, int out_w) {
  using TileA = KTile<T, TILE, 2 * TILE>;
  using TileB = RowTile<T, TILE, 2 * TILE>;
  const int i0 = blockIdx.z / stride, j0 = blockIdx.z % stride, m0 = blockIdx.x * TILE, n0 = blockIdx.y * TILE;
  const int phase_h = (h - i0 + stride - 1) / stride, phase_w = (width - j0 + stride - 1) / stride;
  const int pixels = n * phase_h * phase_w;
  if (m0 >= pixels) return;
  const PhaseTaps rows(i0, stride, pad_top, kh), columns(j0, stride, pad_left, kw);
  Patches<T, TileA> a({dy, out_h, out_w, c_out}, rows.count, columns.count, -1, [&](int line) {
    Pixel p = Pixel::at(m0 + line, phase_h, phase_w);
    return Pixel{m0 + line < pixels ? p.image : -1, p.i + rows.offset, p.j + columns.offset};
  });
  WeightColumns<T, TileB> b(w, rows, columns, stride, c_out, kh, kw, c_in, n0);
  const int steps = (rows.count * columns.count * whole_chunks<T>(c_out) + TileA::BK - 1) / TileA::BK;
  Gemm<TileA, TileB, T>::run(
      a, b, steps, [](int) { return 0.f; },
      [&](int row, int column) {
        const Pixel p = Pixel::at(m0 + row, phase_h, phase_w);
        const size_t pixel = size_t(p.image * h + p.i * stride + i0) * width + p.j * stride + j0;
        return Chunk<T>{dx + pixel * c_in + n0 + column, m0 + row < pixels ? c_in - n0 - column : 0};
      },
      whole_chunks<T>(c_in) == c_in);
}

// Block (x, y, z): TILE output channels, TILE places of the padded (tap, input channel) axis, split z of the pixels.
template <class T, int TILE>
__global__ void __launch_bounds__(2 * TILE, MIN_BLOCKS<T, TILE>)
    conv2d_bwd_dw(float* __restrict__ dw,    // [splits, c_out, kh, kw, c_in]
                  const T* __restrict__ dy,  // [n, out_h, out_w, c_out]
                  const T* __restrict__ x,   // [n, h, width, c_in]
                  int n, int h, int width, int c_in, int c_out, int kh, int kw, int stride, int pad_top, int pad_left,
                  int out_h, int out_w, int split_pixels) {
  using TileA = RowTile<T, TILE, 2 * TILE>;
  using TileB = RowTile<T, TILE, 2 * TILE>;
  const int m0 = blockIdx.x * TILE, n0 = blockIdx.y * TILE, pixels = n * out_h * out_w;
  const int begin = blockIdx.z * split_pixels, end = min(begin + split_pixels, pixels);
  MatrixColumns<T, TileA> a(dy, c_out, m0, begin, end);
  PatchColumns<T, TileB> b({x, h, width, c_in}, kh, kw, stride, pad_top, pad_left, out_h, out_w, n0, begin, end);
  const int steps = (end - begin + TileA::BK - 1) / TileA::BK;
  const int channels = whole_chunks<T>(c_in), taps = kh * kw;
  float* sum = dw + size_t(blockIdx.z) * c_out * taps * c_in;
  Gemm<TileA, TileB, float>::run(
      a, b, steps, [](int) { return 0.f; },
      [&](int row, int column) {
        const int o = m0 + row, tap = (n0 + column) / channels, c = (n0 + column) % channels;
        return Chunk<float>{sum + size_t(o * taps + tap) * c_in + c, o < c_out && tap < taps ? c_in - c : 0};
      },
      c_in % 4 == 0);
}

// Column sums. Block (x, y): 64 columns, rows [y * block_rows, (y + 1) * block_rows). Each thread sums 16 bytes of
// every row that is its own, then the first threads sum what the others found, in order.
template <class T>
__global__ void __launch_bounds__(256, 4)
    conv2d_bwd_dbias(float* __restrict__ dbias,  // [gridDim.y, columns]
                     const T* __restrict__ dy,   // [rows, columns]
                     int rows, int columns, int block_rows) {
  constexpr int VEC = 16 / sizeof(T), LANES = 64 / VEC, ROWS = 256 / LANES;
  const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES, column = blockIdx.x * 64 + lane * VEC;
  const int begin = blockIdx.y * block_rows, end = min(begin + block_rows, rows);
  const bool aligned = columns % VEC == 0;
  __shared__ float part[ROWS][64 + 4];
  float sum[VEC] = {};
#pragma unroll 4
  for (int r = begin + row; r < end; r += ROWS) {
    const T* from = dy + size_t(r) * columns + column;
    if (aligned) {
      if (column < columns) {
        const uint4 v = *reinterpret_cast<const uint4*>(from);
        T e[VEC];
        memcpy(e, &v, 16);
#pragma unroll
        for (int i = 0; i < VEC; i++) sum[i] += to_float(e[i]);
      }
    } else {
#pragma unroll
      for (int i = 0; i < VEC; i++)
        if (column + i < columns) sum[i] += to_float(from[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < VEC; i++) part[row][lane * VEC + i] = sum[i];
  __syncthreads();
  if (threadIdx.x < 64 && blockIdx.x * 64 + threadIdx.x < columns) {
    float total = 0.f;
    for (int r = 0; r < ROWS; r++) total += part[r][threadIdx.x];
    dbias[size_t(blockIdx.y) * columns + blockIdx.x * 64 + threadIdx.x] = total;
  }
}

// out[i] = sum over the splits, in order. A thread: four successive elements.
__global__ void __launch_bounds__(256, 4) conv2d_sum_splits(float* __restrict__ out,          // [len]
                                                         const float* __restrict__ parts,  // [splits, len]
                                                         int len, int splits) {
  const int i = (blockIdx.x * 256 + threadIdx.x) * 4;
  if (i >= len) return;
  if (len % 4 == 0) {
    float4 sum = *reinterpret_cast<const float4*>(parts + i);
#pragma unroll 4
    for (int s = 1; s < splits; s++) {
      const float4 v = *reinterpret_cast<const float4*>(parts + size_t(s) * len + i);
      sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
    }
    *reinterpret_cast<float4*>(out + i) = sum;
  } else {
    for (int e = i; e < min(i + 4, len); e++) {
      float sum = parts[e];
      for (int s = 1; s < splits; s++) sum += parts[size_t(s) * len + e];
      out[e] = sum;
    }
  }
}
