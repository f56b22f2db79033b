// Group normalisation over the pixels and the channels of a group, with what stands around it in a residual block: a bias
// of each image and channel before it, SiLU and dropout after it.
//
//   xb = x + b       xhat = (xb - mean) * rstd       z = gamma * xhat + beta       y = mask * act(z) / (1 - p)
//   act(z) = z  or  z * sigmoid(z)
//   dz = act'(z) * mask * dy / (1 - p)              act'(z) = 1  or  sigmoid(z) * (1 + z * (1 - sigmoid(z)))
//   dbeta_c = sum dz     dgamma_c = sum dz * xhat                                    over images and pixels
//   dx = rstd * (gamma * dz - (mean over the group of gamma * dz) - xhat * (mean over the group of gamma * dz * xhat))
//   db = sum dx                                                                      over pixels
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
// x - (mean - b), and no loop over pixels knows of it. docs/kernels/group-norm.md has the whole story.
#include "common/common.cuh"
#include "group_norm/forward.cuh"
#include "group_norm/backward.cuh"

namespace group_norm {

template <int VEC, bool DROPS, class T>
__device__ __forceinline__ void forward(T* __restrict__ y, float* __restrict__ stats, const T* __restrict__ x,
                                        const T* __restrict__ biases, const float* __restrict__ gamma,
                                        const float* __restrict__ beta, const Mask<DROPS>& mask, int pixels, int c,
                                        int groups, int slab_groups, int bias_columns, int bias_first, float eps,
                                        bool silu) {
  DYNAMIC_SMEM(float2, shared);
  Slab<T, VEC> slab(shared, pixels, c, groups, slab_groups);
  const ImageBias<T> bias(biases, slab, bias_columns, bias_first);
  const T* const pivots = x + slab.offset(pixels / 2, 0);
  add_moments(slab, x, pivots);
  find_statistics(slab, stats + slab.image * stats_width(c, groups, biases), pivots, bias, groups, eps);
  normalize(slab, y, x, gamma, beta, bias, mask, silu);
}

template <int VEC, bool DROPS, class T>
__device__ __forceinline__ void backward(T* __restrict__ dx, T* __restrict__ dbiases, float* __restrict__ dgamma,
                                         float* __restrict__ dbeta, float* __restrict__ channel_sums,
                                         unsigned* __restrict__ counters, const T* __restrict__ dy,
                                         const T* __restrict__ x, const T* __restrict__ biases,
                                         const float* __restrict__ gamma, const float* __restrict__ beta,
                                         const float* __restrict__ stats, const T* __restrict__ first,
                                         const T* __restrict__ second, const Mask<DROPS>& mask, int n, int pixels,
                                         int c, int groups, int slab_groups, int bias_columns, int bias_first,
                                         bool silu) {
  DYNAMIC_SMEM(float2, shared);
  Slab<T, VEC> slab(shared, pixels, c, groups, slab_groups);
  const ImageBias<T> bias(biases, slab, bias_columns, bias_first);
  const float* const image_stats = stats + slab.image * stats_width(c, groups, biases);
  const float* const group_stats = image_stats + 2 * slab.first_group;
  add_gradients(slab, dy, x, gamma, beta, group_stats, bias, mask, silu);
  find_means(slab, gamma);
  if (dbiases)
    write_dbias(slab, dbiases + size_t(slab.image) * bias_columns + bias_first + slab.first, gamma, group_stats,
                image_stats + 2 * groups, bias);
  if (counters) {
    float2* const all_sums = reinterpret_cast<float2*>(channel_sums);
    for (int i = threadIdx.x; i < slab.channels; i += blockDim.x)
      all_sums[size_t(slab.image) * c + slab.first + i] = slab.sums[i];
    // Before dx is written: the fences have these few sums to wait for, not the whole of it.
    if (last_block(counters + slab.index, n)) add_images(slab, dgamma, dbeta, all_sums, n);
  }
  if (second)
    write_dx<2>(slab, dx, dy, x, gamma, beta, group_stats, first, second, bias, mask, silu);
  else if (first)
    write_dx<1>(slab, dx, dy, x, gamma, beta, group_stats, first, second, bias, mask, silu);
  else
    write_dx<0>(slab, dx, dy, x, gamma, beta, group_stats, first, second, bias, mask, silu);
}

}  // namespace group_norm

// One block per (image, slab of `slab_groups` groups).
template <class T, bool DROPS>
__global__ void __launch_bounds__(DROPS ? 256 : 512, DROPS ? 3 : 2)
    group_norm_fwd(T* __restrict__ y,                 // [n, pixels, c]
                   float* __restrict__ stats,         // [n, groups, 2]: mean, rstd; with a bias [n, groups, 2 + c / groups]
                   const T* __restrict__ x,           // [n, pixels, c]
                   const T* __restrict__ bias,        // [n, bias_columns], of which c from bias_first on; may be absent
                   const float* __restrict__ gamma,   // [c]
                   const float* __restrict__ beta,    // [c]
                   const uint32_t* __restrict__ rng,  // [4], of dropout
                   int pixels, int c, int groups, int slab_groups, int bias_columns, int bias_first, float eps, int silu,
                   uint32_t stream, uint32_t threshold, float scale) {  // of dropout
  const uint32_t slabs = (groups + slab_groups - 1) / slab_groups;
  const group_norm::Mask<DROPS> mask(rng, blockIdx.x / slabs, stream, threshold, scale);
  if (group_norm::vectorizes<T>(c, groups, slab_groups))
    group_norm::forward<Vec<T>::SIZE>(y, stats, x, bias, gamma, beta, mask, pixels, c, groups, slab_groups, bias_columns,
                                      bias_first, eps, silu);
  else
    group_norm::forward<1>(y, stats, x, bias, gamma, beta, mask, pixels, c, groups, slab_groups, bias_columns, bias_first,
                           eps, silu);
}

// One block per (image, slab of `slab_groups` groups).
template <class T, bool DROPS>
__global__ void __launch_bounds__(256, 3)
    group_norm_bwd(T* __restrict__ dx,                // [n, pixels, c]
                   T* __restrict__ dbias,             // as bias; may be absent
                   float* __restrict__ dgamma,        // [c], may be absent
                   float* __restrict__ dbeta,         // [c], may be absent
                   float* __restrict__ channel_sums,  // [n, c, 2]: sum of dz, sum of dz * xhat
                   unsigned* __restrict__ counters,   // [slabs]: zero before and after; absent with dgamma and dbeta
                   const T* __restrict__ dy,          // [n, pixels, c]
                   const T* __restrict__ x,           // [n, pixels, c]
                   const T* __restrict__ bias,        // [n, bias_columns]; may be absent
                   const float* __restrict__ gamma,   // [c]
                   const float* __restrict__ beta,    // [c]
                   const uint32_t* __restrict__ rng,  // [4], of dropout
                   const float* __restrict__ stats,   // as written by group_norm_fwd
                   const T* __restrict__ first,       // [n, pixels, c]: is added to dx; may be absent
                   const T* __restrict__ second,      // [n, pixels, c]: likewise, only if the first is there
                   int n, int pixels, int c, int groups, int slab_groups, int bias_columns, int bias_first, int silu,
                   uint32_t stream, uint32_t threshold, float scale) {  // of dropout
  const uint32_t slabs = (groups + slab_groups - 1) / slab_groups;
  const group_norm::Mask<DROPS> mask(rng, blockIdx.x / slabs, stream, threshold, scale);
  if (group_norm::vectorizes<T>(c, groups, slab_groups))
    group_norm::backward<Vec<T>::SIZE>(dx, dbias, dgamma, dbeta, channel_sums, counters, dy, x, bias, gamma, beta, stats,
                                       first, second, mask, n, pixels, c, groups, slab_groups, bias_columns, bias_first,
                                       silu);
  else
    group_norm::backward<1>(dx, dbias, dgamma, dbeta, channel_sums, counters, dy, x, bias, gamma, beta, stats, first,
                            second, mask, n, pixels, c, groups, slab_groups, bias_columns, bias_first, silu);
}

EXPORT_AS(group_norm_fwd_f32, group_norm_fwd<float, false>)
EXPORT_AS(group_norm_fwd_bf16, group_norm_fwd<__nv_bfloat16, false>)
EXPORT_AS(group_norm_bwd_f32, group_norm_bwd<float, false>)
EXPORT_AS(group_norm_bwd_bf16, group_norm_bwd<__nv_bfloat16, false>)
EXPORT_AS(group_norm_dropout_fwd_f32, group_norm_fwd<float, true>)
EXPORT_AS(group_norm_dropout_fwd_bf16, group_norm_fwd<__nv_bfloat16, true>)
EXPORT_AS(group_norm_dropout_bwd_f32, group_norm_bwd<float, true>)
EXPORT_AS(group_norm_dropout_bwd_bf16, group_norm_bwd<__nv_bfloat16, true>)
