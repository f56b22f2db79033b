// Two blocks of a cluster that share what they load: correct as hopper_sm90.cu exports it, and with one planted bug each
// as tests/emu/hopper_sm90.cu does.
#pragma once

enum ClusterBug {
  TOGETHER,
  NO_FIRST_MEETING,     // a block may reach for another's barriers before they are made
  NO_LAST_MEETING,      // a block may end before the other has made its last arrival there
  NO_WORD_TO_PEER,      // a block never tells the other that it has left a stage
  PEER_NOT_WAITED_FOR,  // nor does the other wait for it
  ONLY_TO_ITSELF,       // a block loads its half for itself alone
  TO_A_THIRD,           // and for a block that there is not
  HALF_EXPECTED,        // each announces only what it loads itself
  PEER_HAS_ENDED,       // one block leaves at once
  ARRIVES_TWICE,
  NEVER_WAITS,
};
struct SharedStages {
  float rows[2][2][32];  // of a stage, from each of the two blocks
  uint64_t full[2], empty[2];
};

// out[block] = the sum over steps s of (rank + 1) x[2 s] + x[2 s + 1], where a block of rank r loads x[2 s + r] for both.
// Warp 0 loads, warp 1 sums.
template <int RANK, int BUG>
__global__ void __launch_bounds__(64) sum_in_cluster(float* __restrict__ out,                // [blocks, 32]
                                                     const __grid_constant__ TensorMap x,    // [2 * steps, 32]
                                                     int steps) {
  DYNAMIC_SMEM(SharedStages, shared);
  const int rank = cluster_rank(), lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int s = 0; s < 2; s++) {
      mbar_init(&shared->full[s], 1);
      mbar_init(&shared->empty[s], BUG == PEER_NOT_WAITED_FOR ? 1 : 2);
    }
    fence_mbar_init();
  }
  if (BUG == NO_FIRST_MEETING) {
    __syncthreads();
  } else {
    cluster_arrive();
    if (BUG == ARRIVES_TWICE) cluster_arrive();
    if (BUG != NEVER_WAITS) cluster_wait();
  }
  if (BUG == PEER_HAS_ENDED && rank == 0) return;

  if (threadIdx.x < 32) {
    if (lane != 0) return;
    const uint16_t ranks = BUG == ONLY_TO_ITSELF ? 1 << rank : BUG == TO_A_THIRD ? 7 : 3;
    for (int step = 0; step < steps; step++) {
      const int s = step % 2;
      float* const row = shared->rows[s][rank];
      mbar_wait(&shared->empty[s], (step / 2 & 1) ^ 1);
      mbar_expect_tx(&shared->full[s], BUG == HALF_EXPECTED ? 128 : 256);
      if constexpr (RANK == 3) tma_load_3d_multicast(row, &x, &shared->full[s], ranks, 0, 2 * step + rank, 0);
      if constexpr (RANK == 4) tma_load_4d_multicast(row, &x, &shared->full[s], ranks, 0, 2 * step + rank, 0, 0);
    }
    return;
  }

  float sum = 0.f;
  for (int step = 0; step < steps; step++) {
    const int s = step % 2;
    mbar_wait(&shared->full[s], step / 2 & 1);
    sum += (rank + 1) * shared->rows[s][0][lane] + shared->rows[s][1][lane];
    __syncwarp();
    if (BUG == NO_WORD_TO_PEER || BUG == PEER_NOT_WAITED_FOR) {
      if (lane == 0) mbar_arrive(&shared->empty[s]);
    } else if (lane < 2) {
      mbar_arrive_cluster(&shared->empty[s], lane);
    }
  }
  out[blockIdx.x * 32 + lane] = sum;
  if (BUG != NO_LAST_MEETING) {
    cluster_arrive();
    cluster_wait();
  }
}
