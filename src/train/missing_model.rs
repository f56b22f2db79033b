//! The error of a path where no model lies: what lies there, and what would do.

use crate::Error;
use crate::nn::advice;
use crate::nn::folder::inventory;
use std::path::Path;

/// Every kind of model that is read.
const WANTED: &str = "a run (config.toml), a checkpoint, a diffusers model or pipeline (config.json, unet/config.json), or a \
                      checkpoint of improved-diffusion";

/// The error of a path that is no file and no folder with a model.
pub fn error(path: &Path) -> Error {
    if !path.exists() {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let there = if parent.is_dir() { format!("; {}", inventory(parent)) } else { String::new() };
        return Error::format(path, format!("no such file or folder; {WANTED} was wanted{there}"));
    }
    let reason =
        advice::of_folder(path).unwrap_or_else(|| format!("no model; {WANTED} was wanted; {}", inventory(path)));
    Error::format(path, reason)
}
