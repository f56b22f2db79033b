//! Options of every command that draws samples: the sampler and its settings, the model's weights, the class.

use super::terminal::open_model;
use super::weights::WeightsArgs;
use crate::data::{self, Dataset, Split};
use crate::diffusion::Sampler;
use crate::train::{Config, ModelFile, RunDir};
use crate::{Error, SampleKind};
use anyhow::{Result, bail};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct SamplingArgs {
    /// The rule for the way back from noise: ddpm, ddim, dpm-solver, heun or langevin [default: that of the run]
    #[arg(long)]
    sampler: Option<String>,
    /// Network evaluations per sample; 0: one for every noise level [default: that of the run]
    #[arg(long)]
    pub steps: Option<usize>,
    /// Noise of the DDIM sampler, from 0 to 1 [default: that of the run]
    #[arg(long)]
    eta: Option<f64>,
    /// Variance of the ancestral sampler's noise: fixed-small, fixed-large or learned [default: that of the run]
    #[arg(long)]
    variance: Option<String>,
    /// Noise levels of Langevin dynamics; 1: plain, not annealed [default: that of the run, or 10]
    #[arg(long, value_name = "LEVELS")]
    langevin_levels: Option<usize>,
    /// Steps of Langevin dynamics at each noise level [default: that of the run, or 100]
    #[arg(long, value_name = "STEPS")]
    langevin_steps: Option<usize>,
    /// Largest noise of Langevin dynamics, relative to the signal [default: that of the run, or 1]
    #[arg(long, value_name = "SIGMA")]
    langevin_sigma_max: Option<f64>,
    /// Smallest noise of Langevin dynamics, relative to the signal; 0: 0.01, or the model's least [default: that of the run,
    /// or 0]
    #[arg(long, value_name = "SIGMA")]
    langevin_sigma_min: Option<f64>,
    /// Step size of Langevin dynamics at the smallest noise; 0: a fifth of its variance [default: that of the run, or 0]
    #[arg(long, value_name = "SIZE")]
    langevin_step_size: Option<f64>,
    /// Clip the predicted image in every step [default: as in the run]
    #[arg(long)]
    clip_x0: Option<bool>,
    /// Seed of the samples: the same seed and number give the same sample [default: that of the run]
    #[arg(long)]
    seed: Option<u64>,
    /// Strength w of classifier-free guidance, (1 + w) with label - w without [default: that of the run]
    #[arg(long, value_name = "W", allow_negative_numbers = true)]
    guidance: Option<f64>,
    /// The prediction target of the network, if the model does not say or says it wrong: epsilon, x0, v, ...
    #[arg(long)]
    target: Option<String>,
    /// The noise schedule of the network, if the model does not say or says it wrong: linear, cosine, ...
    #[arg(long)]
    schedule: Option<String>,
    /// Change a setting of the sample or the diffusion section, e.g. --set sample.clip_range=2; or say what a checkpoint of
    /// improved-diffusion does not, e.g. --set model.heads=1; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    weights: WeightsArgs,
}

impl SamplingArgs {
    /// Opens a model with these options, and checks them.
    ///
    /// # Errors
    /// As [`open_model`], and options that contradict each other.
    pub fn open(&self, path: &Path, further: &[String]) -> Result<ModelFile> {
        let model = open_model(path, &self.weights, &[&self.settings()?, further].concat())?;
        model.config.diffusion.validate()?;
        if let (Some(steps), Sampler::Langevin(_)) = (self.steps, model.config.sample.sampler) {
            bail!(Error::Config(format!(
                "--steps {steps}: Langevin dynamics has --langevin-levels and --langevin-steps instead"
            )));
        }
        Ok(model)
    }

    /// The options as settings of the `sample` and the `diffusion` section.
    fn settings(&self) -> Result<Vec<String>> {
        let own = ["sample.", "diffusion.", "model."];
        if let Some(other) = self.set.iter().find(|s| !own.iter().any(|own| s.starts_with(own))) {
            bail!(Error::Config(format!("--set {other}: only settings of sample and diffusion can change here")));
        }
        let whole = |value: Option<usize>| value.map(|v| v.to_string());
        let number = |value: Option<f64>| value.map(|v| format!("{v:?}"));
        let settings = [
            ("diffusion.target", self.target.clone()),
            ("diffusion.schedule", self.schedule.clone()),
            ("sample.sampler", self.sampler.clone()),
            ("sample.steps", whole(self.steps)),
            ("sample.eta", number(self.eta)),
            ("sample.variance", self.variance.clone()),
            ("sample.langevin_levels", whole(self.langevin_levels)),
            ("sample.langevin_steps", whole(self.langevin_steps)),
            ("sample.langevin_sigma_max", number(self.langevin_sigma_max)),
            ("sample.langevin_sigma_min", number(self.langevin_sigma_min)),
            ("sample.langevin_step_size", number(self.langevin_step_size)),
            ("sample.clip_x0", self.clip_x0.map(|v| v.to_string())),
            ("sample.guidance", number(self.guidance)),
            ("sample.seed", self.seed.map(|v| v.to_string())),
        ];
        let options = settings.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        Ok(options.chain(self.set.iter().cloned()).collect())
    }
}

/// The number of the class that was asked for; "none" has the one after the last.
///
/// # Errors
/// A class that the model does not know.
pub fn class_number(config: &Config, asked: &str) -> Result<usize> {
    let classes = config.model.classes();
    let wrong = |reason: String| Error::Config(format!("--class {asked}: {reason}"));
    if classes == 0 {
        bail!(wrong("the model knows no classes".into()));
    }
    if asked == "none" {
        let knows = format!("the model knows its {classes} classes alone, not the lack of one");
        return if config.model.has_null_class() { Ok(classes) } else { Err(wrong(knows).into()) };
    }
    Ok(config.sample.class(asked, classes).map_err(|e| Error::Config(format!("--{e}")))?)
}

/// The one class of all samples: that asked for, else `usual`, else none. `None` of a model without classes.
///
/// # Errors
/// A class that the model does not know, and nothing said of a model that knows no lack of one.
pub fn one_class(config: &Config, asked: Option<&str>, usual: Option<usize>) -> Result<Option<usize>> {
    let classes = config.model.classes();
    match asked {
        Some(asked) => Ok(Some(class_number(config, asked)?)),
        None if classes == 0 => Ok(None),
        None if usual.is_some() => Ok(usual),
        None if config.model.has_null_class() => Ok(Some(classes)),
        None => bail!(Error::Config(format!("--class: which of the {classes} classes of the model is to be drawn?"))),
    }
}

/// The class that was drawn, as words to follow what was drawn.
pub fn drawn_class(config: &Config, class: Option<usize>) -> String {
    match (class, config.model.classes()) {
        (_, 0) => String::new(),
        (None, classes) => format!(" of {classes} classes in turn"),
        (Some(class), classes) if class == classes => " of no class".into(),
        (Some(class), _) => format!(" of {}", config.sample.class_in_words(class)),
    }
}

/// In a run: `NAME-001.png`, of points `.svg`, or the next free number; elsewhere the same in the current folder.
pub fn default_path(model: &Path, name: &str, kind: SampleKind) -> PathBuf {
    let folder = if model.join("config.toml").exists() { model } else { Path::new("") };
    let extension = if kind == SampleKind::Points { "svg" } else { "png" };
    let path = |i| folder.join(format!("{name}-{i:03}.{extension}"));
    (1..).map(path).find(|p| !p.exists()).expect("some number is free")
}

/// A split of the data that a model was trained on, in its size, or of `source`.
///
/// # Errors
/// A model that does not say what it was trained on, where no source is given; and data that cannot be opened.
pub fn data_of(path: &Path, model: &ModelFile, source: Option<&str>, split: Split) -> Result<Dataset> {
    // A checkpoint does not say where its data lie; the run does.
    let begun = RunDir::new(path).begun()?;
    let mut config = begun.clone().unwrap_or_default();
    match (source, begun) {
        (Some(source), _) => config.data.source = source.into(),
        (None, None) => bail!(Error::Config(format!("{}: whose samples? give --data SOURCE", path.display()))),
        (None, Some(_)) => {}
    }
    Ok(data::open(&config.data.source, split, &config.data.options(&model.config.model))?)
}

/// Progress of several pieces of work, one after the other, on one bar.
pub struct Pieces<'a> {
    bar: &'a ProgressBar,
    before: u64,
}

impl<'a> Pieces<'a> {
    /// A bar of so many evaluations in all.
    pub fn new(bar: &'a ProgressBar, total: usize) -> Pieces<'a> {
        bar.set_length(total as u64);
        Pieces { bar, before: 0 }
    }

    /// Does a piece, which reports what of it is done, and all of it.
    ///
    /// # Errors
    /// Those of the piece.
    pub fn do_one<T>(
        &mut self,
        piece: impl FnOnce(&mut dyn FnMut(usize, usize)) -> crate::Result<T>,
    ) -> crate::Result<T> {
        let (bar, before, mut all) = (self.bar, self.before, 0);
        let done = piece(&mut |done, total| {
            all = total as u64;
            bar.set_position(before + done as u64);
        });
        self.before += all;
        done
    }
}
