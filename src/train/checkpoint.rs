//! Checkpoints: all that a run needs to go on, in one safetensors file per kept step.
//!
//! Tensors have the names that diffusers gives them, with a prefix: `weights.`, `ema.` (their moving average),
//! `adam_m.`, `adam_v.`. The single metadata entry holds the step and the configuration, and nothing that differs
//! between two equal runs: equal runs write equal files.
//!
//! A file appears under its name only when it is complete and on the disk ([`files`](crate::files)). Whatever a killed run
//! leaves is either whole or ignored.

use super::config::Config;
use crate::files::{remove_partials, write_whole};
use crate::nn::ParamSet;
use crate::nn::tensor_file::{self, NamedTensor, TensorFile};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Version of the file's layout.
const FORMAT: u32 = 1;
/// The metadata entry.
const KEY: &str = "ddpm";

/// The flat arrays of a run after `step` updates.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Updates made.
    pub step: u64,
    /// The weights.
    pub weights: Vec<f32>,
    /// Moving average of the weights.
    pub ema: Vec<f32>,
    /// Adam's mean of the gradient.
    pub adam_m: Vec<f32>,
    /// Adam's mean of the squared gradient.
    pub adam_v: Vec<f32>,
}

/// Header of a checkpoint: where the run stands, and all of its configuration but where its data lie.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    format: u32,
    /// Updates made.
    pub step: u64,
    /// The run's configuration, with the default `data` section.
    pub config: Config,
}

/// Path in a folder of the checkpoint of a step.
pub fn path(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("step-{step:08}.safetensors"))
}

/// Writes a checkpoint.
///
/// # Errors
/// When the file cannot be written; earlier checkpoints are untouched then.
pub fn save(path: &Path, config: &Config, params: &ParamSet, state: &State) -> Result<()> {
    let config = Config { data: Default::default(), ..config.clone() };
    let header = Header { format: FORMAT, step: state.step, config };
    let header = serde_json::to_string(&header).expect("a header is plain data");
    let arrays =
        [("weights", &state.weights), ("ema", &state.ema), ("adam_m", &state.adam_m), ("adam_v", &state.adam_v)];
    let prefixed = |(prefix, flat): (&'static str, &Vec<f32>)| {
        params.to_files(flat).into_iter().map(move |(name, dims, values)| (format!("{prefix}.{name}"), dims, values))
    };
    let tensors: Vec<NamedTensor> = arrays.into_iter().flat_map(prefixed).collect();
    write_whole(path, |out| tensor_file::write(out, &tensors, (KEY, &header)))
}

/// Lists the checkpoints of a folder, oldest first; empty where there is no such folder.
///
/// # Errors
/// When the folder cannot be listed.
pub fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let step = name.strip_prefix("step-").and_then(|n| n.strip_suffix(".safetensors")).and_then(|n| n.parse().ok());
        found.extend(step.map(|step| (step, path)));
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes what a killed run was writing, and all checkpoints but the last `keep`; 0 keeps all.
///
/// # Errors
/// When the folder cannot be changed.
pub fn tidy(folder: &Path, keep: usize) -> Result<()> {
    remove_partials(folder)?;
    let all = list(folder)?;
    let superfluous = if keep == 0 { 0 } else { all.len().saturating_sub(keep) };
    all[..superfluous].iter().try_for_each(|(_, path)| fs::remove_file(path).map_err(Error::io(path)))
}

/// An open checkpoint.
pub struct Checkpoint {
    file: TensorFile,
    /// Step and configuration of the run.
    pub header: Header,
}

impl Checkpoint {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// A file that is missing, truncated, damaged, or no checkpoint of this version.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let file = TensorFile::open(path)?;
        let Some(text) = file.metadata(KEY) else {
            return Err(Error::format(path, "a safetensors file, but no checkpoint of a run"));
        };
        let header: Header = serde_json::from_str(text)
            .map_err(|e| Error::format(path, format!("the header of the checkpoint: {e}")))?;
        if header.format != FORMAT {
            return Err(Error::format(path, format!("a checkpoint of format {}, not {FORMAT}", header.format)));
        }
        Ok(Checkpoint { file, header })
    }

    /// Reads one flat array: `weights`, `ema`, `adam_m` or `adam_v`.
    ///
    /// # Errors
    /// A checkpoint of another model: the first tensor that is missing or has other dimensions.
    pub fn flat(&self, prefix: &str, params: &ParamSet) -> Result<Vec<f32>> {
        params.from_files(|name, dims| self.file.read(&format!("{prefix}.{name}"), dims))
    }

    /// Reads the whole state.
    ///
    /// # Errors
    /// As for [`Checkpoint::flat`].
    pub fn state(&self, params: &ParamSet) -> Result<State> {
        Ok(State {
            step: self.header.step,
            weights: self.flat("weights", params)?,
            ema: self.flat("ema", params)?,
            adam_m: self.flat("adam_m", params)?,
            adam_v: self.flat("adam_v", params)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Init, ParamSet};

    fn params(width: usize) -> ParamSet {
        let mut params = ParamSet::default();
        params.add("conv.weight", &[width, 3, 3, 2], Init::Normal);
        params.add("conv.bias", &[width], Init::Normal);
        params
    }

    fn state(params: &ParamSet, step: u64) -> State {
        // Padding between parameters is zero and is not stored.
        let flat = |seed: f32| {
            params.initial(|p, _, values| {
                values.iter_mut().enumerate().for_each(|(i, v)| *v = seed + (p * 1000 + i) as f32);
            })
        };
        State { step, weights: flat(0.0), ema: flat(0.25), adam_m: flat(0.5), adam_v: flat(0.75) }
    }

    #[test]
    fn what_is_saved_is_loaded_and_equal_states_are_equal_files() {
        let folder = tempfile::tempdir().unwrap();
        let (params, config) = (params(5), Config::default());
        let state = state(&params, 7);
        let path = path(folder.path(), 7);
        save(&path, &config, &params, &state).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(Checkpoint::open(&path).unwrap().state(&params).unwrap(), state);
        let mut elsewhere = config.clone();
        elsewhere.data.source = "some/where/else".into();
        save(&path, &elsewhere, &params, &state).unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
        assert_eq!(Checkpoint::open(&path).unwrap().header.config, config);
    }

    #[test]
    fn another_model_is_refused_by_tensor_and_shape() {
        let folder = tempfile::tempdir().unwrap();
        let path = {
            let path = path(folder.path(), 7);
            save(&path, &Config::default(), &params(5), &state(&params(5), 7)).unwrap();
            path
        };
        let message = Checkpoint::open(&path).unwrap().state(&params(6)).unwrap_err().to_string();
        assert!(message.ends_with("\"weights.conv.weight\": wanted [6, 2, 3, 3], found [5, 2, 3, 3]"), "{message}");
    }

    #[test]
    fn the_last_checkpoints_and_nothing_half_written_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let params = params(1);
        for step in [100, 20, 3] {
            save(&path(folder.path(), step), &Config::default(), &params, &state(&params, step)).unwrap();
        }
        fs::write(folder.path().join(".step-00000400.safetensors.partial"), "half").unwrap();
        tidy(folder.path(), 2).unwrap();
        let steps: Vec<u64> = list(folder.path()).unwrap().into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, [20, 100]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        tidy(folder.path(), 0).unwrap();
        assert_eq!(list(folder.path()).unwrap().len(), 2);
    }
}
