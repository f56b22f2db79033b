// Weights of the 4x4 transposed convolution that doubles an image by repeating pixels and convolves it with a 3x3 kernel:
// src/engine/ops/upsample_conv2d.rs says why. Tap (r, q) of the small kernel is part of the taps (2 - r, 2 - q) up to
// (3 - r, 3 - q) of the wide one:
//
//   wide[c, i, j, o] = sum over r in {2 - i, 3 - i}, q in {2 - j, 3 - j}, those that there are, of w[o, r, q, c]
//   dw[o, r, q, c]   = sum over i in {2 - r, 3 - r}, j in {2 - q, 3 - q} of dwide[c, i, j, o]
//
// A block turns a square of 32 input by 32 output channels, all taps of it, in shared memory: rows of c become rows of o.
#include "common/common.cuh"

constexpr int SIDE = 32, ROWS = 8;  // channels each way; rows of them that a block works on at a time

struct Square {
  float at[9][SIDE][SIDE + 1];  // tap, o, c
};

template <class T>
__global__ void __launch_bounds__(SIDE* ROWS)
    upsample_conv2d_weights_fwd(T* __restrict__ wide,     // [c_in, 4, 4, c_out]
                                const T* __restrict__ w,  // [c_out, 3, 3, c_in]
                                int c_in, int c_out) {
  __shared__ Square square;
  const int lane = threadIdx.x % SIDE, c0 = blockIdx.x * SIDE, o0 = blockIdx.y * SIDE;
  for (int row = threadIdx.x / SIDE; row < SIDE; row += ROWS) {
    const int o = o0 + row, c = c0 + lane;
    if (o >= c_out || c >= c_in) continue;
#pragma unroll
    for (int tap = 0; tap < 9; tap++) square.at[tap][row][lane] = to_float(w[(size_t(o) * 9 + tap) * c_in + c]);
  }
  __syncthreads();
  for (int row = threadIdx.x / SIDE; row < SIDE; row += ROWS) {
    const int o = o0 + lane, c = c0 + row;
    if (o >= c_out || c >= c_in) continue;
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float sum = 0;
#pragma unroll
        for (int r = max(2 - i, 0); r <= min(3 - i, 2); r++) {
#pragma unroll
          for (int q = max(2 - j, 0); q <= min(3 - j, 2); q++) sum += square.at[r * 3 + q][lane][row];
        }
        wide[((size_t(c) * 4 + i) * 4 + j) * c_out + o] = from_float<T>(sum);
      }
    }
  }
}

__global__ void __launch_bounds__(SIDE* ROWS)
    upsample_conv2d_weights_bwd(float* __restrict__ dw,           // [c_out, 3, 3, c_in]
                                const float* __restrict__ dwide,  // [c_in, 4, 4, c_out]
                                int c_in, int c_out) {
  __shared__ Square square;
  const int lane = threadIdx.x % SIDE, c0 = blockIdx.x * SIDE, o0 = blockIdx.y * SIDE;
  for (int row = threadIdx.x / SIDE; row < SIDE; row += ROWS) {
    const int o = o0 + lane, c = c0 + row;
    if (o >= c_out || c >= c_in) continue;
    float taps[16];
#pragma unroll
    for (int tap = 0; tap < 16; tap++) taps[tap] = dwide[(size_t(c) * 16 + tap) * c_out + o];
#pragma unroll
    for (int r = 0; r < 3; r++) {
#pragma unroll
      for (int q = 0; q < 3; q++) {
        const int first = (2 - r) * 4 + 2 - q;
        square.at[r * 3 + q][lane][row] = (taps[first] + taps[first + 1]) + (taps[first + 4] + taps[first + 5]);
      }
    }
  }
  __syncthreads();
  for (int row = threadIdx.x / SIDE; row < SIDE; row += ROWS) {
    const int o = o0 + row, c = c0 + lane;
    if (o >= c_out || c >= c_in) continue;
#pragma unroll
    for (int tap = 0; tap < 9; tap++) dw[(size_t(o) * 9 + tap) * c_in + c] = square.at[tap][row][lane];
  }
}

EXPORT_F32_BF16(upsample_conv2d_weights_fwd)
EXPORT(upsample_conv2d_weights_bwd)
