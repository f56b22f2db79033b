//! A driver to run against: the functions of NVIDIA's `libcuda` that the program calls, without a GPU.
//!
//! `scripts/driver-stand-in.sh` builds it and gives it the names under which the binding looks for the driver; with
//! `LD_LIBRARY_PATH` a program then finds it, and `ddpm train --device cuda` runs `src/engine/device/cuda`, the binding,
//! graphs, events and pinned memory as on a GPU. Modules, names of kernels, parameter sizes, shared memory and clusters come
//! from the image that the program loads; what executes are the emulator's kernels of the same names.
//!
//! It is strict where the driver is: which calls a capture allows, limits of shared memory, parameters, contexts, the rules
//! for tensor maps, errors that stay. Where the driver leaves the outcome open it takes the worst: enqueued work runs as late
//! as is allowed, so that memory which the host reuses before a copy has read it shows; and what is undefined there
//! ends the process here.
//!
//! `options.rs` lists what the environment variable `CUDA_STAND_IN` sets: which GPU to act as, and which calls fail.
//! All `unsafe` code is in the C interface, `abi.rs`.

#![deny(unsafe_code)]

mod abi;
mod codes;
mod image;
mod machine;
#[path = "../../../build/mangled.rs"]
mod mangled;
mod options;
mod tensor_map;

/// Ends the process: the program did what the driver leaves undefined.
fn fatal(what: &str) -> ! {
    eprintln!("driver stand-in: {what}");
    std::process::abort()
}

/// Says what a result code alone does not.
fn note(what: &str) {
    eprintln!("driver stand-in: {what}");
}
