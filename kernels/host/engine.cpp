#include "engine.h"

#include <sys/mman.h>

#include <cstdarg>

#if !defined(__x86_64__)
#error "the emulator switches stacks in x86-64 assembly"
#endif

namespace emu {

__thread Engine* engine = nullptr;
__thread Fiber* running = nullptr;

namespace {

#if EMU_ASAN || EMU_TSAN
constexpr size_t STACK_BYTES = 256 << 10;
#else
constexpr size_t STACK_BYTES = 96 << 10;
#endif
constexpr size_t PAGE = 4096;

// Saves the callee-saved registers on the current stack, its pointer in *save, and resumes the stack at `resume`.
__attribute__((naked, noinline)) void switch_stack(void** /*save*/, void* /*resume*/) {
  asm("push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
      "mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
      "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret");
}

// With a guard page below: a fiber that overflows its stack faults instead of writing over another's.
Stack new_stack() {
  void* memory = mmap(nullptr, STACK_BYTES + PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, PAGE, PROT_NONE) != 0) {
    perror("emulator: no memory for a thread's stack");
    abort();
  }
  return {static_cast<char*>(memory) + PAGE, STACK_BYTES};
}

uint64_t mix(uint64_t x) {  // splitmix64's finaliser
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  return x ^ x >> 31;
}

}  // namespace

// ReadyQueue

void ReadyQueue::reset(Schedule schedule, uint64_t seed) {
  this->schedule = schedule;
  random_state = mix(seed) | 1;
  head = tail = ready_warps = 0;
  if (schedule == Schedule::Fifo) return;
  for (unsigned warp = 0; warp < MAX_WARPS; warp++) {
    count[warp] = 0;
    priority[warp] = uint32_t(random() >> 32);
  }
}

uint64_t ReadyQueue::random() {  // xorshift
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

void ReadyQueue::push(Fiber* fiber) {
  if (schedule == Schedule::Fifo) {
    ring[tail++ % MAX_BLOCK] = fiber;
  } else {
    of_warp[fiber->warp][count[fiber->warp]++] = fiber;
    ready_warps |= 1u << fiber->warp;
  }
}

Fiber* ReadyQueue::pop() {
  if (schedule == Schedule::Fifo) return head == tail ? nullptr : ring[head++ % MAX_BLOCK];
  if (!ready_warps) return nullptr;
  unsigned first = __builtin_ctz(ready_warps);
  for (uint32_t rest = ready_warps & (ready_warps - 1); rest; rest &= rest - 1) {
    const unsigned warp = __builtin_ctz(rest);
    if (priority[warp] > priority[first]) first = warp;
  }
  const uint64_t r = random();
  Fiber*& chosen = of_warp[first][(r >> 20) % count[first]];
  Fiber* fiber = chosen;
  chosen = of_warp[first][--count[first]];
  if (count[first] == 0) ready_warps &= ~(1u << first);
  if ((r & 1023) == 0) priority[first] = uint32_t(random() >> 32);
  return fiber;
}

// Engine: running a block

bool Engine::run_block(uint3 block_idx, dim3 grid, dim3 block, size_t shared_bytes, void (*kernel)(void** args),
                       void** args, const Options& options) {
  this->block_idx = block_idx;
  this->grid = grid;
  this->kernel = kernel;
  this->args = args;
  async = options.async;
  error.clear();
  if (shared_bytes != this->shared_bytes) {
    free(shared);
    shared = nullptr;
    this->shared_bytes = shared_bytes;
    if (shared_bytes && posix_memalign(reinterpret_cast<void**>(&shared), 1024, shared_bytes)) abort();
  }
  if (shared_bytes) memset(shared, 0xff, shared_bytes);  // NaN as float and as bfloat16

  // The schedule depends on the seed and the block alone, not on which OS thread runs it.
  const uint64_t block_number = block_idx.x + uint64_t(grid.x) * (block_idx.y + uint64_t(grid.y) * block_idx.z);
  ready.reset(options.schedule, options.seed * 0x9e3779b97f4a7c15ull + block_number + 1);
  prepare(block);
  engine = this;
  running = &root;
  sanitizer::adopt_os_thread(root.sanitizer_state);
  sanitizer::release(&block_begins);
  switch_to(ready.pop());
  sanitizer::acquire(&block_ends);
  engine = nullptr;
  running = nullptr;
  return error.empty();
}

void Engine::prepare(dim3 block) {
  this->block = block;
  threads = alive = block.x * block.y * block.z;
  if (fibers.size() < threads) fibers.resize(threads);
  for (unsigned i = 0; i < threads; i++) {
    Fiber& fiber = fibers[i];
    fiber.thread_idx = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
    fiber.index = i;
    fiber.lane = i % 32;
    fiber.warp = i / 32;
    // A block that failed left its fibers where they were: their stacks are free again.
    if (fiber.started && !fiber.done && !EMU_TSAN) free_stacks.push_back(fiber.stack);
    fiber.started = fiber.done = false;
    fiber.copies.clear();
    fiber.stores.clear();
    fiber.products = fiber.groups = fiber.waited_products = fiber.waited_groups = 0;
    fiber.fenced = false;
    ready.push(&fiber);
  }
  for (Barrier& barrier : barriers) barrier.arrived = 0;
  units.reset();
  for (unsigned warp = 0; warp * 32 < threads; warp++) {
    warp_arrived[warp] = 0;
    const unsigned lanes = threads - warp * 32;
    warp_exited[warp] = lanes < 32 ? ~0u << lanes : 0;
  }
}

void Engine::switch_to(Fiber* next) {
  if (next == running) return;  // released by its own arrival, and first in the schedule
  Fiber* from = running;
  if (!next->started && next != &root) start_on_own_stack(next);
  running = next;
  sanitizer::before_switch(from->sanitizer_state, from->done, next->sanitizer_state, next->stack.base,
                           next->stack.bytes);
  switch_stack(&from->stack_pointer, next->stack_pointer);
  sanitizer::after_switch(running->sanitizer_state);
}

void Engine::start_on_own_stack(Fiber* fiber) {
  fiber->started = true;
  if (!EMU_TSAN || !fiber->stack.base) {  // the thread sanitizer remembers who used a stack: there each fiber keeps its own
    if (free_stacks.empty()) {
      fiber->stack = new_stack();
    } else {
      fiber->stack = free_stacks.back();
      free_stacks.pop_back();
      sanitizer::allow(fiber->stack.base, fiber->stack.bytes);  // frames that never returned left red zones
    }
  }
  sanitizer::create(fiber->sanitizer_state);
  // Tops are staggered, or the hot lines of all stacks would fall into the same few sets of the cache. At the entry of a
  // function the stack pointer is 8 modulo 16, as a call leaves it.
  void** top = reinterpret_cast<void**>(fiber->stack.base + fiber->stack.bytes - fiber->index % 64 * 320) - 1;
  *--top = reinterpret_cast<void*>(&fiber_main);
  for (int saved_register = 0; saved_register < 6; saved_register++) *--top = nullptr;
  fiber->stack_pointer = top;
}

void Engine::fiber_main() {
  const void* from_stack = nullptr;
  size_t from_bytes = 0;
  sanitizer::first_switch(from_stack, from_bytes);
  if (!engine->root.stack.base) {  // the engine's first fiber is entered from the OS thread
    engine->root.stack = {static_cast<char*>(const_cast<void*>(from_stack)), from_bytes};
  }
  for (;;) {
    sanitizer::acquire(&engine->block_begins);
    engine->kernel(engine->args);
    Fiber* next = engine->finish_running();
    if (next->started || next == &engine->root || EMU_TSAN) {
      if (!EMU_TSAN) engine->free_stacks.push_back(running->stack);
      engine->switch_to(next);
    }
    // A thread that has not begun takes over this stack: threads that never wait cost no switch.
    next->started = true;
    next->stack = running->stack;
    running = next;
  }
}

// The running thread has returned from the kernel. Returns who runs next.
Fiber* Engine::finish_running() {
  Fiber* me = running;
  me->done = true;
  alive--;
  warp_exited[me->warp] |= 1u << me->lane;
  sanitizer::release(&block_ends);
  units.check_thread_is_done(*me);
  if (alive == 0) {
    units.check_block_is_done();
    return &root;
  }
  for (unsigned waiting = warp_arrived[me->warp]; waiting; waiting &= waiting - 1) {
    const Fiber& fiber = fibers[me->warp * 32 + __builtin_ctz(waiting)];
    if (fiber.mask >> me->lane & 1)
      fail("%s at %s:%d waits for lane %u of warp %u, which has returned", fiber.waits_in, fiber.waits_at.file,
           fiber.waits_at.line, me->lane, me->warp);
  }
  Barrier& whole_block = barriers[0];
  if (whole_block.arrived && whole_block.threads == 0 && whole_block.arrived == alive) release(whole_block);
  return next_fiber();
}

// Who runs next. Where none can run, asynchronous units finish what they have put off.
Fiber* Engine::next_fiber() {
  for (;;) {
    if (Fiber* next = ready.pop()) return next;
    if (!units.complete_one_load()) report_deadlock();
  }
}

void Engine::wait() {
  Fiber* next = next_fiber();
  sanitizer::release(&block_ends);  // should the block fail before this thread runs again
  switch_to(next);
}

void Engine::fail(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  error = text;
  sanitizer::Unseen::end_all();
  sanitizer::release(&block_ends);
  switch_to(&root);
  __builtin_unreachable();
}

void Engine::report_deadlock() {
  struct Site {
    const Fiber* example;
    unsigned threads;
  };
  std::vector<Site> sites;
  for (unsigned i = 0; i < threads; i++) {
    const Fiber& fiber = fibers[i];
    if (fiber.done) continue;
    Site* known = nullptr;
    for (Site& site : sites)
      if (site.example->waits_in == fiber.waits_in && site.example->waits_at == fiber.waits_at) known = &site;
    if (known) known->threads++;
    else sites.push_back({&fiber, 1});
  }
  std::string text = "deadlock:";
  for (const Site& site : sites)
    text += (&site == &sites[0] ? " " : ", ") + std::to_string(site.threads) + " threads wait in " +
            site.example->waits_in + " at " + site.example->waits_at.file + ":" +
            std::to_string(site.example->waits_at.line);
  fail("%s", text.c_str());
}

// Engine: what a kernel calls

void* Engine::dynamic_shared(size_t wanted_bytes) {
  if (wanted_bytes > shared_bytes)
    fail("the kernel uses at least %zu bytes of dynamic shared memory, the launch gives %zu", wanted_bytes, shared_bytes);
  return shared;
}

uint32_t Engine::shared_address(const void* p, size_t bytes, const char* operation, Where at) {
  const size_t offset = static_cast<const unsigned char*>(p) - shared;
  if (offset > shared_bytes || bytes > shared_bytes - offset)
    fail("%s at %s:%d: %zu bytes at offset %td of dynamic shared memory, which has %zu", operation, at.file, at.line, bytes,
         ptrdiff_t(offset), shared_bytes);
  return SHARED_BASE + uint32_t(offset);
}

void Engine::sleep(const char* operation, Where at) {
  running->waits_in = operation;
  running->waits_at = at;
  wait();
}

void Engine::barrier(unsigned id, unsigned wanted, const char* operation, Where at) {
  if (id >= BARRIERS || wanted % 32) fail("%s at %s:%d: barrier %u of %u threads", operation, at.file, at.line, id, wanted);
  Barrier& barrier = barriers[id];
  if (barrier.arrived == 0) {
    barrier.threads = wanted;
    barrier.operation = operation;
    barrier.at = at;
  } else if (!(barrier.at == at) || barrier.threads != wanted) {
    fail("divergent barrier: thread %u is in %s at %s:%d, others in %s at %s:%d", running->index, operation, at.file,
         at.line, barrier.operation, barrier.at.file, barrier.at.line);
  }
  char* mark = &barrier.mark[barrier.round % 2];
  sanitizer::release(mark);
  running->waits_in = operation;
  running->waits_at = at;
  barrier.waiting[barrier.arrived++] = running;
  if (barrier.arrived == (wanted ? wanted : alive)) release(barrier);
  wait();
  sanitizer::acquire(mark);
}

void Engine::release(Barrier& barrier) {
  for (unsigned i = 0; i < barrier.arrived; i++) ready.push(barrier.waiting[i]);
  barrier.arrived = 0;
  barrier.round++;
}

void Engine::warp_collective(unsigned mask, void* operand, void (*combine)(void** operands), const char* operation,
                             Where at) {
  Fiber* me = running;
  unsigned& arrived = warp_arrived[me->warp];
  Fiber* lanes = &fibers[me->warp * 32];
  if (!(mask >> me->lane & 1))
    fail("%s at %s:%d: lane %u is not in its own mask %08x", operation, at.file, at.line, me->lane, mask);
  if (mask & warp_exited[me->warp])
    fail("%s at %s:%d: mask %08x names lanes %08x of warp %u, which have returned or do not exist", operation, at.file,
         at.line, mask, mask & warp_exited[me->warp], me->warp);
  me->operand = operand;
  me->mask = mask;
  me->waits_in = operation;
  me->waits_at = at;
  arrived |= 1u << me->lane;
  sanitizer::release(&arrived);
  if ((arrived & mask) != mask) {
    wait();
    sanitizer::acquire(&arrived);
    return;
  }
  sanitizer::acquire(&arrived);
  void* operands[32] = {};
  for (unsigned rest = mask; rest; rest &= rest - 1) {
    const unsigned lane = __builtin_ctz(rest);
    const Fiber& other = lanes[lane];
    if (other.mask != mask || other.waits_in != operation || !(other.waits_at == at))
      fail("divergent warp operation: lane %u of warp %u is in %s at %s:%d with mask %08x, lane %u in %s at %s:%d with mask "
           "%08x",
           me->lane, me->warp, operation, at.file, at.line, mask, lane, other.waits_in, other.waits_at.file,
           other.waits_at.line, other.mask);
    operands[lane] = other.operand;
  }
  if (combine) combine(operands);
  arrived &= ~mask;
  sanitizer::release(&arrived);
  for (unsigned rest = mask & ~(1u << me->lane); rest; rest &= rest - 1) ready.push(&lanes[__builtin_ctz(rest)]);
}

bool Engine::copies_wait() {
  if (async == AsyncCopies::Coin) return ready.random() >> 40 & 1;
  return async == AsyncCopies::Late;
}

size_t Engine::choose(size_t n) { return async == AsyncCopies::Coin ? (ready.random() >> 20) % n : 0; }

}  // namespace emu
