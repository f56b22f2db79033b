//! Opening a model, whatever it is: a run directory (its last checkpoint), a checkpoint file, or a model folder of
//! diffusers (`config.json` and `diffusion_pytorch_model.safetensors`). And writing such a folder.

use super::checkpoint::{self, Checkpoint};
use super::config::Config;
use super::diffusers_scheduler::{self, Scheduler};
use super::run_dir::RunDir;
use crate::files::{replace_file, write_whole};
use crate::nn::tensor_file::{self, TensorFile};
use crate::nn::{ModelConfig, Network, ParamSet, diffusers, diffusers_config};
use crate::{Error, Result};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

const FOLDER_CONFIG: &str = "config.json";
const FOLDER_WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Moving average of the weights.
    Average,
    /// The weights themselves.
    Raw,
}

impl Which {
    /// Reads the choice of a `--raw` flag.
    pub fn new(raw: bool) -> Which {
        if raw { Which::Raw } else { Which::Average }
    }
}

impl ModelFile {
    /// Opens a run directory (its best checkpoint where it stops early, else the last), a checkpoint or a diffusers folder.
    ///
    /// # Errors
    /// A file that is missing, damaged, or not supported.
    pub fn open(path: &Path, which: Which) -> Result<ModelFile> {
        if !path.exists() {
            let reason = "no such file or folder; a run, a checkpoint or a diffusers model folder was wanted";
            return Err(Error::format(path, reason));
        }
        if path.is_file() {
            return ModelFile::from_checkpoint(path, which);
        }
        // A pipeline holds its network in a folder of that name.
        let network = path.join(PIPELINE_NETWORK);
        if let Some(folder) = [path, &network].into_iter().find(|folder| folder.join(FOLDER_CONFIG).exists()) {
            return ModelFile::from_folder(folder);
        }
        let run = RunDir::new(path);
        if !run.config().exists() {
            return Err(Error::format(path, "neither a run (config.toml) nor a diffusers model (config.json)"));
        }
        if run.best().exists() {
            return ModelFile::from_checkpoint(&run.best(), which);
        }
        match checkpoint::list(&run.checkpoints())?.pop() {
            Some((_, last)) => ModelFile::from_checkpoint(&last, which),
            None => Err(Error::format(path, "this run has not written a checkpoint yet")),
        }
    }

    fn from_checkpoint(path: &Path, which: Which) -> Result<ModelFile> {
        let checkpoint = Checkpoint::open(path)?;
        let config = checkpoint.header.config.clone();
        let (network, params) = network(&config)?;
        let (prefix, kind) = match which {
            Which::Average => ("ema", "averaged weights"),
            Which::Raw => ("weights", "weights"),
        };
        let values = checkpoint.flat(prefix, &params)?;
        let origin = format!("{kind} of step {} ({})", checkpoint.header.step, path.display());
        Ok(ModelFile { config, network, params, values, origin, notes: Vec::new() })
    }

    fn from_folder(path: &Path) -> Result<ModelFile> {
        let config_path = path.join(FOLDER_CONFIG);
        let text = fs::read_to_string(&config_path).map_err(Error::io(&config_path))?;
        let model = diffusers_config::from_json(&text).map_err(|e| Error::format(path, e.to_string()))?;
        let Scheduler { diffusion, sample, notes } = diffusers_scheduler::read(path)?;
        let config = Config { model: ModelConfig::Unet(model), diffusion, sample, ..Config::default() };
        let (network, params) = network(&config)?;
        let file = TensorFile::open(&path.join(FOLDER_WEIGHTS))?;
        let values = params.from_files(|name, dims| {
            let legacy = diffusers::legacy_name(name);
            let written_by_old_version = file.dims(name).is_none() && file.dims(&legacy).is_some();
            file.read(if written_by_old_version { &legacy } else { name }, dims)
        })?;
        Ok(ModelFile {
            config,
            network,
            params,
            values,
            origin: format!("weights of a diffusers model ({})", path.display()),
            notes,
        })
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

    /// Writes a diffusers model folder with its scheduler's configuration, or a folder for `DDPMPipeline`.
    ///
    /// # Errors
    /// A network, a noise schedule or a target that diffusers does not have, a folder that exists and is not empty, or a
    /// full disk.
    pub fn export(&self, folder: &Path, pipeline: bool) -> Result<()> {
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
        write_whole(&network.join(FOLDER_WEIGHTS), |out| tensor_file::write(out, &tensors, ("format", "pt")))?;
        replace_file(&network.join(FOLDER_CONFIG), config.as_bytes())?;
        replace_file(&beside.join(diffusers_scheduler::FILE), scheduler.as_bytes())?;
        if pipeline {
            let index = diffusers_scheduler::pipeline_index(&scheduler);
            replace_file(&folder.join(diffusers_scheduler::PIPELINE_INDEX), index.as_bytes())?;
        }
        Ok(())
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
