// The forward pass of one slab: moments, statistics, result.
#pragma once
#include "slab.cuh"

namespace group_norm {

// Per channel: the sums of x - pivot and of its square over the pixels. A bias of the channel moves x and pivot alike, so
// these sums do not know of it.
template <class T, int VEC, class X>
__device__ __forceinline__ void add_moments(Slab<T, VEC>& slab, const X& x) {
  for (int v0 = 0; v0 < slab.vectors; v0 += slab.columns) {
    const int v = v0 + slab.column;
    float s[VEC] = {}, q[VEC] = {};
    if (slab.owns(v)) {
      const Column<const T> column = x.column(slab, v * VEC);
      float pivot[VEC];
      load_floats(pivot, column.at(slab.middle()));
      for_pixels<X::BATCH>(
          slab, [&](int p) { return load_vec<VEC>(column.at(p)); },
          [&](int, const Vec<T, VEC>& values) {
#pragma unroll
            for (int e = 0; e < VEC; e++) {
              const float d = to_float(values[e]) - pivot[e];
              s[e] += d;
              q[e] += d * d;
            }
          });
    }
    slab.add_rows(v0, s, q);
  }
}

// Mean and reciprocal standard deviation of each group, one warp each; with a bias also how far each channel's mean lies
// from its group's, of which the backward pass makes the gradient of the bias.
template <class T, int VEC, class X>
__device__ __forceinline__ void find_statistics(Slab<T, VEC>& slab, float* __restrict__ stats,
                                                const X& x, const Bias<T>& bias, int all_groups,
                                                float eps) {
  auto pivot = [&](int channel) { return to_float(*x.column(slab, channel).at(slab.middle())); };
  float* const shifts = stats + 2 * all_groups + slab.first;
  const int lane = threadIdx.x % 32, width = slab.width;
  const float pixels = slab.pixels, per_pixel = 1.f / pixels;
  for (int g = threadIdx.x / 32; g < slab.groups; g += blockDim.x / 32) {
    float mean = 0.f, squares = 0.f;
#pragma unroll 1
    for (int i = g * width + lane; i < (g + 1) * width; i += 32)
      mean += pivot(i) + bias[i] + slab.sums[i].x * per_pixel;
    mean = warp_sum(mean) / width;
#pragma unroll 1
    for (int i = g * width + lane; i < (g + 1) * width; i += 32) {
      const float2 t = slab.sums[i];
      const float shift = pivot(i) + bias[i] + t.x * per_pixel - mean;
      squares += t.y - t.x * (t.x * per_pixel) + pixels * shift * shift;
      if (bias.values) shifts[i] = shift;
    }
    const float variance = fmaxf(warp_sum(squares), 0.f) / (width * pixels);
    if (lane == 0) {
      const float rstd = rsqrtf(variance + eps);
      stats[(slab.first_group + g) * 2] = mean;
      stats[(slab.first_group + g) * 2 + 1] = rstd;
      slab.group[g] = make_float2(mean, rstd);
    }
  }
  __syncthreads();
}

template <class T, int VEC, bool DROPS, class X, class A>
__device__ __forceinline__ void normalize(const Slab<T, VEC>& slab, T* __restrict__ y, const X& x, const A& affine,
                                          const Bias<T>& bias, const Mask<DROPS>& mask, bool silu) {
  for (int v = slab.column; slab.owns(v); v += slab.columns) {
    float mean[VEC], scale[VEC], shift[VEC];
#pragma unroll
    for (int e = 0; e < VEC; e++) {
      const int channel = v * VEC + e;
      const float2 group = slab.group[channel / slab.width];
      mean[e] = group.x - bias[channel];
      scale[e] = group.y * affine.scale(channel);
      shift[e] = affine.shift(channel);
    }
    const Column<const T> column = x.column(slab, v * VEC);
    for_pixels<DROPS ? 2 : X::BATCH>(
        slab, [&](int p) { return load_vec<VEC>(column.at(p)); },
        [&](int p, const Vec<T, VEC>& values) {
          float result[VEC];
#pragma unroll
          for (int e = 0; e < VEC; e++) {
            const float z = (to_float(values[e]) - mean[e]) * scale[e] + shift[e];
            result[e] = silu ? z * sigmoid(z) : z;
          }
          mask.apply(result, slab.element(p, v));
          store_floats(y + slab.offset(p, v), result);
        });
  }
}

}  // namespace group_norm
