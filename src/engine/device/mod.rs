//! Devices: what a tape runs on. All `unsafe` code of the crate is in this module.

mod allocations;
mod backend;
mod cuda;
pub mod driver;
#[cfg(feature = "emulator")]
mod emu;
pub mod host_math;
mod host_memory;
pub mod kernels;
mod map_file;
mod memory;
mod open;
pub mod profiler;
mod tensor_map;

pub use backend::Backend;
pub use cuda::Cuda;
pub use driver::{Capability, Driver, KernelArg, KernelCall, MULTIPROCESSORS};
#[cfg(feature = "emulator")]
pub use emu::{AsyncCopies, Emu, EmuOptions, Schedule};
pub use host_memory::HostMemory;
pub use map_file::map_file;
pub use memory::Memory;
pub use tensor_map::TensorMap;

/// A device that can run a tape.
pub enum Device {
    /// Plain Rust on every core.
    Cpu,
    /// A GPU, real or emulated.
    Gpu(Box<dyn Driver>),
}

impl Device {
    /// The device in words.
    pub fn name(&self) -> String {
        match self {
            Device::Cpu => format!("cpu ({} threads)", rayon::current_num_threads()),
            Device::Gpu(driver) => driver.name(),
        }
    }
}
