// Sinusoidal embedding of diffusion times: t [n] into y [n, dim], half = dim / 2 frequencies.
//
//   f_k = time_factor * max_period^(-k / (half - freq_shift)),  k < half
//   y[i] = [sin(t_i f_0) .. sin(t_i f_{half-1}), cos(t_i f_0) .. cos(t_i f_{half-1})], or cosines first; an odd dim
//   ends in a zero.
//
// t has no gradient. The angle is formed in double precision and reduced to a fraction of a turn there, since t f
// reaches 1,000 radians and a float would keep only four digits of the phase. A thread owns one frequency of one time.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) timestep_embedding_fwd(T* __restrict__ y,            // [n, dim]
                                                              const float* __restrict__ t,  // [n]
                                                              int n, int dim,
                                                              int cosine_first,
                                                              float freq_shift,
                                                              float time_factor,
                                                              float max_period) {
  const int half = dim / 2, columns = dim - half;  // with an odd dim, the last column holds the zero
  const int item = blockIdx.x * 256 + threadIdx.x, i = item / columns, k = item % columns;
  if (i >= n) return;
  T* row = y + size_t(i) * dim;
  if (k == half) {
    row[dim - 1] = from_float<T>(0.0f);
    return;
  }
  const double frequency = time_factor * exp(-log(double(max_period)) * k / (double(half) - freq_shift));
  const double turns = t[i] * frequency * 0.15915494309189535;
  const float2 wave = detail::sin_cos_turns(float(turns - floor(turns)));
  row[k] = from_float<T>(cosine_first ? wave.y : wave.x);
  row[half + k] = from_float<T>(cosine_first ? wave.x : wave.y);
}

EXPORT_F32_BF16(timestep_embedding_fwd)
