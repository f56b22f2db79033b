//! Builds the kernels twice: with nvcc for the GPU, and, with the feature `emulator`, with the host's C++ compiler for the
//! emulator. Either compiler may be missing; the program then does without.
//!
//! | variable | effect |
//! |---|---|
//! | `DDPM_NVCC` | the nvcc to use; else `CUDA_HOME`, `.cuda/` (see scripts/cuda-toolkit.sh), `/usr/local/cuda`, `PATH`. `none`: no GPU kernels |
//! | `NVCC_APPEND_FLAGS` | more flags for nvcc, such as `-lineinfo` for a profiler's source view |
//! | `DDPM_CUDA_ARCHS` | architectures to compile for besides 80 and 90a, as `100,120` (the default: Blackwell); `none` |
//! | `DDPM_REQUIRE_NVCC=1` | no nvcc is an error |
//! | `DDPM_EMU_SANITIZE=address` or `thread` | the emulator and its kernels run under ASan and UBSan, or TSan |

#[path = "build/emulator.rs"]
mod emulator;
#[path = "build/mangled.rs"]
mod mangled;
#[path = "build/nvcc.rs"]
mod nvcc;
#[path = "build/sources.rs"]
mod sources;
#[path = "build/toolkit.rs"]
mod toolkit;

use kernel_build::cargo_env;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    for variable in
        ["DDPM_NVCC", "NVCC_APPEND_FLAGS", "CUDA_HOME", "DDPM_CUDA_ARCHS", "DDPM_REQUIRE_NVCC", "DDPM_EMU_SANITIZE"]
    {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    for path in ["build.rs", "build", "kernels"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let root = PathBuf::from(cargo_env("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(cargo_env("OUT_DIR"));
    kernel_build::finish(sources::find(&root.join("kernels")).and_then(|kernels| {
        nvcc::build(&root, &out, &kernels)?;
        emulator::build(&root, &kernels)
    }))
}
