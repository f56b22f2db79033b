// The host bodies of common/mma.cuh, and of stmatrix.
#include "emulator/intrinsics.h"

namespace emu {

namespace {

float low_half(uint32_t pair) { return __uint_as_float(pair << 16); }
float high_half(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

// Both kinds of ldmatrix: every lane brings its row, and picks its two elements of each of the four matrices.
struct MatrixOperand {
  uint16_t row[8];
  uint32_t* result;
};

void load_matrices(uint32_t (&r)[4], const void* row, void (*combine)(void**), const char* operation, Where at) {
  if (reinterpret_cast<uintptr_t>(row) % 16)
    engine->fail("%s at %s:%d: row address %p is not aligned to 16 bytes", operation, at.file, at.line, row);
  MatrixOperand mine;
  sanitizer::reads(row, sizeof mine.row);
  memcpy(mine.row, row, sizeof mine.row);
  mine.result = r;
  this_block().warp_collective(~0u, &mine, combine, operation, at);
}

template <bool TRANSPOSED> void pick_elements(void** operands) {
  auto lanes = reinterpret_cast<MatrixOperand**>(operands);
  for (int lane = 0; lane < 32; lane++) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) {
      const uint16_t low = TRANSPOSED ? lanes[8 * i + 2 * t]->row[g] : lanes[8 * i + g]->row[2 * t];
      const uint16_t high = TRANSPOSED ? lanes[8 * i + 2 * t + 1]->row[g] : lanes[8 * i + g]->row[2 * t + 1];
      lanes[lane]->result[i] = low | uint32_t(high) << 16;
    }
  }
}

// Both kinds of stmatrix: every lane brings the address of a row, and two elements of each of the four matrices.
struct StoreOperand {
  uint16_t* row;
  const uint32_t* given;
};

template <bool TRANSPOSED> void place_elements(void** operands) {
  auto lanes = reinterpret_cast<StoreOperand**>(operands);
  for (int lane = 0; lane < 32; lane++) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) {
      const uint32_t pair = lanes[lane]->given[i];
      (TRANSPOSED ? lanes[8 * i + 2 * t]->row[g] : lanes[8 * i + g]->row[2 * t]) = uint16_t(pair);
      (TRANSPOSED ? lanes[8 * i + 2 * t + 1]->row[g] : lanes[8 * i + g]->row[2 * t + 1]) = uint16_t(pair >> 16);
    }
  }
}

void store_matrices(void* row, const uint32_t (&r)[4], void (*combine)(void**), const char* operation, Where at) {
  if (reinterpret_cast<uintptr_t>(row) % 16)
    engine->fail("%s at %s:%d: row address %p is not aligned to 16 bytes", operation, at.file, at.line, row);
  StoreOperand mine{static_cast<uint16_t*>(row), r};
  sanitizer::writes(row, 16);
  this_block().warp_collective(~0u, &mine, combine, operation, at);
}

void perform(const Copy& copy) {
  sanitizer::writes(copy.dst, copy.bytes);
  if (!copy.src) {
    memset(copy.dst, 0, copy.bytes);
    return;
  }
  sanitizer::reads(copy.src, copy.bytes);
  memcpy(copy.dst, copy.src, copy.bytes);
}

}  // namespace

void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Where at) {
  struct Operand {
    float* d;
    const uint32_t *a, *b;
  } mine{d, a, b};
  this_block().warp_collective(
      ~0u, &mine,
      [](void** operands) {
        using Row = float __attribute__((vector_size(32)));  // the 8 columns of b and d
        auto lanes = reinterpret_cast<Operand**>(operands);
        alignas(Row) float a[16][16], b[16][8], d[16][8];
        for (int lane = 0; lane < 32; lane++) {
          const int g = lane / 4, t = lane % 4;
          const Operand& fragment = *lanes[lane];
          for (int i = 0; i < 4; i++) {
            a[g + 8 * (i % 2)][2 * t + 8 * (i / 2)] = low_half(fragment.a[i]);
            a[g + 8 * (i % 2)][2 * t + 8 * (i / 2) + 1] = high_half(fragment.a[i]);
            d[g + 8 * (i / 2)][2 * t + i % 2] = fragment.d[i];
          }
          for (int i = 0; i < 2; i++) {
            b[2 * t + 8 * i][g] = low_half(fragment.b[i]);
            b[2 * t + 8 * i + 1][g] = high_half(fragment.b[i]);
          }
        }
        for (int m = 0; m < 16; m++) {
          Row sum = *reinterpret_cast<Row*>(d[m]);
          for (int k = 0; k < 16; k++) sum += a[m][k] * *reinterpret_cast<const Row*>(b[k]);
          *reinterpret_cast<Row*>(d[m]) = sum;
        }
        for (int lane = 0; lane < 32; lane++)
          for (int i = 0; i < 4; i++) lanes[lane]->d[i] = d[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
      },
      "mma.m16n8k16", at);
}

void ldmatrix_x4(uint32_t (&r)[4], const void* row, Where at) {
  load_matrices(r, row, pick_elements<false>, "ldmatrix.x4", at);
}
void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row, Where at) {
  load_matrices(r, row, pick_elements<true>, "ldmatrix.x4.trans", at);
}

void stmatrix_x4(void* row, const uint32_t (&r)[4], Where at) {
  store_matrices(row, r, place_elements<false>, "stmatrix.x4", at);
}
void stmatrix_x4_trans(void* row, const uint32_t (&r)[4], Where at) {
  store_matrices(row, r, place_elements<true>, "stmatrix.x4.trans", at);
}

void cp_async(void* dst, const void* src, int bytes, bool pred, Where at) {
  if ((reinterpret_cast<uintptr_t>(dst) | (pred ? reinterpret_cast<uintptr_t>(src) : 0)) % bytes)
    engine->fail("cp.async at %s:%d: %p <- %p is not aligned to %d bytes", at.file, at.line, dst, src, bytes);
  const Copy copy{dst, pred ? src : nullptr, bytes};
  if (engine->copies_wait()) running->copies.push(copy);
  else perform(copy);
}

void cp_async_commit() { running->copies.commit(); }
void cp_async_wait(unsigned unfinished_groups) { running->copies.wait(unfinished_groups, perform); }

void named_barrier(int id, unsigned threads, Where at) {
  if (id < 1) engine->fail("bar.sync at %s:%d: barrier %d; 0 belongs to __syncthreads", at.file, at.line, id);
  this_block().barrier(unsigned(id), threads, "bar.sync", at);
}

}  // namespace emu
