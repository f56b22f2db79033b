//! PTX of the kernels of the tree, as nvcc compiles it.
#![allow(dead_code, reason = "each test uses a part")]

pub mod beds;
pub mod bench;
pub mod program;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Skips the rest of a test, loudly.
#[macro_export]
macro_rules! skip {
    ($reason:expr) => {{
        println!("SKIPPED: {}", $reason);
        assert!(std::env::var_os("DDPM_REQUIRE_NVCC").is_none(), "{}", $reason);
        return;
    }};
}

/// The compiler, as build.rs of the program finds it.
pub fn nvcc() -> Option<PathBuf> {
    match std::env::var_os("DDPM_NVCC") {
        Some(path) if path == "none" => return None,
        Some(path) if !path.is_empty() => return Some(path.into()),
        _ => {}
    }
    let home = std::env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin"));
    let folders = [home, Some("../../.cuda/nvidia/cu13/bin".into()), Some("/usr/local/cuda/bin".into())];
    folders.into_iter().flatten().map(|folder| folder.join("nvcc")).find(|nvcc| nvcc.is_file())
}

/// All kernel files of the tree, sorted.
pub fn kernel_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(Path::new("../../kernels"), &mut files);
    files.sort();
    files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "cu")).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the kernels lie beside the crates") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// The PTX of a kernel file: `silu.cu`, for `sm_80`, or for `sm_90a` if its name ends in `_sm90`. What was compiled once is
/// kept beside the test, for as long as no file of the kernels changes.
pub fn ptx(nvcc: &Path, file: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    let mut all = Vec::new();
    collect(Path::new("../../kernels"), &mut all);
    all.sort();
    for path in all {
        path.hash(&mut hasher);
        std::fs::read(path).expect("a kernel file").hash(&mut hasher);
    }
    nvcc.hash(&mut hasher);
    let stem = file.file_stem().expect("a file").to_string_lossy().into_owned();
    let arch = if stem.ends_with("_sm90") { "sm_90a" } else { "sm_80" };
    let folder = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let executable = std::env::current_exe().expect("a test has a name");
    let cache = executable.ancestors().nth(2).expect("it lies in the target folder").join("ptx");
    std::fs::create_dir_all(&cache).expect("the target folder can be written");
    let kept = cache.join(format!("{folder}_{stem}_{:016x}.ptx", hasher.finish()));
    if let Ok(text) = std::fs::read_to_string(&kept) {
        return text;
    }
    // Under a name of its own until it is whole: another test may compile the same file.
    let new = kept.with_extension(format!("{:?}.new", std::thread::current().id()));
    let status = Command::new(nvcc)
        .args(["-ptx", "-lineinfo", "-std=c++17", "-O3", "-I", "../../kernels", "-arch", arch, "-o"])
        .args([new.as_path(), file])
        .status()
        .expect("nvcc starts");
    assert!(status.success(), "{} is not compiled", file.display());
    std::fs::rename(&new, &kept).expect("it was written");
    std::fs::read_to_string(&kept).expect("it was written")
}
