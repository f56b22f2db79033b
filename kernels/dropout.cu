// Dropout: every element is zeroed with probability p, the rest scaled by 1 / (1 - p), so that the mean stays.
//
//   y = mask x / (1 - p)        dx = mask dy / (1 - p)        mask[i] = (word(seed, step, stream, image, i) >= p 2^32)
//
// The mask is a function of the counter: backward is the same kernel applied to dy, and nothing is stored.
//
// A thread owns eight elements of an image: two counters. grid.y = image.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) dropout(T* __restrict__ y,                 // [n, d]
                                               const T* __restrict__ x,           // [n, d]
                                               const uint32_t* __restrict__ rng,  // [4]
                                               int d,
                                               Dropout layer) {
  const uint32_t first = (blockIdx.x * 256 + threadIdx.x) * 8;
  const size_t at = size_t(blockIdx.y) * d + first;
  float value[8];
  load_up_to<8>(value, x + at, first, d);
  DropoutMask(rng, blockIdx.y, layer).apply(value, first);
  store_up_to<8>(y + at, value, first, d);
}

EXPORT_F32_BF16(dropout)
