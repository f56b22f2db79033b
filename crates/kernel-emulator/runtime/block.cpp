#include "emulator/engine.h"

namespace emu {

void Block::prepare(uint3 index, unsigned rank, dim3 dims, size_t shared_bytes) {
  this->index = index;
  this->rank = rank;
  if (shared_bytes != this->shared_bytes) {
    free(shared);
    shared = nullptr;
    this->shared_bytes = shared_bytes;
    if (shared_bytes && posix_memalign(reinterpret_cast<void**>(&shared), 1024, shared_bytes)) abort();
  }
  if (shared_bytes) memset(shared, 0xff, shared_bytes);  // NaN as float and as bfloat16

  threads = alive = dims.x * dims.y * dims.z;
  const unsigned warps = (threads + 31) / 32;
  if (fibers.size() < threads) fibers.resize(threads);
  for (unsigned i = 0; i < threads; i++) {
    Fiber& fiber = fibers[i];
    fiber.block = this;
    fiber.thread_idx = {i % dims.x, i / dims.x % dims.y, i / (dims.x * dims.y)};
    fiber.index = i;
    fiber.lane = i % 32;
    fiber.warp = i / 32;
    fiber.cluster_warp = rank * warps + fiber.warp;
    fiber.started = fiber.done = false;
    fiber.copies.clear();
    fiber.stores.clear();
    fiber.products = fiber.groups = fiber.waited_products = fiber.waited_groups = 0;
    fiber.fenced = fiber.at_cluster_barrier = false;
  }
  for (Barrier& barrier : barriers) barrier.arrived = 0;
  units.reset();
  for (unsigned warp = 0; warp < warps; warp++) {
    warp_arrived[warp] = 0;
    const unsigned lanes = threads - warp * 32;
    warp_exited[warp] = lanes < 32 ? ~0u << lanes : 0;
  }
}

void Block::take_leave(const Fiber& thread) {
  alive--;
  warp_exited[thread.warp] |= 1u << thread.lane;
  units.check_thread_is_done(thread);
  if (alive == 0) return units.check_block_is_done();
  for (unsigned waiting = warp_arrived[thread.warp]; waiting; waiting &= waiting - 1) {
    const Fiber& fiber = fibers[thread.warp * 32 + __builtin_ctz(waiting)];
    if (fiber.mask >> thread.lane & 1)
      engine->fail("%s at %s:%d waits for lane %u of warp %u, which has returned", fiber.waits_in, fiber.waits_at.file,
                   fiber.waits_at.line, thread.lane, thread.warp);
  }
  Barrier& whole_block = barriers[0];
  if (whole_block.arrived && whole_block.threads == 0 && whole_block.arrived == alive) release(whole_block);
}

// What a kernel calls

void* Block::dynamic_shared(size_t wanted_bytes) {
  if (wanted_bytes > shared_bytes)
    engine->fail("the kernel uses at least %zu bytes of dynamic shared memory, the launch gives %zu", wanted_bytes,
                 shared_bytes);
  return shared;
}

uint32_t Block::shared_address(const void* p, size_t bytes, const char* operation, Where at) {
  const size_t offset = static_cast<const unsigned char*>(p) - shared;
  if (offset > shared_bytes || bytes > shared_bytes - offset)
    engine->fail("%s at %s:%d: %zu bytes at offset %td of dynamic shared memory, which has %zu", operation, at.file, at.line,
                 bytes, ptrdiff_t(offset), shared_bytes);
  return SHARED_BASE + uint32_t(offset);
}

void Block::barrier(unsigned id, unsigned wanted, const char* operation, Where at) {
  if (id >= BARRIERS || wanted % 32)
    engine->fail("%s at %s:%d: barrier %u of %u threads", operation, at.file, at.line, id, wanted);
  Barrier& barrier = barriers[id];
  if (barrier.arrived == 0) {
    barrier.threads = wanted;
    barrier.operation = operation;
    barrier.at = at;
  } else if (!(barrier.at == at) || barrier.threads != wanted) {
    engine->fail("divergent barrier: thread %u is in %s at %s:%d, others in %s at %s:%d", running->index, operation,
                 at.file, at.line, barrier.operation, barrier.at.file, barrier.at.line);
  }
  char* mark = &barrier.mark[barrier.round % 2];
  sanitizer::release(mark);
  barrier.waiting[barrier.arrived++] = running;
  if (barrier.arrived == (wanted ? wanted : alive)) release(barrier);
  engine->sleep(operation, at);
  sanitizer::acquire(mark);
}

void Block::release(Barrier& barrier) {
  for (unsigned i = 0; i < barrier.arrived; i++) engine->wake(barrier.waiting[i]);
  barrier.arrived = 0;
  barrier.round++;
}

void Block::warp_collective(unsigned mask, void* operand, void (*combine)(void** operands), const char* operation,
                            Where at) {
  Fiber* me = running;
  unsigned& arrived = warp_arrived[me->warp];
  Fiber* lanes = &fibers[me->warp * 32];
  if (!(mask >> me->lane & 1))
    engine->fail("%s at %s:%d: lane %u is not in its own mask %08x", operation, at.file, at.line, me->lane, mask);
  if (mask & warp_exited[me->warp])
    engine->fail("%s at %s:%d: mask %08x names lanes %08x of warp %u, which have returned or do not exist", operation,
                 at.file, at.line, mask, mask & warp_exited[me->warp], me->warp);
  me->operand = operand;
  me->mask = mask;
  me->waits_in = operation;
  me->waits_at = at;
  arrived |= 1u << me->lane;
  sanitizer::release(&arrived);
  if ((arrived & mask) != mask) {
    engine->sleep(operation, at);
    sanitizer::acquire(&arrived);
    return;
  }
  sanitizer::acquire(&arrived);
  void* operands[32] = {};
  for (unsigned rest = mask; rest; rest &= rest - 1) {
    const unsigned lane = __builtin_ctz(rest);
    const Fiber& other = lanes[lane];
    if (other.mask != mask || other.waits_in != operation || !(other.waits_at == at))
      engine->fail("divergent warp operation: lane %u of warp %u is in %s at %s:%d with mask %08x, lane %u in %s at %s:%d "
                   "with mask %08x",
                   me->lane, me->warp, operation, at.file, at.line, mask, lane, other.waits_in, other.waits_at.file,
                   other.waits_at.line, other.mask);
    operands[lane] = other.operand;
  }
  if (combine) combine(operands);
  arrived &= ~mask;
  sanitizer::release(&arrived);
  for (unsigned rest = mask & ~(1u << me->lane); rest; rest &= rest - 1) engine->wake(&lanes[__builtin_ctz(rest)]);
}

}  // namespace emu
