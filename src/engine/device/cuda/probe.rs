//! The check that there is a driver with all that is used here: cudarc panics at the first call of a function that is
//! missing.

use super::errors::describe;
use cudarc::driver::result::DriverError;
use cudarc::driver::sys;
use std::sync::OnceLock;

/// The CUDA version whose functions cudarc is built for (`cuda-13000`).
const WANTED_VERSION: i32 = 13_000;

/// Every function of the driver that a [`super::Cuda`] can call.
const FUNCTIONS: [&str; 47] = [
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
    "cuStreamSynchronize",
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
    if answer != sys::CUresult::CUDA_SUCCESS {
        return Err(format!("the NVIDIA driver does not tell its version: {}", describe(DriverError(answer))));
    }
    if version < WANTED_VERSION {
        let (major, minor) = (version / 1000, version % 1000 / 10);
        return Err(format!("the NVIDIA driver supports CUDA {major}.{minor}; 13.0 (driver 580) or later is needed"));
    }
    Ok(())
}
