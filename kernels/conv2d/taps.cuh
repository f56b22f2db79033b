// The taps of a kernel along one axis, as the Hopper convolutions walk them.
#pragma once
#include "../common/ring.cuh"

// The taps of a kernel along one axis, in the order of the pixels that lie under them: tap u is number first + u * step
// of the kernel, and lies over pixel i * stride + start + u of the input, where i is a pixel of the output.
struct TapLine {
  int count, first, step, stride, start;

  static __device__ __forceinline__ TapLine forward(int taps, int stride, int pad) { return {taps, 0, 1, stride, -pad}; }

  // The taps that reach the pixels stride * i + phase of dx: input and output change places.
  static __device__ __forceinline__ TapLine backward(int taps, int stride, int pad, int phase) {
    const int lowest = (phase + pad) % stride, count = (taps - lowest + stride - 1) / stride;
    return {count, lowest + (count - 1) * stride, -stride, 1, (phase + pad - lowest) / stride - (count - 1)};
  }
};
