//! `ddpm --version`: the version, and what this program was built with.

use crate::engine::device::kernels::{MODULES, RESOURCES};
use crate::version::version;
use std::env::consts::{ARCH, OS};
use std::sync::LazyLock;

/// The version with its commit, the GPU kernels inside, the optional features and the platform, a line each.
pub fn long_version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(compose);
    &VERSION
}

fn compose() -> String {
    let features = [("emulator", cfg!(feature = "emulator")), ("nvtx", cfg!(feature = "nvtx"))];
    let features: Vec<&str> = features.into_iter().filter_map(|(name, is_on)| is_on.then_some(name)).collect();
    let features = if features.is_empty() { "none".into() } else { features.join(", ") };
    format!("{}\nGPU kernels  {}\nfeatures     {features}\nplatform     {ARCH}-{OS}", version(), gpu_kernels())
}

/// The architectures whose machine code is in the program.
fn gpu_kernels() -> String {
    let mut architectures: Vec<&str> = RESOURCES.iter().map(|resources| resources.arch).collect();
    architectures.sort_unstable();
    architectures.dedup();
    if MODULES.is_empty() {
        return "none: nvcc was not there when the program was built (scripts/cuda-toolkit.sh installs one)".into();
    }
    format!("{} files for {}, and PTX for later GPUs", MODULES.len(), architectures.join(", "))
}
