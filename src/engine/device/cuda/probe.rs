//! The check that there is a driver with all that is used here: cudarc panics at the first call of a function that is
//! missing.

use super::errors::describe;
use crate::engine::device::kernels::TOOLKIT;
use cudarc::driver::result::DriverError;
use cudarc::driver::sys;
use std::sync::OnceLock;

/// The first CUDA version that has all of [`FUNCTIONS`]; cudarc is built for it (`cuda-12040`).
const FUNCTIONS_SINCE: (u32, u32) = (12, 4);

/// Returns the CUDA version that a driver must support to run kernels of a toolkit: the first of the toolkit's major version
/// (NVIDIA's minor-version compatibility), and one that has the functions.
fn wanted(toolkit: (u32, u32)) -> (u32, u32) {
    FUNCTIONS_SINCE.max((toolkit.0, 0))
}

/// Driver branch that first supports a version of [`wanted`].
fn branch(version: (u32, u32)) -> u32 {
    if version.0 >= 13 { 580 } else { 550 }
}

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
    "cuEventElapsedTime",
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
    let mut version = 0;
    if !lacks(&&"cuDriverGetVersion") {
        // SAFETY: the function is there and writes one integer.
        let answer = unsafe { sys::cuDriverGetVersion(&mut version) };
        if answer != sys::CUresult::CUDA_SUCCESS {
            return Err(format!("the NVIDIA driver does not tell its version: {}", describe(DriverError(answer))));
        }
    }
    let version = (version as u32 / 1000, version as u32 % 1000 / 10);
    let installed = installed().map_or(String::new(), |number| format!(" {number}"));
    let reason = refusal(version, TOOLKIT, FUNCTIONS.iter().find(lacks).copied());
    reason.map_or(Ok(()), |reason| Err(format!("the NVIDIA driver{installed} {reason}")))
}

/// Says what is wrong with a driver that supports this CUDA version and lacks this function, for kernels of a toolkit.
fn refusal(version: (u32, u32), toolkit: (u32, u32), missing: Option<&str>) -> Option<String> {
    let wanted = wanted(toolkit);
    let needed = format!("CUDA {}.{} (driver {}) or later is needed", wanted.0, wanted.1, branch(wanted));
    let why = if wanted.0 > 12 { ", or a program built with a CUDA 12 toolkit (driver 550)" } else { "" };
    if version < wanted {
        return Some(format!("supports CUDA {}.{}; {needed}{why}", version.0, version.1));
    }
    missing.map(|missing| format!("is broken or too old: it has no {missing}; {needed}"))
}

/// Version of the kernel module of the installed driver, as `550.54.14`, where Linux says it.
fn installed() -> Option<String> {
    module_version(&std::fs::read_to_string("/proc/driver/nvidia/version").ok()?)
}

fn module_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| word.contains('.') && word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.lines().next()?.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_of_a_toolkit_need_a_driver_of_its_major_version() {
        assert_eq!(refusal((13, 0), (13, 2), None), None);
        assert_eq!(refusal((12, 4), (12, 9), None), None);
        assert_eq!(refusal((13, 1), (12, 4), None), None);
        let message = refusal((12, 4), (13, 0), None).unwrap();
        assert!(
            message.starts_with("supports CUDA 12.4; CUDA 13.0 (driver 580) or later is needed, or a program"),
            "{message}"
        );
        let message = refusal((12, 2), (12, 9), Some("cuFuncLoad")).unwrap();
        assert_eq!(message, "supports CUDA 12.2; CUDA 12.4 (driver 550) or later is needed");
        assert!(refusal((13, 0), (13, 0), Some("cuFuncLoad")).unwrap().contains("has no cuFuncLoad"));
    }

    #[test]
    fn the_installed_driver_says_its_version() {
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (root@host)\nGCC version: 12.2.0\n";
        assert_eq!(module_version(open).as_deref(), Some("580.95.05"));
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n";
        assert_eq!(module_version(closed).as_deref(), Some("550.54.14"));
        assert_eq!(module_version(""), None);
    }
}
