//! Compiles CUDA kernel files from a build script.
//!
//! A crate that runs kernels on the emulator depends on `kernel-emulator`, and its build script on this crate:
//!
//! ```no_run
//! use kernel_build::{emulated, jobs};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), String> {
//! let root = Path::new("/path/to/the/crate");
//! if let Some(compiler) = emulated::Compiler::find(root, &[root.join("kernels")])? {
//!     let kernel = compiler.kernel(&root.join("kernels/sum.cu"), "emulator/intrinsics.h")?;
//!     let objects = vec![kernel.output.clone()];
//!     jobs::run(vec![kernel])?;
//!     compiler.link_kernels("my_kernels", &objects);
//! }
//! # Ok(())
//! # }
//! ```

pub mod emulated;
pub mod files;
pub mod jobs;

/// Reads a path or setting that cargo gives to build scripts.
pub fn cargo_env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

/// Runs the work of a build script. An error becomes cargo's: its first line in the summary, the rest below.
pub fn finish(result: Result<(), String>) -> std::process::ExitCode {
    let Err(message) = result else { return std::process::ExitCode::SUCCESS };
    println!("cargo::error={}", message.lines().next().unwrap_or("the kernels do not compile"));
    eprintln!("{message}");
    std::process::ExitCode::FAILURE
}
