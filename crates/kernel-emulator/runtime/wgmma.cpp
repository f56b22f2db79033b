// Warpgroup products: the host bodies of wgmma_* in common/hopper.cuh.
//
// Products are performed in the order in which they are issued, a batch of those that share their accumulators at a time:
// operands are read from shared memory once and become floats, accumulators are gathered from the threads once. This is
// the emulator's hottest loop.
#include <immintrin.h>

#include "emulator/hopper.h"

// Bounds of what is read in shared memory are checked once for each operand; the rest is memory of this file.
#define HOT __attribute__((no_sanitize("address", "undefined")))

namespace emu {

namespace {

constexpr int MAX_BATCH = 4, MAX_K = 16 * MAX_BATCH, MAX_N = 256, PANEL = 16;

struct Scratch {
  alignas(32) float a[64][MAX_K];
  alignas(32) float b[MAX_N / PANEL][MAX_K][PANEL];  // columns in panels, so that a panel's lines are contiguous
  alignas(32) float d[64][MAX_N];
};

Scratch& scratch() {
  static thread_local Scratch instance;
  return instance;
}

// An operand in shared memory as its descriptor gives it: 8x8 blocks, block i along m or n and j along k.
class Operand {
 public:
  Operand(uint64_t desc, bool mn_major, int extent, const char* name, Where at) : mn_major(mn_major) {
    start = uint32_t(desc & 0x3fff) << 4;
    leading = uint32_t(desc >> 16 & 0x3fff) << 4;
    stride = uint32_t(desc >> 32 & 0x3fff) << 4;
    if (desc >> 62 != 1 || desc >> 49 & 7)
      engine->fail("wgmma at %s:%d: %s's descriptor %016llx: only the 128-byte swizzle with base offset 0 is emulated",
                   at.file, at.line, name, (unsigned long long)desc);
    const uint32_t row_bytes = !mn_major ? 32 : extent < 64 ? uint32_t(extent) * 2 : 128;
    if ((start & 127) + row_bytes > 128)
      engine->fail("wgmma at %s:%d: %s's rows of %u bytes start at byte %u of the swizzle's 128", at.file, at.line, name,
                   row_bytes, start & 127);
    const uint32_t last = mn_major ? (extent - 1) / 64 * leading + stride : (extent / 8 - 1) * stride;
    const uint32_t end = ((start + last + 7 * 128) | 127) + 1;
    if (start < SHARED_BASE || end > this_block().shared_end())
      engine->fail("wgmma at %s:%d: %s's descriptor reaches from offset %d to %u of dynamic shared memory, which has %zu "
                   "bytes",
                   at.file, at.line, name, int(start - SHARED_BASE), end - SHARED_BASE, this_block().shared_end() - SHARED_BASE);
  }

  // The address of row r of the block: 8 elements along k (K-major), or along m or n (MN-major).
  HOT uint32_t row(int i, int j, int r) const {
    const uint32_t address = mn_major ? start + i / 8 * leading + j * stride + r * 128 + i % 8 * 16
                                      : start + i * stride + r * 128 + j * 16;
    return address ^ (address >> 7 & 7) << 4;
  }

  // Block (i, j) as floats, one vector for each row; transposed or not.
  HOT void load(int i, int j, bool transposed, __m256 (&rows)[8]) const {
    const unsigned char* view = this_block().units.view_of(SHARED_BASE);
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) {
      const auto* chunk = reinterpret_cast<const __m128i*>(view + (row(i, j, r) - SHARED_BASE));
      rows[r] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_load_si128(chunk)), 16));
    }
    if (transposed) transpose(rows);
  }

  const bool mn_major;

 private:
  static HOT void transpose(__m256 (&r)[8]) {
    __m256 pairs[8], quads[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      pairs[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
      quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
      quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      r[i] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20);
      r[i + 4] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31);
    }
  }

  uint32_t start, leading, stride;
};

// Rows of A of `warps` warps, and all of B, into columns k .. k + 15 of the scratch.
HOT void load_a(const Product& p, int first_warp, int warps, int k, Scratch& s) {
  if (p.a_in_registers) {
    for (int thread = first_warp * 32; thread < (first_warp + warps) * 32; thread++) {
      const int g = thread / 32 * 16 + thread % 32 / 4, t = thread % 4;
      for (int i = 0; i < 4; i++) {
        s.a[g + i % 2 * 8][k + 2 * t + i / 2 * 8] = __uint_as_float(p.a[thread][i] << 16);
        s.a[g + i % 2 * 8][k + 2 * t + i / 2 * 8 + 1] = __uint_as_float(p.a[thread][i] & 0xffff0000u);
      }
    }
    return;
  }
  const Operand a(p.a_desc, p.a_mn_major, 64, "a", p.at);
  for (int i = first_warp * 2; i < (first_warp + warps) * 2; i++)
    for (int j = 0; j < 2; j++) {
      __m256 rows[8];
      a.load(i, j, a.mn_major, rows);
      for (int r = 0; r < 8; r++) _mm256_store_ps(&s.a[i * 8 + r][k + j * 8], rows[r]);
    }
}
HOT void load_b(const Product& p, int k, Scratch& s) {
  const Operand b(p.b_desc, p.b_mn_major, p.n, "b", p.at);
  for (int i = 0; i < p.n / 8; i++)
    for (int j = 0; j < 2; j++) {
      __m256 rows[8];
      b.load(i, j, !b.mn_major, rows);
      for (int r = 0; r < 8; r++) _mm256_store_ps(&s.b[i / 2][k + j * 8 + r][i % 2 * 8], rows[r]);
    }
}

// Calls f(memory of two adjacent accumulators in the scratch, in the thread) for all of some warps.
template <class F> HOT void each_pair(const Product& p, int first_warp, int warps, Scratch& s, F f) {
  for (int thread = first_warp * 32; thread < (first_warp + warps) * 32; thread++) {
    const int g = thread / 32 * 16 + thread % 32 / 4, t = thread % 4;
    for (int j = 0; j < p.n / 8; j++)
      for (int half = 0; half < 2; half++) f(&s.d[g + half * 8][j * 8 + t * 2], &p.d[thread][j * 4 + half * 2]);
  }
}

// d += a b for 4 rows and VECTORS * 8 columns, which stay in registers: hence the unrolling.
template <int VECTORS> HOT void multiply_tile(const float (*a)[MAX_K], const float (*b)[PANEL], float (*d)[MAX_N], int k) {
  __m256 sum[4 * VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < 4 * VECTORS; i++) sum[i] = _mm256_load_ps(&d[i / VECTORS][i % VECTORS * 8]);
  for (int j = 0; j < k; j++) {
    __m256 column[VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++) column[v] = _mm256_load_ps(&b[j][v * 8]);
#pragma GCC unroll 8
    for (int i = 0; i < 4 * VECTORS; i++)
      sum[i] = _mm256_fmadd_ps(_mm256_broadcast_ss(&a[i / VECTORS][j]), column[i % VECTORS], sum[i]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 4 * VECTORS; i++) _mm256_store_ps(&d[i / VECTORS][i % VECTORS * 8], sum[i]);
}

// The products first .. end - 1 for the rows of some warps. They share their accumulators; only the first may ignore what
// these hold.
HOT void multiply(std::deque<Product>::iterator first, std::deque<Product>::iterator end, int first_warp, int warps) {
  Scratch& s = scratch();
  this_block().units.prepare_view();
  int k = 0;
  for (auto product = first; product != end; ++product, k += 16) {
    load_a(*product, first_warp, warps, k, s);
    load_b(*product, k, s);
  }
  if (first->accumulate) {
    each_pair(*first, first_warp, warps, s, [](float* d, const float* of_thread) HOT { memcpy(d, of_thread, 8); });
  } else {
    for (int m = first_warp * 16; m < (first_warp + warps) * 16; m++) memset(s.d[m], 0, first->n * sizeof(float));
  }
  for (int n = 0; n < first->n; n += PANEL)
    for (int m = first_warp * 16; m < (first_warp + warps) * 16; m += 4) {
      if (first->n - n >= PANEL) multiply_tile<2>(&s.a[m], s.b[n / PANEL], reinterpret_cast<float(*)[MAX_N]>(&s.d[m][n]), k);
      else multiply_tile<1>(&s.a[m], s.b[n / PANEL], reinterpret_cast<float(*)[MAX_N]>(&s.d[m][n]), k);
    }
  each_pair(*first, first_warp, warps, s, [](const float* d, float* of_thread) HOT { memcpy(of_thread, d, 8); });
}

bool share_accumulators(const Product& p, const Product& q) {
  return p.n == q.n && q.accumulate && !memcmp(p.d, q.d, sizeof p.d);
}

// Brings the rows of some warps, which are equally far, up to product `end`.
void perform(Warpgroup& own, int first_warp, int warps, unsigned end) {
  unsigned& done = own.done[first_warp];
  while (done < end) {
    const auto first = own.products.begin() + (done - own.first_product);
    auto last = first + 1;
    unsigned batch = 1;
    for (; batch < MAX_BATCH && done + batch < end && share_accumulators(*first, *last); batch++) ++last;
    multiply(first, last, first_warp, warps);
    done += batch;
  }
  for (int warp = 1; warp < warps; warp++) own.done[first_warp + warp] = done;
}

Warpgroup& own_warpgroup(const char* operation, Where at) {
  const unsigned first = running->warp / 4 * 128;
  if (first + 128 > this_block().threads)
    engine->fail("%s at %s:%d: thread %u belongs to no whole warpgroup", operation, at.file, at.line, running->index);
  return this_block().units.warpgroups[running->warp / 4];
}

// For the thread sanitizer: what a warp reads in shared memory.
void note_reads([[maybe_unused]] const Wgmma& p, [[maybe_unused]] Where at) {
#if EMU_TSAN
  if (running->lane != 0) return;
  const auto note = [&](uint64_t desc, bool mn_major, int first, int extent, const char* name) {
    const Operand operand(desc, mn_major, extent, name, at);
    for (int i = first / 8; i < extent / 8; i++)
      for (int j = 0; j < 2; j++)
        for (int r = 0; r < 8; r++) sanitizer::reads(this_block().shared_pointer(operand.row(i, j, r)), 16);
  };
  const int row = int(running->warp % 4) * 16;
  if (!p.a) note(p.a_desc, p.a_mn_major, row, row + 16, "a");
  note(p.b_desc, p.b_mn_major, 0, p.n, "b");
#endif
}

}  // namespace

void wgmma_fence(Where at) {
  own_warpgroup("wgmma_fence", at);
  running->fenced = true;
}

void wgmma(const Wgmma& p, Where at) {
  Warpgroup& own = own_warpgroup("wgmma", at);
  Fiber& me = *running;
  if (!me.fenced) engine->fail("wgmma at %s:%d: no wgmma_fence() since the last wait", at.file, at.line);
  const unsigned i = me.products++ - own.first_product;
  if (i == own.products.size()) {
    const sanitizer::Unseen unseen;
    own.products.emplace_back();
    Product& made = own.products.back();
    made.n = p.n;
    made.a_in_registers = p.a != nullptr;
    made.a_mn_major = p.a_mn_major, made.b_mn_major = p.b_mn_major, made.accumulate = p.accumulate;
    made.a_desc = p.a_desc, made.b_desc = p.b_desc;
    made.at = at;
  }
  Product& product = own.products[i];
  if (!(product.at == at) || product.n != p.n)
    engine->fail("divergent warpgroup: thread %u is in wgmma at %s:%d, others at %s:%d", me.index, at.file, at.line,
                 product.at.file, product.at.line);
  if (product.a_desc != p.a_desc || product.b_desc != p.b_desc || product.accumulate != p.accumulate)
    engine->fail("wgmma at %s:%d: thread %u gives other descriptors than the rest of its warpgroup", at.file, at.line,
                 me.index);
  product.d[me.index % 128] = p.d;
  if (p.a) memcpy(product.a[me.index % 128], p.a, sizeof product.a[0]);
  const sanitizer::CalledFrom kernel(__builtin_return_address(0));
  note_reads(p, at);
}

void wgmma_commit(Where at) {
  Warpgroup& own = own_warpgroup("wgmma_commit", at);
  const unsigned i = running->groups++ - own.first_group;
  const sanitizer::Unseen unseen;
  if (i == own.groups.size()) own.groups.push_back({running->products, 0, 0, !engine->copies_wait(), false, at});
  ProductGroup& group = own.groups[i];
  if (group.end != running->products || !(group.at == at))
    engine->fail("divergent warpgroup: thread %u commits product %u at %s:%d, others product %u at %s:%d", running->index,
                 running->products, at.file, at.line, group.end, group.at.file, group.at.line);
  sanitizer::release(&own.done[running->warp % 4]);
  if (++group.committed < 128 || !group.early) return;
  if (own.done[0] == own.done[1] && own.done[0] == own.done[2] && own.done[0] == own.done[3]) {
    perform(own, 0, 4, group.end);
  } else {
    for (int warp = 0; warp < 4; warp++) perform(own, warp, 1, group.end);
  }
  group.done = true;
  for (Fiber* fiber : own.waiting) engine->wake(fiber);
  own.waiting.clear();
}

void wgmma_wait(unsigned unfinished_groups, Where at) {
  Warpgroup& own = own_warpgroup("wgmma_wait", at);
  Fiber& me = *running;
  me.fenced = false;
  if (me.groups <= unfinished_groups) return;
  const unsigned target = me.groups - unfinished_groups;
  if (me.waited_groups >= target) return;
  const unsigned end = own.groups[target - 1 - own.first_group].end;
  if (own.groups[target - 1 - own.first_group].early) {
    while (!own.groups[target - 1 - own.first_group].done) {
      {
        const sanitizer::Unseen unseen;
        own.waiting.push_back(&me);
      }
      engine->sleep("wgmma_wait", at);
    }
  } else {
    struct Slice {
      Warpgroup* own;
      unsigned warp, end;
    } slice{&own, me.warp % 4, end};
    this_block().warp_collective(
        ~0u, &slice,
        [](void** operands) {
          const sanitizer::Unseen unseen;
          const Slice& s = *static_cast<Slice*>(operands[0]);
          perform(*s.own, int(s.warp), 1, s.end);
        },
        "wgmma_wait", at);
  }
  sanitizer::acquire(&own.done[me.warp % 4]);
  me.waited_products = end;
  const sanitizer::Unseen unseen;
  for (; me.waited_groups < target; me.waited_groups++) own.groups[me.waited_groups - own.first_group].left++;
  while (!own.groups.empty() && own.groups.front().left == 128) {
    const unsigned finished = own.groups.front().end - own.first_product;
    own.products.erase(own.products.begin(), own.products.begin() + finished);
    own.first_product += finished;
    own.groups.pop_front();
    own.first_group++;
  }
}

}  // namespace emu
