//! What an experiment is given: its settings, the device, the runs that were trained before, and somebody who watches.

use super::runs;
use crate::data::points::PointSet;
use crate::engine::device::Device;
use crate::train::{Config, RunDir};
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Sizes for two CPU cores instead of those of the sources.
    pub quick: bool,
    /// Seed of everything random; an experiment over several seeds counts up from it.
    pub seed: u64,
    /// The sets of points that experiments with points are done on; empty: those of the size.
    pub points: Vec<PointSet>,
    /// Where real data lie.
    pub data: Option<PathBuf>,
    /// The weights of Inception-v3.
    pub inception: Option<PathBuf>,
    /// Where pages and trained runs go.
    pub out: PathBuf,
    /// What computes, as [`Device::open`] takes it.
    pub device: String,
}

impl Settings {
    /// The command line that runs an experiment with these settings.
    pub fn command(&self, name: &str) -> String {
        let mut command = format!("ddpm experiment {name}");
        if self.quick {
            command += " --quick";
        }
        if !self.points.is_empty() {
            let names: Vec<&str> = self.points.iter().map(|set| set.name()).collect();
            command += &format!(" --points {}", names.join(","));
        }
        if let Some(data) = &self.data {
            command += &format!(" --data {}", data.display());
        }
        if let Some(weights) = &self.inception {
            command += &format!(" --inception {}", weights.display());
        }
        command + &format!(" --seed {}", self.seed)
    }
}

/// What an experiment may need beside the program itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The idx files of MNIST in `--data DIR` or `DIR/mnist`.
    Mnist,
    /// The binary batches of CIFAR-10 in `--data DIR` or `DIR/cifar10`.
    Cifar10,
    /// The weights of Inception-v3 from `--inception FILE`.
    Inception,
}

impl Need {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Need::Mnist => "MNIST",
            Need::Cifar10 => "CIFAR-10",
            Need::Inception => "Inception weights",
        }
    }
}

/// What an experiment tells whoever watches.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Something begins, or is done.
    Note(&'a str),
    /// `done` of `total` steps of the last note's work are done.
    Progress { done: u64, total: u64 },
}

/// The settings of an experiment, and what goes on around it.
pub struct Context<'a> {
    settings: Settings,
    stop: &'a AtomicBool,
    watch: &'a mut dyn FnMut(Event),
    /// The runs that were asked for.
    runs: Vec<PathBuf>,
}

impl<'a> Context<'a> {
    /// `stop` is set by somebody else to end the experiment soon.
    pub fn new(settings: Settings, stop: &'a AtomicBool, watch: &'a mut dyn FnMut(Event)) -> Context<'a> {
        Context { settings, stop, watch, runs: Vec::new() }
    }

    /// What the user asked for.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The quick value or the full one.
    pub fn size<T>(&self, quick: T, full: T) -> T {
        if self.settings.quick { quick } else { full }
    }

    /// Says what begins or is done.
    pub fn note(&mut self, text: &str) {
        (self.watch)(Event::Note(text));
    }

    /// Says how far it is.
    pub fn progress(&mut self, done: u64, total: u64) {
        (self.watch)(Event::Progress { done, total });
    }

    /// Ends the experiment where the user wants to stop.
    ///
    /// # Errors
    /// [`Error::Stopped`] if so.
    pub fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// What computes.
    ///
    /// # Errors
    /// A device that is missing.
    pub fn device(&self) -> Result<Device> {
        Ok(Device::open(&self.settings.device)?.0)
    }

    /// The data of a need, as `data.source` takes them: the folder of `--data`, or the folder in it that has the name.
    ///
    /// # Errors
    /// If `--data` was not given, or is not there.
    pub fn source(&self, need: Need) -> Result<String> {
        let missing = |what: String| Error::Config(format!("{} is needed: {what}", need.word()));
        let given = self.settings.data.as_deref().ok_or_else(|| missing("give its folder with --data DIR".into()))?;
        if !given.exists() {
            return Err(missing(format!("there is no {}", given.display())));
        }
        let names: &[&str] = match need {
            Need::Mnist => &["mnist", "MNIST"],
            Need::Cifar10 => &["cifar10", "cifar-10", "cifar-10-batches-bin"],
            Need::Inception => return Err(missing("give the file with --inception FILE".into())),
        };
        let inside = names.iter().map(|name| given.join(name)).find(|path| path.is_dir());
        Ok(inside.unwrap_or_else(|| given.to_owned()).display().to_string())
    }

    /// Whether a need is met, before anything is begun.
    ///
    /// # Errors
    /// One line that says what to give.
    pub fn check(&self, need: Need, experiment: &str) -> Result<()> {
        let met = match need {
            Need::Mnist | Need::Cifar10 => self.source(need).map(drop),
            Need::Inception => match self.settings.inception.as_deref() {
                Some(path) if path.is_file() => Ok(()),
                Some(path) => Err(Error::Config(format!("there is no file {}", path.display()))),
                None => Err(Error::Config("the weights of Inception-v3 are needed: give --inception FILE".into())),
            },
        };
        met.map_err(|error| Error::Config(format!("{experiment}: {error}")))
    }

    /// The run of a configuration: found if some experiment trained it, trained otherwise.
    ///
    /// # Errors
    /// Those of training; [`Error::Stopped`] if the user stops it, which leaves a checkpoint to go on from.
    pub fn trained(&mut self, config: &Config) -> Result<RunDir> {
        self.check_stop()?;
        let folder = self.settings.out.join("runs");
        let device = self.settings.device.clone();
        let dir = runs::trained(&folder, config, &device, self.stop, self.watch)?;
        if !self.runs.iter().any(|path| path == dir.path()) {
            self.runs.push(dir.path().to_owned());
        }
        Ok(dir)
    }

    /// The folders of the runs that were asked for so far.
    pub fn runs(&self) -> &[PathBuf] {
        &self.runs
    }
}
