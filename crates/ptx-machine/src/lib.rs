//! Executes PTX, as nvcc emits it, on the CPU: checked and counted, without a GPU.
//!
//! ```
//! use ptx_machine::{Argument, Launch, Machine, Options};
//!
//! let text = "
//!     .version 8.0
//!     .target sm_80
//!     .address_size 64
//!     .visible .entry number(.param .u64 out) {
//!         .reg .b32 %r<2>;
//!         .reg .b64 %rd<4>;
//!         ld.param.u64 %rd1, [out];
//!         mov.u32 %r1, %tid.x;
//!         mul.wide.u32 %rd2, %r1, 4;
//!         add.s64 %rd3, %rd1, %rd2;
//!         st.global.u32 [%rd3], %r1;
//!         ret;
//!     }";
//! let mut machine = Machine::default();
//! let module = machine.load("number.ptx", text)?;
//! let out = machine.memory.allocate(4 * 64);
//! let launch = Launch::new(1, 64, vec![Argument::from(out)]);
//! let options = Options { counters: true, ..Options::default() };
//! let counters = machine.launch(&module, "number", &launch, &options)?;
//! assert_eq!(machine.memory.read(out + 4 * 63, 4)?, [63, 0, 0, 0]);
//! assert_eq!(counters.total.global_stores.sectors, 8);
//! # Ok::<(), ptx_machine::Error>(())
//! ```
//!
//! A text is read (`parse`), each kernel becomes a flat program over numbered slots (`lower`), and warps execute one
//! instruction for their 32 lanes at once (`machine`). Lanes that part at a branch meet again at its immediate
//! post-dominator. Blocks run on all cores; the blocks of a cluster run together, and so do the warps of a block: each
//! until it has to wait.
//!
//! # What it executes
//!
//! - Integers of 16, 32 and 64 bits, f32, f64, f16 and bf16, with the manual's rounding; conversions between all of them.
//!   Approximations (`ex2`, `lg2`, `rcp`, `rsqrt`, `sin`, `cos`, `tanh`, `div`) are the host's, within the manual's
//!   bounds, and so not the bits that a GPU gives.
//! - Loads and stores of all state spaces, vectors, generic addresses, atomics, shuffles, votes, barriers of a block with
//!   and without numbers, `ldmatrix`, `stmatrix`, `cp.async` with its groups, `mma.sync` m16n8k8 and m16n8k16.
//! - Of sm_90: transaction barriers, tensor copies with multicast, clusters, `wgmma` of f16 and bf16, `elect`.
//!
//! Anything else is an error when the text is loaded, with file, line and opcode: textures, surfaces, calls of functions,
//! carries, video instructions, integer and 8-bit products, swizzles of 32 and 64 bytes.
//!
//! # What it checks
//!
//! Misaligned addresses, addresses outside an allocation or a block's shared memory, `.aligned` instructions that not all
//! lanes run, shuffles from lanes that do not, shared memory of a block that has ended, and deadlocks, with who waits where.
//! New memory is NaN, and shared memory as well.
//!
//! # Races
//!
//! With [`Options::races`] a launch also fails where a result depends on how fast warps, copies and products run, though
//! it always comes out the same here. A [`Race`] names both accesses: block, warp, lane, line of the PTX and of the source.
//! It takes time and memory: a convolution of sm_80 runs 4 times as long on one thread, attention of sm_90 6 times, and
//! each word of memory that is accessed takes 72 bytes more. Blocks run one after the other. The same race is reported in
//! every run.
//!
//! - Products run until the `wgmma.wait_group` that covers their group, whichever warp of the group reads which rows. Until then their accumulators belong to products of
//!   the same shape alone, fragments of a are not overwritten, nor are operands in shared memory. `wgmma.fence` stands
//!   before the first product, and after every write to the registers of one.
//! - `cp.async` writes shared memory until its group is waited for, a tensor load until the phase of its barrier is; a
//!   tensor store reads it until its group is waited for.
//! - Accesses of the same byte by different warps, one of which writes, are ordered: by barriers of the block and of the
//!   cluster, by transaction barriers, in global memory also by fences together with atomics or with volatile, relaxed,
//!   acquire and release accesses. This goes by vector clocks, not by the order in which warps happen to run.
//! - `fence.proxy.async` stands between ordinary stores to shared memory and the tensor copies or products that read them
//!   or write there; between making a transaction barrier and the first tensor load that completes on it as well.
//! - A phase of a transaction barrier does not complete before those that wait for the phase before have seen that.
//! - Shared memory is written before it is read.
//!
//! Where this is not exact:
//!
//! - The lanes of a warp are ordered as they run here: a missing `bar.warp.sync` is not noticed, nor are two lanes that
//!   write the same byte at once, nor a proxy fence that another lane runs than the one that stored.
//! - An edge between blocks is one that was seen: where a block goes on whatever its atomic returns, the order of this run
//!   is taken for one that always holds. Scopes are told apart for fences alone (`.cta` orders nothing between blocks).
//! - Proxies are told apart in shared memory alone, and for reads followed by a tensor load a barrier is enough.
//! - Registers of products: that they are not read before a fence, and predicates, are not checked.
//! - Of the reads of a byte since its last write 64 are remembered, those of one warp that follow each other as one.
//!
//! # What it does not know
//!
//! - Time: counts are counts. What ptxas makes of the text (registers, fused multiplications, the order of instructions)
//!   is not seen.
//! - Any other order than its own. Copies by `cp.async` and tensor copies take effect as late as they may: when they are
//!   waited for, so that a missing wait gives stale data. Products of warpgroups are complete when they are issued. Warps of
//!   a block run one after the other, each until it waits, always in the same order. Unless races are looked for, a missing
//!   barrier, fence or wait for a product changes nothing.
//! - Lanes of one warp that wait for each other in a loop: they part for good here, as before Volta.
//! - A `mul` and an `add` without rounding stay two operations; ptxas may fuse them.
#![deny(unsafe_code)]

mod arith;
mod counters;
mod error;
mod lower;
mod machine;
mod memory;
mod parse;
mod program;
mod races;
mod tensor;

pub use counters::{Counters, Counts, Traffic, Wavefronts};
pub use error::{Error, Fault, Result};
pub use machine::{Argument, Launch, Machine, Module, Options};
pub use memory::Memory;
pub use program::{Class, Parameter};
pub use races::{Party, Race};
pub use tensor::TensorMap;
