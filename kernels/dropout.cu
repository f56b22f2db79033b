// Dropout: every element is zeroed with probability p, the rest scaled by 1 / (1 - p), so that the mean stays.
//
//   y = mask x / (1 - p)        dx = mask dy / (1 - p)        mask[i] = (word(seed, step, stream, image, i) >= p 2^32)
//
// The mask is a function of the counter: backward is the same kernel applied to dy, and nothing is stored. The
// comparison is between integers, so the mask is the same on every device.
//
// A thread owns four elements. grid.y = image.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) dropout(T* __restrict__ y,                 // [n, d]
                                               const T* __restrict__ x,           // [n, d]
                                               const uint32_t* __restrict__ rng,  // [4]
                                               int d,
                                               uint32_t stream,
                                               uint32_t threshold,  // p 2^32
                                               float scale) {       // 1 / (1 - p)
  const Quad quad(blockIdx.y, blockIdx.x * blockDim.x + threadIdx.x, d);
  if (quad.count == 0) return;
  float value[4];
  quad.load(value, x);
  const uint4 words = philox_words(rng, stream, quad.image, quad.index);
  value[0] = words.x >= threshold ? value[0] * scale : 0.0f;
  value[1] = words.y >= threshold ? value[1] * scale : 0.0f;
  value[2] = words.z >= threshold ? value[2] * scale : 0.0f;
  value[3] = words.w >= threshold ? value[3] * scale : 0.0f;
  quad.store(y, value);
}

EXPORT_F32_BF16(dropout)
