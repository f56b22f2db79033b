//! The CUDA toolkit that compiles the kernels, and the architectures that it compiles them for.

use std::path::Path;
use std::process::Command;

/// Architecture of all kernels that every GPU runs: machine code, and PTX for whatever comes later.
pub const BASE: &str = "80";
/// Architecture of the kernels in files `*_sm90.cu`, and of all others, too.
pub const HOPPER: &str = "90a";
/// Compiled for besides, where `DDPM_CUDA_ARCHS` does not say: what later GPUs run without the driver compiling it.
const FURTHER: &str = "100,120";
/// The first version that compiles for [`FURTHER`].
const KNOWS_FURTHER: (u32, u32) = (12, 8);

/// Returns the version of an nvcc, as `(13, 0)`.
pub fn version(nvcc: &Path) -> Result<(u32, u32), String> {
    let output = Command::new(nvcc).arg("--version").output().map_err(|e| format!("{}: {e}", nvcc.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = || {
        let (_, rest) = text.split_once("release ")?;
        let (major, minor) = rest.split_once(',')?.0.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    version().ok_or_else(|| format!("{} --version does not say which release it is: {text}", nvcc.display()))
}

/// The architectures that kernels of all GPUs are compiled for, as `80`.
pub fn architectures(toolkit: (u32, u32)) -> Result<Vec<String>, String> {
    let further = std::env::var("DDPM_CUDA_ARCHS").ok().filter(|list| !list.is_empty());
    let further = further.unwrap_or_else(|| if toolkit < KNOWS_FURTHER { "none" } else { FURTHER }.into());
    let mut all = vec![BASE.to_string(), HOPPER.to_string()];
    for arch in further.split(',').map(str::trim).filter(|arch| *arch != "none") {
        if arch.strip_suffix('a').unwrap_or(arch).parse::<u32>().is_err() {
            return Err(format!(
                "DDPM_CUDA_ARCHS is `{further}`; it lists architectures, such as 86,100,120, or is `none`"
            ));
        }
        if !all.iter().any(|known| known == arch) {
            all.push(arch.into());
        }
    }
    Ok(all)
}
