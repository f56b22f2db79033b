//! One GPU: its context and streams, its memory and the kernels that are loaded.

use super::arguments::{Value, bytes_of, encode};
use super::function::Function;
use super::staging::Staging;
use crate::engine::device::allocations::Allocations;
use crate::engine::device::driver::{Capability, KernelCall};
use crate::engine::device::kernels::{KERNELS, Kernel, MODULES};
use crate::engine::device::profiler;
use crate::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, PinnedHostSlice, sys};
use cudarc::nvrtc::Ptx;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard};

/// State of a [`Cuda`](super::Cuda), shared with its recordings, which may outlive it.
pub(super) struct Gpu {
    pub ordinal: usize,
    pub compute_capability: (u32, u32),
    pub context: Arc<CudaContext>,
    /// The stream on which everything runs, in order.
    pub stream: Arc<CudaStream>,
    /// The stream on which uploads travel meanwhile.
    pub copies: Arc<CudaStream>,
    pub state: Mutex<State>,
}

/// Memory and kernels of a GPU.
#[derive(Default)]
pub(super) struct State {
    pub memory: Allocations,
    /// Loaded when a kernel of theirs is first launched; in the order of [`MODULES`].
    pub modules: HashMap<usize, Arc<CudaModule>>,
    pub functions: HashMap<&'static str, Function>,
    pub staging: Option<Staging>,
    /// Pinned memory for read-backs, each of the largest size, that none uses.
    pub spare: Vec<PinnedHostSlice<u8>>,
}

pub(super) fn error(ordinal: usize, reason: String) -> Error {
    Error::Device { device: format!("cuda:{ordinal}"), reason }
}

/// `CUDA_ERROR_OUT_OF_MEMORY (out of memory)`.
pub(super) fn describe(error: DriverError) -> String {
    match (error.error_name(), error.error_string()) {
        (Ok(name), Ok(text)) => format!("{} ({})", name.to_string_lossy(), text.to_string_lossy()),
        _ => format!("CUDA error {}", error.0 as u32),
    }
}

impl Gpu {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> Error {
        error(self.ordinal, reason.into())
    }

    /// Turns a driver's error into ours, with what was being done.
    pub(super) fn doing<'a>(&'a self, what: &'a str) -> impl Fn(DriverError) -> Error + 'a {
        move |e| self.error(format!("{what}: {}", describe(e)))
    }

    /// Finds a launch's kernel, checks that the arguments fit it, and lets it have the shared memory that it asks for.
    pub(super) fn prepare(&self, state: &mut State, call: &KernelCall) -> Result<CudaFunction> {
        let name = call.kernel.as_str();
        let failed = |reason: String| self.error(format!("kernel {name}: {reason}"));
        if !state.functions.contains_key(name) {
            let kernel =
                KERNELS.iter().find(|k| k.name == name).ok_or_else(|| failed("no kernel has this name".into()))?;
            if kernel.needs_hopper() && Capability::of(self.compute_capability) != Capability::Hopper {
                let (major, minor) = self.compute_capability;
                return Err(failed(format!("it is for compute capability 9.0, the device has {major}.{minor}")));
            }
            let function = self.load(&mut state.modules, kernel).map_err(|e| failed(describe(e)))?;
            state.functions.insert(kernel.name, function);
        }
        state.memory.check_call(call).map_err(failed)?;
        let function = state.functions.get_mut(name).expect("it was just loaded");
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

    /// Finds a kernel, whose module is loaded when it is the first of them.
    pub(super) fn load(
        &self,
        modules: &mut HashMap<usize, Arc<CudaModule>>,
        kernel: &Kernel,
    ) -> Result<Function, DriverError> {
        let module = match modules.get(&kernel.module) {
            Some(module) => module.clone(),
            None => {
                let image = MODULES[kernel.module].image.to_vec();
                let module = self.context.load_module(Ptx::from_binary(image))?;
                modules.insert(kernel.module, module.clone());
                module
            }
        };
        Function::load(&module, kernel)
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
        // SAFETY: the function's module stays loaded as long as `self`; the driver copies the arguments before it returns,
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
