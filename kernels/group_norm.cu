// Group normalisation over the pixels and the channels of a group, alone or followed by SiLU.
//
//   xhat = (x - mean) * rstd          z = gamma * xhat + beta          y = z  or  z * sigmoid(z)
//   dz = dy  or  dy * sigmoid(z) * (1 + z * (1 - sigmoid(z)))
//   dbeta_c = sum dz     dgamma_c = sum dz * xhat                                    over images and pixels
//   dx = rstd * (gamma * dz - (mean over the group of gamma * dz) - xhat * (mean over the group of gamma * dz * xhat))
//
// In [n, pixels, c] a group is only a few channels wide (4 of bf16 = 8 bytes), so a block takes a slab: the pixels of one
// image times some whole neighbouring groups. Its threads form a grid, `columns` vectors of 16 bytes across the channels
// times `rows` of pixels; a thread keeps its channels and strides over pixels:
//
//   for each pixel of my row:       sums[my channels] += ...        registers
//   add the rows up, in order:      sums[channel]                   shared memory
//   for each group, one warp:       statistics from its channels
//   for each pixel of my row:       the result                      the second read hits L1 or L2
//
// Both passes reduce per channel, which gives dgamma and dbeta of one image for free. The variance is a sum of squares
// around a pivot, the value of the channel in the middle pixel: it cannot cancel as E[x^2] - E[x]^2 does.
#include "common/common.cuh"

namespace group_norm {

// What one block works on, and which part of it this thread holds. VEC = 1 serves channel counts that do not
// allow 16-byte access.
template <class T, int VEC> struct Slab {
  size_t base;           // of the slab's first channel in the image's first pixel
  int c, first, channels;  // of the tensor, before the slab, in the slab
  int pixels, vectors, columns, rows, column, row;
  float2* partial;  // [rows, columns * VEC]
  float2* sums;     // [channels]
  float2* group;    // [groups of the slab]

  __device__ __forceinline__ Slab(float2* shared, int image, int slab, int slab_channels, int pixels, int c)
      : base(size_t(image) * pixels * c + size_t(slab) * slab_channels), c(c), first(slab * slab_channels),
        channels(min(slab_channels, c - slab * slab_channels)), pixels(pixels) {
    vectors = channels / VEC;
    columns = min(vectors, int(blockDim.x));
    rows = blockDim.x / columns;
    column = threadIdx.x % columns;
    row = threadIdx.x / columns;
    partial = shared;
    sums = partial + blockDim.x * VEC;
    group = sums + slab_channels;
  }

  __device__ __forceinline__ bool owns(int vector) const { return row < rows && vector < vectors; }
  __device__ __forceinline__ size_t offset(int pixel, int vector) const { return base + size_t(pixel) * c + vector * VEC; }

  // Adds the pairs (s, q) of all rows; the totals of `columns` vectors from `vector0` on land in `sums`.
  __device__ __forceinline__ void add_rows(int vector0, const float (&s)[VEC], const float (&q)[VEC]) {
    const int width = columns * VEC, parts = max(1, min(rows, int(blockDim.x) / width));
    if (row < rows)
#pragma unroll
      for (int e = 0; e < VEC; e++) partial[row * width + column * VEC + e] = make_float2(s[e], q[e]);
    __syncthreads();
    for (int i = threadIdx.x; i < parts * width; i += blockDim.x) {
      float2 total = partial[i];
      for (int r = i + parts * width; r < rows * width; r += parts * width) {
        total.x += partial[r].x;
        total.y += partial[r].y;
      }
      partial[i] = total;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < width && vector0 * VEC + i < channels; i += blockDim.x) {
      float2 total = partial[i];
      for (int part = 1; part < parts; part++) {
        total.x += partial[part * width + i].x;
        total.y += partial[part * width + i].y;
      }
      sums[vector0 * VEC + i] = total;
    }
    __syncthreads();
  }
};

template <class T, int VEC>
__device__ __forceinline__ void forward(T* __restrict__ y, float* __restrict__ stats, const T* __restrict__ x,
                                        const float* __restrict__ gamma, const float* __restrict__ beta, int pixels,
                                        int c, int groups, int slab_groups, float eps, bool silu) {
  DYNAMIC_SMEM(float2, shared);
  const int width = c / groups, slabs = (groups + slab_groups - 1) / slab_groups;
  const int image = blockIdx.x / slabs, slab_index = blockIdx.x % slabs;
  Slab<T, VEC> slab(shared, image, slab_index, slab_groups * width, pixels, c);
  const T* pivots = x + slab.offset(pixels / 2, 0);

  for (int v0 = 0; v0 < slab.vectors; v0 += slab.columns) {
    const int v = v0 + slab.column;
    float s[VEC] = {}, q[VEC] = {};
    if (slab.owns(v)) {
      float pivot[VEC];
      load_floats(pivot, pivots + v * VEC);
#pragma unroll 4
      for (int p = slab.row; p < pixels; p += slab.rows) {
        float value[VEC];
        load_floats(value, x + slab.offset(p, v));
#pragma unroll
        for (int e = 0; e < VEC; e++) {
          const float d = value[e] - pivot[e];
          s[e] += d;
          q[e] += d * d;
        }
      }
    }
    slab.add_rows(v0, s, q);
  }

  const int lane = threadIdx.x % 32, slab_size = slab.channels / width;
  for (int g = threadIdx.x / 32; g < slab_size; g += blockDim.x / 32) {
    float mean = 0.f, squares = 0.f;
    for (int i = g * width + lane; i < (g + 1) * width; i += 32)
      mean += to_float(pivots[i]) + slab.sums[i].x / pixels;
    mean = warp_sum(mean) / width;
    for (int i = g * width + lane; i < (g + 1) * width; i += 32) {
      const float2 t = slab.sums[i];
      const float shift = to_float(pivots[i]) + t.x / pixels - mean;
      squares += t.y - t.x * t.x / pixels + pixels * shift * shift;
    }
    const float variance = fmaxf(warp_sum(squares), 0.f) / (float(width) * pixels);
    if (lane == 0) {
      const float rstd = rsqrtf(variance + eps);
      const size_t at = (size_t(image) * groups + slab_index * slab_groups + g) * 2;
      stats[at] = mean;
      stats[at + 1] = rstd;
      slab.group[g] = make_float2(mean, rstd);
    }
  }
  __syncthreads();

  for (int v = slab.column; slab.owns(v); v += slab.columns) {
    float mean[VEC], scale[VEC], shift[VEC];
#pragma unroll
    for (int e = 0; e < VEC; e++) {
      const int channel = v * VEC + e;
      const float2 group = slab.group[channel / width];
      mean[e] = group.x;
      scale[e] = group.y * gamma[slab.first + channel];
      shift[e] = beta[slab.first + channel];
    }
#pragma unroll 4
    for (int p = slab.row; p < pixels; p += slab.rows) {
      float value[VEC];
      load_floats(value, x + slab.offset(p, v));
#pragma unroll
      for (int e = 0; e < VEC; e++) {
        const float z = (value[e] - mean[e]) * scale[e] + shift[e];
        value[e] = silu ? z * sigmoid(z) : z;
      }
      store_floats(y + slab.offset(p, v), value);
    }
  }
}

// dz from dy: the gradient in front of the activation. `centred` is x - mean, scale is rstd * gamma.
__device__ __forceinline__ float before_activation(float dy, float centred, float scale, float beta, bool silu) {
  if (!silu) return dy;
  const float z = centred * scale + beta, s = sigmoid(z);
  return dy * s * (1.f + z * (1.f - s));
}

template <class T, int VEC>
__device__ __forceinline__ void backward(T* __restrict__ dx, float* __restrict__ channel_sums,
                                         const T* __restrict__ dy, const T* __restrict__ x,
                                         const float* __restrict__ gamma, const float* __restrict__ beta,
                                         const float* __restrict__ stats, int pixels, int c, int groups,
                                         int slab_groups, bool silu) {
  DYNAMIC_SMEM(float2, shared);
  const int width = c / groups, slabs = (groups + slab_groups - 1) / slab_groups;
  const int image = blockIdx.x / slabs, slab_index = blockIdx.x % slabs;
  Slab<T, VEC> slab(shared, image, slab_index, slab_groups * width, pixels, c);
  const float* group_stats = stats + (size_t(image) * groups + slab_index * slab_groups) * 2;

  for (int v0 = 0; v0 < slab.vectors; v0 += slab.columns) {
    const int v = v0 + slab.column;
    float s[VEC] = {}, q[VEC] = {};
    if (slab.owns(v)) {
      float mean[VEC], rstd[VEC], scale[VEC], shift[VEC];
#pragma unroll
      for (int e = 0; e < VEC; e++) {
        const int channel = v * VEC + e;
        mean[e] = group_stats[channel / width * 2];
        rstd[e] = group_stats[channel / width * 2 + 1];
        scale[e] = rstd[e] * gamma[slab.first + channel];
        shift[e] = beta[slab.first + channel];
      }
#pragma unroll 2
      for (int p = slab.row; p < pixels; p += slab.rows) {
        float value[VEC], gradient[VEC];
        load_floats(value, x + slab.offset(p, v));
        load_floats(gradient, dy + slab.offset(p, v));
#pragma unroll
        for (int e = 0; e < VEC; e++) {
          const float centred = value[e] - mean[e];
          const float dz = before_activation(gradient[e], centred, scale[e], shift[e], silu);
          s[e] += dz;
          q[e] += dz * centred;
        }
      }
#pragma unroll
      for (int e = 0; e < VEC; e++) q[e] *= rstd[e];
    }
    slab.add_rows(v0, s, q);
  }

  for (int i = threadIdx.x; i < slab.channels; i += blockDim.x) {
    const size_t at = (size_t(image) * c + slab.first + i) * 2;
    channel_sums[at] = slab.sums[i].x;
    channel_sums[at + 1] = slab.sums[i].y;
  }
  const int lane = threadIdx.x % 32, slab_size = slab.channels / width;
  for (int g = threadIdx.x / 32; g < slab_size; g += blockDim.x / 32) {
    float s = 0.f, q = 0.f;
    for (int i = g * width + lane; i < (g + 1) * width; i += 32) {
      const float weight = gamma[slab.first + i];
      s += weight * slab.sums[i].x;
      q += weight * slab.sums[i].y;
    }
    s = warp_sum(s);
    q = warp_sum(q);
    const float count = float(width) * pixels;
    if (lane == 0) slab.group[g] = make_float2(s / count, q / count);
  }
  __syncthreads();

  for (int v = slab.column; slab.owns(v); v += slab.columns) {
    // dx = scale * dz - offset - slope * (x - mean)
    float mean[VEC], scale[VEC], shift[VEC], offset[VEC], slope[VEC];
#pragma unroll
    for (int e = 0; e < VEC; e++) {
      const int channel = v * VEC + e;
      const float2 group = slab.group[channel / width];
      const float rstd = group_stats[channel / width * 2 + 1];
      mean[e] = group_stats[channel / width * 2];
      scale[e] = rstd * gamma[slab.first + channel];
      shift[e] = beta[slab.first + channel];
      offset[e] = rstd * group.x;
      slope[e] = rstd * rstd * group.y;
    }
#pragma unroll 2
    for (int p = slab.row; p < pixels; p += slab.rows) {
      float value[VEC], gradient[VEC];
      load_floats(value, x + slab.offset(p, v));
      load_floats(gradient, dy + slab.offset(p, v));
#pragma unroll
      for (int e = 0; e < VEC; e++) {
        const float centred = value[e] - mean[e];
        const float dz = before_activation(gradient[e], centred, scale[e], shift[e], silu);
        value[e] = scale[e] * dz - offset[e] - slope[e] * centred;
      }
      store_floats(dx + slab.offset(p, v), value);
    }
  }
}

// Whether the channels of every slab are whole vectors of 16 bytes.
template <class T> __device__ __forceinline__ bool vectorizes(int c, int groups, int slab_groups) {
  return c % Vec<T>::SIZE == 0 && slab_groups * (c / groups) % Vec<T>::SIZE == 0;
}

}  // namespace group_norm

// One block per (image, slab of `slab_groups` groups).
template <class T>
__global__ void __launch_bounds__(512, 1)
    group_norm_fwd(T* __restrict__ y,                 // [n, pixels, c]
                   float* __restrict__ stats,         // [n, groups, 2]: mean, rstd
                   const T* __restrict__ x,           // [n, pixels, c]
                   const float* __restrict__ gamma,   // [c]
                   const float* __restrict__ beta,    // [c]
                   int pixels, int c, int groups, int slab_groups, float eps, int silu) {
  if (group_norm::vectorizes<T>(c, groups, slab_groups))
    group_norm::forward<T, Vec<T>::SIZE>(y, stats, x, gamma, beta, pixels, c, groups, slab_groups, eps, silu);
  else
    group_norm::forward<T, 1>(y, stats, x, gamma, beta, pixels, c, groups, slab_groups, eps, silu);
}

// One block per (image, slab of `slab_groups` groups).
template <class T>
__global__ void __launch_bounds__(512, 1)
    group_norm_bwd_dx(T* __restrict__ dx,                  // [n, pixels, c]
                      float* __restrict__ channel_sums,    // [n, c, 2]: sum of dz, sum of dz * xhat
                      const T* __restrict__ dy,            // [n, pixels, c]
                      const T* __restrict__ x,             // [n, pixels, c]
                      const float* __restrict__ gamma,     // [c]
                      const float* __restrict__ beta,      // [c]
                      const float* __restrict__ stats,     // [n, groups, 2]
                      int pixels, int c, int groups, int slab_groups, int silu) {
  if (group_norm::vectorizes<T>(c, groups, slab_groups))
    group_norm::backward<T, Vec<T>::SIZE>(dx, channel_sums, dy, x, gamma, beta, stats, pixels, c, groups, slab_groups, silu);
  else
    group_norm::backward<T, 1>(dx, channel_sums, dy, x, gamma, beta, stats, pixels, c, groups, slab_groups, silu);
}

// The channel sums of all images, added in a fixed order. A block: 32 channels times 8 threads that stride over images.
__global__ void __launch_bounds__(256)
    group_norm_bwd_dw(float* __restrict__ dgamma,              // [c], may be absent
                      float* __restrict__ dbeta,               // [c], may be absent
                      const float* __restrict__ channel_sums,  // [n, c, 2]
                      int n, int c) {
  __shared__ float2 partial[8][32];
  const int lane = threadIdx.x % 32, row = threadIdx.x / 32, channel = blockIdx.x * 32 + lane;
  float2 total = make_float2(0.f, 0.f);
  if (channel < c)
#pragma unroll 4
    for (int image = row; image < n; image += 8) {
      const float2 v = reinterpret_cast<const float2*>(channel_sums)[size_t(image) * c + channel];
      total.x += v.x;
      total.y += v.y;
    }
  partial[row][lane] = total;
  __syncthreads();
  if (row == 0 && channel < c) {
    for (int r = 1; r < 8; r++) {
      total.x += partial[r][lane].x;
      total.y += partial[r][lane].y;
    }
    if (dbeta) dbeta[channel] = total.x;
    if (dgamma) dgamma[channel] = total.y;
  }
}

EXPORT_F32_BF16(group_norm_fwd)
EXPORT_F32_BF16(group_norm_bwd_dx)
EXPORT(group_norm_bwd_dw)
