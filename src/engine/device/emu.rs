//! The emulator as a device: runs the GPU kernels thread by thread on the CPU (`crates/kernel-emulator`).
//!
//! Everything happens at the call. Errors name the kernel, the block, and the file and line of the fault.

use super::TensorMap;
use super::driver::{Allocation, Driver, KernelArg, KernelCall, ReadBack, Recording};
use super::profiler;
use crate::{Error, Result};
use kernel_emulator::{Argument, Launch, Memory};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

pub use kernel_emulator::{AsyncCopies, Options as EmuOptions, Schedule};

/// The emulator as a device.
pub struct Emu(Arc<Machine>);

/// Shared with recordings, which may outlive the device.
struct Machine {
    options: EmuOptions,
    /// Locked while a kernel runs, so that nothing is freed under it.
    memory: Mutex<Memory>,
}

fn error(reason: kernel_emulator::Error) -> Error {
    let device = "emu".into();
    match reason {
        kernel_emulator::Error::OutOfMemory { wanted_bytes, free_bytes, total_bytes } => {
            Error::OutOfMemory { device, wanted_bytes, free_bytes, total_bytes, advice: String::new() }
        }
        kernel_emulator::Error::Failed(reason) => Error::Device { device, reason },
    }
}

fn error_of(what: &str, reason: impl ToString) -> Error {
    Error::Device { device: "emu".into(), reason: format!("{what}: {}", reason.to_string()) }
}

impl Emu {
    /// Starts the emulator. The environment variable `DDPM_EMU` overrides options ([`EmuOptions::overridden`]).
    ///
    /// # Errors
    /// A build without a C++ compiler, a processor that is too old, or a `DDPM_EMU` that cannot be read.
    pub fn new(options: EmuOptions) -> Result<Emu> {
        kernel_emulator::check_available().map_err(error)?;
        let options = options.overridden(&std::env::var("DDPM_EMU").unwrap_or_default());
        let options = options.map_err(|reason| Error::Config(format!("DDPM_EMU: {reason}")))?;
        let memory = Mutex::new(Memory::new(options.memory_bytes));
        Ok(Emu(Arc::new(Machine { options, memory })))
    }

    /// Lists the names of all kernels that can be launched.
    pub fn kernels() -> Vec<&'static str> {
        kernel_emulator::kernels()
    }
}

impl Machine {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn run(&self, call: &KernelCall) -> Result<()> {
        let what = format!("kernel {}", call.kernel);
        let arguments = call
            .args
            .iter()
            .enumerate()
            .map(|(i, arg)| argument(arg).map_err(|reason| error_of(&what, format!("argument {i}: {reason}"))));
        let arguments: Vec<Argument> = arguments.collect::<Result<_>>()?;
        let (block, shared_bytes) = ([call.block, 1, 1], call.smem_bytes as usize);
        let launch = Launch { kernel: &call.kernel, grid: call.grid, block, shared_bytes, arguments: &arguments };
        let mut memory = self.memory();
        let _range = profiler::range(&call.layer);
        memory.launch(&launch, &self.options).map_err(|reason| error_of(&what, reason))
    }

    fn with_bytes(&self, address: u64, bytes: usize, what: &str, f: impl FnOnce(&mut [u8])) -> Result<()> {
        let mut memory = self.memory();
        memory.bytes_at(address, bytes).map(f).map_err(|reason| error_of(what, reason))
    }
}

/// Translates an argument; an error message for a tensor map that the hardware would refuse.
fn argument(arg: &KernelArg) -> std::result::Result<Argument, String> {
    Ok(match *arg {
        KernelArg::Pointer { address, bytes } => Argument::Pointer { address, bytes },
        KernelArg::I32(value) => Argument::Int32(value as u32),
        KernelArg::U32(value) => Argument::Int32(value),
        KernelArg::U64(value) => Argument::Int64(value),
        KernelArg::F32(value) => Argument::Float(value),
        KernelArg::TensorMap { address, bytes, map } => {
            map.check(address, bytes)?;
            Argument::TensorMap { map: tensor_map(address, &map), bytes }
        }
        KernelArg::Struct(ref fields) => {
            Argument::Struct { value: KernelArg::struct_bytes(fields), pointers: arg.extents() }
        }
    })
}

/// The map was checked: its numbers fit 32 bits.
fn tensor_map(address: u64, map: &TensorMap) -> kernel_emulator::TensorMap {
    kernel_emulator::TensorMap {
        address,
        byte_strides: map.byte_strides(),
        dims: map.dims.map(|n| n as u32),
        box_dims: map.box_dims.map(|n| n as u32),
        element_strides: map.element_strides.map(|n| n as u32),
        rank: map.rank as u32,
        element_bytes: map.dtype.bytes() as u32,
        swizzle_128: u32::from(map.swizzle_128),
    }
}

impl Driver for Emu {
    fn name(&self) -> String {
        let EmuOptions { schedule, async_copies, seed, os_threads, compute_capability: (major, minor), .. } =
            self.0.options;
        let order = match (schedule, async_copies) {
            (Schedule::Fifo, AsyncCopies::Early) => String::new(),
            _ => format!(", {schedule:?}, {async_copies:?} copies, seed {seed}").to_lowercase(),
        };
        format!("emu (compute capability {major}.{minor}, {os_threads} threads{order})")
    }

    fn compute_capability(&self) -> (u32, u32) {
        self.0.options.compute_capability
    }

    fn multiprocessors(&self) -> usize {
        self.0.options.multiprocessors as usize
    }

    fn is_asynchronous(&self) -> bool {
        false
    }

    fn memory_info(&self) -> Result<(u64, u64)> {
        self.0.memory().info().map_err(error)
    }

    fn alloc(&self, bytes: usize) -> Result<Allocation> {
        let address = self.0.memory().allocate(bytes).map_err(error)?;
        Ok(Allocation { address, bytes })
    }

    fn free(&self, allocation: Allocation) {
        self.0.memory().free(allocation.address);
    }

    fn fill(&self, address: u64, bytes: usize, value: u8) -> Result<()> {
        self.0.with_bytes(address, bytes, "fill", |memory| memory.fill(value))
    }

    fn upload(&self, address: u64, host: &[u8]) -> Result<()> {
        self.0.with_bytes(address, host.len(), "upload", |memory| memory.copy_from_slice(host))
    }

    fn download(&self, address: u64, host: &mut [u8]) -> Result<()> {
        self.0.with_bytes(address, host.len(), "download", |memory| host.copy_from_slice(memory))
    }

    fn read_back(&self, address: u64, bytes: usize) -> Result<Box<dyn ReadBack>> {
        let mut host = vec![0; bytes];
        self.download(address, &mut host)?;
        Ok(Box::new(Arrived(host)))
    }

    fn launch(&self, call: &KernelCall) -> Result<()> {
        self.0.run(call)
    }

    fn record(&self, calls: &[KernelCall]) -> Result<Box<dyn Recording>> {
        Ok(Box::new(CallList { machine: self.0.clone(), calls: calls.to_vec() }))
    }

    fn time_ms(&self, calls: &[KernelCall]) -> Result<Vec<f32>> {
        let timed = |call: &KernelCall| {
            let start = Instant::now();
            self.0.run(call).map(|()| start.elapsed().as_secs_f32() * 1e3)
        };
        calls.iter().map(timed).collect()
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

/// A copy that is done: the emulator works in step with its caller.
struct Arrived(Vec<u8>);

impl ReadBack for Arrived {
    fn wait(self: Box<Self>) -> Result<Vec<u8>> {
        Ok(self.0)
    }
}

struct CallList {
    machine: Arc<Machine>,
    calls: Vec<KernelCall>,
}

impl Recording for CallList {
    fn replay(&mut self) -> Result<()> {
        self.calls.iter().try_for_each(|call| self.machine.run(call))
    }
}
