// 2-D convolution, NHWC, as implicit matrix products: no patch is ever written to global memory.
//
//   y [p, o]        = bias[o] + sum over (r, q, c) of x[p * stride - pad + (r, q), c] * w[o, r, q, c] + residual[p, o]
//   dx[p, c]        = bias[c] + sum over (r, q, o) of dy[(p + pad - (r, q)) / stride, o] * w[o, r, q, c] + earlier[p, c]
//   dw[o, r, q, c]  =           sum over p of dy[p, o] * x[p * stride - pad + (r, q), c]
//   dbias[o]        =           sum over p of dy[p, o]
//
// The bias of dx is null but where this gradient is the forward pass of a transposed convolution. `earlier` is what has
// reached dL/dx before, from other consumers of x. It and `residual` may be null; they are added to the sums as stored,
// so that the result is bitwise that of an addition of its own.
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
// writes its own sum, and sum_parts adds them in order. The blocks of dw that are first to see a tile of dy (blockIdx.y
// is 0) sum its columns too: that is dbias.
#include "common/common.cuh"
#include "conv2d/operands.cuh"

// Blocks that share a multiprocessor, and by that the registers that a thread may use.
template <class T, int TILE> constexpr int MIN_BLOCKS = sizeof(T) == 4 ? 128 / TILE : 256 / TILE;

// Block (x, y): TILE output pixels, TILE output channels.
template <class T, int TILE>
__global__ void __launch_bounds__(2 * TILE, MIN_BLOCKS<T, TILE>)
    conv2d_fwd(T* __restrict__ y,                 // [n, out_h, out_w, c_out]
               const T* __restrict__ x,           // [n, h, width, c_in]
               const T* __restrict__ w,           // [c_out, kh, kw, c_in]
               const float* __restrict__ bias,    // [c_out] or null
               const T* __restrict__ residual,    // as y, or null
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
      y, residual,
      [&](int row, int column) {
        const int m = m0 + row, o = n0 + column;
        return Place{size_t(m) * c_out + o, m < pixels ? c_out - o : 0};
      },
      rows_are_vectors<T>(c_out));
}

// Block (x, y, z): TILE input pixels of phase z, TILE input channels.
template <class T, int TILE>
__global__ void __launch_bounds__(2 * TILE, MIN_BLOCKS<T, TILE>)
    conv2d_bwd_dx(T* __restrict__ dx,              // [n, h, width, c_in]
                  const T* __restrict__ dy,        // [n, out_h, out_w, c_out]
                  const T* __restrict__ w,         // [c_out, kh, kw, c_in]
                  const float* __restrict__ bias,  // [c_in] or null
                  const T* __restrict__ earlier,   // as dx, or null
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
      a, b, steps, [&](int column) { return bias && n0 + column < c_in ? bias[n0 + column] : 0.f; },
      dx, earlier,
      [&](int row, int column) {
        const Pixel p = Pixel::at(m0 + row, phase_h, phase_w);
        const size_t pixel = size_t(p.image * h + p.i * stride + i0) * width + p.j * stride + j0;
        return Place{pixel * c_in + n0 + column, m0 + row < pixels ? c_in - n0 - column : 0};
      },
      rows_are_vectors<T>(c_in));
}

// Block (x, y, z): TILE output channels, TILE places of the padded (tap, input channel) axis, split z of the pixels.
template <class T, int TILE>
__global__ void __launch_bounds__(2 * TILE, MIN_BLOCKS<T, TILE>)
    conv2d_bwd_dw(float* __restrict__ dw,     // [splits, c_out, kh, kw, c_in]
                  float* __restrict__ dbias,  // [splits, c_out] or null
                  const T* __restrict__ dy,   // [n, out_h, out_w, c_out]
                  const T* __restrict__ x,    // [n, h, width, c_in]
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
  const bool sums_dy = dbias && blockIdx.y == 0;
  ColumnSums<T, TileA> columns;
  Gemm<TileA, TileB, float>::run(
      a, b, steps, [](int) { return 0.f; }, dw + size_t(blockIdx.z) * c_out * taps * c_in, nullptr,
      [&](int row, int column) {
        const int o = m0 + row, tap = (n0 + column) / channels, c = (n0 + column) % channels;
        return Place{size_t(o * taps + tap) * c_in + c, o < c_out && tap < taps ? c_in - c : 0};
      },
      rows_are_vectors<float>(c_in),
      [&](const TileA& tile) {
        if (sums_dy) columns.add(tile);
      });
  if (sums_dy) columns.store(dbias + size_t(blockIdx.z) * c_out + m0, c_out - m0);
}

// Column sums, where no weight gradient is computed beside them. Block (x, y): 64 columns, rows [y * block_rows, (y + 1) * block_rows). Each thread sums 16 bytes of
// every row that is its own, then the first threads sum what the others found, in order.
template <class T>
__global__ void __launch_bounds__(256, 4)
    conv2d_bwd_dbias(float* __restrict__ dbias,  // [gridDim.y, columns]
                     const T* __restrict__ dy,   // [rows, columns]
                     int rows, int columns, int block_rows) {
  constexpr int VEC = Vec<T>::SIZE, LANES = 64 / VEC, ROWS = 256 / LANES;
  const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES, column = blockIdx.x * 64 + lane * VEC;
  const int begin = blockIdx.y * block_rows, end = min(begin + block_rows, rows);
  const bool aligned = rows_are_vectors<T>(columns);
  __shared__ float part[ROWS][64];
  float sum[VEC] = {};
#pragma unroll 4
  for (int r = begin + row; r < end; r += ROWS) {
    const T* from = dy + size_t(r) * columns + column;
    float value[VEC] = {};
    if (!aligned) {
#pragma unroll
      for (int i = 0; i < VEC; i++)
        if (column + i < columns) value[i] = to_float(from[i]);
    } else if (column < columns) {
      load_floats(value, from);
    }
#pragma unroll
    for (int i = 0; i < VEC; i++) sum[i] += value[i];
  }
#pragma unroll
  for (int i = 0; i < VEC; i++) part[row][lane * VEC + i] = sum[i];
  __syncthreads();
  const int mine = blockIdx.x * 64 + threadIdx.x;
  if (threadIdx.x < 64 && mine < columns) {
    float total = 0.f;
    for (int r = 0; r < ROWS; r++) total += part[r][threadIdx.x];
    dbias[size_t(blockIdx.y) * columns + mine] = total;
  }
}

EXPORT_AS(conv2d_fwd_64_f32, conv2d_fwd<float, 64>)
EXPORT_AS(conv2d_fwd_128_f32, conv2d_fwd<float, 128>)
EXPORT_AS(conv2d_fwd_64_bf16, conv2d_fwd<__nv_bfloat16, 64>)
EXPORT_AS(conv2d_fwd_128_bf16, conv2d_fwd<__nv_bfloat16, 128>)
EXPORT_AS(conv2d_bwd_dx_64_f32, conv2d_bwd_dx<float, 64>)
EXPORT_AS(conv2d_bwd_dx_128_f32, conv2d_bwd_dx<float, 128>)
EXPORT_AS(conv2d_bwd_dx_64_bf16, conv2d_bwd_dx<__nv_bfloat16, 64>)
EXPORT_AS(conv2d_bwd_dx_128_bf16, conv2d_bwd_dx<__nv_bfloat16, 128>)
EXPORT_AS(conv2d_bwd_dw_64_f32, conv2d_bwd_dw<float, 64>)
EXPORT_AS(conv2d_bwd_dw_128_f32, conv2d_bwd_dw<float, 128>)
EXPORT_AS(conv2d_bwd_dw_64_bf16, conv2d_bwd_dw<__nv_bfloat16, 64>)
EXPORT_AS(conv2d_bwd_dw_128_bf16, conv2d_bwd_dw<__nv_bfloat16, 128>)
EXPORT_F32_BF16(conv2d_bwd_dbias)
