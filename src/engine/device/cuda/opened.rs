//! GPUs that the process has opened: each has one context, and its kernels are loaded once.

use super::errors::{describe, error};
use super::function::Function;
use super::probe;
use crate::Result;
use crate::engine::device::kernels::{KERNELS, Kernel, MODULES};
use cudarc::driver::result::DriverError;
use cudarc::driver::{CudaContext, CudaModule, sys};
use cudarc::nvrtc::Ptx;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

/// A GPU with its context and kernels, for the life of the process.
pub(super) struct Opened {
    pub ordinal: usize,
    pub compute_capability: (u32, u32),
    pub multiprocessors: usize,
    pub context: Arc<CudaContext>,
    loaded: Mutex<Loaded>,
}

/// Modules and kernels that have been loaded.
#[derive(Default)]
pub(super) struct Loaded {
    /// Loaded when a kernel of theirs is first launched; by their index in [`MODULES`].
    modules: HashMap<usize, Arc<CudaModule>>,
    pub functions: HashMap<&'static str, Function>,
}

/// Values that are made once for each number. Those that could not be made are tried again.
struct Once<T>(Mutex<BTreeMap<usize, Arc<T>>>);

impl<T> Once<T> {
    const fn new() -> Once<T> {
        Once(Mutex::new(BTreeMap::new()))
    }

    fn get(&self, number: usize, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut made = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(value) = made.get(&number) {
            return Ok(value.clone());
        }
        let value = Arc::new(make()?);
        made.insert(number, value.clone());
        Ok(value)
    }
}

static OPENED: Once<Opened> = Once::new();

impl Opened {
    /// Opens a GPU, or returns it if it is open.
    ///
    /// # Errors
    /// As for [`Cuda::new`](super::Cuda::new).
    pub(super) fn get(ordinal: usize) -> Result<Arc<Opened>> {
        OPENED.get(ordinal, || Opened::new(ordinal))
    }

    fn new(ordinal: usize) -> Result<Opened> {
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
        let compute_capability = (major as u32, minor as u32);
        let multiprocessors = context
            .attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
            .map_err(|e| failed("no number of multiprocessors", e))?;
        let multiprocessors = multiprocessors.max(1) as usize;
        Ok(Opened { ordinal, compute_capability, multiprocessors, context, loaded: Mutex::default() })
    }

    pub(super) fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Loaded {
    /// Finds a kernel, whose module is loaded when it is the first of them.
    pub(super) fn load(&mut self, context: &Arc<CudaContext>, kernel: &Kernel) -> Result<Function, DriverError> {
        let module = match self.modules.get(&kernel.module) {
            Some(module) => module.clone(),
            None => {
                let image = MODULES[kernel.module].image.to_vec();
                let module = context.load_module(Ptx::from_binary(image))?;
                self.modules.insert(kernel.module, module.clone());
                module
            }
        };
        Function::load(&module, kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_opened_once_and_after_an_error_again() {
        let once = Once::new();
        assert!(once.get(1, || Err(error(1, "busy".into()))).is_err());
        let values = [(1, "a"), (0, "b"), (1, "c"), (0, "d")].map(|(n, value)| *once.get(n, || Ok(value)).unwrap());
        assert_eq!(values, ["a", "b", "a", "b"]);
    }
}
