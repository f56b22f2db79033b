//! Compiles the kernels of the exercises for the emulator, or with the feature `solutions` those of the book.

use kernel_build::emulated::Compiler;
use kernel_build::{cargo_env, files, jobs};
use std::path::{Path, PathBuf};

fn main() -> std::process::ExitCode {
    kernel_build::finish(build())
}

fn build() -> Result<(), String> {
    let here = PathBuf::from(cargo_env("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(3).unwrap_or(Path::new("/"));
    let (holes, solutions) = (here.join("kernels"), root.join("docs/book/solutions"));
    for folder in [&holes, &solutions] {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
    let Some(compiler) = Compiler::find(root, &[root.join("kernels")])? else { return Ok(()) };
    let is_solved = std::env::var_os("CARGO_FEATURE_SOLUTIONS").is_some();
    let compile = |hole: &PathBuf| {
        let solution = solutions.join(hole.file_name().unwrap_or_default());
        compiler.kernel(if is_solved && solution.is_file() { &solution } else { hole }, "common/common.cuh")
    };
    let compilations: Vec<jobs::Job> =
        files::with_extension(&holes, "cu")?.iter().map(compile).collect::<Result<_, _>>()?;
    let objects: Vec<PathBuf> = compilations.iter().map(|job| job.output.clone()).collect();
    jobs::run(compilations)?;
    compiler.link_kernels("exercise_kernels", &objects);
    Ok(())
}
