// The backward pass of one slab: sums per channel, gradients of the parameters and of what each image brings, gradient of
// the input.
#pragma once
#include "slab.cuh"

namespace group_norm {

// dz from dy: the gradient in front of the activation. `centred` is x + b - mean, scale is rstd * gamma,
// with an image's own scale times 1 + s.
__device__ __forceinline__ float before_activation(float dy, float centred, float scale, float shift, bool silu) {
  if (!silu) return dy;
  const float z = centred * scale + shift, s = sigmoid(z);
  return dy * s * (1.f + z * (1.f - s));
}

// What a thread reads of one pixel: its vector of x, of dy, and of contributions to dx that have been there before.
template <class T, int VEC, int EARLIER> struct Loaded {
  Vec<T, VEC> x, dy, earlier[EARLIER > 0 ? EARLIER : 1];

  Loaded() = default;
  __device__ __forceinline__ Loaded(const T* __restrict__ x, size_t at, const T* __restrict__ dy,
                                    const T* __restrict__ first, const T* __restrict__ second)
      : x(load_vec<VEC>(x)), dy(load_vec<VEC>(dy + at)) {
    if (EARLIER > 0) earlier[0] = load_vec<VEC>(first + at);
    if (EARLIER > 1) earlier[1] = load_vec<VEC>(second + at);
  }

  __device__ __forceinline__ void gradient(float (&out)[VEC]) const {
#pragma unroll
    for (int e = 0; e < VEC; e++) out[e] = to_float(dy[e]);
  }
};

// Per channel: the sums of dz and of dz * xhat over the pixels.
template <class T, int VEC, bool DROPS, class X, class A>
__device__ __forceinline__ void add_gradients(Slab<T, VEC>& slab, const T* __restrict__ dy, const X& x,
                                              const A& affine, const float* __restrict__ group_stats, const Bias<T>& bias,
                                              const Mask<DROPS>& mask, bool silu) {
  for (int v0 = 0; v0 < slab.vectors; v0 += slab.columns) {
    const int v = v0 + slab.column;
    float s[VEC] = {}, q[VEC] = {};
    if (slab.owns(v)) {
      float mean[VEC], scale[VEC], shift[VEC];
#pragma unroll
      for (int e = 0; e < VEC; e++) {
        const int channel = v * VEC + e, g = channel / slab.width;
        mean[e] = group_stats[g * 2] - bias[channel];
        scale[e] = group_stats[g * 2 + 1] * affine.scale(channel);
        shift[e] = affine.shift(channel);
      }
      const Column<const T> column = x.column(slab, v * VEC);
      for_pixels<2>(
          slab, [&](int p) { return Loaded<T, VEC, 0>(column.at(p), slab.offset(p, v), dy, nullptr, nullptr); },
          [&](int p, const Loaded<T, VEC, 0>& loaded) {
            float gradient[VEC];
            loaded.gradient(gradient);
            mask.apply(gradient, slab.element(p, v));
#pragma unroll
            for (int e = 0; e < VEC; e++) {
              const float centred = to_float(loaded.x[e]) - mean[e];
              const float dz = before_activation(gradient[e], centred, scale[e], shift[e], silu);
              s[e] += dz;
              q[e] += dz * centred;
            }
          });
#pragma unroll
      for (int e = 0; e < VEC; e++) q[e] *= group_stats[(v * VEC + e) / slab.width * 2 + 1];
    }
    slab.add_rows(v0, s, q);
  }
}

// Per group, one warp each: the means of gamma * dz and of gamma * dz * xhat.
template <class T, int VEC, class A>
__device__ __forceinline__ void find_means(Slab<T, VEC>& slab, const A& affine) {
  const int lane = threadIdx.x % 32;
  for (int g = threadIdx.x / 32; g < slab.groups; g += blockDim.x / 32) {
    float s = 0.f, q = 0.f;
    for (int i = g * slab.width + lane; i < (g + 1) * slab.width; i += 32) {
      const float weight = affine.scale(i);
      s += weight * slab.sums[i].x;
      q += weight * slab.sums[i].y;
    }
    s = warp_sum(s);
    q = warp_sum(q);
    const float count = float(slab.width) * slab.pixels;
    if (lane == 0) slab.group[g] = make_float2(s / count, q / count);
  }
  __syncthreads();
}

// dgamma and dbeta of the slab's channels: the sums of all images, added in a fixed order. Threads form rows that stride
// over the images; the rows are then added in order.
template <class T, int VEC>
__device__ __forceinline__ void add_images(Slab<T, VEC>& slab, float* __restrict__ dgamma, float* __restrict__ dbeta,
                                           const float2* channel_sums, int images) {
  const int columns = min(slab.channels, int(blockDim.x)), rows = blockDim.x / columns;
  const int column = threadIdx.x % columns, row = threadIdx.x / columns;
  for (int first = 0; first < slab.channels; first += columns) {
    const int channel = first + column;
    const bool works = row < rows && channel < slab.channels;
    float2 total = make_float2(0.f, 0.f);
    if (works)
#pragma unroll 4
      for (int image = row; image < images; image += rows) {
        const float2 sums = __ldcg(channel_sums + size_t(image) * slab.c + slab.first + channel);
        total.x += sums.x;
        total.y += sums.y;
      }
    slab.partial[threadIdx.x] = total;
    __syncthreads();
    if (works && row == 0) {
      for (int r = 1; r < rows; r++) {
        total.x += slab.partial[r * columns + column].x;
        total.y += slab.partial[r * columns + column].y;
      }
      if (dbeta) dbeta[slab.first + channel] = total.x;
      if (dgamma) dgamma[slab.first + channel] = total.y;
    }
    __syncthreads();
  }
}

// dx = scale * dz - offset - slope * (x + b - mean), of which all but dz and x are constant in a channel.
struct InputGradient {
  float mean, scale, offset, slope;

  template <class T, int VEC, class A>
  __device__ __forceinline__ InputGradient(const Slab<T, VEC>& slab, int channel, const A& affine,
                                           const float* __restrict__ group_stats, const Bias<T>& bias) {
    const int g = channel / slab.width;
    const float rstd = group_stats[g * 2 + 1];
    mean = group_stats[g * 2] - bias[channel];
    scale = rstd * affine.scale(channel);
    offset = rstd * slab.group[g].x;
    slope = rstd * rstd * slab.group[g].y;
  }
};

// dx, to which `EARLIER` contributions of other consumers of x are added, (dx + first) + second, before it is rounded.
template <int EARLIER, class T, int VEC, bool DROPS, class DX, class X, class A>
__device__ __forceinline__ void write_dx(const Slab<T, VEC>& slab, const DX& dx, const T* __restrict__ dy,
                                         const X& x, const A& affine, const float* __restrict__ group_stats,
                                         const T* __restrict__ first, const T* __restrict__ second,
                                         const Bias<T>& bias, const Mask<DROPS>& mask, bool silu) {
  for (int v = slab.column; slab.owns(v); v += slab.columns) {
    float mean[VEC], scale[VEC], shift[VEC], offset[VEC], slope[VEC];
#pragma unroll
    for (int e = 0; e < VEC; e++) {
      const InputGradient constants(slab, v * VEC + e, affine, group_stats, bias);
      mean[e] = constants.mean;
      scale[e] = constants.scale;
      offset[e] = constants.offset;
      slope[e] = constants.slope;
      shift[e] = affine.shift(v * VEC + e);
    }
    const Column<const T> column = x.column(slab, v * VEC);
    const Column<T> results = dx.column(slab, v * VEC);
    for_pixels<2>(
        slab, [&](int p) { return Loaded<T, VEC, EARLIER>(column.at(p), slab.offset(p, v), dy, first, second); },
        [&](int p, const Loaded<T, VEC, EARLIER>& loaded) {
          float gradient[VEC], result[VEC];
          loaded.gradient(gradient);
          mask.apply(gradient, slab.element(p, v));
#pragma unroll
          for (int e = 0; e < VEC; e++) {
            const float centred = to_float(loaded.x[e]) - mean[e];
            const float dz = before_activation(gradient[e], centred, scale[e], shift[e], silu);
            result[e] = scale[e] * dz - offset[e] - slope[e] * centred;
#pragma unroll
            for (int i = 0; i < EARLIER; i++) result[e] += to_float(loaded.earlier[i][e]);
          }
          store_floats(results.at(p), result);
        });
  }
}

// The gradient of the bias is the sum of a channel's dx over the P pixels, of which all terms are known already:
//
//   sum dx = scale * (sum dz) - P * (offset + slope * shift)        shift: the channel's mean of x + b, less the group's
template <class T, int VEC, class A>
__device__ __forceinline__ void write_dbias(const Slab<T, VEC>& slab, T* __restrict__ dbias, const A& affine,
                                            const float* __restrict__ group_stats,
                                            const float* __restrict__ shifts, const Bias<T>& bias) {
  for (int i = threadIdx.x; i < slab.channels; i += blockDim.x) {
    const InputGradient constants(slab, i, affine, group_stats, bias);
    const float lost = slab.pixels * (constants.offset + constants.slope * shifts[slab.first + i]);
    dbias[i] = from_float<T>(constants.scale * slab.sums[i].x - lost);
  }
}

// The gradients of an image's own scale and shift: z = (gamma * xhat + beta) * (1 + s) + t makes them
//
//   ds = gamma * (sum dz * xhat) + beta * (sum dz)        dt = sum dz        over pixels
template <class T, int VEC, class A>
__device__ __forceinline__ void write_dscale(const Slab<T, VEC>& slab, T* __restrict__ dscale, const A& affine) {
  for (int i = threadIdx.x; i < slab.channels; i += blockDim.x) {
    const float2 sums = slab.sums[i];
    dscale[i] = from_float<T>(affine.gamma[i] * sums.y + affine.beta[i] * sums.x);
    dscale[slab.c + i] = from_float<T>(sums.x);
  }
}

}  // namespace group_norm
