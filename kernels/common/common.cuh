// Everything a kernel may use. A kernel file includes this header and no other.
//
// nvcc reads CUDA's own headers and the device bodies of the wrappers; a host C++ compiler reads the
// emulator's headers, which run the same source on the CPU, one fiber a thread (crates/kernel-emulator).
#pragma once
#if defined(__CUDACC__)
#include <cstdint>
#include <cstring>
#include <cuda_bf16.h>
#define EMU_HERE
#define EMU_AT
#else
#include "emulator/intrinsics.h"
// The caller's file and line, for the emulator's reports: a wrapper's only parameter, or its last.
#define EMU_HERE emu::Where at = emu::Where::here()
#define EMU_AT , EMU_HERE
#endif

// Names the start of the launch's dynamic shared memory: `DYNAMIC_SMEM(Tile, tile);` declares `Tile* tile`, aligned to
// 1024 bytes. At most one per kernel.
#if defined(__CUDACC__)
#define DYNAMIC_SMEM(T, name)                                      \
  extern __shared__ __align__(1024) unsigned char name##_bytes[];  \
  T* const name = reinterpret_cast<T*>(name##_bytes)
#else
#define DYNAMIC_SMEM(T, name) T* const name = static_cast<T*>(emu::dynamic_shared(sizeof(T)))
#endif

#include "export.cuh"
#include "types.cuh"
#include "elementwise.cuh"
#include "records.cuh"
#include "reduce.cuh"
#include "last_block.cuh"
#include "philox.cuh"
#include "dropout.cuh"
#include "mma.cuh"
#include "hopper.cuh"
