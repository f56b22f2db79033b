// Cross-entropy of logits [n, k] with labels [n], and its gradient in the same pass.
//
//   loss_i = ln sum_j e^l_ij - l_i,label        loss = mean of loss_i        dlogits_ij = (softmax(l_i)_j - [j = label]) / n
//
// Labels are checked on the host: 0 <= label < k. A warp owns a row, eight rows a block; the largest logit is taken off
// before the exponential. cross_entropy_mean adds the rows in a fixed order.
#include "common/common.cuh"

template <class T>
__global__ void __launch_bounds__(256) cross_entropy_fwd(float* __restrict__ per_row,        // [n]
                                                         T* __restrict__ dlogits,            // [n, k]
                                                         const T* __restrict__ logits,       // [n, k]
                                                         const int32_t* __restrict__ label,  // [n]
                                                         int n, int k) {
  const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= n) return;
  const T* logit = logits + size_t(row) * k;
  float most = -INFINITY;
  for (int j = lane; j < k; j += 32) most = fmaxf(most, to_float(logit[j]));
  most = warp_max(most);
  float sum = 0.0f;
  for (int j = lane; j < k; j += 32) sum += expf(to_float(logit[j]) - most);
  sum = warp_sum(sum);
  const int wanted = label[row];
  const float share = 1.0f / float(n);
  for (int j = lane; j < k; j += 32) {
    const float probability = expf(to_float(logit[j]) - most) / sum;
    dlogits[size_t(row) * k + j] = from_float<T>((probability - (j == wanted ? 1.0f : 0.0f)) * share);
  }
  if (lane == 0) per_row[row] = logf(sum) + (most - to_float(logit[wanted]));
}

__global__ void __launch_bounds__(256) cross_entropy_mean(float* __restrict__ mean,           // [1]
                                                          const float* __restrict__ per_row,  // [n]
                                                          int n) {
  float sum = 0.0f;
  for (int i = threadIdx.x; i < n; i += 256) sum += per_row[i];
  sum = block_sum<256>(sum);
  if (threadIdx.x == 0) mean[0] = sum / float(n);
}

EXPORT_F32_BF16(cross_entropy_fwd)
EXPORT(cross_entropy_mean)
