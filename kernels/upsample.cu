// Doubling the height and width of x [n, h, w, c] into y [n, 2h, 2w, c].
//
// Nearest:  y[2i + a, 2j + b] = x[i, j]                   dx[i, j] = sum over a, b in {0, 1} of dy[2i + a, 2j + b]
// Bilinear, corners aligned: output row p lies at p (h - 1) / (2h - 1) between the input rows, so with the hat
//   hat(p, i) = max(0, 1 - |p (h - 1) / (2h - 1) - i|)
//   y[p, q] = sum over i, j of hat(p, i) hat(q, j) x[i, j]     dx[i, j] = sum over p, q of hat(p, i) hat(q, j) dy[p, q]
// Numerator and denominator stay integers, so forward and backward use bitwise the same weights.
//
// A thread owns V neighbouring channels of one pixel: 16 bytes where c allows it, else one channel. Backward gathers:
// the owner of dx[i, j] reads every dy that the pixel reached, in a fixed order. grid.y = image.
#include "common/common.cuh"

// What a thread of an [h, w, c] image works on.
struct PixelSlice {
  int row, col, channel;
  bool inside;

  __device__ __forceinline__ PixelSlice(int h, int w, int c, int v) {
    const int slices = c / v, item = blockIdx.x * 256 + threadIdx.x, pixel = item / slices;
    inside = pixel < h * w;
    row = pixel / w;
    col = pixel % w;
    channel = item % slices * v;
  }
};

template <int V, class T>
__device__ __forceinline__ void nearest_fwd(T* y, const T* x, int h, int w, int c) {
  const PixelSlice s(h, w, c, V);
  if (!s.inside) return;
  const size_t image = blockIdx.y;
  const Vec<T, V> value = load_vec<V>(x + ((image * h + s.row) * w + s.col) * c + s.channel);
#pragma unroll
  for (int a = 0; a < 2; a++) {
    T* row = y + ((image * 2 * h + 2 * s.row + a) * 2 * w + 2 * s.col) * c + s.channel;
    store_vec(row, value);
    store_vec(row + c, value);
  }
}

template <int V, class T>
__device__ __forceinline__ void nearest_bwd(T* dx, const T* dy, int h, int w, int c) {
  const PixelSlice s(h, w, c, V);
  if (!s.inside) return;
  const size_t image = blockIdx.y;
  float sum[V] = {};
#pragma unroll
  for (int a = 0; a < 2; a++) {
    const T* row = dy + ((image * 2 * h + 2 * s.row + a) * 2 * w + 2 * s.col) * c + s.channel;
#pragma unroll
    for (int b = 0; b < 2; b++) {
      float d[V];
      load_floats(d, row + b * c);
#pragma unroll
      for (int k = 0; k < V; k++) sum[k] += d[k];
    }
  }
  store_floats(dx + ((image * h + s.row) * w + s.col) * c + s.channel, sum);
}

// The two input rows (or columns) around output p, of `size` in all, and the second one's weight.
struct Neighbours {
  int first, second;
  float weight;

  __device__ __forceinline__ Neighbours(int p, int size) {
    const int position = p * (size - 1), scale = 2 * size - 1;
    first = position / scale;
    second = min(first + 1, size - 1);
    weight = float(position % scale) / float(scale);
  }
};

// The outputs that input row (or column) i of `size` contributes to, first .. last, and by how much.
struct Reach {
  int first, last, centre, size;

  __device__ __forceinline__ Reach(int i, int size_) : centre(i * (2 * size_ - 1)), size(size_) {
    const int scale = 2 * size - 1, step = max(size - 1, 1);
    first = i == 0 ? 0 : (i - 1) * scale / step + 1;
    last = i == size - 1 ? scale : ((i + 1) * scale - 1) / step;
  }
  // hat(p, i)
  __device__ __forceinline__ float weight(int p) const {
    const int scale = 2 * size - 1;
    return float(scale - abs(p * (size - 1) - centre)) / float(scale);
  }
};

template <int V, class T>
__device__ __forceinline__ void bilinear_fwd(T* y, const T* x, int h, int w, int c) {
  const PixelSlice s(2 * h, 2 * w, c, V);
  if (!s.inside) return;
  const size_t image = blockIdx.y;
  const Neighbours rows(s.row, h), cols(s.col, w);
  float sum[V] = {};
#pragma unroll
  for (int a = 0; a < 2; a++) {
    const float row_weight = a ? rows.weight : 1.0f - rows.weight;
    const T* row = x + (image * h + (a ? rows.second : rows.first)) * w * c + s.channel;
#pragma unroll
    for (int b = 0; b < 2; b++) {
      const float weight = row_weight * (b ? cols.weight : 1.0f - cols.weight);
      float value[V];
      load_floats(value, row + size_t(b ? cols.second : cols.first) * c);
#pragma unroll
      for (int k = 0; k < V; k++) sum[k] += weight * value[k];
    }
  }
  store_floats(y + ((image * 2 * h + s.row) * 2 * w + s.col) * c + s.channel, sum);
}

template <int V, class T>
__device__ __forceinline__ void bilinear_bwd(T* dx, const T* dy, int h, int w, int c) {
  const PixelSlice s(h, w, c, V);
  if (!s.inside) return;
  const size_t image = blockIdx.y;
  const Reach rows(s.row, h), cols(s.col, w);
  float sum[V] = {};
#pragma unroll 1
  for (int p = rows.first; p <= rows.last; p++) {
    const float row_weight = rows.weight(p);
    const T* row = dy + (image * 2 * h + p) * 2 * w * c + s.channel;
#pragma unroll 1
    for (int q = cols.first; q <= cols.last; q++) {
      const float weight = row_weight * cols.weight(q);
      float d[V];
      load_floats(d, row + size_t(q) * c);
#pragma unroll
      for (int k = 0; k < V; k++) sum[k] += weight * d[k];
    }
  }
  store_floats(dx + ((image * h + s.row) * w + s.col) * c + s.channel, sum);
}

template <class T>
__global__ void __launch_bounds__(256) upsample_nearest_fwd(T* __restrict__ y,        // [n, 2h, 2w, c]
                                                            const T* __restrict__ x,  // [n, h, w, c]
                                                            int h, int w, int c) {
  if (rows_are_vectors<T>(c)) nearest_fwd<Vec<T>::SIZE>(y, x, h, w, c);
  else nearest_fwd<1>(y, x, h, w, c);
}

template <class T>
__global__ void __launch_bounds__(256) upsample_nearest_bwd(T* __restrict__ dx,        // [n, h, w, c]
                                                            const T* __restrict__ dy,  // [n, 2h, 2w, c]
                                                            int h, int w, int c) {
  if (rows_are_vectors<T>(c)) nearest_bwd<Vec<T>::SIZE>(dx, dy, h, w, c);
  else nearest_bwd<1>(dx, dy, h, w, c);
}

template <class T>
__global__ void __launch_bounds__(256) upsample_bilinear_fwd(T* __restrict__ y,        // [n, 2h, 2w, c]
                                                             const T* __restrict__ x,  // [n, h, w, c]
                                                             int h, int w, int c) {
  if (rows_are_vectors<T>(c)) bilinear_fwd<Vec<T>::SIZE>(y, x, h, w, c);
  else bilinear_fwd<1>(y, x, h, w, c);
}

template <class T>
__global__ void __launch_bounds__(256, 5) upsample_bilinear_bwd(T* __restrict__ dx,        // [n, h, w, c]
                                                                const T* __restrict__ dy,  // [n, 2h, 2w, c]
                                                                int h, int w, int c) {
  if (rows_are_vectors<T>(c)) bilinear_bwd<Vec<T>::SIZE>(dx, dy, h, w, c);
  else bilinear_bwd<1>(dx, dy, h, w, c);
}

EXPORT_F32_BF16(upsample_nearest_fwd)
EXPORT_F32_BF16(upsample_nearest_bwd)
EXPORT_F32_BF16(upsample_bilinear_fwd)
EXPORT_F32_BF16(upsample_bilinear_bwd)
