// Group normalisation over the pixels and the channels of a group, with what stands around it in a residual block: a bias
// of each image and channel before it, or a scale and a shift of each after it; then SiLU and dropout.
//
//   xb = x + b       xhat = (xb - mean) * rstd       z = gamma * xhat + beta       y = mask * act(z) / (1 - p)
//                                             or     z = (gamma * xhat + beta) * (1 + s) + t
//   act(z) = z  or  z * sigmoid(z)
//   dz = act'(z) * mask * dy / (1 - p)              act'(z) = 1  or  sigmoid(z) * (1 + z * (1 - sigmoid(z)))
//   dbeta_c = sum dz     dgamma_c = sum dz * xhat                                    over images and pixels
//   dx = rstd * (gamma * dz - (mean over the group of gamma * dz) - xhat * (mean over the group of gamma * dz * xhat))
//   db = sum dx                                                                      over pixels
//
// With a scale and a shift, gamma * (1 + s) takes the place of gamma in dx, the terms of dbeta and dgamma are multiplied by
// 1 + s, and over pixels dt = sum dz, ds = gamma * (sum dz * xhat) + beta * (sum dz).
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
// Both passes reduce per channel, which gives dgamma and dbeta of one image for free; the block that is the last of its
// slab, over all images, adds them up. The variance is a sum of squares around a pivot, the value of the channel in the
// middle pixel: it cannot cancel as E[x^2] - E[x]^2 does. The bias is constant for a thread's channel: x + b - mean is
// x - (mean - b), and no loop over pixels knows of it. x may be two tensors, the channels of one after those of the other;
// then dx is two as well, while y, dy and what is added to dx are whole. docs/kernels/group-norm.md has the whole story.
#include "common/common.cuh"
#include "group_norm/forward.cuh"
#include "group_norm/backward.cuh"

namespace group_norm {

template <int VEC, bool DROPS, bool JOINED, bool SCALES, class T>
__device__ __forceinline__ void forward(T* __restrict__ y, float* __restrict__ stats, const Input<const T, JOINED>& x,
                                        const Columns<const T>& image, const float* __restrict__ gamma,
                                        const float* __restrict__ beta, const Mask<DROPS>& mask, const Dims& dims,
                                        float eps, bool silu) {
  DYNAMIC_SMEM(float2, shared);
  Slab<T, VEC> slab(shared, dims);
  const Affine<T, SCALES> affine(slab, gamma, beta, image);
  const Bias<T> bias{SCALES ? nullptr : image.of(slab)};
  add_moments(slab, x);
  find_statistics(slab, stats + slab.image * stats_width(dims, bias.values), x, bias, dims.groups, eps);
  normalize(slab, y, x, affine, bias, mask, silu);
}

template <int VEC, bool DROPS, bool JOINED, bool SCALES, class T>
__device__ __forceinline__ void backward(const Input<T, JOINED>& dx, const Columns<T>& dimage, float* __restrict__ dgamma,
                                         float* __restrict__ dbeta, float2* __restrict__ channel_sums,
                                         unsigned* __restrict__ counters, const T* __restrict__ dy,
                                         const Input<const T, JOINED>& x, const Columns<const T>& image,
                                         const float* __restrict__ gamma, const float* __restrict__ beta,
                                         const float* __restrict__ stats, const T* __restrict__ first,
                                         const T* __restrict__ second, const Mask<DROPS>& mask, const Dims& dims, int n,
                                         bool silu) {
  DYNAMIC_SMEM(float2, shared);
  Slab<T, VEC> slab(shared, dims);
  const Affine<T, SCALES> affine(slab, gamma, beta, image);
  const Bias<T> bias{SCALES ? nullptr : image.of(slab)};
  const float* const image_stats = stats + slab.image * stats_width(dims, bias.values);
  const float* const group_stats = image_stats + 2 * slab.first_group;
  add_gradients(slab, dy, x, affine, group_stats, bias, mask, silu);
  find_means(slab, affine);
  if (dimage.values) {
    if (SCALES) write_dscale(slab, dimage.of(slab), affine);
    else write_dbias(slab, dimage.of(slab), affine, group_stats, image_stats + 2 * dims.groups, bias);
  }
  if (counters) {
    for (int i = threadIdx.x; i < slab.channels; i += blockDim.x) {
      const float2 sums = slab.sums[i];
      channel_sums[size_t(slab.image) * slab.c + slab.first + i] =
          SCALES ? make_float2(affine.own(i) * sums.x, affine.own(i) * sums.y) : sums;
    }
    // Before dx is written: the fences have these few sums to wait for, not the whole of it.
    if (last_block(counters + slab.index, n)) add_images(slab, dgamma, dbeta, channel_sums, n);
  }
  if (dx.EARLIER > 1 && second)
    write_dx<2>(slab, dx, dy, x, affine, group_stats, first, second, bias, mask, silu);
  else if (first)
    write_dx<1>(slab, dx, dy, x, affine, group_stats, first, second, bias, mask, silu);
  else
    write_dx<0>(slab, dx, dy, x, affine, group_stats, first, second, bias, mask, silu);
}

}  // namespace group_norm

// One block per (image, slab of `slab_groups` groups).
template <class T, bool DROPS, bool JOINED, bool SCALES>
__global__ void __launch_bounds__(256, 3)
    group_norm_fwd(T* __restrict__ y,                 // [n, pixels, c]
                   float* __restrict__ stats,         // [n, 2 groups]: mean, rstd of each; with a bias [n, 2 groups + c]
                   const T* __restrict__ x,           // [n, pixels, split]
                   const T* __restrict__ x_second,    // [n, pixels, c - split]: the channels after those of x; may be absent
                   const T* __restrict__ image,       // [n, columns], of which from column0 on c biases, or with SCALES
                                                      // c scales and c shifts; may be absent without SCALES
                   const float* __restrict__ gamma,   // [c]
                   const float* __restrict__ beta,    // [c]
                   const uint32_t* __restrict__ rng,  // [4], of dropout
                   int pixels, int c, int split, int groups, int slab_groups, int columns, int column0,
                   float eps, int silu, Dropout layer) {
  using namespace group_norm;
  const Dims dims{pixels, c, split, groups, slab_groups};
  const Columns<const T> values{image, columns, column0};
  const Mask<DROPS> mask(rng, blockIdx.x / dims.slabs(), layer);
  const Input<const T, JOINED> input{x, x_second};
  if (dims.vectorizes<T>())
    forward<Vec<T>::SIZE, DROPS, JOINED, SCALES>(y, stats, input, values, gamma, beta, mask, dims, eps, silu);
  else forward<1, DROPS, JOINED, SCALES>(y, stats, input, values, gamma, beta, mask, dims, eps, silu);
}

// One block per (image, slab of `slab_groups` groups).
template <class T, bool DROPS, bool JOINED, bool SCALES>
__global__ void __launch_bounds__(256, 2)
    group_norm_bwd(T* __restrict__ dx,                 // as x
                   T* __restrict__ dx_second,          // as x_second
                   T* __restrict__ dimage,             // as image; may be absent
                   float* __restrict__ dgamma,         // [c], may be absent
                   float* __restrict__ dbeta,          // [c], may be absent
                   float2* __restrict__ channel_sums,  // [n, c]: sum of dz, sum of dz * xhat
                   unsigned* __restrict__ counters,    // [slabs]: zero before and after; absent with dgamma and dbeta
                   const T* __restrict__ dy,           // [n, pixels, c]
                   const T* __restrict__ x,            // [n, pixels, split]
                   const T* __restrict__ x_second,     // [n, pixels, c - split]; may be absent
                   const T* __restrict__ image,        // [n, columns]; may be absent without SCALES
                   const float* __restrict__ gamma,    // [c]
                   const float* __restrict__ beta,     // [c]
                   const uint32_t* __restrict__ rng,   // [4], of dropout
                   const float* __restrict__ stats,    // as group_norm_fwd writes them
                   const T* __restrict__ first,        // [n, pixels, c]: is added to dx; may be absent
                   const T* __restrict__ second,       // [n, pixels, c]: likewise, only if the first is there
                   int n, int pixels, int c, int split, int groups, int slab_groups, int columns, int column0,
                   int silu, Dropout layer) {
  using namespace group_norm;
  const Dims dims{pixels, c, split, groups, slab_groups};
  const Columns<T> dvalues{dimage, columns, column0};
  const Columns<const T> values{image, columns, column0};
  const Mask<DROPS> mask(rng, blockIdx.x / dims.slabs(), layer);
  const Input<T, JOINED> gradient{dx, dx_second};
  const Input<const T, JOINED> input{x, x_second};
  if (dims.vectorizes<T>())
    backward<Vec<T>::SIZE, DROPS, JOINED, SCALES>(gradient, dvalues, dgamma, dbeta, channel_sums, counters, dy, input,
                                                  values, gamma, beta, stats, first, second, mask, dims, n, silu);
  else
    backward<1, DROPS, JOINED, SCALES>(gradient, dvalues, dgamma, dbeta, channel_sums, counters, dy, input, values, gamma,
                                       beta, stats, first, second, mask, dims, n, silu);
}

EXPORT_AS(group_norm_fwd_f32, group_norm_fwd<float, false, false, false>)
EXPORT_AS(group_norm_fwd_bf16, group_norm_fwd<__nv_bfloat16, false, false, false>)
EXPORT_AS(group_norm_bwd_f32, group_norm_bwd<float, false, false, false>)
EXPORT_AS(group_norm_bwd_bf16, group_norm_bwd<__nv_bfloat16, false, false, false>)
EXPORT_AS(group_norm_joined_fwd_f32, group_norm_fwd<float, false, true, false>)
EXPORT_AS(group_norm_joined_fwd_bf16, group_norm_fwd<__nv_bfloat16, false, true, false>)
EXPORT_AS(group_norm_joined_bwd_f32, group_norm_bwd<float, false, true, false>)
EXPORT_AS(group_norm_joined_bwd_bf16, group_norm_bwd<__nv_bfloat16, false, true, false>)
EXPORT_AS(group_norm_dropout_fwd_f32, group_norm_fwd<float, true, false, false>)
EXPORT_AS(group_norm_dropout_fwd_bf16, group_norm_fwd<__nv_bfloat16, true, false, false>)
EXPORT_AS(group_norm_dropout_bwd_f32, group_norm_bwd<float, true, false, false>)
EXPORT_AS(group_norm_dropout_bwd_bf16, group_norm_bwd<__nv_bfloat16, true, false, false>)
EXPORT_AS(group_norm_scale_shift_fwd_f32, group_norm_fwd<float, false, false, true>)
EXPORT_AS(group_norm_scale_shift_fwd_bf16, group_norm_fwd<__nv_bfloat16, false, false, true>)
EXPORT_AS(group_norm_scale_shift_bwd_f32, group_norm_bwd<float, false, false, true>)
EXPORT_AS(group_norm_scale_shift_bwd_bf16, group_norm_bwd<__nv_bfloat16, false, false, true>)
EXPORT_AS(group_norm_scale_shift_dropout_fwd_f32, group_norm_fwd<float, true, false, true>)
EXPORT_AS(group_norm_scale_shift_dropout_fwd_bf16, group_norm_fwd<__nv_bfloat16, true, false, true>)
EXPORT_AS(group_norm_scale_shift_dropout_bwd_f32, group_norm_bwd<float, true, false, true>)
EXPORT_AS(group_norm_scale_shift_dropout_bwd_bf16, group_norm_bwd<__nv_bfloat16, true, false, true>)
