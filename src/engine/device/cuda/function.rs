//! Kernels of loaded modules.

use crate::engine::device::kernels::Kernel;
use cudarc::driver::result::DriverError;
use cudarc::driver::{CudaFunction, CudaModule, sys};
use std::sync::Arc;

/// A kernel that is ready to be launched.
#[derive(Clone)]
pub(super) struct Function {
    pub handle: CudaFunction,
    /// Bytes of each parameter.
    pub parameters: Vec<usize>,
    /// The most dynamic shared memory that it has been allowed so far.
    pub dynamic_shared_bytes: u32,
}

/// Dynamic shared memory that a launch may take without asking.
const DEFAULT_DYNAMIC_SHARED_BYTES: u32 = 48 << 10;

impl Function {
    /// Finds a kernel in its module.
    pub(super) fn load(module: &Arc<CudaModule>, kernel: &Kernel) -> Result<Function, DriverError> {
        let handle = module.load_function(kernel.symbol)?;
        // SAFETY: the handle is valid. The driver would otherwise load the code at the first launch, perhaps in a capture.
        unsafe { sys::cuFuncLoad(handle.cu_function()) }.result()?;
        let mut parameters = Vec::new();
        let (mut offset, mut bytes) = (0, 0);
        loop {
            // SAFETY: the function is loaded and both pointers are valid; past the last parameter the driver returns this
            // error and writes nothing.
            match unsafe { sys::cuFuncGetParamInfo(handle.cu_function(), parameters.len(), &mut offset, &mut bytes) } {
                sys::CUresult::CUDA_ERROR_INVALID_VALUE => break,
                result => result.result()?,
            }
            parameters.push(bytes);
        }
        Ok(Function { handle, parameters, dynamic_shared_bytes: DEFAULT_DYNAMIC_SHARED_BYTES })
    }
}
