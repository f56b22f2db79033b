//! The options from which a configuration is made, shared by the commands that need one.

use crate::Error;
use crate::invocation;
use crate::train::{Config, presets};
use anyhow::{Result, bail};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct ConfigArgs {
    /// A named configuration (see `ddpm presets`) [default: quickstart]
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub preset: Option<String>,
    /// A TOML file such as a run's config.toml; what it leaves out has its default
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Change a setting, e.g. --set train.steps=1000; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The data: glyphs, or the path of a file or folder (short for --set data.source=...)
    #[arg(long, value_name = "SOURCE")]
    pub data: Option<String>,
    /// Images of a step (short for --set train.batch_size=...)
    #[arg(long, visible_alias = "batch", value_name = "N")]
    pub batch_size: Option<usize>,
}

impl ConfigArgs {
    /// The configuration: preset or file, then the changes. `saved` is where they start without preset and file.
    ///
    /// # Errors
    /// An unknown preset or setting, or a file that cannot be read. Impossible values are not noticed here.
    pub fn resolve(&self, saved: Option<&Config>) -> Result<Config> {
        let mut config = match (&self.preset, &self.config, saved) {
            (Some(name), _, _) => presets::get(name)?,
            (None, Some(path), _) => Config::default().with_file(path)?,
            (None, None, Some(saved)) => saved.clone(),
            (None, None, None) => presets::get("quickstart")?,
        };
        if let Some(source) = &self.data {
            config.data.source = source.clone();
        }
        if let Some(images) = self.batch_size {
            config.train.batch_size = images;
        }
        Ok(config.with_settings(&self.set)?)
    }

    /// Puts settings before those of `--set`, which has the last word.
    pub fn prefer(&mut self, settings: impl Iterator<Item = String>) {
        self.set.splice(0..0, settings);
    }

    /// True where a preset or a file was named.
    pub fn is_chosen(&self) -> bool {
        self.preset.is_some() || self.config.is_some()
    }

    /// Name of runs of this configuration.
    pub fn name(&self) -> String {
        match (&self.preset, &self.config) {
            (Some(name), _) => name.clone(),
            (None, Some(path)) => match path.file_stem().map(|stem| stem.to_string_lossy()) {
                Some(stem) if stem != "config" => stem.into_owned(),
                _ => "run".into(),
            },
            (None, None) => "quickstart".into(),
        }
    }
}

/// How to begin a new run with a changed setting: with the weights of the old one, unless they are those of another
/// network.
fn another_run(run: &Path, key: &str, value: &str) -> String {
    let (run_words, config) = (run.to_string_lossy(), run.join("config.toml"));
    let (config, setting) = (config.to_string_lossy(), format!("{key}={value}"));
    if key.starts_with("model.") {
        let command = invocation::command(["train", "--config", &config, "--set", &setting]);
        return format!("; a new run with it: {command}");
    }
    let command = invocation::command(["train", "--init", &run_words, "--config", &config, "--set", &setting]);
    format!("; a new run with it that begins with these weights: {command}")
}

/// Settings that a resumed run may change. Of these, two change the learning rate, which the run then warns of.
const FREE: [&str; 13] = [
    "train.steps",
    "train.epochs",
    "train.lr_steps",
    "train.checkpoint_every",
    "train.checkpoint_every_minutes",
    "train.keep_checkpoints",
    "train.sample_every",
    "train.sample_every_minutes",
    "train.evaluate_every",
    "train.evaluate_n",
    "train.evaluate_inception",
    "train.log_every",
    "data.source",
];

/// Checks that the run in a directory can go on as it began.
///
/// # Errors
/// The first setting that differs and must not, with the command that begins a new run with the same weights instead.
pub fn check_resumable(saved: &Config, wanted: &Config, run: &Path) -> Result<()> {
    let wanted: HashMap<String, toml::Value> = wanted.leaves().into_iter().collect();
    for (key, old) in saved.leaves() {
        let free = FREE.contains(&key.as_str()) || key.starts_with("sample.");
        match wanted.get(&key) {
            Some(new) if old != *new && !free => {
                let value = new.as_str().map_or_else(|| new.to_string(), str::to_owned);
                bail!(Error::Config(format!(
                    "{key} = {new}: the run began with {old}, which cannot change now{}",
                    another_run(run, &key, &value)
                )));
            }
            _ => {}
        }
    }
    Ok(())
}
