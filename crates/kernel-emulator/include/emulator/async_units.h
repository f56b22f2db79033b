// What runs beside the threads of a block on Hopper: the tensor copy engine, as far as it writes to this block's shared
// memory, with the block's barriers, and the tensor cores of the warpgroups.
//
// Their operations take effect at once or as late as is allowed (AsyncCopies, see engine.h):
//
//   a load    when it is issued                        or when no thread can go on without it
//   a store   when it is issued                        or when the thread waits for its group
//   products  when the warpgroup commits their group   or when a warp waits for it: that warp's rows
//
// They have their own view of dynamic shared memory, the async proxy's: loads write it too, products and stores read it.
// What threads write comes there by fence_proxy_async(). A kernel without it computes with what was there before, at first
// NaN. One fence, by any thread, brings everything: a fence that comes too early, or from too few threads, goes unnoticed.
#pragma once
#include <deque>

#include "fiber.h"

namespace emu {

constexpr uint32_t SHARED_BASE = 1024;  // the 32-bit address of dynamic shared memory: 0 is no address
constexpr unsigned MAX_BLOCK = 1024, MAX_WARPS = MAX_BLOCK / 32, MAX_WARPGROUPS = MAX_WARPS / 4;

// A transaction barrier in the 8 bytes that it has in shared memory. `phase` is the parity of the phase that is under way.
struct MBarrier {
  uint64_t expected : 20, pending : 20, phase : 1;
  int64_t transactions : 22;  // bytes that were announced and have not come
  uint64_t missing : 1;       // 1 in memory that was never initialised, which is all ones
};
static_assert(sizeof(MBarrier) == sizeof(uint64_t), "as large as on the device");

struct BoxLoad {
  TensorMap map;
  unsigned char* dst;
  MBarrier* barrier;
  int corner[5];
  Where at;
};

// A product of one warpgroup, as its 128 threads issue it one after the other.
struct Product {
  int n;
  bool a_in_registers, a_mn_major, b_mn_major, accumulate;
  uint64_t a_desc, b_desc;
  Where at;
  float* d[128];
  uint32_t a[128][4];
};

struct ProductGroup {
  unsigned end;  // of its products, counted from the block's start
  unsigned committed, left;  // threads that have committed it, and that have waited for it
  bool early, done;
  Where at;
};

struct Warpgroup {
  unsigned first_product, first_group;  // what came before is done, and forgotten
  std::deque<Product> products;
  std::deque<ProductGroup> groups;
  unsigned done[4];  // products that each warp's rows have received
  std::vector<Fiber*> waiting;  // for an early group that not all threads have committed
};

class AsyncUnits {
 public:
  explicit AsyncUnits(Block& block) : block(block) {}
  void reset();
  // Errors if something is outstanding when a thread returns, when the last has returned.
  void check_thread_is_done(const Fiber& thread);
  void check_block_is_done();

  void start(const BoxLoad& load);
  bool has_loads() const { return !loads.empty(); }  // that have been put off
  void complete_one_load();

  void publish() { behind = true; }
  // The view's byte of a 32-bit shared address; prepare_view() comes first.
  void prepare_view();
  unsigned char* view_of(uint32_t address) { return view.data() + (address - SHARED_BASE + slack); }

  MBarrier& barrier(uint64_t* word, const char* operation, Where at);
  void init(uint64_t* word, unsigned arrivals, Where at);
  void arrive(MBarrier& barrier, const char* operation, Where at);
  void add_transactions(MBarrier& barrier, int64_t bytes, const char* operation, Where at);
  void wait(MBarrier& barrier, unsigned parity, Where at);

  Warpgroup warpgroups[MAX_WARPGROUPS];

 private:
  struct Known {
    MBarrier* barrier;
    Where at;
  };
  struct Waiting {
    Fiber* fiber;
    const MBarrier* barrier;
  };

  void perform(const BoxLoad& load);
  void finish_phase(MBarrier& barrier);

  Block& block;
  std::vector<unsigned char> view;
  size_t slack = 0;  // that aligns it
  bool fresh = true, behind = false;  // the block has not used the view; a fence has come since the view was last used
  std::deque<BoxLoad> loads;  // that have been put off
  std::vector<Known> known;   // every barrier of the block, and where it was made
  std::vector<Waiting> waiting;
};

}  // namespace emu
