#include "emulator/engine.h"

#include <sys/mman.h>

#include <algorithm>
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

void ReadyQueue::reset(Schedule schedule, uint64_t seed, unsigned warps) {
  this->schedule = schedule;
  random_state = mix(seed) | 1;
  head = tail = 0;
  ring_mask = 31;
  while (ring_mask < warps * 32 - 1) ring_mask = 2 * ring_mask + 1;
  ready_warps = 0;
  if (schedule == Schedule::Fifo) return;
  for (unsigned warp = 0; warp < std::max(warps, MAX_WARPS); warp++) {
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

Fiber* ReadyQueue::pop() {
  if (schedule == Schedule::Fifo) return head == tail ? nullptr : ring[head++ & ring_mask];
  if (!ready_warps) return nullptr;
  unsigned first = __builtin_ctzll(ready_warps);
  for (uint64_t rest = ready_warps & (ready_warps - 1); rest; rest &= rest - 1) {
    const unsigned warp = __builtin_ctzll(rest);
    if (priority[warp] > priority[first]) first = warp;
  }
  const uint64_t r = random();
  Fiber*& chosen = of_warp[first][(r >> 20) % count[first]];
  Fiber* fiber = chosen;
  chosen = of_warp[first][--count[first]];
  if (count[first] == 0) ready_warps &= ~(uint64_t(1) << first);
  if ((r & 1023) == 0) priority[first] = uint32_t(random() >> 32);
  return fiber;
}

// Engine: running blocks

// Stacks are memory maps, of which Linux allows a process so many: they end with the OS thread that they were made for.
Engine::~Engine() {
  blocks.clear();
  for (const Stack& stack : stacks) {
    sanitizer::allow(stack.base, stack.bytes);
    munmap(stack.base - PAGE, stack.bytes + PAGE);
  }
}

bool Engine::run_cluster(uint3 first, const Work& work, const Options& options) {
  grid = work.grid;
  block = work.block;
  cluster = work.cluster;
  kernel = work.kernel;
  args = work.args;
  async = options.async;
  error.clear();
  // The schedule depends on the seed and the first block alone, not on which OS thread runs it.
  const uint64_t number = first.x + uint64_t(grid.x) * (first.y + uint64_t(grid.y) * first.z);
  const unsigned threads = block.x * block.y * block.z, warps = (threads + 31) / 32 * cluster;
  ready.reset(options.schedule, options.seed * 0x9e3779b97f4a7c15ull + number + 1, warps);
  alive = threads * cluster;
  cluster_arrived = 0;
  cluster_waiting.clear();
  while (blocks.size() < cluster) blocks.emplace_back(new Block);
  for (unsigned rank = 0; rank < cluster; rank++) {
    blocks[rank]->prepare({first.x + rank, first.y, first.z}, rank, block, work.shared_bytes);
    for (unsigned i = 0; i < threads; i++) ready.push(&blocks[rank]->fibers[i]);
  }
  engine = this;
  running = &root;
  sanitizer::adopt_os_thread(root.sanitizer_state);
  sanitizer::release(&launch_begins);
  switch_to(ready.pop());
  sanitizer::acquire(&launch_ends);
  engine = nullptr;
  running = nullptr;
  if (error.empty()) return true;
  // A failure leaves the fibers where they were: their stacks are free again.
  for (unsigned rank = 0; rank < cluster && !EMU_TSAN; rank++)
    for (unsigned i = 0; i < threads; i++)
      if (const Fiber& fiber = blocks[rank]->fibers[i]; fiber.started && !fiber.done) free_stacks.push_back(fiber.stack);
  return false;
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
      stacks.push_back(new_stack());
      fiber->stack = stacks.back();
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
    sanitizer::acquire(&engine->launch_begins);
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
  sanitizer::release(&launch_ends);
  me->block->take_leave(*me);
  if (me->at_cluster_barrier) fail("thread %u returned without cluster_wait(), having arrived", me->index);
  if (alive == 0) return &root;
  if (cluster_arrived == alive) finish_cluster_round();
  return next_fiber();
}

// Who runs next. Where none can run, asynchronous units finish what they have put off.
Fiber* Engine::next_fiber() {
  for (;;) {
    if (Fiber* next = ready.pop()) return next;
    if (!complete_one_load()) report_deadlock();
  }
}

bool Engine::complete_one_load() {
  Block* waiting[MAX_RUNNING_WARPS];
  size_t n = 0;
  for (unsigned rank = 0; rank < cluster; rank++)
    if (blocks[rank]->units.has_loads()) waiting[n++] = blocks[rank].get();
  if (n) waiting[n > 1 ? choose(n) : 0]->units.complete_one_load();
  return n > 0;
}

void Engine::wait() {
  Fiber* next = next_fiber();
  sanitizer::release(&launch_ends);  // should the block fail before this thread runs again
  switch_to(next);
}

void Engine::fail(const char* format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  const uint3 at = this_block().index;
  error = text + (" [block (" + std::to_string(at.x)) + "," + std::to_string(at.y) + "," + std::to_string(at.z) + ")]";
  sanitizer::Unseen::end_all();
  sanitizer::release(&launch_ends);
  switch_to(&root);
  __builtin_unreachable();
}

void Engine::report_deadlock() {
  struct Site {
    const Fiber* example;
    unsigned threads;
  };
  std::vector<Site> sites;
  for (unsigned i = 0; i < cluster * blocks[0]->threads; i++) {
    const Fiber& fiber = blocks[i / blocks[0]->threads]->fibers[i % blocks[0]->threads];
    if (fiber.done) continue;
    Site* known = nullptr;
    for (Site& site : sites)
      if (site.example->waits_in == fiber.waits_in && site.example->waits_at == fiber.waits_at &&
          site.example->block == fiber.block)
        known = &site;
    if (known) known->threads++;
    else sites.push_back({&fiber, 1});
  }
  std::string text = "deadlock:";
  for (const Site& site : sites)
    text += (&site == &sites[0] ? " " : ", ") + std::to_string(site.threads) + " threads wait in " +
            site.example->waits_in + " at " + site.example->waits_at.file + ":" +
            std::to_string(site.example->waits_at.line) +
            (cluster > 1 ? " (block " + std::to_string(site.example->block->rank) + " of the cluster)" : "");
  fail("%s", text.c_str());
}

// Engine: what a kernel calls

void Engine::sleep(const char* operation, Where at) {
  running->waits_in = operation;
  running->waits_at = at;
  wait();
}

Block& Engine::block_of_cluster(unsigned rank, const char* operation, Where at) {
  if (rank >= cluster)
    fail("%s at %s:%d: block %u of a cluster that has %u", operation, at.file, at.line, rank, cluster);
  Block& block = *blocks[rank];
  if (block.alive == 0)
    fail("%s at %s:%d: block %u of the cluster has ended, its shared memory is gone", operation, at.file, at.line, rank);
  return block;
}

void Engine::cluster_arrive(Where at) {
  Fiber& me = *running;
  if (me.at_cluster_barrier)
    fail("cluster_arrive at %s:%d: thread %u has not waited since it arrived last", at.file, at.line, me.index);
  me.at_cluster_barrier = true;
  me.cluster_round = cluster_round;
  sanitizer::release(&cluster_mark[cluster_round % 2]);
  if (++cluster_arrived == alive) finish_cluster_round();
}

void Engine::cluster_wait(Where at) {
  Fiber& me = *running;
  if (!me.at_cluster_barrier) fail("cluster_wait at %s:%d: thread %u has not arrived", at.file, at.line, me.index);
  me.at_cluster_barrier = false;
  if (me.cluster_round == cluster_round) {
    {
      const sanitizer::Unseen unseen;
      cluster_waiting.push_back(&me);
    }
    sleep("cluster_wait", at);
  }
  sanitizer::acquire(&cluster_mark[me.cluster_round % 2]);
}

void Engine::finish_cluster_round() {
  cluster_arrived = 0;
  cluster_round++;
  for (Fiber* fiber : cluster_waiting) wake(fiber);
  cluster_waiting.clear();
}

bool Engine::copies_wait() {
  if (async == AsyncCopies::Coin) return ready.random() >> 40 & 1;
  return async == AsyncCopies::Late;
}

size_t Engine::choose(size_t n) { return async == AsyncCopies::Coin ? (ready.random() >> 20) % n : 0; }

}  // namespace emu
