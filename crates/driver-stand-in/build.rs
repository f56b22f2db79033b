//! The emulated kernels of `kernels/`, linked into the library, and a table of the names that compilers give them.

#[allow(dead_code)] // the program's build uses the rest
#[path = "../../build/sources.rs"]
mod sources;

use kernel_build::emulated::Compiler;
use kernel_build::{cargo_env, jobs};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    kernel_build::finish(build())
}

fn build() -> Result<(), String> {
    let own = PathBuf::from(cargo_env("CARGO_MANIFEST_DIR"));
    let root = own.ancestors().nth(2).unwrap_or(Path::new("."));
    let folder = root.join("kernels");
    for path in [&folder, &root.join("build")] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let kernels = sources::find(&folder)?;
    let mut table = String::from("pub static EXPORTS: &[(&str, &str, &str)] = &[\n");
    for kernel in &kernels {
        for export in &kernel.exports {
            let _ = writeln!(table, "    ({:?}, {:?}, {:?}),", kernel.stem(), export.instance, export.name);
        }
    }
    table.push_str("];\n");
    let path = PathBuf::from(cargo_env("OUT_DIR")).join("exports.rs");
    std::fs::write(&path, table).map_err(|e| format!("{}: {e}", path.display()))?;

    // The emulator's build script sets it where it found a compiler.
    if std::env::var_os("DEP_KERNEL_EMULATOR_RUNTIME").is_none() {
        return Ok(());
    }
    let Some(compiler) = Compiler::find(root, &[folder])? else { return Ok(()) };
    let compilations: Vec<jobs::Job> =
        kernels.iter().map(|k| compiler.kernel(&k.path, "common/common.cuh")).collect::<Result<_, _>>()?;
    let objects: Vec<PathBuf> = compilations.iter().map(|job| job.output.clone()).collect();
    jobs::run(compilations)?;
    compiler.link_kernels("stand_in_kernels", &objects);
    Ok(())
}
