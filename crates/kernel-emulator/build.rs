//! Compiles the emulator's runtime with the host's C++ compiler. Where there is none, the crate builds without it.

use kernel_build::emulated::{Compiler, Sanitizer};
use kernel_build::{cargo_env, files, finish, jobs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    finish(build())
}

fn build() -> Result<(), String> {
    println!("cargo::rustc-check-cfg=cfg(has_runtime)");
    println!("cargo::rustc-check-cfg=cfg(has_address_sanitizer)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=runtime");
    let own = PathBuf::from(cargo_env("CARGO_MANIFEST_DIR"));
    let root = own.ancestors().nth(2).unwrap_or(Path::new("."));
    let Some(compiler) = Compiler::find(root, &[])? else {
        println!("cargo::warning=no C++ compiler: the kernel emulator is left out (a package such as g++ has one)");
        return Ok(());
    };
    let sources = files::with_extension(&own.join("runtime"), "cpp")?;
    let compilations: Vec<jobs::Job> =
        sources.iter().map(|source| compiler.runtime(source)).collect::<Result<_, _>>()?;
    let objects: Vec<PathBuf> = compilations.iter().map(|job| job.output.clone()).collect();
    jobs::run(compilations)?;
    compiler.link_runtime("kernel_emulator", &objects);
    println!("cargo::rustc-cfg=has_runtime");
    println!("cargo::metadata=RUNTIME=1");
    if compiler.sanitizer == Sanitizer::Address {
        println!("cargo::rustc-cfg=has_address_sanitizer");
    }
    Ok(())
}
