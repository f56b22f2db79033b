//! The choice of a model's weights, which every command that opens one has.

use crate::train::{ModelFile, RunDir, Which};
use crate::{Error, Result};
use std::path::Path;

#[derive(Default, clap::Args)]
pub struct WeightsArgs {
    /// The checkpoint of a run: best (by the samples measured in training, else by validation), last, or a step
    /// [default: that of the best validation where the run stops early, else the last]
    #[arg(long, value_name = "best|last|STEP")]
    checkpoint: Option<String>,
    /// The moving average of the weights, as train.ema names it [default: the first]
    #[arg(long, value_name = "NAME")]
    ema: Option<String>,
    /// Use the weights themselves, not their moving average
    #[arg(long, conflicts_with = "ema")]
    raw: bool,
}

impl WeightsArgs {
    /// Opens a run, a checkpoint or a diffusers model folder, with `open`, e.g. [`ModelFile::open`].
    ///
    /// # Errors
    /// A checkpoint or an average that is not there, and those of `open`.
    pub fn open(&self, path: &Path, open: impl Fn(&Path, &Which) -> Result<ModelFile>) -> Result<ModelFile> {
        let which = match &self.ema {
            Some(name) => Which::Named(name.clone()),
            None => Which::new(self.raw),
        };
        let Some(name) = &self.checkpoint else { return open(path, &which) };
        let run = RunDir::new(path);
        if !run.config().exists() {
            return Err(Error::Config(format!("--checkpoint {name}: {} is no run, which has several", path.display())));
        }
        open(&run.checkpoint(name)?, &which)
    }
}
