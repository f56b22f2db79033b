//! Compiles the kernels of the exercises for the emulator, or with the feature `solutions` those of the book.

use kernel_build::emulated::Compiler;
use kernel_build::{cargo_env, files, jobs};
use std::collections::BTreeMap;
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
    let mut kernels = BTreeMap::new();
    // A solution takes the place of its hole, or is a kernel of the book without one.
    let solved = std::env::var_os("CARGO_FEATURE_SOLUTIONS").map(|_| &solutions);
    for folder in [&holes].into_iter().chain(solved) {
        let files = files::with_extension(folder, "cu")?;
        kernels.extend(files.into_iter().map(|path| (path.file_name().map(ToOwned::to_owned), path)));
    }
    let compile = |path: &PathBuf| compiler.kernel(path, "common/common.cuh");
    let compilations: Vec<jobs::Job> = kernels.values().map(compile).collect::<Result<_, _>>()?;
    let objects: Vec<PathBuf> = compilations.iter().map(|job| job.output.clone()).collect();
    jobs::run(compilations)?;
    compiler.link_kernels("exercise_kernels", &objects);
    Ok(())
}
