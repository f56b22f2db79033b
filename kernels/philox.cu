// Tensors of random numbers: out [n, d], element i of an image from the counter (i / 4, image, step, stream).
//
// A thread owns the four numbers of one counter. grid.y = image.
#include "common/common.cuh"

// Uniform in (0, 1).
__global__ void __launch_bounds__(256) philox_uniform(float* __restrict__ out,           // [n, d]
                                                      const uint32_t* __restrict__ rng,  // [4]
                                                      int d,
                                                      uint32_t stream) {
  const uint32_t quad = blockIdx.x * 256 + threadIdx.x, first = 4 * quad;
  const size_t at = size_t(blockIdx.y) * d + first;
  const float4 u = uniform4(philox_words(rng, stream, blockIdx.y, quad));
  const float value[4] = {u.x, u.y, u.z, u.w};
  store_up_to<4>(out + at, value, first, d);
}

// Standard normal.
__global__ void __launch_bounds__(256) philox_normal(float* __restrict__ out,           // [n, d]
                                                     const uint32_t* __restrict__ rng,  // [4]
                                                     int d,
                                                     uint32_t stream) {
  const uint32_t quad = blockIdx.x * 256 + threadIdx.x, first = 4 * quad;
  const size_t at = size_t(blockIdx.y) * d + first;
  const float4 z = normal4(philox_words(rng, stream, blockIdx.y, quad));
  const float value[4] = {z.x, z.y, z.z, z.w};
  store_up_to<4>(out + at, value, first, d);
}

EXPORT(philox_uniform)
EXPORT(philox_normal)
