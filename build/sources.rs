//! The kernel files and what they export.

use kernel_build::files;
use std::fs;
use std::path::{Path, PathBuf};

/// A `.cu` file.
pub struct Source {
    pub path: PathBuf,
    /// The path below `kernels/`, with `/` as separator: `conv2d.cu`, `conv2d/wgrad_sm90.cu`.
    pub name: String,
    pub exports: Vec<Export>,
}

/// An exported kernel: its name for launches, and what it instantiates.
pub struct Export {
    pub name: String,
    /// `silu_fwd<float>`, or `philox_uniform` when it is no template. Without blanks.
    pub instance: String,
}

impl Source {
    /// Returns true if its kernels use instructions that only compute capability 9.0 has.
    pub fn is_for_hopper(&self) -> bool {
        self.name.ends_with("_sm90.cu")
    }

    /// A file name for what is compiled from it: `conv2d_wgrad_sm90`.
    pub fn stem(&self) -> String {
        self.name.trim_end_matches(".cu").replace('/', "_")
    }
}

/// Finds all kernels below a folder, in order of their names. `common/` holds headers.
pub fn find(folder: &Path) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for path in files::below(folder)? {
        let name = path.strip_prefix(folder).expect("a path below").to_string_lossy().replace('\\', "/");
        if name.ends_with(".cu") && !name.starts_with("common/") {
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let exports = exports(&text).map_err(|e| format!("{}: {e}", path.display()))?;
            sources.push(Source { path, name, exports });
        }
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    let mut names: Vec<&str> = sources.iter().flat_map(|s| &s.exports).map(|e| e.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("two kernels are exported as {}", pair[0])),
        None => Ok(sources),
    }
}

/// Reads the export lines (`kernels/common/export.cuh` says what they mean).
fn exports(text: &str) -> Result<Vec<Export>, String> {
    const SUFFIXES: [(&str, &str); 2] = [("float", "f32"), ("__nv_bfloat16", "bf16")];
    let mut exports = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("EXPORT")) {
        let malformed = || format!("`{line}` is no export line as kernels/common/export.cuh describes them");
        let code = line.split("//").next().unwrap_or(line).trim();
        let (macro_name, rest) = code.split_once('(').ok_or_else(malformed)?;
        let arguments = rest.strip_suffix(';').unwrap_or(rest).strip_suffix(')').ok_or_else(malformed)?;
        let arguments: String = arguments.chars().filter(|c| !c.is_whitespace()).collect();
        let of_type = |kernel: &str, ty: &str| {
            let (_, suffix) = SUFFIXES.iter().find(|(name, _)| *name == ty)?;
            Some(Export { name: format!("{kernel}_{suffix}"), instance: format!("{kernel}<{ty}>") })
        };
        match (macro_name, arguments.split_once(',')) {
            ("EXPORT", None) => exports.push(Export { name: arguments.clone(), instance: arguments }),
            ("EXPORT_F32_BF16", None) => exports.extend(SUFFIXES.iter().filter_map(|(ty, _)| of_type(&arguments, ty))),
            ("EXPORT_T", Some((kernel, ty))) => exports.push(of_type(kernel, ty).ok_or_else(malformed)?),
            ("EXPORT_AS", Some((name, instance))) => {
                exports.push(Export { name: name.into(), instance: instance.into() });
            }
            ("EXPORT_CLUSTER_AS", Some((name, rest))) => {
                let (_blocks, instance) = rest.split_once(',').ok_or_else(malformed)?;
                exports.push(Export { name: name.into(), instance: instance.into() });
            }
            _ => return Err(malformed()),
        }
    }
    Ok(exports)
}
