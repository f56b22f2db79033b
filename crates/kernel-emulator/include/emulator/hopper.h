// The host bodies of the wrappers in common/hopper.cuh.
//
// As asynchronous copies do (engine.h), tensor copies and warpgroup products take effect when they are issued or as late
// as their completion allows. Reported as errors with file and line: more arrivals at an mbarrier than it expects, a block
// that ends with copies or products outstanding, boxes and operands that are misaligned or do not fit into dynamic shared
// memory, products without a fence, arguments that differ within a warpgroup, arrivals at a block that has ended and
// copies into it.
#pragma once
#include <initializer_list>

#include "launch.h"

namespace emu {

void mbar_init(uint64_t* bar, unsigned arrivals, Where at);
void mbar_expect_tx(uint64_t* bar, unsigned bytes, Where at);
void mbar_arrive(uint64_t* bar, Where at);
void mbar_wait(uint64_t* bar, unsigned parity, Where at);
void mbar_arrive_cluster(uint64_t* bar, unsigned rank, Where at);

void tma_load(void* dst, const TensorMap* map, uint64_t* bar, std::initializer_list<int> corner, Where at);
void tma_load_multicast(void* dst, const TensorMap* map, uint64_t* bar, unsigned ranks, std::initializer_list<int> corner,
                        Where at);
void tma_store(const TensorMap* map, const void* src, std::initializer_list<int> corner, Where at);
void tma_store_commit();
void tma_store_wait(unsigned unfinished_groups);
void tma_store_wait_read(unsigned unfinished_groups);
void fence_proxy_async();

// One thread's part of a product of 64 x 16 and 16 x n elements.
struct Wgmma {
  float* d;  // [n / 2]
  int n;
  const uint32_t* a;  // [4] registers, or null: a_desc
  uint64_t a_desc, b_desc;
  bool a_mn_major, b_mn_major, accumulate;
};
void wgmma(const Wgmma& product, Where at);
void wgmma_fence(Where at);
void wgmma_commit(Where at);
void wgmma_wait(unsigned unfinished_groups, Where at);

void stmatrix_x4(void* row, const uint32_t (&r)[4], Where at);
void stmatrix_x4_trans(void* row, const uint32_t (&r)[4], Where at);

}  // namespace emu
