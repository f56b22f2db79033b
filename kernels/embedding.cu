// Rows of a table by label: y [n, dim] = table [rows, dim] at labels [n].
//
//   y[i] = table[label_i]        dtable[r] = sum over the images i with label_i = r, in order, of dy[i]
//
// Labels are checked on the host: 0 <= label < rows. A thread owns one element of what it writes. Backward lets every
// table element walk the batch: a table has few rows, and no two threads meet.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) embedding_fwd(T* __restrict__ y,                 // [n, dim]
                                                     const T* __restrict__ table,       // [rows, dim]
                                                     const int32_t* __restrict__ label,  // [n]
                                                     int n, int dim) {
  const int item = blockIdx.x * 256 + threadIdx.x, i = item / dim, k = item % dim;
  if (i >= n) return;
  y[item] = table[size_t(label[i]) * dim + k];
}

template <class T>
__global__ void __launch_bounds__(256) embedding_bwd(float* __restrict__ dtable,         // [rows, dim]
                                                     const T* __restrict__ dy,           // [n, dim]
                                                     const int32_t* __restrict__ label,  // [n]
                                                     int n, int rows, int dim) {
  const int item = blockIdx.x * 256 + threadIdx.x, r = item / dim, k = item % dim;
  if (r >= rows) return;
  float sum = 0.0f;
  for (int i = 0; i < n; i++) {
    if (label[i] == r) sum += to_float(dy[size_t(i) * dim + k]);
  }
  dtable[item] = sum;
}

EXPORT_F32_BF16(embedding_fwd)
EXPORT_F32_BF16(embedding_bwd)
