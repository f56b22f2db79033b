// What one block of group normalisation works on, and how its threads share it.
#pragma once

namespace group_norm {

// The dimensions of a launch: a block for each image and `slab_groups` groups of it. Of a joined input the channels from
// `split` on lie in the second tensor.
struct Dims {
  int pixels, c, split, groups, slab_groups;

  __device__ __forceinline__ int slabs() const { return (groups + slab_groups - 1) / slab_groups; }
  // Whether the channels of every slab are whole vectors of 16 bytes. Those before the split always are.
  template <class T> __device__ __forceinline__ bool vectorizes() const {
    return c % Vec<T>::SIZE == 0 && slab_groups * (c / groups) % Vec<T>::SIZE == 0;
  }
};

// The pixels of one image times the channels of some neighbouring groups, and the part of it that this thread holds:
// vectors of VEC channels. VEC = 1 serves channel counts that do not allow 16-byte access.
template <class T, int VEC> struct Slab {
  int image, index;                     // which slab of the image
  int first_group, groups, width;       // width: channels of a group
  int c, split;                         // channels of x, and of those in its first tensor
  int first, channels;                  // before the slab, in the slab
  size_t base;                          // of the slab's first channel in the image's first pixel
  int pixels, vectors, columns, rows, column, row;
  float2* partial;  // [rows, columns * VEC]
  float2* sums;     // [channels]
  float2* group;    // [groups]

  __device__ __forceinline__ Slab(float2* shared, const Dims& dims)
      : width(dims.c / dims.groups), c(dims.c), split(dims.split), pixels(dims.pixels) {
    image = blockIdx.x / dims.slabs();
    index = blockIdx.x % dims.slabs();
    first_group = index * dims.slab_groups;
    groups = min(dims.slab_groups, dims.groups - first_group);
    first = first_group * width;
    channels = groups * width;
    base = size_t(image) * pixels * c + first;
    vectors = channels / VEC;
    columns = min(vectors, int(blockDim.x));
    rows = blockDim.x / columns;
    column = threadIdx.x % columns;
    row = threadIdx.x / columns;
    partial = shared;
    sums = partial + blockDim.x * VEC;
    group = sums + dims.slab_groups * width;
  }

  __device__ __forceinline__ bool owns(int vector) const { return row < rows && vector < vectors; }
  __device__ __forceinline__ size_t offset(int pixel, int vector) const { return base + size_t(pixel) * c + vector * VEC; }
  // The pixel whose values are the channels' pivots.
  __device__ __forceinline__ int middle() const { return pixels / 2; }
  // Of a vector's first channel, within its image: what the counters of dropout go by.
  __device__ __forceinline__ uint32_t element(int pixel, int vector) const {
    return uint32_t(pixel) * c + first + vector * VEC;
  }

  // Adds the pairs (s, q) of all rows; the totals of `columns` vectors from `vector0` on land in `sums`.
  __device__ __forceinline__ void add_rows(int vector0, const float (&s)[VEC], const float (&q)[VEC]) {
    const int row_width = columns * VEC, parts = max(1, min(rows, int(blockDim.x) / row_width));
    if (row < rows)
#pragma unroll
      for (int e = 0; e < VEC; e++) partial[row * row_width + column * VEC + e] = make_float2(s[e], q[e]);
    __syncthreads();
    for (int i = threadIdx.x; i < parts * row_width; i += blockDim.x) {
      float2 total = partial[i];
      for (int r = i + parts * row_width; r < rows * row_width; r += parts * row_width) {
        total.x += partial[r].x;
        total.y += partial[r].y;
      }
      partial[i] = total;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < row_width && vector0 * VEC + i < channels; i += blockDim.x) {
      float2 total = partial[i];
      for (int part = 1; part < parts; part++) {
        total.x += partial[part * row_width + i].x;
        total.y += partial[part * row_width + i].y;
      }
      sums[vector0 * VEC + i] = total;
    }
    __syncthreads();
  }
};

// A channel, and those next to it in its vector, of every pixel of an image.
template <class T> struct Column {
  T* tensor;
  size_t image;  // the element of its first pixel's first channel
  int channel, pitch;

  __device__ __forceinline__ T* at(int pixel) const { return tensor + (image + size_t(pixel) * pitch + channel); }
};

// x or dx: [n, pixels, c], or JOINED two tensors that stand for it, [n, pixels, split] and [n, pixels, c - split]. A thread
// keeps its channels, so it finds out once in which of the two they lie; what that takes of registers is had from the
// loads that are under way.
template <class T, bool JOINED> struct Input {
  static constexpr int BATCH = JOINED ? 3 : 4;    // pixels, forward
  static constexpr int EARLIER = JOINED ? 1 : 2;  // contributions to dx from before, at most
  T *first, *second;

  template <class Slab> __device__ __forceinline__ Column<T> column(const Slab& slab, int channel) const {
    if (!JOINED) return {first, slab.base, channel, slab.c};
    const int at = slab.first + channel, rest = slab.c - slab.split;
    const size_t pixel = size_t(slab.image) * slab.pixels;
    const bool in_second = at >= slab.split;
    return {in_second ? second + pixel * rest : first + pixel * slab.split, 0, in_second ? at - slab.split : at,
            in_second ? rest : slab.split};
  }
};

// Calls use(pixel, load(pixel)) for every pixel of this thread's row, BATCH loads ahead: so many are under way at a time.
template <int BATCH, class Slab, class Load, class Use>
__device__ __forceinline__ void for_pixels(const Slab& slab, Load load, Use use) {
  for (int first = slab.row; first < slab.pixels; first += BATCH * slab.rows) {
    decltype(load(0)) loaded[BATCH];
#pragma unroll
    for (int i = 0; i < BATCH; i++)
      if (first + i * slab.rows < slab.pixels) loaded[i] = load(first + i * slab.rows);
#pragma unroll
    for (int i = 0; i < BATCH; i++)
      if (first + i * slab.rows < slab.pixels) use(first + i * slab.rows, loaded[i]);
  }
}

// Of values of images and channels, [n, columns] or absent: the columns that are this layer's.
template <class T> struct Columns {
  T* values;
  int columns, first;

  // Those of the slab's channels in its image, or null.
  template <class Slab> __device__ __forceinline__ T* of(const Slab& slab) const {
    return values ? values + size_t(slab.image) * columns + first + slab.first : nullptr;
  }
};

// The bias of each channel of a slab, which may be absent.
template <class T> struct Bias {
  const T* values;
  __device__ __forceinline__ float operator[](int channel) const { return values ? to_float(values[channel]) : 0.f; }
};

// What the normalised channels of a slab are multiplied by, and what is added then: gamma and beta, or with SCALES what the
// image's own scale s and shift t make of them, (gamma * xhat + beta) * (1 + s) + t. It is all the same to a thread, whose
// channels keep their constants.
template <class T, bool SCALES> struct Affine {
  const float *gamma, *beta;  // of the slab's first channel on
  const T* scales;            // likewise, with SCALES; the shifts lie c further
  int c;

  template <class Slab>
  __device__ __forceinline__ Affine(const Slab& slab, const float* gamma, const float* beta, const Columns<const T>& image)
      : gamma(gamma + slab.first), beta(beta + slab.first), scales(SCALES ? image.of(slab) : nullptr), c(slab.c) {}

  // 1 + s
  __device__ __forceinline__ float own(int channel) const { return SCALES ? 1.f + to_float(scales[channel]) : 1.f; }
  __device__ __forceinline__ float scale(int channel) const {
    return SCALES ? gamma[channel] * own(channel) : gamma[channel];
  }
  __device__ __forceinline__ float shift(int channel) const {
    return SCALES ? beta[channel] * own(channel) + to_float(scales[c + channel]) : beta[channel];
  }
};

// Floats of an image's statistics: mean and rstd of each group, then, where there is a bias, how far the mean of each
// channel lies from its group's.
__device__ __forceinline__ size_t stats_width(const Dims& dims, bool has_bias) {
  return 2 * dims.groups + (has_bias ? dims.c : 0);
}

// The mask of dropout, or none: what does not drop costs nothing.
template <bool DROPS> struct Mask : DropoutMask {
  using DropoutMask::DropoutMask;
};
template <> struct Mask<false> {
  __device__ __forceinline__ Mask(const uint32_t*, uint32_t, const Dropout&) {}
  template <int N> __device__ __forceinline__ void apply(float (&)[N], uint32_t) const {}
};

}  // namespace group_norm
