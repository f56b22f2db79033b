//! The emulator: runs the GPU kernels, compiled for the host, thread by thread on the CPU (see `kernels/host/`).
//!
//! Everything happens at the call. Errors name the kernel, the block, and the file and line of what went wrong.

use super::allocations::Allocations;
use super::driver::{Allocation, Driver, KernelArg, KernelCall, ReadBack, Recording};
use super::profiler;
use crate::{Error, Result};
use std::alloc::Layout;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// The order in which the emulated threads of a block run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Schedule {
    /// Threads take turns.
    Fifo = 0,
    /// Warps have random priorities: one runs as far ahead as barriers allow, which exposes a missing barrier.
    Skew = 1,
}

/// When asynchronous copies take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum AsyncCopies {
    /// When they are issued.
    Early = 0,
    /// When they are waited for.
    Late = 1,
    /// One or the other, as a coin decides for each.
    Coin = 2,
}

/// How the emulator runs kernels. A correct kernel gives the same result under all options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmuOptions {
    /// Order of threads.
    pub schedule: Schedule,
    /// Effect of asynchronous copies.
    pub async_copies: AsyncCopies,
    /// Of the random choices that `schedule` and `async_copies` make.
    pub seed: u64,
    /// Processor threads that share the blocks of a launch.
    pub os_threads: u32,
    /// The compute capability to act as.
    pub compute_capability: (u32, u32),
    /// Bytes of memory to act as having; without them, all that the machine has free.
    pub memory_bytes: Option<u64>,
}

impl Default for EmuOptions {
    /// The fastest: first in, first out, early copies, as many threads as `RAYON_NUM_THREADS` or the processor has.
    fn default() -> EmuOptions {
        let threads = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
        EmuOptions {
            schedule: Schedule::Fifo,
            async_copies: AsyncCopies::Early,
            seed: 0,
            os_threads: threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u32)),
            compute_capability: (8, 0),
            memory_bytes: None,
        }
    }
}

impl EmuOptions {
    /// The options with what `text` says instead: words separated by commas, `fifo` or `skew`, `async=early|late|coin`,
    /// `seed=N`, `threads=N`, `cc=9.0`, `memory=BYTES`.
    ///
    /// # Errors
    /// A word that is none of these.
    pub fn overridden(mut self, text: &str) -> Result<EmuOptions> {
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let unknown = || {
                let known = "fifo, skew, async=early|late|coin, seed=N, threads=N, cc=8.0|9.0, memory=BYTES";
                Error::Config(format!("DDPM_EMU: `{word}` is none of: {known}"))
            };
            match word.split_once('=').unwrap_or((word, "")) {
                ("fifo", "") => self.schedule = Schedule::Fifo,
                ("skew", "") => self.schedule = Schedule::Skew,
                ("async", "early") => self.async_copies = AsyncCopies::Early,
                ("async", "late") => self.async_copies = AsyncCopies::Late,
                ("async", "coin") => self.async_copies = AsyncCopies::Coin,
                ("seed", n) => self.seed = n.parse().map_err(|_| unknown())?,
                ("threads", n) => self.os_threads = n.parse().ok().filter(|&n| n > 0).ok_or_else(unknown)?,
                ("cc", "8.0") => self.compute_capability = (8, 0),
                ("cc", "9.0") => self.compute_capability = (9, 0),
                ("memory", n) => self.memory_bytes = Some(n.parse().map_err(|_| unknown())?),
                _ => return Err(unknown()),
            }
        }
        Ok(self)
    }
}

fn error(reason: impl Into<String>) -> Error {
    Error::Device { device: "emu".into(), reason: reason.into() }
}

/// The emulator as a device.
pub struct Emu(Arc<Machine>);

/// Shared with recordings, which may outlive the device.
struct Machine {
    options: EmuOptions,
    /// Locked while a kernel runs, so that nothing is freed under it.
    memory: Mutex<Allocations>,
}

impl Emu {
    /// Starts the emulator. The environment variable `DDPM_EMU` overrides options ([`EmuOptions::overridden`]).
    ///
    /// # Errors
    /// When this build has no emulator, the processor is too old for it, or `DDPM_EMU` cannot be read.
    pub fn new(options: EmuOptions) -> Result<Emu> {
        ffi::check_available()?;
        let options = options.overridden(&std::env::var("DDPM_EMU").unwrap_or_default())?;
        Ok(Emu(Arc::new(Machine { options, memory: Mutex::default() })))
    }

    /// The names of all kernels that can be launched.
    pub fn kernels() -> Vec<&'static str> {
        ffi::kernels()
    }
}

/// Alignment of allocations, as on a GPU.
const ALIGN_BYTES: usize = 256;
/// What new memory is filled with: NaN as f32 and as bf16.
const POISON: u8 = 0xff;

impl Machine {
    fn memory(&self) -> MutexGuard<'_, Allocations> {
        self.memory.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn run(&self, call: &KernelCall) -> Result<()> {
        let failed = |reason: String| error(format!("kernel {}: {reason}", call.kernel));
        let memory = self.memory();
        memory.check_call(call).map_err(failed)?;
        let fence = Fence::around(&memory, call.args.iter().flat_map(KernelArg::extents));
        let _range = profiler::range(&call.layer);
        let result = ffi::launch(call, &self.options).map_err(failed);
        drop(fence);
        result
    }
}

/// While it lives, the address sanitizer reports any access to allocated memory outside the extents of one launch.
struct Fence<'a>(&'a Allocations);

impl Fence<'_> {
    fn around(memory: &Allocations, extents: impl Iterator<Item = (u64, usize)>) -> Fence<'_> {
        if cfg!(ddpm_emu_sanitize = "address") {
            memory.iter().for_each(|(address, bytes)| ffi::forbid(address, bytes));
            extents.for_each(|(address, bytes)| ffi::allow(address, bytes));
        }
        Fence(memory)
    }
}

impl Drop for Fence<'_> {
    fn drop(&mut self) {
        if cfg!(ddpm_emu_sanitize = "address") {
            self.0.iter().for_each(|(address, bytes)| ffi::allow(address, bytes));
        }
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

    fn is_asynchronous(&self) -> bool {
        false
    }

    fn memory_info(&self) -> Result<(u64, u64)> {
        if let Some(total) = self.0.options.memory_bytes {
            return Ok((total.saturating_sub(self.0.memory().bytes()), total));
        }
        let path = "/proc/meminfo";
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes =
                line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok());
            kibibytes.map(|k| k * 1024).ok_or_else(|| Error::format(path, format!("no {name}")))
        };
        Ok((field("MemAvailable")?, field("MemTotal")?))
    }

    fn alloc(&self, bytes: usize) -> Result<Allocation> {
        let layout = layout(bytes).ok_or_else(|| error(format!("an allocation of {bytes} bytes")))?;
        // Asked before: Linux gives more than there is, and ends the process that then writes to it.
        let (free_bytes, total_bytes) = self.memory_info()?;
        let fits = bytes as u64 <= free_bytes;
        // SAFETY: `layout` is not empty.
        let memory = if fits { unsafe { std::alloc::alloc(layout) } } else { std::ptr::null_mut() };
        if memory.is_null() {
            let (device, wanted_bytes) = ("emu".into(), bytes as u64);
            return Err(Error::OutOfMemory { device, wanted_bytes, free_bytes, total_bytes, advice: String::new() });
        }
        // SAFETY: `memory` points to `layout.size()` bytes that nothing else refers to.
        unsafe { memory.write_bytes(POISON, layout.size()) };
        let address = memory.expose_provenance() as u64;
        self.0.memory().insert(address, bytes);
        Ok(Allocation { address, bytes })
    }

    fn free(&self, allocation: Allocation) {
        let freed = self.0.memory().remove(allocation.address);
        if let Some(bytes) = freed {
            let layout = layout(bytes).expect("it was allocated with this layout");
            // SAFETY: the table held the address, so it came from `alloc` with this layout and was not freed since.
            unsafe { std::alloc::dealloc(std::ptr::with_exposed_provenance_mut(allocation.address as usize), layout) };
        }
    }

    fn fill(&self, address: u64, bytes: usize, value: u8) -> Result<()> {
        self.on_range(address, bytes, "fill", |slice| slice.fill(value))
    }

    fn upload(&self, address: u64, host: &[u8]) -> Result<()> {
        self.on_range(address, host.len(), "upload", |slice| slice.copy_from_slice(host))
    }

    fn download(&self, address: u64, host: &mut [u8]) -> Result<()> {
        self.on_range(address, host.len(), "download", |slice| host.copy_from_slice(slice))
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

impl Emu {
    fn on_range(&self, address: u64, bytes: usize, what: &str, f: impl FnOnce(&mut [u8])) -> Result<()> {
        let memory = self.0.memory();
        if bytes == 0 {
            return Ok(());
        }
        memory.check(address, bytes).map_err(|reason| error(format!("{what}: {reason}")))?;
        // SAFETY: the range lies inside one live allocation, whose bytes are all initialised; the lock on the table keeps
        // it alive and keeps kernels and other accesses away.
        f(unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(address as usize), bytes) });
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut *self.memory());
        for (address, bytes) in memory.iter() {
            let layout = layout(bytes).expect("it was allocated with this layout");
            // SAFETY: as in `free`.
            unsafe { std::alloc::dealloc(std::ptr::with_exposed_provenance_mut(address as usize), layout) };
        }
    }
}

/// Exactly `bytes` bytes, so that the address sanitizer sees their end; at least one.
fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.max(1), ALIGN_BYTES).ok()
}

/// What was read at once: the emulator works in step with its caller.
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

/// The C interface of `kernels/host/launch.cpp`.
#[cfg(ddpm_emu)]
mod ffi {
    use super::{AsyncCopies, EmuOptions, KernelArg, KernelCall, Result, Schedule, error};
    use crate::engine::device::TensorMap;
    use std::ffi::{CStr, CString, c_char, c_int, c_void};

    #[repr(C)]
    struct Launch {
        kernel: *const c_char,
        args: *const *const c_void,
        parameters: *const u16,
        count: usize,
        shared_bytes: usize,
        seed: u64,
        grid: [u32; 3],
        block: u32,
        schedule: Schedule,
        async_copies: AsyncCopies,
        os_threads: u32,
        compute_capability: [u32; 2],
    }

    /// `TensorMap` of `kernels/host/cuda_types.h`: same fields, same order.
    #[repr(C, align(64))]
    struct HostTensorMap {
        address: u64,
        byte_strides: [u64; 4],
        dims: [u32; 5],
        box_dims: [u32; 5],
        element_strides: [u32; 5],
        rank: u32,
        element_bytes: u32,
        swizzle_128: u32,
    }

    unsafe extern "C" {
        fn emu_launch(launch: *const Launch, error: *mut c_char, error_bytes: usize) -> c_int;
        fn emu_kernel_name(i: usize) -> *const c_char;
        fn emu_forbid(p: *mut c_void, bytes: usize);
        fn emu_allow(p: *mut c_void, bytes: usize);
    }

    pub fn check_available() -> Result<()> {
        // What -march=x86-64-v3 lets the compiler use.
        let modern = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("movbe");
        if modern { Ok(()) } else { Err(error("the emulator needs a processor with AVX2 (x86-64-v3)")) }
    }

    pub fn kernels() -> Vec<&'static str> {
        // SAFETY: takes any index.
        let name = |i| unsafe { emu_kernel_name(i) };
        let names = (0..).map(name).take_while(|name| !name.is_null());
        // SAFETY: a string literal in the kernel's file.
        names.map(|name| unsafe { CStr::from_ptr(name) }.to_str().expect("an identifier")).collect()
    }

    pub fn launch(call: &KernelCall, options: &EmuOptions) -> std::result::Result<(), String> {
        let kernel = CString::new(call.kernel.as_str()).map_err(|_| "a name with a NUL".to_string())?;
        let (values, parameters): (Vec<Value>, Vec<u16>) = call.args.iter().map(encode).unzip();
        let address = |value: &Value| match value {
            Value::Word(word) => std::ptr::from_ref(word).cast(),
            Value::Map(map) => std::ptr::from_ref(&**map).cast(),
            Value::Struct(words) => words.as_ptr().cast(),
        };
        let args: Vec<*const c_void> = values.iter().map(address).collect();
        let launch = Launch {
            kernel: kernel.as_ptr(),
            args: args.as_ptr(),
            parameters: parameters.as_ptr(),
            count: args.len(),
            shared_bytes: call.smem_bytes as usize,
            seed: options.seed,
            grid: call.grid,
            block: call.block,
            schedule: options.schedule,
            async_copies: options.async_copies,
            os_threads: options.os_threads,
            compute_capability: options.compute_capability.into(),
        };
        let mut error: [c_char; 1024] = [0; 1024];
        // SAFETY: `launch` and what it points to outlive the call; the number and kinds of the arguments are checked
        // against the kernel's there. That the kernel stays inside the extents it is given is what the sanitizer's
        // build checks.
        let failed = unsafe { emu_launch(&launch, error.as_mut_ptr(), error.len()) } != 0;
        // SAFETY: emu_launch always writes a terminated string.
        let text = unsafe { CStr::from_ptr(error.as_ptr()) };
        if failed { Err(text.to_string_lossy().into_owned()) } else { Ok(()) }
    }

    /// `emu::Parameter::Struct`, to which the size is added.
    const STRUCT: u16 = 0x1000;

    /// What an argument's address points to.
    enum Value {
        /// The kernel reads as many bytes as its parameter has, from the low end.
        Word(u64),
        Map(Box<HostTensorMap>),
        /// Its bytes, aligned for any field.
        Struct(Vec<u64>),
    }

    /// A value and its `emu::Parameter`.
    fn encode(arg: &KernelArg) -> (Value, u16) {
        match *arg {
            KernelArg::Pointer { address, .. } => (Value::Word(address), 0),
            KernelArg::I32(value) => (Value::Word(u64::from(value as u32)), 1),
            KernelArg::U32(value) => (Value::Word(u64::from(value)), 1),
            KernelArg::U64(value) => (Value::Word(value), 2),
            KernelArg::F32(value) => (Value::Word(u64::from(value.to_bits())), 3),
            KernelArg::TensorMap { address, map, .. } => (Value::Map(Box::new(encode_map(address, &map))), 4),
            KernelArg::Struct(ref fields) => {
                let mut bytes = KernelArg::struct_bytes(fields);
                let parameter = STRUCT + u16::try_from(bytes.len()).expect("a struct is at most 4 KB");
                bytes.resize(bytes.len().next_multiple_of(8), 0);
                (Value::Struct(bytemuck::pod_collect_to_vec(&bytes)), parameter)
            }
        }
    }

    /// The map was checked: its numbers fit 32 bits.
    fn encode_map(address: u64, map: &TensorMap) -> HostTensorMap {
        HostTensorMap {
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

    pub fn forbid(address: u64, bytes: usize) {
        // SAFETY: changes the sanitizer's view of a live allocation, and nothing else.
        unsafe { emu_forbid(std::ptr::without_provenance_mut(address as usize), bytes) }
    }

    pub fn allow(address: u64, bytes: usize) {
        // SAFETY: as above.
        unsafe { emu_allow(std::ptr::without_provenance_mut(address as usize), bytes) }
    }
}

/// Stands in where the build found no C++ compiler.
#[cfg(not(ddpm_emu))]
mod ffi {
    use super::{EmuOptions, KernelCall, Result, error};

    pub fn check_available() -> Result<()> {
        Err(error("this build has no emulator: it was made without a C++ compiler, or not for x86-64 Linux"))
    }

    pub fn kernels() -> Vec<&'static str> {
        Vec::new()
    }

    pub fn launch(_: &KernelCall, _: &EmuOptions) -> std::result::Result<(), String> {
        Err("this build has no emulator".into())
    }

    pub fn forbid(_: u64, _: usize) {}

    pub fn allow(_: u64, _: usize) {}
}
