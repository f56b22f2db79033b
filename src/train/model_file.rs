//! Opening a model, whatever it is: a run directory (its last checkpoint), a checkpoint file, a model folder of diffusers
//! (`config.json` and `diffusion_pytorch_model.safetensors`), or a checkpoint of improved-diffusion. And writing a folder
//! of diffusers.

use super::checkpoint::{self, Checkpoint, Whole};
use super::config::Config;
use super::diffusers_scheduler::{self, Scheduler};
use super::missing_model;
use super::openai_model;
use super::run_dir::RunDir;
use crate::files::{replace_file, write_whole};
use crate::nn::model_folder::{self, ModelFolder};
use crate::nn::openai_unet::{self, OpenAiWeights};
use crate::nn::weight_file::WeightFile;
use crate::nn::{ModelConfig, Network, ParamSet, advice, diffusers_config, foreign, tensor_file};
use crate::{Error, Result};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Folders of a pipeline.
const PIPELINE_NETWORK: &str = "unet";
const PIPELINE_SCHEDULER: &str = "scheduler";

/// A network with its weights.
pub struct ModelFile {
    /// Configuration; of a diffusers folder network, noise schedule, target and sampler are known, the rest is default.
    pub config: Config,
    /// The network.
    pub network: Network,
    /// Parameters of the network.
    pub params: ParamSet,
    /// Values of the parameters.
    pub values: Vec<f32>,
    /// Origin of the values, in words.
    pub origin: String,
    /// Sentences for the user: settings that were assumed or ignored.
    pub notes: Vec<String>,
}

/// A choice between the weights of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Moving average of the weights, the first where there are several.
    Average,
    /// The average that `train.ema` has under this name.
    Named(String),
    /// The weights themselves.
    Raw,
}

impl Which {
    /// Reads the choice of a `--raw` flag.
    pub fn new(raw: bool) -> Which {
        if raw { Which::Raw } else { Which::Average }
    }
}

/// A kind of model at a path.
enum Place {
    /// A model or a pipeline of diffusers.
    Folder,
    Checkpoint(Box<Checkpoint>),
    /// Weights that name no configuration.
    Foreign(WeightFile),
    Run,
}

impl Place {
    fn of(path: &Path) -> Result<Place> {
        if ModelFolder::is_one(path) {
            return Ok(Place::Folder);
        }
        if path.is_file() {
            if let Some(what) = advice::of_file(path) {
                return Err(Error::format(path, what));
            }
            return Ok(match WeightFile::open(path)? {
                WeightFile::Safetensors(file) if Checkpoint::is_one(&file) => {
                    Place::Checkpoint(Box::new(Checkpoint::new(file)?))
                }
                file => Place::Foreign(file),
            });
        }
        if RunDir::new(path).config().exists() { Ok(Place::Run) } else { Err(missing_model::error(path)) }
    }
}

impl ModelFile {
    /// Opens a run directory (its best checkpoint where it stops early, else the last), a checkpoint, a diffusers folder or
    /// a checkpoint of improved-diffusion. A damaged checkpoint of a run gives way to the one before it, and `origin` names
    /// both.
    ///
    /// # Errors
    /// A file that is missing, damaged, or not supported; a network that does not suit its samples.
    pub fn open(path: &Path, which: &Which) -> Result<ModelFile> {
        ModelFile::open_with(path, which, &[])
    }

    /// As [`ModelFile::open`], with changed settings. What a model says of its network no setting can change; a file that
    /// does not say it is read as the settings do.
    ///
    /// # Errors
    /// As [`ModelFile::open`]; a setting that does not exist, or that the model contradicts.
    pub fn open_with(path: &Path, which: &Which, settings: &[String]) -> Result<ModelFile> {
        let place = Place::of(path)?;
        let of_network = settings.iter().find(|setting| setting.starts_with("model."));
        let model = match (&place, of_network) {
            (Place::Foreign(file), _) => ModelFile::from_foreign(file, settings)?,
            (_, Some(other)) => {
                let message = format!("--set {other}: only settings of sample and diffusion can change here");
                return Err(Error::Config(message));
            }
            (_, None) => {
                let model = ModelFile::from_place(place, path, which)?;
                ModelFile { config: model.config.with_settings(settings)?, ..model }
            }
        };
        model.config.model.validate().map_err(|e| Error::format(path, e.to_string()))?;
        Ok(model)
    }

    /// As [`ModelFile::open`], for a network that is only evaluated: its outputs may be anything.
    ///
    /// # Errors
    /// A file that is missing, damaged, or not supported.
    pub fn open_network(path: &Path, which: &Which) -> Result<ModelFile> {
        ModelFile::from_place(Place::of(path)?, path, which)
    }

    fn from_place(place: Place, path: &Path, which: &Which) -> Result<ModelFile> {
        match place {
            Place::Folder => ModelFile::from_folder(path, which),
            Place::Checkpoint(checkpoint) => ModelFile::from_checkpoint(&checkpoint, which),
            Place::Foreign(file) => ModelFile::from_foreign(&file, &[]),
            Place::Run => ModelFile::from_run(path, which),
        }
    }

    fn from_run(path: &Path, which: &Which) -> Result<ModelFile> {
        let run = RunDir::new(path);
        let newest_first = checkpoint::list(&run.checkpoints())?.into_iter().rev().map(|(_, path)| path);
        let candidates = Some(run.best()).filter(|best| best.exists()).into_iter().chain(newest_first);
        let read = |checkpoint: &Checkpoint| ModelFile::from_checkpoint(checkpoint, which);
        let Some(Whole { mut value, damaged }) = checkpoint::first_whole(candidates, read)? else {
            let run = path.display();
            let reason =
                format!("this run has not written a checkpoint yet; go on with it: ddpm train --resume --out {run}");
            return Err(Error::format(path, reason));
        };
        damaged.iter().for_each(|(_, error)| value.origin.push_str(&format!("; {error}")));
        Ok(value)
    }

    /// Opens a file of weights that names no configuration.
    fn from_foreign(file: &WeightFile, settings: &[String]) -> Result<ModelFile> {
        if !openai_unet::is_one(file) {
            return Err(foreign::refusal(file));
        }
        let (config, notes) = openai_model::config(file, settings)?;
        let (network, params) = network(&config).map_err(|e| Error::format(file.path(), e.to_string()))?;
        let weights = OpenAiWeights::new(file, openai_model::network(&config));
        let values = params.from_files(|name, dims| weights.read(name, dims))?;
        let origin = format!("weights of improved-diffusion ({})", file.path().display());
        Ok(ModelFile { config, network, params, values, origin, notes })
    }

    fn from_checkpoint(checkpoint: &Checkpoint, which: &Which) -> Result<ModelFile> {
        let path = checkpoint.path();
        let config = checkpoint.header.config.clone();
        let (network, params) = network(&config)?;
        let (prefix, kind) = match which {
            Which::Average => (checkpoint::average_prefix(0), "averaged weights".to_owned()),
            Which::Raw => ("weights".into(), "weights".into()),
            Which::Named(name) => {
                let names = config.train.average_names();
                let place = names.iter().position(|known| known == name).ok_or_else(|| {
                    Error::Config(format!("--ema {name}: {} holds {}", path.display(), names.join(" and ")))
                })?;
                (checkpoint::average_prefix(place), format!("averaged weights ({name})"))
            }
        };
        let values = checkpoint.flat(&prefix, &params)?;
        let origin = format!("{kind} of step {} ({})", checkpoint.header.step, path.display());
        Ok(ModelFile { config, network, params, values, origin, notes: Vec::new() })
    }

    fn from_folder(path: &Path, which: &Which) -> Result<ModelFile> {
        if let Which::Named(name) = which {
            return Err(Error::Config(format!("--ema {name}: {} is no run, which may have several", path.display())));
        }
        let folder = ModelFolder::open(path, *which == Which::Average)?;
        let beside = folder.weights.parent().unwrap_or(Path::new(""));
        let Scheduler { diffusion, sample, notes } = diffusers_scheduler::read(beside)?;
        let config = Config { model: folder.config.clone().into(), diffusion, sample, ..Config::default() };
        let (network, params) = network(&config)?;
        let values = params.from_files(|name, dims| folder.read(name, dims))?;
        let ignored = match &folder.ignored_keys[..] {
            [] => String::new(),
            keys => format!(", {} of its configuration ignored", keys.join(", ")),
        };
        let origin = format!("weights of a diffusers model ({}{ignored})", folder.weights.display());
        Ok(ModelFile { config, network, params, values, origin, notes })
    }

    /// Rearranges the weights for another network of the same layers.
    ///
    /// # Errors
    /// The first tensor that is missing here or has other dimensions.
    pub fn values_for(&self, params: &ParamSet) -> Result<Vec<f32>> {
        let tensors = self.params.to_files(&self.values);
        let by_name: HashMap<&str, (&[usize], &[f32])> =
            tensors.iter().map(|(name, dims, values)| (&name[..], (&dims[..], &values[..]))).collect();
        params.from_files(|name, wanted| match by_name.get(name) {
            Some((dims, values)) if *dims == wanted => Ok(values.to_vec()),
            Some((dims, _)) => Err(self.unfit(name, wanted, &format!("{dims:?}"))),
            None => Err(self.unfit(name, wanted, "no such tensor")),
        })
    }

    fn unfit(&self, name: &str, wanted: &[usize], found: &str) -> Error {
        let origin = &self.origin;
        Error::Config(format!("the {origin} are another model's: \"{name}\": wanted {wanted:?}, found {found}"))
    }

    /// Writes a diffusers model folder with its scheduler's configuration, or a folder for `DDPMPipeline`. Returns what
    /// diffusers draws otherwise from it, a sentence each.
    ///
    /// # Errors
    /// A network, a noise schedule or a target that diffusers does not have, a folder that exists and is not empty, or a
    /// full disk.
    pub fn export(&self, folder: &Path, pipeline: bool) -> Result<Vec<String>> {
        let ModelConfig::Unet(unet) = &self.config.model else {
            return Err(Error::Config("model.architecture: diffusers' UNet2DModel cannot compute this network".into()));
        };
        let config = diffusers_config::to_json(unet)?;
        let scheduler = diffusers_scheduler::to_json(&self.config)?;
        if folder.exists() && fs::read_dir(folder).map_err(Error::io(folder))?.next().is_some() {
            return Err(Error::format(folder, "exists and is not empty"));
        }
        let [network, beside] = match pipeline {
            true => [PIPELINE_NETWORK, PIPELINE_SCHEDULER].map(|name| folder.join(name)),
            false => [folder.to_path_buf(), folder.to_path_buf()],
        };
        for folder in [&network, &beside] {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let tensors = self.params.to_files(&self.values);
        write_whole(&network.join(model_folder::WEIGHTS), |out| tensor_file::write(out, &tensors, ("format", "pt")))?;
        replace_file(&network.join(model_folder::CONFIG), config.as_bytes())?;
        replace_file(&beside.join(diffusers_scheduler::FILE), scheduler.as_bytes())?;
        if pipeline {
            let index = diffusers_scheduler::pipeline_index(&scheduler);
            replace_file(&folder.join(diffusers_scheduler::PIPELINE_INDEX), index.as_bytes())?;
        }
        Ok(diffusers_scheduler::unlike_ours(&self.config))
    }
}

/// Builds the network of a configuration and lists its parameters.
///
/// # Errors
/// An impossible configuration.
pub fn network(config: &Config) -> Result<(Network, ParamSet)> {
    let mut params = ParamSet::default();
    let network = Network::new(&config.model, &mut params)?;
    Ok((network, params))
}

#[cfg(test)]
mod tests;
