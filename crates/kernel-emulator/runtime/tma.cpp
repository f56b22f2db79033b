// Transaction barriers and tensor copies: the host bodies of mbar_* and tma_* in common/hopper.cuh.
#include "emulator/hopper.h"

namespace emu {

namespace {

// For the thread sanitizer: one mark for each parity, since a thread that is slow to leave a phase must not be ordered
// after those that have arrived at the next.
void* mark_of(MBarrier& barrier, unsigned phase) { return reinterpret_cast<char*>(&barrier) + phase; }

uint32_t elements(const TensorMap& map, unsigned dim) {  // of the box in shared memory
  const uint32_t step = dim ? map.element_strides[dim] : 1;
  return (map.box[dim] + step - 1) / step;
}

size_t box_bytes(const TensorMap& map) {
  size_t bytes = map.element_bytes;
  for (unsigned dim = 0; dim < map.rank; dim++) bytes *= elements(map, dim);
  return bytes;
}

constexpr uint32_t CHUNK = 16;  // the swizzle leaves these bytes together

// Calls f(address in shared memory, global, begin, end) for every chunk of the box: of its bytes, those from `begin` to
// `end` lie inside the tensor, at `global`.
template <class F> void each_chunk(const TensorMap& map, const int* corner, uint32_t address, F f) {
  const int64_t element_bytes = map.element_bytes, row_bytes = elements(map, 0) * element_bytes;
  const int64_t first = corner[0] * element_bytes, last = map.dims[0] * element_bytes;
  uint32_t index[5] = {};
  for (bool more = true; more;) {
    char* row = map.data + first;
    bool inside = true;
    for (unsigned dim = 1; dim < map.rank; dim++) {
      const int64_t c = corner[dim] + int64_t(index[dim]) * map.element_strides[dim];
      inside = inside && c >= 0 && c < map.dims[dim];
      row += c * int64_t(map.strides[dim - 1]);
    }
    for (int64_t byte = 0; byte < row_bytes; byte += CHUNK, address += CHUNK) {
      const uint32_t at = map.swizzle_128 ? address ^ (address >> 7 & 7) << 4 : address;
      const int64_t before = first + byte;  // bytes of the row before the chunk
      const int64_t begin = before < 0 ? -before : 0, end = inside ? last - before : 0;
      f(at, row + byte, begin < CHUNK ? int(begin) : int(CHUNK), end < CHUNK ? int(end) : int(CHUNK));
    }
    more = false;
    for (unsigned dim = 1; dim < map.rank && !more; dim++) {
      more = ++index[dim] < elements(map, dim);
      if (!more) index[dim] = 0;
    }
  }
}

// Checks a box against its map and shared memory.
void check_box(const TensorMap& map, const void* shared, std::initializer_list<int> corner, const char* operation,
               Where at) {
  if (corner.size() != map.rank)
    engine->fail("%s at %s:%d: %zu coordinates for a tensor map of rank %u", operation, at.file, at.line, corner.size(),
                 map.rank);
  if (const uint32_t row = elements(map, 0) * map.element_bytes; map.swizzle_128 && row != 128)
    engine->fail("%s at %s:%d: with the 128-byte swizzle, a box's rows are 128 bytes, not %u", operation, at.file, at.line,
                 row);
  const uint32_t address = this_block().shared_address(shared, box_bytes(map), operation, at);
  const uint32_t alignment = map.swizzle_128 ? 1024 : 128;
  if (address % alignment)
    engine->fail("%s at %s:%d: the box at offset %u of dynamic shared memory is not aligned to %u bytes", operation, at.file,
                 at.line, address - SHARED_BASE, alignment);
}

void perform_store(BoxStore& store) {
  if (store.done) return;
  store.done = true;
  const sanitizer::Unseen unseen;
  Block& block = this_block();
  const uint32_t address = block.shared_address(store.src, 0, "tma_store", store.at);
  block.units.prepare_view();
  each_chunk(store.map, store.corner, address, [&](uint32_t chunk, char* global, int begin, int end) {
    if (begin < end) memcpy(global + begin, block.units.view_of(chunk) + begin, end - begin);
  });
}

}  // namespace

// AsyncUnits: barriers

MBarrier& AsyncUnits::barrier(uint64_t* word, const char* operation, Where at) {
  if (reinterpret_cast<uintptr_t>(word) % 8)
    engine->fail("%s at %s:%d: %p is not aligned to 8 bytes", operation, at.file, at.line, static_cast<void*>(word));
  auto& barrier = *reinterpret_cast<MBarrier*>(word);
  if (barrier.missing) engine->fail("%s at %s:%d: the mbarrier was not initialised", operation, at.file, at.line);
  return barrier;
}

void AsyncUnits::init(uint64_t* word, unsigned arrivals, Where at) {
  *word = 0;
  MBarrier& barrier = this->barrier(word, "mbar_init", at);
  if (arrivals == 0 || arrivals >= 1u << 20)
    engine->fail("mbar_init at %s:%d: %u arrivals", at.file, at.line, arrivals);
  barrier.expected = barrier.pending = arrivals;
  const sanitizer::Unseen unseen;
  for (Known& other : known)
    if (other.barrier == &barrier) {
      other.at = at;
      return;
    }
  known.push_back({&barrier, at});
}

void AsyncUnits::arrive(MBarrier& barrier, const char* operation, Where at) {
  if (barrier.pending == 0)
    engine->fail("%s at %s:%d: more arrivals than the %u that the mbarrier expects", operation, at.file, at.line,
                 unsigned(barrier.expected));
  sanitizer::release(mark_of(barrier, barrier.phase));
  barrier.pending = barrier.pending - 1;
  finish_phase(barrier);
}

void AsyncUnits::add_transactions(MBarrier& barrier, int64_t bytes, const char* operation, Where at) {
  const int64_t sum = barrier.transactions + bytes;
  if (sum >= 1 << 20 || sum <= -(1 << 20))
    engine->fail("%s at %s:%d: %lld bytes outstanding at an mbarrier", operation, at.file, at.line, (long long)sum);
  barrier.transactions = sum;
}

void AsyncUnits::finish_phase(MBarrier& barrier) {
  if (barrier.pending || barrier.transactions) return;
  barrier.phase = barrier.phase ^ 1;
  barrier.pending = barrier.expected;
  size_t kept = 0;
  for (const Waiting& w : waiting) {
    if (w.barrier == &barrier) engine->wake(w.fiber);
    else waiting[kept++] = w;
  }
  waiting.resize(kept);
}

void AsyncUnits::wait(MBarrier& barrier, unsigned parity, Where at) {
  if (parity > 1) engine->fail("mbar_wait at %s:%d: parity %u", at.file, at.line, parity);
  // A phase that another has begun since is still the one that was waited for.
  if (barrier.phase == parity) {
    {
      const sanitizer::Unseen unseen;
      waiting.push_back({running, &barrier});
    }
    engine->sleep("mbar_wait", at);
  }
  sanitizer::acquire(mark_of(barrier, parity));
}

void mbar_init(uint64_t* bar, unsigned arrivals, Where at) { this_block().units.init(bar, arrivals, at); }
void mbar_arrive(uint64_t* bar, Where at) {
  AsyncUnits& units = this_block().units;
  units.arrive(units.barrier(bar, "mbar_arrive", at), "mbar_arrive", at);
}
void mbar_arrive_cluster(uint64_t* bar, unsigned rank, Where at) {
  const char* operation = "mbar_arrive_cluster";
  const uint32_t address = this_block().shared_address(bar, sizeof *bar, operation, at);
  Block& block = engine->block_of_cluster(rank, operation, at);
  auto* of_block = reinterpret_cast<uint64_t*>(block.shared_pointer(address));
  block.units.arrive(block.units.barrier(of_block, operation, at), operation, at);
}
void mbar_expect_tx(uint64_t* bar, unsigned bytes, Where at) {
  AsyncUnits& units = this_block().units;
  MBarrier& barrier = units.barrier(bar, "mbar_expect_tx", at);
  units.add_transactions(barrier, bytes, "mbar_expect_tx", at);
  units.arrive(barrier, "mbar_expect_tx", at);
}
void mbar_wait(uint64_t* bar, unsigned parity, Where at) {
  AsyncUnits& units = this_block().units;
  units.wait(units.barrier(bar, "mbar_wait", at), parity, at);
}

// AsyncUnits: loads

void AsyncUnits::start(const BoxLoad& load) {
  const sanitizer::Unseen unseen;
  if (engine->copies_wait()) loads.push_back(load);
  else perform(load);
}

void AsyncUnits::complete_one_load() {
  const sanitizer::Unseen unseen;
  const auto chosen = loads.begin() + ptrdiff_t(engine->choose(loads.size()));
  const BoxLoad load = *chosen;
  loads.erase(chosen);
  perform(load);
}

void AsyncUnits::perform(const BoxLoad& load) {
  const uint32_t address = block.shared_address(load.dst, 0, "tma_load", load.at);
  prepare_view();
  each_chunk(load.map, load.corner, address, [this](uint32_t chunk, const char* global, int begin, int end) {
    unsigned char loaded[CHUNK] = {};
    if (begin == 0 && end == CHUNK) memcpy(loaded, global, CHUNK);
    else if (begin < end) memcpy(loaded + begin, global + begin, end - begin);
    memcpy(block.shared_pointer(chunk), loaded, CHUNK);
    memcpy(view_of(chunk), loaded, CHUNK);
  });
  add_transactions(*load.barrier, -int64_t(box_bytes(load.map)), "tma_load", load.at);
  finish_phase(*load.barrier);
}

namespace {

// Starts a load into `block`, whose dst and bar these are. `kernel` is where it was called from.
void load_into(Block& block, void* dst, const TensorMap& map, uint64_t* bar, std::initializer_list<int> corner, Where at,
               void* kernel) {
  MBarrier& barrier = block.units.barrier(bar, "tma_load", at);
  BoxLoad load{map, static_cast<unsigned char*>(dst), &barrier, {}, at};
  std::copy(corner.begin(), corner.end(), load.corner);
  // To the thread sanitizer it is this thread that writes, before the barrier's phase completes.
  {
    const sanitizer::CalledFrom caller(kernel);
    sanitizer::writes(dst, box_bytes(map));
  }
  sanitizer::release(mark_of(barrier, barrier.phase));
  block.units.start(load);
}

}  // namespace

void tma_load(void* dst, const TensorMap* map, uint64_t* bar, std::initializer_list<int> corner, Where at) {
  check_box(*map, dst, corner, "tma_load", at);
  load_into(this_block(), dst, *map, bar, corner, at, __builtin_return_address(0));
}

void tma_load_multicast(void* dst, const TensorMap* map, uint64_t* bar, unsigned ranks, std::initializer_list<int> corner,
                        Where at) {
  check_box(*map, dst, corner, "tma_load", at);
  const uint32_t dst_address = this_block().shared_address(dst, 0, "tma_load", at);
  const uint32_t bar_address = this_block().shared_address(bar, sizeof *bar, "tma_load", at);
  for (; ranks; ranks &= ranks - 1) {
    Block& block = engine->block_of_cluster(unsigned(__builtin_ctz(ranks)), "tma_load", at);
    load_into(block, block.shared_pointer(dst_address), *map, reinterpret_cast<uint64_t*>(block.shared_pointer(bar_address)),
              corner, at, __builtin_return_address(0));
  }
}

// AsyncUnits: their view of shared memory

void AsyncUnits::prepare_view() {
  const size_t bytes = block.shared_end() - SHARED_BASE;
  if (fresh) {
    view.assign(bytes + 32, 0xff);  // NaN, as shared memory at first
    slack = -reinterpret_cast<uintptr_t>(view.data()) % 32;
  }
  if (behind) memcpy(view.data() + slack, block.shared_pointer(SHARED_BASE), bytes);
  fresh = behind = false;
}

void fence_proxy_async() { this_block().units.publish(); }

// Stores

void tma_store(const TensorMap* map, const void* src, std::initializer_list<int> corner, Where at) {
  check_box(*map, src, corner, "tma_store", at);
  {
    const sanitizer::CalledFrom kernel(__builtin_return_address(0));
    sanitizer::reads(src, box_bytes(*map));
  }
  BoxStore store{*map, static_cast<const unsigned char*>(src), {}, at, false};
  std::copy(corner.begin(), corner.end(), store.corner);
  for (unsigned dim = 0; dim < map->rank; dim++)
    if (map->element_strides[dim] != 1)
      engine->fail("tma_store at %s:%d: a tensor map with element strides", at.file, at.line);
  if (!engine->copies_wait()) perform_store(store);
  running->stores.push(store);
}

void tma_store_commit() { running->stores.commit(); }
void tma_store_wait(unsigned unfinished_groups) { running->stores.wait(unfinished_groups, perform_store); }
void tma_store_wait_read(unsigned unfinished_groups) { tma_store_wait(unfinished_groups); }

// AsyncUnits: the block's beginning and end

void AsyncUnits::reset() {
  fresh = true;
  behind = false;
  loads.clear();
  known.clear();
  waiting.clear();
  for (Warpgroup& w : warpgroups) {
    w.first_product = w.first_group = 0;
    w.products.clear();
    w.groups.clear();
    w.waiting.clear();
    for (unsigned& done : w.done) done = 0;
  }
}

void AsyncUnits::check_thread_is_done(const Fiber& thread) {
  if (!thread.stores.empty()) {
    const Where at = thread.stores.oldest().at;
    engine->fail("thread %u returned without waiting for tma_store at %s:%d", thread.index, at.file, at.line);
  }
  if (thread.products != thread.waited_products) {
    const Warpgroup& own = warpgroups[thread.warp / 4];
    const Where at = own.products[thread.waited_products - own.first_product].at;
    engine->fail("thread %u returned without waiting for wgmma at %s:%d", thread.index, at.file, at.line);
  }
}

void AsyncUnits::check_block_is_done() {
  if (!loads.empty())
    engine->fail("the block ended before tma_load at %s:%d was done", loads.front().at.file, loads.front().at.line);
  for (const Known& k : known) {
    if (k.barrier->transactions)
      engine->fail("the block ended with %lld bytes %s at the mbarrier of mbar_init at %s:%d",
                   (long long)std::abs(int64_t(k.barrier->transactions)),
                   k.barrier->transactions > 0 ? "outstanding" : "more than announced", k.at.file, k.at.line);
    if (k.barrier->pending != k.barrier->expected)
      engine->fail("the block ended amid a phase, with %u of %u arrivals, of the mbarrier of mbar_init at %s:%d",
                   unsigned(k.barrier->expected - k.barrier->pending), unsigned(k.barrier->expected), k.at.file, k.at.line);
  }
}

}  // namespace emu
