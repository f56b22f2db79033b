//! A CUDA GPU, through the driver API. The driver library is looked for at run time: one binary serves machines with and
//! without it.

use super::TensorMap;
use super::allocations::Allocations;
use super::driver::{Allocation, Capability, Driver, KernelArg, KernelCall, READ_BACK_BYTES, ReadBack, Recording};
use super::kernels::{KERNELS, Kernel, MODULES};
use super::profiler;
use crate::engine::tensor::DType;
use crate::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaEvent, CudaFunction, CudaGraph, CudaModule, CudaStream, PinnedHostSlice, sys};
use cudarc::nvrtc::Ptx;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// A GPU as a device: one context, and one stream on which all work is in order.
pub struct Cuda(Arc<Gpu>);

/// Shared with recordings, which may outlive the device.
struct Gpu {
    ordinal: usize,
    compute_capability: (u32, u32),
    context: Arc<CudaContext>,
    /// Where everything runs, in order.
    stream: Arc<CudaStream>,
    /// Where uploads travel meanwhile.
    copies: Arc<CudaStream>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    memory: Allocations,
    /// Loaded when a kernel of theirs is first launched; in the order of [`MODULES`].
    modules: HashMap<usize, Arc<CudaModule>>,
    functions: HashMap<&'static str, Function>,
    staging: Option<Staging>,
    /// Pinned memory for read-backs, [`READ_BACK_BYTES`] each, that none uses.
    spare: Vec<PinnedHostSlice<u8>>,
}

/// A kernel that is ready to be launched.
#[derive(Clone)]
struct Function {
    handle: CudaFunction,
    /// Bytes of each parameter.
    parameters: Vec<usize>,
    /// The most dynamic shared memory that it has been allowed so far.
    dynamic_shared_bytes: u32,
}

/// What a launch may take without asking.
const DEFAULT_DYNAMIC_SHARED_BYTES: u32 = 48 << 10;

impl Cuda {
    /// Opens the GPU with this number.
    ///
    /// # Errors
    /// Without a driver, or with one that is broken or too old; without such a GPU, or with one that is too old; when the
    /// binary was built without nvcc.
    pub fn new(ordinal: usize) -> Result<Cuda> {
        let error = |reason: String| error(ordinal, reason);
        probe::library().map_err(error)?;
        let failed = |what: &str, e: DriverError| error(format!("{what}: {}", describe(e)));
        let devices = CudaContext::device_count().map_err(|e| failed("the NVIDIA driver does not start", e))?;
        if ordinal >= devices as usize {
            return Err(error(format!("there is no such GPU; {devices} found")));
        }
        if KERNELS.is_empty() {
            return Err(error(
                "this binary was built without GPU kernels: run scripts/cuda-toolkit.sh, then build again".into(),
            ));
        }
        let context = CudaContext::new(ordinal).map_err(|e| failed("no context", e))?;
        // SAFETY: nothing is allocated through cudarc's slices; what the streams share, events of our own order.
        unsafe { context.disable_event_tracking() };
        let (major, minor) = context.compute_capability().map_err(|e| failed("no compute capability", e))?;
        if major < 8 {
            return Err(error(format!("compute capability {major}.{minor}; 8.0 (Ampere) or later is needed")));
        }
        let stream = || context.new_stream().map_err(|e| failed("no stream", e));
        let (stream, copies) = (stream()?, stream()?);
        let compute_capability = (major as u32, minor as u32);
        let state = Mutex::default();
        Ok(Cuda(Arc::new(Gpu { ordinal, compute_capability, context, stream, copies, state })))
    }
}

impl Cuda {
    /// Which of the machine codes in this binary the GPU runs, such as `sm_90`; what the driver compiles from PTX is named
    /// after the GPU, and says so.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn code(&self) -> Result<String> {
        use sys::CUfunction_attribute_enum::{CU_FUNC_ATTRIBUTE_BINARY_VERSION, CU_FUNC_ATTRIBUTE_PTX_VERSION};
        let failed = self.0.doing("loading a kernel");
        let mut state = self.0.state();
        let function = self.0.load(&mut state.modules, &KERNELS[0]).map_err(&failed)?;
        let version = |attribute| function.handle.get_attribute(attribute).map_err(&failed);
        let (binary, ptx) = (version(CU_FUNC_ATTRIBUTE_BINARY_VERSION)?, version(CU_FUNC_ATTRIBUTE_PTX_VERSION)?);
        // Machine code was compiled for the architecture that its PTX was written for; PTX of an older one was compiled
        // here.
        Ok(if binary == ptx { format!("sm_{binary}") } else { format!("sm_{binary} compiled from compute_{ptx}") })
    }
}

fn error(ordinal: usize, reason: String) -> Error {
    Error::Device { device: format!("cuda:{ordinal}"), reason }
}

/// `CUDA_ERROR_OUT_OF_MEMORY (out of memory)`.
fn describe(error: DriverError) -> String {
    match (error.error_name(), error.error_string()) {
        (Ok(name), Ok(text)) => format!("{} ({})", name.to_string_lossy(), text.to_string_lossy()),
        _ => format!("CUDA error {}", error.0 as u32),
    }
}

impl Gpu {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        error(self.ordinal, reason.into())
    }

    /// Turns a driver's error into ours, with what was being done.
    fn doing<'a>(&'a self, what: &'a str) -> impl Fn(DriverError) -> Error + 'a {
        move |e| self.error(format!("{what}: {}", describe(e)))
    }

    /// Finds a launch's kernel, checks that the arguments fit it, and lets it have the shared memory that it asks for.
    fn prepare(&self, state: &mut State, call: &KernelCall) -> Result<CudaFunction> {
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

    fn load(&self, modules: &mut HashMap<usize, Arc<CudaModule>>, kernel: &Kernel) -> Result<Function, DriverError> {
        let module = match modules.get(&kernel.module) {
            Some(module) => module.clone(),
            None => {
                let image = MODULES[kernel.module].image.to_vec();
                let module = self.context.load_module(Ptx::from_binary(image))?;
                modules.insert(kernel.module, module.clone());
                module
            }
        };
        let handle = module.load_function(kernel.symbol)?;
        // SAFETY: the handle is valid. The driver would otherwise load the code at the first launch, perhaps in a capture.
        unsafe { sys::cuFuncLoad(handle.cu_function()) }.result()?;
        let mut parameters = Vec::new();
        let (mut offset, mut bytes) = (0, 0);
        // SAFETY: the function is loaded and both pointers are valid; past the last parameter the driver returns an error
        // and writes nothing.
        while unsafe { sys::cuFuncGetParamInfo(handle.cu_function(), parameters.len(), &mut offset, &mut bytes) }
            .result()
            .is_ok()
        {
            parameters.push(bytes);
        }
        Ok(Function { handle, parameters, dynamic_shared_bytes: DEFAULT_DYNAMIC_SHARED_BYTES })
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

    fn enqueue_named(&self, function: &CudaFunction, call: &KernelCall) -> Result<()> {
        let _range = profiler::range(&call.layer);
        self.enqueue(function, call).map_err(|e| {
            let KernelCall { kernel, grid, block, smem_bytes, .. } = call;
            let geometry = format!("grid {grid:?}, {block} threads, {smem_bytes} bytes of dynamic shared memory");
            self.error(format!("kernel {kernel} ({geometry}): {}", describe(e)))
        })
    }

    fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().map_err(|e| self.failed_work(e))
    }

    fn failed_work(&self, e: DriverError) -> Error {
        let hint = "CUDA_LAUNCH_BLOCKING=1 and compute-sanitizer show which kernel";
        self.error(format!("work on the GPU failed: {}; {hint}", describe(e)))
    }
}

/// What an argument's address points to.
enum Value {
    /// Its bits, in the low bytes.
    Word(u64),
    Map(Box<sys::CUtensorMap>),
    /// Its bytes.
    Struct(Vec<u8>),
}

fn encode(arg: &KernelArg) -> Result<Value, DriverError> {
    Ok(Value::Word(match *arg {
        KernelArg::Pointer { address, .. } => address,
        KernelArg::I32(value) => u64::from(value as u32),
        KernelArg::U32(value) => u64::from(value),
        KernelArg::U64(value) => value,
        KernelArg::F32(value) => u64::from(value.to_bits()),
        KernelArg::TensorMap { address, map, .. } => return encode_map(address, &map).map(Value::Map),
        KernelArg::Struct(ref fields) => return Ok(Value::Struct(KernelArg::struct_bytes(fields))),
    }))
}

fn encode_map(address: u64, map: &TensorMap) -> Result<Box<sys::CUtensorMap>, DriverError> {
    use sys::CUtensorMapDataType_enum as Type;
    let data_type = match map.dtype {
        DType::F32 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        DType::Bf16 => Type::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        DType::I32 => Type::CU_TENSOR_MAP_DATA_TYPE_INT32,
    };
    let swizzle = match map.swizzle_128 {
        true => sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_128B,
        false => sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_NONE,
    };
    let byte_strides = map.byte_strides();
    let (dims, box_dims) = (map.dims.map(|n| n as u64), map.box_dims.map(|n| n as u32));
    let element_strides = map.element_strides.map(|n| n as u32);
    let mut encoded = Box::new(sys::CUtensorMap { opaque: [0; 16] });
    // SAFETY: the arrays have an entry for each of at most five dimensions, and `encoded` is as large and aligned as the
    // driver wants it. The address is recorded, not read.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut *encoded,
            data_type,
            map.rank as u32,
            std::ptr::without_provenance_mut(address as usize),
            dims.as_ptr(),
            byte_strides.as_ptr(),
            box_dims.as_ptr(),
            element_strides.as_ptr(),
            sys::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            sys::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            sys::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    }
    .result()?;
    Ok(encoded)
}

fn bytes_of(arg: &KernelArg) -> usize {
    match arg {
        KernelArg::Pointer { .. } | KernelArg::U64(_) => 8,
        KernelArg::I32(_) | KernelArg::U32(_) | KernelArg::F32(_) => 4,
        KernelArg::TensorMap { .. } => size_of::<sys::CUtensorMap>(),
        KernelArg::Struct(fields) => KernelArg::struct_bytes(fields).len(),
    }
}

impl Driver for Cuda {
    fn name(&self) -> String {
        let name = self.0.context.name().unwrap_or_else(|_| "NVIDIA GPU".into());
        format!("{name} (cuda:{})", self.0.ordinal)
    }

    fn compute_capability(&self) -> (u32, u32) {
        self.0.compute_capability
    }

    fn is_asynchronous(&self) -> bool {
        true
    }

    fn memory_info(&self) -> Result<(u64, u64)> {
        let (free, total) = self.0.context.mem_get_info().map_err(self.0.doing("memory"))?;
        Ok((free as u64, total as u64))
    }

    fn alloc(&self, bytes: usize) -> Result<Allocation> {
        let gpu = &self.0;
        gpu.context.bind_to_thread().map_err(gpu.doing("allocation"))?;
        // SAFETY: the memory is handed out as an address, never as typed values. At least one byte: the driver refuses 0.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(|e| {
            if e.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return gpu.error(format!("allocation of {bytes} bytes: {}", describe(e)));
            }
            match self.memory_info() {
                Ok((free_bytes, total_bytes)) => Error::OutOfMemory {
                    device: format!("cuda:{}", gpu.ordinal),
                    wanted_bytes: bytes as u64,
                    free_bytes,
                    total_bytes,
                    advice: String::new(),
                },
                Err(_) => gpu.error(format!("out of memory: {bytes} bytes wanted")),
            }
        })?;
        gpu.state().memory.insert(address, bytes);
        Ok(Allocation { address, bytes })
    }

    fn free(&self, allocation: Allocation) {
        let gpu = &self.0;
        if gpu.state().memory.remove(allocation.address).is_some() {
            // Errors are kept by the context, which returns them from its next call.
            gpu.context.record_err(gpu.stream.synchronize());
            gpu.context.record_err(gpu.context.bind_to_thread());
            // SAFETY: the table held the address, so it came from `alloc` and was not freed since; nothing runs on the
            // stream any more.
            gpu.context.record_err(unsafe { result::free_sync(allocation.address) });
        }
    }

    fn fill(&self, address: u64, bytes: usize, value: u8) -> Result<()> {
        let gpu = &self.0;
        let state = gpu.state();
        if bytes == 0 {
            return Ok(());
        }
        state.memory.check(address, bytes).map_err(|reason| gpu.error(format!("fill: {reason}")))?;
        gpu.context.bind_to_thread().map_err(gpu.doing("fill"))?;
        // SAFETY: the range lies in a live allocation, and `free` waits for the stream.
        unsafe { result::memset_d8_async(address, value, bytes, gpu.stream.cu_stream()) }.map_err(gpu.doing("fill"))
    }

    fn upload(&self, address: u64, host: &[u8]) -> Result<()> {
        let gpu = &self.0;
        let mut state = gpu.state();
        if host.is_empty() {
            return Ok(());
        }
        state.memory.check(address, host.len()).map_err(|reason| gpu.error(format!("upload: {reason}")))?;
        if state.staging.is_none() {
            state.staging = Some(Staging::new(gpu).map_err(gpu.doing("pinned memory"))?);
        }
        let staging = state.staging.as_mut().expect("just made");
        for (i, chunk) in host.chunks(STAGING_BYTES).enumerate() {
            let destination = address + (i * STAGING_BYTES) as u64;
            staging.upload(gpu, destination, chunk).map_err(gpu.doing("upload"))?;
        }
        Ok(())
    }

    fn download(&self, address: u64, host: &mut [u8]) -> Result<()> {
        let gpu = &self.0;
        let state = gpu.state();
        if host.is_empty() {
            return gpu.synchronize();
        }
        state.memory.check(address, host.len()).map_err(|reason| gpu.error(format!("download: {reason}")))?;
        gpu.synchronize()?;
        // SAFETY: the range lies in a live allocation, which the lock on the table keeps; the copy is synchronous.
        unsafe { result::memcpy_dtoh_sync(host, address) }.map_err(gpu.doing("download"))
    }

    fn read_back(&self, address: u64, bytes: usize) -> Result<Box<dyn ReadBack>> {
        let gpu = &self.0;
        let failed = gpu.doing("read-back");
        let mut state = gpu.state();
        state.memory.check(address, bytes).map_err(|reason| gpu.error(format!("read-back: {reason}")))?;
        assert!(bytes <= READ_BACK_BYTES, "a read-back of {bytes} bytes");
        let mut memory = match state.spare.pop() {
            Some(memory) => memory,
            // SAFETY: the bytes are written by the copy before they are read.
            None => unsafe { gpu.context.alloc_pinned::<u8>(READ_BACK_BYTES) }.map_err(&failed)?,
        };
        let target = &mut memory.as_mut_slice().map_err(&failed)?[..bytes];
        // SAFETY: the source is a live allocation, and `free` waits for the stream. The target is not read before the
        // event says that it was written, and is not freed before either.
        unsafe { result::memcpy_dtoh_async(target, address, gpu.stream.cu_stream()) }.map_err(&failed)?;
        let copied = gpu.stream.record_event(None).map_err(&failed)?;
        Ok(Box::new(PendingCopy { gpu: gpu.clone(), memory: Some(memory), bytes, copied }))
    }

    fn launch(&self, call: &KernelCall) -> Result<()> {
        let mut state = self.0.state();
        let function = self.0.prepare(&mut state, call)?;
        self.0.enqueue_named(&function, call)
    }

    fn record(&self, calls: &[KernelCall]) -> Result<Box<dyn Recording>> {
        let gpu = &self.0;
        let mut state = gpu.state();
        // Loading a module allocates, which a capture does not allow: everything is prepared before.
        let functions: Vec<CudaFunction> =
            calls.iter().map(|call| gpu.prepare(&mut state, call)).collect::<Result<_>>()?;
        let capture = gpu.doing("recording");
        gpu.stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(&capture)?;
        let enqueued = functions.iter().zip(calls).try_for_each(|(function, call)| gpu.enqueue_named(function, call));
        // The capture is ended in any case, or the stream would be unusable; a failed launch is the error to report.
        let graph = gpu.stream.end_capture(sys::CUgraphInstantiate_flags_enum(0));
        enqueued?;
        let graph = graph.map_err(&capture)?.ok_or_else(|| gpu.error("recording: the driver made no graph"))?;
        graph.upload().map_err(&capture)?;
        Ok(Box::new(Graph { graph, gpu: gpu.clone() }))
    }

    fn time_ms(&self, calls: &[KernelCall]) -> Result<Vec<f32>> {
        let gpu = &self.0;
        let mut state = gpu.state();
        let functions: Vec<CudaFunction> =
            calls.iter().map(|call| gpu.prepare(&mut state, call)).collect::<Result<_>>()?;
        let timing = gpu.doing("timing");
        let mark = || gpu.stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).map_err(&timing);
        let mut marks = vec![mark()?];
        for (function, call) in functions.iter().zip(calls) {
            gpu.enqueue_named(function, call)?;
            marks.push(mark()?);
        }
        gpu.synchronize()?;
        marks.windows(2).map(|pair| pair[0].elapsed_ms(&pair[1]).map_err(&timing)).collect()
    }

    fn synchronize(&self) -> Result<()> {
        self.0.synchronize()
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

/// Launches as one CUDA graph.
struct Graph {
    graph: CudaGraph,
    /// Keeps the kernels loaded and the memory allocated.
    gpu: Arc<Gpu>,
}

// SAFETY: a graph must not be used by two threads at once; it is not Sync, and replaying takes `&mut`. It may move between
// threads: every call binds the context first.
unsafe impl Send for Graph {}

impl Recording for Graph {
    fn replay(&mut self) -> Result<()> {
        self.graph.launch().map_err(self.gpu.doing("replay"))
    }
}

/// What uploads pass through. Pinned host memory, so that the caller's slice is free at once; then device memory, so that
/// the bytes cross the bus while earlier work runs, and only a copy within the device is left to be done in its turn.
struct Staging {
    halves: [Half; 2],
    next: usize,
}

struct Half {
    host: PinnedHostSlice<u8>,
    /// [`STAGING_BYTES`] too.
    device: sys::CUdeviceptr,
    /// The bytes have arrived where they belong.
    arrived: Option<CudaEvent>,
}

const STAGING_BYTES: usize = 4 << 20;

impl Staging {
    fn new(gpu: &Gpu) -> Result<Staging, DriverError> {
        let half = || {
            // SAFETY: the bytes are written before they are read.
            let host = unsafe { gpu.context.alloc_pinned::<u8>(STAGING_BYTES) }?;
            // SAFETY: as above; `drop` frees it.
            let device = unsafe { result::malloc_sync(STAGING_BYTES) }?;
            Ok(Half { host, device, arrived: None })
        };
        Ok(Staging { halves: [half()?, half()?], next: 0 })
    }

    /// `chunk` has at most [`STAGING_BYTES`]; the range behind `address` is checked.
    fn upload(&mut self, gpu: &Gpu, address: u64, chunk: &[u8]) -> Result<(), DriverError> {
        let half = &mut self.halves[self.next];
        self.next = 1 - self.next;
        if let Some(arrived) = half.arrived.take() {
            arrived.synchronize()?;
        }
        let staged = &mut half.host.as_mut_slice()?[..chunk.len()];
        staged.copy_from_slice(chunk);
        // SAFETY: the device half is as long as the host half. Neither is written before the event below says that the
        // bytes have arrived.
        unsafe { result::memcpy_htod_async(half.device, staged, gpu.copies.cu_stream()) }?;
        gpu.stream.wait(&gpu.copies.record_event(None)?)?;
        // SAFETY: the destination is a live allocation, and `free` waits for the stream.
        unsafe { result::memcpy_dtod_async(address, half.device, chunk.len(), gpu.stream.cu_stream()) }?;
        half.arrived = Some(gpu.stream.record_event(None)?);
        Ok(())
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        let context = self.host.context();
        if let Some(arrived) = self.arrived.take() {
            context.record_err(arrived.synchronize());
        }
        context.record_err(context.bind_to_thread());
        // SAFETY: it came from `malloc_sync`, and the copies from and to it are done.
        context.record_err(unsafe { result::free_sync(self.device) });
    }
}

/// A copy to the host.
struct PendingCopy {
    gpu: Arc<Gpu>,
    memory: Option<PinnedHostSlice<u8>>,
    bytes: usize,
    copied: CudaEvent,
}

impl ReadBack for PendingCopy {
    fn wait(mut self: Box<Self>) -> Result<Vec<u8>> {
        self.copied.synchronize().map_err(|e| self.gpu.failed_work(e))?;
        let memory = self.memory.take().expect("taken once");
        let bytes = memory.as_slice().map_err(self.gpu.doing("read-back"))?[..self.bytes].to_vec();
        self.gpu.state().spare.push(memory);
        Ok(bytes)
    }
}

impl Drop for PendingCopy {
    fn drop(&mut self) {
        if self.memory.is_some() {
            self.gpu.context.record_err(self.copied.synchronize());
        }
    }
}

/// Whether there is a driver that has all that is used here. cudarc panics at the first call of a function that is missing.
mod probe {
    use super::{OnceLock, sys};

    /// The CUDA version whose functions cudarc is built for (`cuda-13000`).
    const WANTED_VERSION: i32 = 13_000;

    /// Every function of the driver that a [`super::Cuda`] can call.
    const FUNCTIONS: [&str; 46] = [
        "cuCtxGetCurrent",
        "cuCtxSetCurrent",
        "cuDeviceGet",
        "cuDeviceGetAttribute",
        "cuDeviceGetCount",
        "cuDeviceGetName",
        "cuDevicePrimaryCtxRelease_v2",
        "cuDevicePrimaryCtxRetain",
        "cuDriverGetVersion",
        "cuEventCreate",
        "cuEventDestroy_v2",
        "cuEventElapsedTime_v2",
        "cuEventRecord",
        "cuEventSynchronize",
        "cuFuncGetAttribute",
        "cuFuncGetParamInfo",
        "cuFuncLoad",
        "cuFuncSetAttribute",
        "cuGetErrorName",
        "cuGetErrorString",
        "cuGraphDestroy",
        "cuGraphExecDestroy",
        "cuGraphInstantiateWithFlags",
        "cuGraphLaunch",
        "cuGraphUpload",
        "cuInit",
        "cuLaunchKernel",
        "cuMemAlloc_v2",
        "cuMemFreeHost",
        "cuMemFree_v2",
        "cuMemGetInfo_v2",
        "cuMemHostAlloc",
        "cuMemcpyDtoDAsync_v2",
        "cuMemcpyDtoHAsync_v2",
        "cuMemcpyDtoH_v2",
        "cuMemcpyHtoDAsync_v2",
        "cuMemsetD8Async",
        "cuModuleGetFunction",
        "cuModuleLoadData",
        "cuModuleUnload",
        "cuStreamBeginCapture_v2",
        "cuStreamCreate",
        "cuStreamDestroy_v2",
        "cuStreamEndCapture",
        "cuStreamWaitEvent",
        "cuTensorMapEncodeTiled",
    ];

    /// An error message if the driver cannot be used. Loads the library once.
    pub fn library() -> Result<(), String> {
        static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
        ANSWER.get_or_init(look).clone()
    }

    fn look() -> Result<(), String> {
        // SAFETY: loads the NVIDIA driver's library, whose initialisers are sound.
        if !unsafe { sys::is_culib_present() } {
            return Err("there is no NVIDIA driver (libcuda was not found)".into());
        }
        // SAFETY: as above; the library is there. The functions are looked up, not called.
        let lacks = |name: &&&str| unsafe { sys::culib().get::<*const ()>(name.as_bytes()) }.is_err();
        if let Some(missing) = FUNCTIONS.iter().find(lacks) {
            return Err(format!(
                "the NVIDIA driver is broken or too old: it has no {missing}; version 580 or later is needed"
            ));
        }
        let mut version = 0;
        // SAFETY: the function is there and writes one integer.
        let answer = unsafe { sys::cuDriverGetVersion(&mut version) };
        if answer != sys::CUresult::CUDA_SUCCESS || version < WANTED_VERSION {
            let (major, minor) = (version / 1000, version % 1000 / 10);
            return Err(format!(
                "the NVIDIA driver supports CUDA {major}.{minor}; 13.0 (driver 580) or later is needed"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Cuda;

    #[test]
    fn a_missing_gpu_is_an_error_that_says_so() {
        match Cuda::new(1000) {
            Ok(_) => panic!("there are 1001 GPUs"),
            Err(error) => assert!(error.to_string().starts_with("device cuda:1000: "), "{error}"),
        }
    }
}
