//! A GPU in use: its streams, its memory, and the launches that are put on it.

use super::arguments::{Value, bytes_of, encode};
use super::errors::{describe, error};
use super::opened::Opened;
use super::staging::Staging;
use crate::engine::device::allocations::Allocations;
use crate::engine::device::driver::{Capability, KernelCall};
use crate::engine::device::kernels::KERNELS;
use crate::engine::device::profiler;
use crate::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaFunction, CudaStream, PinnedHostSlice, sys};
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard};

/// State of a [`Cuda`](super::Cuda), shared with its recordings, which may outlive it.
pub(super) struct Gpu {
    pub opened: Arc<Opened>,
    pub context: Arc<CudaContext>,
    /// The stream on which everything runs, in order.
    pub stream: Arc<CudaStream>,
    /// The stream on which uploads travel meanwhile.
    pub copies: Arc<CudaStream>,
    pub state: Mutex<State>,
}

/// Memory that a [`Cuda`](super::Cuda) has taken.
#[derive(Default)]
pub(super) struct State {
    pub memory: Allocations,
    pub staging: Option<Staging>,
    /// Pinned memory for read-backs, each of the largest size, that none uses.
    pub spare: Vec<PinnedHostSlice<u8>>,
}

impl Gpu {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> Error {
        error(self.opened.ordinal, reason.into())
    }

    /// Turns a driver's error into ours, with what was being done.
    pub(super) fn doing<'a>(&'a self, what: &'a str) -> impl Fn(DriverError) -> Error + 'a {
        move |e| self.error(format!("{what}: {}", describe(e)))
    }

    /// Finds a launch's kernel, checks that the arguments fit it, and lets it have the shared memory that it asks for.
    pub(super) fn prepare(&self, state: &State, call: &KernelCall) -> Result<CudaFunction> {
        let name = call.kernel.as_str();
        let failed = |reason: String| self.error(format!("kernel {name}: {reason}"));
        let mut loaded = self.opened.loaded();
        if !loaded.functions.contains_key(name) {
            let kernel =
                KERNELS.iter().find(|k| k.name == name).ok_or_else(|| failed("no kernel has this name".into()))?;
            let (major, minor) = self.opened.compute_capability;
            if kernel.needs_hopper() && Capability::of((major, minor)) != Capability::Hopper {
                return Err(failed(format!("it is for compute capability 9.0, the device has {major}.{minor}")));
            }
            let function = loaded.load(&self.context, kernel).map_err(|e| failed(describe(e)))?;
            loaded.functions.insert(kernel.name, function);
        }
        state.memory.check_call(call).map_err(failed)?;
        let function = loaded.functions.get_mut(name).expect("it was just loaded");
        let given: Vec<usize> = call.args.iter().map(bytes_of).collect();
        if given != function.parameters {
            return Err(failed(format!(
                "its parameters take {:?} bytes, the launch gives {given:?}",
                function.parameters
            )));
        }
        if call.smem_bytes > function.dynamic_shared_bytes {
            self.context.bind_to_thread().map_err(|e| failed(describe(e)))?;
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function
                .handle
                .set_attribute(attribute, call.smem_bytes as i32)
                .map_err(|e| failed(format!("{} bytes of dynamic shared memory: {}", call.smem_bytes, describe(e))))?;
            function.dynamic_shared_bytes = call.smem_bytes;
        }
        Ok(function.handle.clone())
    }

    /// Puts one launch on the stream.
    fn enqueue(&self, function: &CudaFunction, call: &KernelCall) -> Result<(), DriverError> {
        self.context.bind_to_thread()?;
        let mut values: Vec<Value> = call.args.iter().map(encode).collect::<Result<_, _>>()?;
        let address = |value: &mut Value| match value {
            Value::Word(word) => std::ptr::from_mut(word).cast(),
            Value::Map(map) => std::ptr::from_mut(&mut **map).cast(),
            Value::Struct(bytes) => bytes.as_mut_ptr().cast(),
        };
        let mut args: Vec<*mut c_void> = values.iter_mut().map(address).collect();
        let [x, y, z] = call.grid;
        // SAFETY: the function's module stays loaded; the driver copies the arguments before it returns,
        // and `prepare` checked their number and sizes and that pointers lie in live allocations. `free` waits for the
        // stream, so they are still live when the kernel runs. That it stays inside the extents it is given is what the
        // emulator's sanitizer build checks.
        unsafe {
            let stream = self.stream.cu_stream();
            result::launch_kernel(
                function.cu_function(),
                (x, y, z),
                (call.block, 1, 1),
                call.smem_bytes,
                stream,
                &mut args,
            )
        }
    }

    pub(super) fn enqueue_named(&self, function: &CudaFunction, call: &KernelCall) -> Result<()> {
        let _range = profiler::range(&call.layer);
        self.enqueue(function, call).map_err(|e| {
            let KernelCall { kernel, grid, block, smem_bytes, .. } = call;
            let geometry = format!("grid {grid:?}, {block} threads, {smem_bytes} bytes of dynamic shared memory");
            self.error(format!("kernel {kernel} ({geometry}): {}", describe(e)))
        })
    }

    pub(super) fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().map_err(|e| self.failed_work(e))
    }

    pub(super) fn failed_work(&self, e: DriverError) -> Error {
        let hint = "CUDA_LAUNCH_BLOCKING=1 and compute-sanitizer show which kernel";
        self.error(format!("work on the GPU failed: {}; {hint}", describe(e)))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        self.context.record_err(self.stream.synchronize());
        let memory = std::mem::take(&mut self.state().memory);
        for (address, _) in memory.iter() {
            // SAFETY: it is in the table, so it came from `alloc` and was not freed; nothing runs any more.
            self.context.record_err(unsafe { result::free_sync(address) });
        }
    }
}
