//! Runs CUDA kernels on the CPU, thread by thread.
//!
//! The kernels' source is compiled by the host's C++ compiler against the headers in `include/emulator`; a build script
//! does so with the crate `kernel-build`. Each CUDA thread is a fiber. The threads of a block run in an order that a GPU
//! could choose ([`Schedule`]), and asynchronous copies take effect early or late ([`AsyncCopies`]): a missing barrier
//! changes a result. Deadlocks, divergent barriers and misaligned accesses are errors that name file and line. Built with
//! AddressSanitizer, every access outside the memory that a launch was given is an error too.
//!
//! ```no_run
//! use kernel_emulator::{Argument, Launch, Memory, Options};
//!
//! # fn main() -> Result<(), kernel_emulator::Error> {
//! kernel_emulator::check_available()?;
//! let mut memory = Memory::default();
//! let address = memory.allocate(64 * 4)?;
//! let arguments = [Argument::Pointer { address, bytes: 64 * 4 }, Argument::Int32(64)];
//! memory.launch(&Launch { kernel: "iota", grid: [1; 3], block: [64, 1, 1], shared_bytes: 0, arguments: &arguments }, &Options::default())?;
//! println!("{:?}", memory.bytes_at(address, 64 * 4)?);
//! # Ok(())
//! # }
//! ```
//!
//! All `unsafe` code is in [`memory`](Memory) and the bridge to the runtime.

#![deny(unsafe_code)]

mod bridge;
mod error;
mod launch;
mod memory;
mod options;

pub use bridge::{check_available, kernels, parameters};
pub use error::Error;
pub use launch::{Argument, Launch, Parameter, TensorMap};
pub use memory::Memory;
pub use options::{AsyncCopies, Options, Schedule};
