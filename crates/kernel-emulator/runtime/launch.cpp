#include "emulator/launch.h"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

namespace emu {

const Kernel* first_kernel = nullptr;

namespace {

// OS threads that wait for work. A launch lends its blocks to as many as it wants and works along.
class Workers {
 public:
  // Calls work() on this thread and on `helpers` others; returns when all calls have returned.
  void run(unsigned helpers, const std::function<void()>& work) {
    if (helpers == 0) return work();
    std::unique_lock<std::mutex> one_launch_at_a_time(launching);
    {
      std::lock_guard<std::mutex> lock(mutex);
      while (threads.size() < helpers) threads.emplace_back([this] { serve(); });
      this->work = &work;
      wanted = unfinished = helpers;
    }
    arrived.notify_all();
    work();
    std::unique_lock<std::mutex> lock(mutex);
    finished.wait(lock, [this] { return unfinished == 0; });
  }

 private:
  void serve() {
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      arrived.wait(lock, [this] { return wanted > 0; });
      wanted--;
      const std::function<void()>& task = *work;
      lock.unlock();
      task();
      lock.lock();
      if (--unfinished == 0) finished.notify_one();
    }
  }

  std::mutex launching, mutex;
  std::condition_variable arrived, finished;
  std::vector<std::thread> threads;
  const std::function<void()>* work = nullptr;
  unsigned wanted = 0, unfinished = 0;
};

Workers& workers() {  // never destroyed: its threads end with the process
  static Workers* pool = new Workers;
  return *pool;
}

Engine& engine_of_this_thread() {
  static thread_local std::unique_ptr<Engine> instance(new Engine);
  return *instance;
}

}  // namespace

std::string run_grid(const Work& work, const Options& options) {
  const dim3 grid = work.grid, block = work.block;
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  if (blocks == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    return "a grid of " + std::to_string(grid.x) + "x" + std::to_string(grid.y) + "x" + std::to_string(grid.z) + " blocks";
  if (uint64_t(block.x) * block.y * block.z - 1 >= MAX_BLOCK)
    return "a block of " + std::to_string(block.x) + "x" + std::to_string(block.y) + "x" + std::to_string(block.z) + " threads";
  if (grid.x % work.cluster)
    return "a grid of " + std::to_string(grid.x) + " blocks along x, in clusters of " + std::to_string(work.cluster);
  if (work.cluster * ((block.x * block.y * block.z + 31) / 32) > MAX_RUNNING_WARPS)
    return "clusters with more threads than the emulator runs together";
  const uint64_t clusters = blocks / work.cluster;

  // Of the clusters that fail, the first in order is reported, whatever thread ran it.
  std::atomic<uint64_t> next{0}, first_failure{~uint64_t(0)};
  std::mutex mutex;
  std::string error;
  const std::function<void()> serve = [&] {
    Engine& engine = engine_of_this_thread();
    for (uint64_t i; (i = next++) < clusters && i < first_failure;) {
      const uint64_t first = i * work.cluster;
      const uint3 index{unsigned(first % grid.x), unsigned(first / grid.x % grid.y), unsigned(first / grid.x / grid.y)};
      if (engine.run_cluster(index, work, options)) continue;
      std::lock_guard<std::mutex> lock(mutex);
      if (i > first_failure) continue;
      first_failure = i;
      error = engine.error;
    }
  };
  // Static shared memory is not per OS thread in a sanitizer's build.
  const unsigned os_threads = EMU_ASAN || EMU_TSAN ? 1 : std::max(1u, options.os_threads);
  workers().run(unsigned(std::min<uint64_t>(os_threads, clusters)) - 1, serve);
  return error;
}

namespace {

std::string name_of(Parameter parameter) {
  if (parameter > Parameter::Struct)
    return "a struct of " + std::to_string(unsigned(parameter) - unsigned(Parameter::Struct)) + " bytes";
  switch (parameter) {
    case Parameter::Pointer: return "a pointer";
    case Parameter::Int32: return "a 32-bit integer";
    case Parameter::Int64: return "a 64-bit integer";
    case Parameter::Float: return "a float";
    case Parameter::TensorMap: return "a tensor map";
    default: return "something else";
  }
}

// A launch as src/bridge.rs describes it: same fields, same order.
struct LaunchRequest {
  const char* kernel;
  void** args;                  // [count] addresses of the values
  const Parameter* parameters;  // [count] what they are
  size_t count, shared_bytes;
  uint64_t seed;
  uint32_t grid[3], block[3];
  Schedule schedule;
  AsyncCopies async;
  uint32_t os_threads, compute_capability[2];
};

bool needs_hopper(const Kernel& kernel) {
  const char* suffix = "_sm90.cu";
  const size_t all = strlen(kernel.file), last = strlen(suffix);
  return all >= last && !strcmp(kernel.file + all - last, suffix);
}

std::string launch_by_name(const LaunchRequest& launch) {
  static std::mutex one_launch_at_a_time;  // static shared memory is not per OS thread in a sanitizer's build
  std::unique_lock<std::mutex> lock(one_launch_at_a_time, std::defer_lock);
  if (EMU_ASAN || EMU_TSAN) lock.lock();

  const Kernel* kernel = first_kernel;
  while (kernel && strcmp(kernel->name, launch.kernel)) kernel = kernel->next;
  if (!kernel) return "no kernel has this name";
  if (needs_hopper(*kernel) && launch.compute_capability[0] != 9)
    return "it is for compute capability 9.0, the device has " + std::to_string(launch.compute_capability[0]) + "." +
           std::to_string(launch.compute_capability[1]);
  if (kernel->count != launch.count)
    return "the kernel has " + std::to_string(kernel->count) + " parameters, the launch gives " + std::to_string(launch.count);
  for (size_t i = 0; i < launch.count; i++)
    if (kernel->parameters[i] != launch.parameters[i])
      return "parameter " + std::to_string(i) + " is " + name_of(kernel->parameters[i]) + ", the launch gives " +
             name_of(launch.parameters[i]);
  const dim3 grid(launch.grid[0], launch.grid[1], launch.grid[2]);
  const dim3 block(launch.block[0], launch.block[1], launch.block[2]);
  return run_grid({kernel->call, launch.args, grid, block, kernel->cluster, launch.shared_bytes},
                  {launch.schedule, launch.async, launch.seed, launch.os_threads});
}

}  // namespace

}  // namespace emu

extern "C" {

// Launches a kernel and waits for it. Returns 0, or 1 with the reason in `error`.
int emu_launch(const emu::LaunchRequest* launch, char* error, size_t error_bytes) {
  const std::string text = emu::launch_by_name(*launch);
  snprintf(error, error_bytes, "%s", text.c_str());
  return !text.empty();
}

// The name of the i-th kernel, or null.
const char* emu_kernel_name(size_t i) {
  const emu::Kernel* kernel = emu::first_kernel;
  while (kernel && i--) kernel = kernel->next;
  return kernel ? kernel->name : nullptr;
}

// The parameters of a kernel by its name, `count` of them; null if there is no such kernel.
const emu::Parameter* emu_kernel_parameters(const char* name, size_t* count) {
  const emu::Kernel* kernel = emu::first_kernel;
  while (kernel && strcmp(kernel->name, name)) kernel = kernel->next;
  if (!kernel) return nullptr;
  *count = kernel->count;
  return kernel->parameters;
}

// Makes every access to a range of memory an error, in the address sanitizer's build, or allows it again.
void emu_forbid(void* p, size_t bytes) { emu::sanitizer::forbid(p, bytes); }
void emu_allow(void* p, size_t bytes) { emu::sanitizer::allow(p, bytes); }

// Sanitizers stop the process at the first report. Fibers of a finished engine are not leaks worth a report.
const char* __asan_default_options() { return "detect_leaks=0"; }
const char* __ubsan_default_options() { return "print_stacktrace=1"; }
const char* __tsan_default_options() { return "halt_on_error=1"; }

}  // extern "C"
