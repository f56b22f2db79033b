//! The GPUs, and all that the driver keeps of them.

mod graphs;
mod memory;
mod modules;
mod queues;
#[cfg(test)]
mod tests;

use crate::codes::{Code, Result};
use crate::options::Options;
use graphs::{Capture, Executable};
use kernel_emulator::Memory;
use memory::Block;
pub use modules::Geometry;
use modules::{Function, Loaded};
use queues::{Event, Stream, Work};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

/// Things by their handles or addresses.
type Table<T> = BTreeMap<u64, T>;

/// State of the library.
pub struct Machine {
    options: Options,
    is_initialized: bool,
    devices: Vec<Device>,
    streams: Table<Stream>,
    streams_made: u64,
    events: Table<Event>,
    graphs: Table<Arc<[Work]>>,
    executables: Table<Executable>,
    modules: Table<Loaded>,
    functions: Table<Function>,
    /// Pinned host memory.
    host: Memory,
    pinned: Table<Block>,
    /// Calls of each function so far.
    calls: BTreeMap<&'static str, u64>,
    next_handle: u64,
}

struct Device {
    memory: Memory,
    blocks: Table<Block>,
    /// The primary context.
    context: Option<Context>,
}

struct Context {
    retained: usize,
    /// The error that made it unusable.
    broken: Option<Code>,
}

/// Handle of the first device's context; the others follow. Far from all addresses and other handles.
const FIRST_CONTEXT: u64 = 0xc000_0000_0000_0000;
const FIRST_HANDLE: u64 = 0xd000_0000_0000_0000;

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// Functions that may be called before `cuInit`.
const ALWAYS: [&str; 4] = ["cuInit", "cuDriverGetVersion", "cuGetErrorName", "cuGetErrorString"];

impl Machine {
    pub fn new(options: Options) -> Machine {
        let memory = || Memory::new(options.emulator.memory_bytes);
        let device = |_| Device { memory: memory(), blocks: Table::new(), context: None };
        Machine {
            devices: (0..options.devices).map(device).collect(),
            is_initialized: false,
            streams: Table::new(),
            streams_made: 0,
            events: Table::new(),
            graphs: Table::new(),
            executables: Table::new(),
            modules: Table::new(),
            functions: Table::new(),
            host: Memory::new(None),
            pinned: Table::new(),
            calls: BTreeMap::new(),
            next_handle: FIRST_HANDLE,
            options,
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// The failure that the options ask for at this call; a library that is not initialised.
    pub fn begin(&mut self, function: &'static str) -> Result<()> {
        *self.calls.entry(function).or_default() += 1;
        if let Some(path) = &self.options.trace {
            let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
            file.and_then(|mut file| writeln!(file, "{function}"))
                .unwrap_or_else(|e| crate::fatal(&format!("{path}: {e}")));
        }
        let (of_function, of_all) = (self.calls[function], self.calls.values().sum::<u64>());
        let failure = self.options.failures.iter().find(|f| match f.function.as_str() {
            "*" => f.call == of_all,
            name => name == function && f.call == of_function,
        });
        if let Some(code) = failure.map(|f| f.code) {
            if code.is_sticky() {
                self.break_context(CURRENT.get(), code);
            }
            return Err(code);
        }
        if self.is_initialized || ALWAYS.contains(&function) { Ok(()) } else { Err(Code::ERROR_NOT_INITIALIZED) }
    }

    /// Writes the number of calls of each function to the file that the options name.
    pub fn write_counts(&self) {
        if let Some(path) = &self.options.counts {
            let text: String = self.calls.iter().map(|(function, calls)| format!("{function} {calls}\n")).collect();
            std::fs::write(path, text).unwrap_or_else(|e| crate::note(&format!("{path}: {e}")));
        }
    }

    pub fn init(&mut self, flags: u32) -> Result<()> {
        if flags != 0 {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        if self.devices.is_empty() {
            return Err(Code::ERROR_NO_DEVICE);
        }
        self.is_initialized = true;
        Ok(())
    }

    pub fn version(&self) -> i32 {
        self.options.version
    }

    pub fn device_count(&self) -> i32 {
        self.devices.len() as i32
    }

    /// Checks a device's number.
    pub fn device(&self, ordinal: i32) -> Result<usize> {
        usize::try_from(ordinal).ok().filter(|&i| i < self.devices.len()).ok_or(Code::ERROR_INVALID_DEVICE)
    }

    pub fn device_name(&self, ordinal: i32) -> Result<String> {
        self.device(ordinal)?;
        let (major, minor) = self.options.capability;
        Ok(format!("Stand-in for a GPU of compute capability {major}.{minor}"))
    }

    pub fn device_attribute(&self, attribute: i32, ordinal: i32) -> Result<i32> {
        self.device(ordinal)?;
        let (major, minor) = self.options.capability;
        Ok(match attribute {
            1 => 1024,                                          // MAX_THREADS_PER_BLOCK
            8 => DEFAULT_SHARED_BYTES as i32,                   // MAX_SHARED_MEMORY_PER_BLOCK
            10 => 32,                                           // WARP_SIZE
            16 => self.options.emulator.multiprocessors as i32, // MULTIPROCESSOR_COUNT
            75 => major as i32,                                 // COMPUTE_CAPABILITY_MAJOR
            76 => minor as i32,                                 // COMPUTE_CAPABILITY_MINOR
            97 => self.most_shared_bytes() as i32,              // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
            115 => 1,                                           // MEMORY_POOLS_SUPPORTED
            _ => {
                crate::note(&format!("attribute {attribute} of a device is not known here"));
                return Err(Code::ERROR_INVALID_VALUE);
            }
        })
    }

    /// The most shared memory of a block, static and dynamic.
    fn most_shared_bytes(&self) -> u32 {
        match self.options.capability {
            (8, 0) | (8, 7) => 163 << 10,
            (8, _) | (12, _) => 99 << 10,
            _ => 227 << 10,
        }
    }

    pub fn retain_context(&mut self, ordinal: i32) -> Result<u64> {
        let ordinal = self.device(ordinal)?;
        let handle = FIRST_CONTEXT + 16 * ordinal as u64;
        match &mut self.devices[ordinal].context {
            Some(context) => context.retained += 1,
            none => {
                *none = Some(Context { retained: 1, broken: None });
                self.streams.insert(handle, Stream::new(handle, true, None));
            }
        }
        Ok(handle)
    }

    /// Gives a context back; the last one to do so destroys all that is in it.
    pub fn release_context(&mut self, ordinal: i32) -> Result<()> {
        let ordinal = self.device(ordinal)?;
        let handle = FIRST_CONTEXT + 16 * ordinal as u64;
        let context = self.devices[ordinal].context.as_mut().ok_or(Code::ERROR_INVALID_CONTEXT)?;
        context.retained -= 1;
        if context.retained > 0 {
            return Ok(());
        }
        self.drain(handle);
        self.streams.retain(|_, stream| stream.context != handle);
        self.events.retain(|_, event| event.context != handle);
        self.executables.retain(|_, executable| executable.context != handle);
        self.modules.retain(|_, module| module.context != handle);
        self.functions.retain(|_, function| function.context != handle);
        let device = &mut self.devices[ordinal];
        device.blocks.keys().for_each(|&address| device.memory.free(address));
        device.blocks.clear();
        device.context = None;
        Ok(())
    }

    pub fn current_context(&self) -> u64 {
        CURRENT.get()
    }

    pub fn set_current_context(&self, context: u64) -> Result<()> {
        if context != 0 {
            self.device_of(context)?;
        }
        CURRENT.set(context);
        Ok(())
    }

    /// The number of the device whose context this is.
    fn device_of(&self, context: u64) -> Result<usize> {
        let ordinal = context.wrapping_sub(FIRST_CONTEXT) / 16;
        let device = usize::try_from(ordinal).ok().and_then(|i| self.devices.get(i));
        device.and_then(|device| device.context.as_ref()).ok_or(Code::ERROR_INVALID_CONTEXT)?;
        Ok(ordinal as usize)
    }

    /// The number of the device of a context that is usable.
    ///
    /// # Errors
    /// The error that made it unusable, or `ERROR_INVALID_CONTEXT`.
    fn usable(&self, context: u64) -> Result<usize> {
        let ordinal = self.device_of(context)?;
        match self.devices[ordinal].context.as_ref().and_then(|context| context.broken) {
            Some(code) => Err(code),
            None => Ok(ordinal),
        }
    }

    /// The calling thread's context, which must be usable.
    fn current(&self) -> Result<u64> {
        let context = CURRENT.get();
        self.usable(context).map(|_| context)
    }

    fn break_context(&mut self, context: u64, code: Code) {
        if let Ok(ordinal) = self.device_of(context) {
            self.devices[ordinal].context.as_mut().expect("it is alive").broken.get_or_insert(code);
        }
    }

    fn handle(&mut self) -> u64 {
        self.next_handle += 16;
        self.next_handle
    }
}

/// Dynamic shared memory that a launch may take without asking.
const DEFAULT_SHARED_BYTES: u32 = 48 << 10;
