// Tensors of random numbers: out [n, d], element i of an image from the counter (i / 4, image, step, stream).
//
// A thread owns the four numbers of one counter. grid.y = image.
#include "common/common.cuh"

// Uniform in (0, 1).
__global__ void __launch_bounds__(256) philox_uniform(float* __restrict__ out,           // [n, d]
                                                      const uint32_t* __restrict__ rng,  // [4]
                                                      int d,
                                                      uint32_t stream) {
  const Quad quad(blockIdx.y, blockIdx.x * blockDim.x + threadIdx.x, d);
  if (quad.count == 0) return;
  const float4 u = uniform4(philox_words(rng, stream, quad.image, quad.index));
  const float value[4] = {u.x, u.y, u.z, u.w};
  quad.store(out, value);
}

// Standard normal.
__global__ void __launch_bounds__(256) philox_normal(float* __restrict__ out,           // [n, d]
                                                     const uint32_t* __restrict__ rng,  // [4]
                                                     int d,
                                                     uint32_t stream) {
  const Quad quad(blockIdx.y, blockIdx.x * blockDim.x + threadIdx.x, d);
  if (quad.count == 0) return;
  const float4 z = normal4(philox_words(rng, stream, quad.image, quad.index));
  const float value[4] = {z.x, z.y, z.z, z.w};
  quad.store(out, value);
}

EXPORT(philox_uniform)
EXPORT(philox_normal)
