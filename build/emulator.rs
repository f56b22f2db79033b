//! The emulated kernels: every kernel file, and those with planted bugs of `tests/emu`, in two static libraries.

use crate::sources::Source;
use kernel_build::emulated::{Compiler, Sanitizer};
use kernel_build::{files, jobs};
use std::path::{Path, PathBuf};

/// Links the emulated kernels into the crate and sets `cfg(ddpm_emu)`, where the emulator is part of the build.
pub fn build(root: &Path, kernels: &[Source]) -> Result<(), String> {
    println!("cargo::rustc-check-cfg=cfg(ddpm_emu)");
    println!("cargo::rustc-check-cfg=cfg(ddpm_emu_sanitize, values(\"address\", \"thread\"))");
    // The emulator's build script sets it where it found a compiler.
    if std::env::var_os("DEP_KERNEL_EMULATOR_RUNTIME").is_none() {
        return Ok(());
    }
    let Some(compiler) = Compiler::find(root, &[root.join("kernels")])? else { return Ok(()) };
    let folder = root.join("tests/emu");
    let planted = if folder.is_dir() { files::with_extension(&folder, "cu")? } else { Vec::new() };
    let paths = kernels.iter().map(|kernel| &kernel.path).chain(&planted);
    let compilations: Vec<jobs::Job> =
        paths.map(|path| compiler.kernel(path, "common/common.cuh")).collect::<Result<_, _>>()?;
    let objects: Vec<PathBuf> = compilations.iter().map(|job| job.output.clone()).collect();
    jobs::run(compilations)?;

    let (objects, planted) = objects.split_at(kernels.len());
    compiler.link_kernels("ddpm_emu", objects);
    println!("cargo::rustc-cfg=ddpm_emu");
    if !planted.is_empty() {
        compiler.archive("ddpm_emu_tests", planted);
        println!("cargo::rerun-if-changed=tests/emu");
    }
    if compiler.sanitizer != Sanitizer::None {
        println!("cargo::rustc-cfg=ddpm_emu_sanitize=\"{}\"", compiler.sanitizer.name());
    }
    Ok(())
}
