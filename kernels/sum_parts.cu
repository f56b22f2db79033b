// Sums of parts that blocks have written apart, in order, for several tensors in one launch:
//
//   total[i] = (parts[0, i] + parts[1, i]) + parts[2, i] + ...
//
// The table of the sums is a parameter: it lies in the constant bank, and no launch has to copy it before. A block is
// SUM_BLOCK elements of one sum, which it finds by its first block; a thread is four successive elements.
#include "common/common.cuh"

struct PartSum {
  float* total;        // [len]
  const float* parts;  // [count, len]
  int len, count;
  int first_block;  // of those that make this sum
};

// As many as fit half of the 4 KB that the parameters of a launch may take; a power of two.
constexpr int MAX_SUMS = 64, SUM_BLOCK = 1024;

struct PartSums {
  PartSum at[MAX_SUMS];
};

__global__ void __launch_bounds__(256, 4) sum_parts(const __grid_constant__ PartSums sums, int n) {
  int mine = 0;
  for (int step = MAX_SUMS / 2; step > 0; step /= 2)
    if (mine + step < n && sums.at[mine + step].first_block <= int(blockIdx.x)) mine += step;
  const PartSum& sum_of = sums.at[mine];
  const int len = sum_of.len, count = sum_of.count;
  const int i = (blockIdx.x - sum_of.first_block) * SUM_BLOCK + threadIdx.x * 4;
  const float* const parts = sum_of.parts;
  if (i >= len) return;
  if (rows_are_vectors<float>(len)) {
    Vec<float> total = load_vec(parts + i);
#pragma unroll 8
    for (int s = 1; s < count; s++) total = sum(total, load_vec(parts + size_t(s) * len + i));
    store_vec(sum_of.total + i, total);
  } else {
    for (int e = i; e < min(i + 4, len); e++) {
      float total = parts[e];
      for (int s = 1; s < count; s++) total += parts[size_t(s) * len + e];
      sum_of.total[e] = total;
    }
  }
}

EXPORT(sum_parts)
