//! Models of diffusers on the disk: a model's folder or the pipeline around it, weights in one file or in shards.
//!
//! ```text
//! pipeline/model_index.json            checkpoint-500/            model/config.json
//! pipeline/unet/config.json            checkpoint-500/unet/       model/diffusion_pytorch_model.safetensors
//! pipeline/unet/diffusion_...          checkpoint-500/unet_ema/     or ...model.fp16.safetensors, or shards with an index
//! ```

use super::advice::{self, PIPELINE};
use super::config::UNetConfig;
use super::folder::{inventory, names};
use super::weight_file::WeightFile;
use super::{diffusers, diffusers_config};
use crate::{Error, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// File that describes a model.
pub const CONFIG: &str = "config.json";
/// File of all weights of a model.
pub const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
/// Beginning of the names of all files of weights.
const STEM: &str = "diffusion_pytorch_model";
/// Beginnings of the names of weights: none, or those that PyTorch's wrappers for training and compiling add.
const PREFIXES: [&str; 3] = ["", "module.", "_orig_mod."];

/// A model of diffusers that is open for reading.
pub struct ModelFolder {
    /// The network.
    pub config: UNetConfig,
    /// The file or index from which the weights are read.
    pub weights: PathBuf,
    /// Keys of `config.json` that have no influence and were ignored.
    pub ignored_keys: Vec<String>,
    shards: Vec<WeightFile>,
}

impl ModelFolder {
    /// Checks if a path looks like a model or a pipeline of diffusers, or like a file of weights in one.
    pub fn is_one(path: &Path) -> bool {
        let has_config = |folder: &Path| folder.join(CONFIG).exists();
        if path.is_file() {
            return path.parent().is_some_and(has_config);
        }
        has_config(path)
            || path.join(PIPELINE).exists()
            || ["unet", "unet_ema"].iter().any(|part| has_config(&path.join(part)))
    }

    /// Opens the model at a path; where its moving average lies beside it, `average` chooses between the two.
    ///
    /// # Errors
    /// A network that is not supported, a file that is missing (with those that are there) or damaged.
    pub fn open(path: &Path, average: bool) -> Result<ModelFolder> {
        let folder = match path.is_file() {
            true => path.parent().unwrap_or(Path::new("")).to_path_buf(),
            false => model_folder(path, average)?,
        };
        let config_path = folder.join(CONFIG);
        let text = fs::read_to_string(&config_path).map_err(Error::io(&config_path))?;
        let config = diffusers_config::from_json(&text).map_err(|e| Error::format(&folder, e.to_string()))?;
        let weights = if path.is_file() { path.to_path_buf() } else { weights_of(&folder)? };
        let shards = if weights.extension().is_some_and(|extension| extension == "json") {
            shards(&weights)?.iter().map(|path| WeightFile::open(path)).collect::<Result<_>>()?
        } else {
            vec![WeightFile::open(&weights)?]
        };
        Ok(ModelFolder { config, weights, ignored_keys: diffusers_config::ignored_keys(&text), shards })
    }

    /// Reads the values of a tensor of these dimensions, by its current or its legacy name.
    ///
    /// # Errors
    /// A tensor that is missing, has other dimensions or holds no floats.
    pub fn read(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let legacy = diffusers::legacy_name(name);
        for name in PREFIXES.iter().flat_map(|prefix| [name, &legacy].map(|name| format!("{prefix}{name}"))) {
            if let Some(shard) = self.shards.iter().find(|shard| shard.dims(&name).is_some()) {
                return shard.read(&name, dims);
            }
        }
        Err(Error::format(&self.weights, format!("tensor \"{name}\" {dims:?} is missing")))
    }
}

/// The folder with the network's `config.json`: the given one, or that part of a pipeline or of a training checkpoint.
fn model_folder(path: &Path, average: bool) -> Result<PathBuf> {
    let parts: &[&str] = if average { &["unet_ema", "unet"] } else { &["unet", "unet_ema"] };
    let folders = parts.iter().map(|part| path.join(part)).chain([path.to_path_buf()]);
    folders.into_iter().find(|folder| folder.join(CONFIG).exists()).ok_or_else(|| {
        let missing = format!("{CONFIG} or unet/{CONFIG} is missing; {}", inventory(path));
        let reason = advice::of_folder(path).map_or(missing.clone(), |advice| format!("{advice}; {missing}"));
        Error::format(path, reason)
    })
}

/// The file or index of the weights in a folder: safetensors where there are any, else PyTorch's own format.
fn weights_of(folder: &Path) -> Result<PathBuf> {
    let names = names(folder)?;
    let variants = match variants(&names, "safetensors") {
        none if none.is_empty() => variants(&names, "bin"),
        some => some,
    };
    let choices: Vec<&str> = variants.values().copied().collect();
    match (variants.get(""), &choices[..]) {
        (Some(name), _) => Ok(folder.join(name)),
        (None, [name]) => Ok(folder.join(name)),
        (None, []) => {
            let other = names.iter().find_map(|name| Some((name, advice::of_file(Path::new(name))?)));
            let other = other.map(|(name, what)| format!("; {name} is {what}")).unwrap_or_default();
            let missing = format!("{WEIGHTS}, a variant of it or an index of shards is missing{other}");
            Err(Error::format(folder, format!("{missing}; {}", inventory(folder))))
        }
        (None, several) => {
            let reason =
                format!("holds several variants of the weights ({}): give the path of one", several.join(", "));
            Err(Error::format(folder, reason))
        }
    }
}

/// The files of weights by their variant: `""`, `".fp16"`, ... An index stands for its shards.
fn variants<'a>(names: &'a [String], extension: &str) -> BTreeMap<&'a str, &'a str> {
    let mut variants = BTreeMap::new();
    for name in names {
        let Some(rest) = name.strip_prefix(STEM) else { continue };
        let index = rest.strip_prefix(&format!(".{extension}.index")).and_then(|rest| rest.strip_suffix(".json"));
        let whole = rest.strip_suffix(&format!(".{extension}"));
        if let Some(variant) = index {
            variants.insert(variant, &name[..]);
        } else if let Some(variant) = whole.filter(|variant| !variant.contains("-of-")) {
            variants.entry(variant).or_insert(&name[..]);
        }
    }
    variants
}

/// The files of an index, each once.
fn shards(index: &Path) -> Result<BTreeSet<PathBuf>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }

    let text = fs::read_to_string(index).map_err(Error::io(index))?;
    let list: Index =
        serde_json::from_str(&text).map_err(|e| Error::format(index, format!("no index of weights: {e}")))?;
    let shard = |name: &String| {
        let path = index.with_file_name(name);
        let is_plain = Path::new(name).file_name().is_some_and(|last| last == name.as_str());
        match is_plain && path.is_file() {
            true => Ok(path),
            false => Err(Error::format(
                index,
                format!("\"{name}\" is missing, download it too; {}", inventory(&folder_of(index))),
            )),
        }
    };
    let files =
        list.weight_map.values().collect::<BTreeSet<_>>().into_iter().map(shard).collect::<Result<BTreeSet<_>>>()?;
    if files.is_empty() { Err(Error::format(index, "the index lists no weights")) } else { Ok(files) }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_path_buf()
}

#[cfg(test)]
mod tests;
