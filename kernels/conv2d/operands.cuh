// The operands of the convolutions' matrix products: where each 16 bytes of a tile come from. See conv2d.cu.
//
// An operand says which chunk belongs to the i-th of the lines that this thread copies (`chunk`), and steps along k
// (`advance`). A thread's place on the axis across the lines never changes but by such steps, so all divisions of
// indices stand in the constructors.
#pragma once
#include "../common/gemm.cuh"

template <class T> __device__ __forceinline__ int whole_chunks(int channels) {
  return (channels + Vec<T>::SIZE - 1) / Vec<T>::SIZE * Vec<T>::SIZE;
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
        aligned(rows_are_vectors<T>(images.channels)), tap{0, 0, 0} {
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
    aligned = rows_are_vectors<T>(images.channels);
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
        aligned(rows_are_vectors<T>(columns)) {}

  __device__ __forceinline__ Chunk<const T> chunk(int i) const {
    const int row = index + Tile::Map::line(i);
    if (row >= end || column >= columns) return {data, 0};
    return {data + size_t(row) * columns + column, columns - column};
  }

  __device__ __forceinline__ void advance() { index += Tile::BK; }
};

// Column sums of tiles that go by, as the threads of a block share them: each adds up the chunks that it copied itself.
template <class T, class Tile> struct ColumnSums {
  using Map = typename Tile::Map;
  float sums[Map::VEC] = {};

  __device__ __forceinline__ void add(const Tile& tile) {
#pragma unroll
    for (int i = 0; i < Map::COPIES; i++) {
      float values[Map::VEC];
      load_floats(values, &tile.data[Map::line(i)][Map::column()]);
#pragma unroll
      for (int e = 0; e < Map::VEC; e++) sums[e] += values[e];
    }
  }

  // Writes the first `count` of the sums. All threads must call; what was in the block's dynamic shared memory is lost.
  __device__ __forceinline__ void store(float* out, int count) const {
    struct Parts {
      float at[Map::STEP][Tile::SIZE];
    };
    DYNAMIC_SMEM(Parts, parts);
    __syncthreads();
#pragma unroll
    for (int e = 0; e < Map::VEC; e++) parts->at[Map::line(0)][Map::column() + e] = sums[e];
    __syncthreads();
    if (int(threadIdx.x) < min(Tile::SIZE, count)) {
      float total = 0.f;
      for (int line = 0; line < Map::STEP; line++) total += parts->at[line][threadIdx.x];
      out[threadIdx.x] = total;
    }
  }
};

// Line: an output channel. Along k: tap, input channel.
template <class T, class Tile> struct WeightRows {
  const T* data;  // [c_out, kh, kw, c_in]
  int c_out, kh, kw, c_in, channels, line;
  bool aligned;
  TapWalk tap;

  __device__ __forceinline__ WeightRows(const T* data, int c_out, int kh, int kw, int c_in, int line)
      : data(data), c_out(c_out), kh(kh), kw(kw), c_in(c_in), channels(whole_chunks<T>(c_in)), line(line),
        aligned(rows_are_vectors<T>(c_in)), tap{0, 0, 0} {
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
        channels(whole_chunks<T>(c_out)), column(column + Tile::Map::column()), aligned(rows_are_vectors<T>(c_in)) {
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
