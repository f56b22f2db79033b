//! The GPU's kernels: one fatbin for each kernel file, and tables of the kernels in them.

use crate::mangled::instance;
use crate::sources::{Export, Source};
use crate::toolkit::{self, BASE, HOPPER};
use kernel_build::files::headers_of;
use kernel_build::jobs::{self, Job};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes `kernels.rs` to `out`: the images and tables that src/engine/device/kernels.rs includes. Empty without nvcc.
pub fn build(root: &Path, out: &Path, kernels: &[Source]) -> Result<(), String> {
    let tables = match find_nvcc(root) {
        Some(nvcc) if nvcc.as_os_str() == "none" => Tables::default(),
        Some(nvcc) => compile(&nvcc, root, out, kernels)?,
        None if std::env::var("DDPM_REQUIRE_NVCC").is_ok_and(|v| v == "1") => {
            return Err("no nvcc, and DDPM_REQUIRE_NVCC=1; scripts/cuda-toolkit.sh installs one into .cuda/".into());
        }
        None => {
            if kernel_build::cargo_env("CARGO_CFG_TARGET_OS") == "linux" {
                println!(
                    "cargo::warning=no nvcc: built without GPU kernels (scripts/cuda-toolkit.sh installs one into .cuda/)"
                );
            }
            Tables::default()
        }
    };
    std::fs::write(out.join("kernels.rs"), tables.to_rust()).map_err(|e| format!("{}: {e}", out.display()))
}

fn find_nvcc(root: &Path) -> Option<PathBuf> {
    let local = root.join(".cuda/nvidia/cu13/bin");
    for watched in [&local, &root.join(".cuda")] {
        if watched.exists() {
            println!("cargo::rerun-if-changed={}", watched.display());
            break;
        }
    }
    if let Some(nvcc) = std::env::var_os("DDPM_NVCC").filter(|path| !path.is_empty()) {
        return Some(nvcc.into());
    }
    let home = std::env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = home.into_iter().chain([local, "/usr/local/cuda/bin".into()]).chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join("nvcc")).find(|nvcc| nvcc.is_file())
}

#[derive(Default)]
struct Tables {
    /// Version of the compiler.
    toolkit: (u32, u32),
    /// As `sm_80`.
    architectures: Vec<String>,
    /// File name and image.
    modules: Vec<(String, PathBuf)>,
    /// Export, mangled name, index of the module.
    kernels: Vec<(String, String, usize)>,
    resources: Vec<Resources>,
}

/// Resources of one kernel on one architecture.
struct Resources {
    kernel: String,
    arch: String,
    registers: u32,
    shared_bytes: u32,
    stack_bytes: u32,
    spill_bytes: u32,
}

fn compile(nvcc: &Path, root: &Path, out: &Path, kernels: &[Source]) -> Result<Tables, String> {
    let mut jobs = Vec::new();
    let version = toolkit::version(nvcc)?;
    let architectures = toolkit::architectures(version)?;
    let mut tables = Tables {
        toolkit: version,
        architectures: architectures.iter().map(|arch| format!("sm_{arch}")).collect(),
        ..Tables::default()
    };
    for source in kernels {
        let output = out.join(format!("{}.fatbin", source.stem()));
        let mut command = Command::new(nvcc);
        command.args(["-fatbin", "-std=c++17", "-O3", "-Xptxas", "-v", "-I"]).arg(root.join("kernels"));
        if let Some(flags) = std::env::var_os("NVCC_APPEND_FLAGS") {
            command.env("NVCC_APPEND_FLAGS", flags); // nvcc would see it anyway: this makes it part of the job's key
        }
        for arch in architectures.iter().filter(|arch| *arch == HOPPER || !source.is_for_hopper()) {
            command.args(["-gencode", &format!("arch=compute_{arch},code=sm_{arch}")]);
        }
        if !source.is_for_hopper() {
            command.args(["-gencode", &format!("arch=compute_{BASE},code=compute_{BASE}")]);
        }
        command.arg(&source.path);
        let mut inputs = headers_of(&source.path, &[root.join("kernels")])?;
        inputs.push(source.path.clone());
        tables.modules.push((source.name.clone(), output.clone()));
        jobs.push(Job { name: format!("kernels/{}", source.name), command, inputs, output });
    }
    let logs = jobs::run(jobs)?;
    for (module, (source, log)) in kernels.iter().zip(&logs).enumerate() {
        for line in log.lines().filter(|line| line.contains("warning") || line.contains("(C75")) {
            println!("cargo::warning={line}");
        }
        let (symbols, resources) = read_log(log);
        for export in &source.exports {
            let symbol = symbols
                .iter()
                .find(|symbol| instance(symbol).as_deref() == Some(&export.instance))
                .ok_or_else(|| missing(source, export, &symbols))?;
            tables.kernels.push((export.name.clone(), symbol.clone(), module));
            for r in resources.iter().filter(|r| r.kernel == *symbol) {
                if [BASE, HOPPER].iter().any(|arch| r.arch == format!("sm_{arch}")) && r.spill_bytes + r.stack_bytes > 0
                {
                    println!(
                        "cargo::warning=kernels/{}: {} on {} spills {} bytes and has a stack frame of {}",
                        source.name, export.name, r.arch, r.spill_bytes, r.stack_bytes
                    );
                }
                tables.resources.push(Resources { kernel: export.name.clone(), arch: r.arch.clone(), ..*r });
            }
        }
    }
    Ok(tables)
}

fn missing(source: &Source, export: &Export, symbols: &[String]) -> String {
    let found: Vec<String> = symbols.iter().map(|s| instance(s).unwrap_or_else(|| s.clone())).collect();
    format!(
        "kernels/{}: {} exports {}, but the compiled kernels are {}",
        source.name,
        export.name,
        export.instance,
        found.join(", ")
    )
}

/// Reads `ptxas -v`: the kernels' mangled names, and what each takes.
fn read_log(log: &str) -> (Vec<String>, Vec<Resources>) {
    let mut symbols: Vec<String> = Vec::new();
    let mut all: Vec<Resources> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let mut quoted = rest.split('\'');
            let (kernel, arch) = (quoted.next().unwrap_or_default(), quoted.nth(1).unwrap_or_default());
            if !symbols.iter().any(|s| s == kernel) {
                symbols.push(kernel.into());
            }
            let (kernel, arch) = (kernel.into(), arch.into());
            all.push(Resources { kernel, arch, registers: 0, shared_bytes: 0, stack_bytes: 0, spill_bytes: 0 });
        }
        let Some(current) = all.last_mut() else { continue };
        for part in line.split(':').next_back().unwrap_or_default().split(',') {
            let words: Vec<&str> = part.split_whitespace().collect();
            match words[..] {
                ["Used", n, "registers"] => current.registers = n.parse().unwrap_or(0),
                [n, "bytes", "smem"] => current.shared_bytes = n.parse().unwrap_or(0),
                [n, "bytes", "stack", "frame"] => current.stack_bytes += n.parse::<u32>().unwrap_or(0),
                [n, "bytes", "spill", _] => current.spill_bytes += n.parse::<u32>().unwrap_or(0),
                _ => {}
            }
        }
    }
    (symbols, all)
}

impl Tables {
    fn to_rust(&self) -> String {
        let mut rust = format!("pub static TOOLKIT: (u32, u32) = {:?};\n", self.toolkit);
        let mut table = |name: &str, ty: &str, rows: Vec<String>| {
            let _ = writeln!(rust, "pub static {name}: &[{ty}] = &[");
            rows.iter().for_each(|row| {
                let _ = writeln!(rust, "    {row},");
            });
            rust.push_str("];\n");
        };
        let modules = self.modules.iter().map(|(file, image)| {
            format!("Module {{ file: {file:?}, image: include_bytes!({:?}) }}", image.display().to_string())
        });
        table("ARCHITECTURES", "&str", self.architectures.iter().map(|arch| format!("{arch:?}")).collect());
        table("MODULES", "Module", modules.collect());
        let kernels = self
            .kernels
            .iter()
            .map(|(name, symbol, module)| format!("Kernel {{ name: {name:?}, symbol: {symbol:?}, module: {module} }}"));
        table("KERNELS", "Kernel", kernels.collect());
        let resources = self.resources.iter().map(|r| {
            format!(
                "Resources {{ kernel: {:?}, arch: {:?}, registers: {}, shared_bytes: {}, stack_bytes: {}, spill_bytes: {} }}",
                r.kernel, r.arch, r.registers, r.shared_bytes, r.stack_bytes, r.spill_bytes
            )
        });
        table("RESOURCES", "Resources", resources.collect());
        rust
    }
}
