//! A CUDA GPU, through the driver API. The driver library is opened at run time: one binary serves machines with and
//! without it.

mod architectures;
mod arguments;
mod errors;
mod function;
mod gpu;
mod opened;
mod probe;
mod read_back;
mod recording;
mod staging;

use super::driver::{Allocation, Driver, KernelCall, READ_BACK_BYTES, ReadBack, Recording};
use super::kernels::{ARCHITECTURES, KERNELS};
use crate::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaFunction, sys};
use errors::{describe, error};
use gpu::Gpu;
use opened::Opened;
use read_back::PendingCopy;
use recording::Graph;
use staging::{STAGING_BYTES, Staging};
use std::sync::{Arc, Mutex};

/// A GPU as a device: one stream on which all work is in order, in the context that the process has of it.
pub struct Cuda(Arc<Gpu>);

impl Cuda {
    /// Opens the GPU with this number.
    ///
    /// # Errors
    /// Without a driver, or with one that is broken or too old; without such a GPU, or with one that is too old; when the
    /// binary was built without nvcc.
    pub fn new(ordinal: usize) -> Result<Cuda> {
        let opened = Opened::get(ordinal)?;
        let context = opened.context.clone();
        let failed = |e: DriverError| error(ordinal, format!("no stream: {}", describe(e)));
        let stream = || context.new_stream().map_err(failed);
        let (stream, copies) = (stream()?, stream()?);
        Ok(Cuda(Arc::new(Gpu { opened, context, stream, copies, state: Mutex::default() })))
    }

    /// Machine code of this binary that the GPU runs, such as `sm_90`; where the driver compiled it from PTX, the text adds
    /// from which.
    ///
    /// # Errors
    /// Errors of the driver.
    pub fn code(&self) -> Result<String> {
        use sys::CUfunction_attribute_enum::{CU_FUNC_ATTRIBUTE_BINARY_VERSION, CU_FUNC_ATTRIBUTE_PTX_VERSION};
        let failed = self.0.doing("loading a kernel");
        let function = self.0.opened.loaded().load(&self.0.context, &KERNELS[0]).map_err(&failed)?;
        let version = |attribute| function.handle.get_attribute(attribute).map_err(&failed);
        let (binary, ptx) = (version(CU_FUNC_ATTRIBUTE_BINARY_VERSION)?, version(CU_FUNC_ATTRIBUTE_PTX_VERSION)?);
        // Machine code was compiled for the architecture that its PTX was written for; PTX of an older one was compiled
        // here.
        Ok(if binary == ptx { format!("sm_{binary}") } else { format!("sm_{binary} compiled from compute_{ptx}") })
    }
}

impl Cuda {
    /// Returns what a user should know of the kernels that this GPU runs: that the driver compiles them, or that those for Hopper are
    /// not among them. Mostly empty.
    pub fn note(&self) -> String {
        architectures::note(ARCHITECTURES, self.0.opened.compute_capability)
    }
}

impl Driver for Cuda {
    fn name(&self) -> String {
        let name = self.0.context.name().unwrap_or_else(|_| "NVIDIA GPU".into());
        format!("{name} (cuda:{})", self.0.opened.ordinal)
    }

    fn compute_capability(&self) -> (u32, u32) {
        self.0.opened.compute_capability
    }

    fn multiprocessors(&self) -> usize {
        self.0.opened.multiprocessors
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
                    device: format!("cuda:{}", gpu.opened.ordinal),
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
            state.staging = Some(Staging::new(&gpu.context).map_err(gpu.doing("pinned memory"))?);
        }
        let staging = state.staging.as_mut().expect("just made");
        for (i, chunk) in host.chunks(STAGING_BYTES).enumerate() {
            let destination = address + (i * STAGING_BYTES) as u64;
            staging.upload((&gpu.stream, &gpu.copies), destination, chunk).map_err(gpu.doing("upload"))?;
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
            // Not write-combined, as what the host only writes is: reading such memory is slow.
            // SAFETY: the bytes are written by the copy before they are read.
            None => unsafe { gpu.context.alloc_pinned_with_flags::<u8>(READ_BACK_BYTES, 0) }.map_err(&failed)?,
        };
        let target = &mut memory.as_mut_slice().map_err(&failed)?[..bytes];
        // SAFETY: the source is a live allocation, and `free` waits for the stream. The target is not read before the
        // event says that it was written, and is not freed before either.
        unsafe { result::memcpy_dtoh_async(target, address, gpu.stream.cu_stream()) }.map_err(&failed)?;
        let copied = gpu.stream.record_event(None).map_err(|e| {
            // Without an event nothing else would wait for the copy before its target is freed.
            gpu.context.record_err(gpu.stream.synchronize());
            failed(e)
        })?;
        Ok(Box::new(PendingCopy { gpu: gpu.clone(), memory: Some(memory), bytes, copied }))
    }

    fn launch(&self, call: &KernelCall) -> Result<()> {
        let state = self.0.state();
        let function = self.0.prepare(&state, call)?;
        self.0.enqueue_named(&function, call)
    }

    fn record(&self, calls: &[KernelCall]) -> Result<Box<dyn Recording>> {
        let gpu = &self.0;
        let state = gpu.state();
        // Loading a module allocates, which a capture does not allow: everything is prepared before.
        let functions: Vec<CudaFunction> = calls.iter().map(|call| gpu.prepare(&state, call)).collect::<Result<_>>()?;
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
        let state = gpu.state();
        let functions: Vec<CudaFunction> = calls.iter().map(|call| gpu.prepare(&state, call)).collect::<Result<_>>()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::has_gpu;

    #[test]
    fn a_missing_gpu_is_an_error_that_says_so() {
        match Cuda::new(1000) {
            Ok(_) => panic!("there are 1001 GPUs"),
            Err(error) => assert!(error.to_string().starts_with("device cuda:1000: "), "{error}"),
        }
    }

    /// Longer than both halves of the staging memory, and not a whole number of them.
    #[test]
    fn fills_and_copies_of_any_size_are_done_in_order() {
        if has_gpu() {
            let gpu = Cuda::new(0).unwrap();
            let bytes = 3 * STAGING_BYTES + 5;
            let memory = gpu.alloc(bytes).unwrap();
            let address = memory.address;
            let host: Vec<u8> = (0..bytes).map(|i| ((i * 31) >> 7) as u8).collect();
            let all = || {
                let mut read = vec![0; bytes];
                gpu.download(address, &mut read).unwrap();
                read
            };
            gpu.fill(address, bytes, 1).unwrap();
            let ones = gpu.read_back(address, READ_BACK_BYTES).unwrap();
            gpu.upload(address, &host).unwrap();
            let copied = gpu.read_back(address + bytes as u64 - 100, 100).unwrap();
            drop(gpu.read_back(address, 1).unwrap());
            assert!(all() == host);
            gpu.fill(address + 1, bytes - 2, 2).unwrap();
            let read = all();
            assert_eq!((read[0], read[1], read[bytes - 2], read[bytes - 1]), (host[0], 2, 2, host[bytes - 1]));
            assert_eq!(copied.wait().unwrap(), host[bytes - 100..]);
            assert_eq!(ones.wait().unwrap(), [1; READ_BACK_BYTES]);
            gpu.free(memory);
        }
    }

    #[test]
    fn launches_are_timed_one_by_one_and_replayed_as_one() {
        use crate::engine::device::driver::KernelArg::{Pointer, U64};
        if has_gpu() {
            let gpu = Cuda::new(0).unwrap();
            let memory = gpu.alloc(16).unwrap();
            // From the first half to the second, and back.
            let calls = [(8, 0), (0, 8)].map(|(to, from)| {
                let pointer = |offset| Pointer { address: memory.address + offset, bytes: 8 };
                let args = vec![pointer(to), pointer(from), U64(2)];
                let (kernel, layer) = ("silu_fwd_f32".to_owned(), "".into());
                KernelCall { kernel, layer, grid: [1; 3], block: 256, smem_bytes: 0, args }
            });
            gpu.upload(memory.address, &[0; 8]).unwrap();
            let times = gpu.time_ms(&calls).unwrap();
            assert!(times.len() == 2 && times.iter().all(|ms| (0.0..1e4).contains(ms)), "{times:?}");

            let mut recording = gpu.record(&calls).unwrap();
            let read = |gpu: &Cuda| {
                let mut read = [0; 8];
                gpu.download(memory.address, &mut read).unwrap();
                [0, 4].map(|i| f32::from_ne_bytes(read[i..i + 4].try_into().unwrap()))
            };
            assert_eq!(read(&gpu), [0.0; 2], "recording runs nothing");
            let silu = |x: f32| x / (1.0 + (-x).exp());
            for x in [1.0f32, -2.0] {
                gpu.upload(memory.address, [x.to_ne_bytes(), 0f32.to_ne_bytes()].as_flattened()).unwrap();
                recording.replay().unwrap();
                let expected = silu(silu(x));
                assert!((read(&gpu)[0] - expected).abs() <= 1e-5 * expected.abs(), "{x}: {:?}", read(&gpu));
            }
            drop(recording);
            gpu.free(memory);
        }
    }

    #[test]
    fn a_gpu_is_opened_once() {
        if has_gpu() {
            let [first, second] = [(); 2].map(|()| Cuda::new(0).unwrap());
            assert!(Arc::ptr_eq(&first.0.opened, &second.0.opened));
        }
    }
}
