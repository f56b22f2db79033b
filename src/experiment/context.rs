//! The surroundings of a running experiment: its settings, the device, the trained runs, the observer.

use super::event::Event;
use super::runs;
use super::settings::{Need, Settings};
use crate::Error;
use crate::engine::device::Device;
use crate::train::{Config, RunDir};
use anyhow::Result;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// The error of an unmet need.
fn missing(need: Need, what: &str) -> anyhow::Error {
    Error::Config(format!("{} is needed: {what}", need.word())).into()
}

/// The settings of a running experiment, and its connections to the outside.
pub struct Context<'a> {
    settings: Settings,
    stop: &'a AtomicBool,
    watch: &'a mut dyn FnMut(Event),
    /// The runs that the experiment has used.
    runs: Vec<PathBuf>,
}

impl<'a> Context<'a> {
    /// Makes a context. Setting `stop` from outside ends the experiment soon; `watch` receives its messages.
    pub fn new(settings: Settings, stop: &'a AtomicBool, watch: &'a mut dyn FnMut(Event)) -> Context<'a> {
        Context { settings, stop, watch, runs: Vec::new() }
    }

    /// The user's choices.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The quick value or the full one.
    pub fn size<T>(&self, quick: T, full: T) -> T {
        if self.settings.quick { quick } else { full }
    }

    /// Reports the beginning or the end of a part of the work.
    pub fn note(&mut self, text: &str) {
        (self.watch)(Event::Note(text));
    }

    /// Reports progress.
    pub fn progress(&mut self, done: u64, total: u64) {
        (self.watch)(Event::Progress { done, total });
    }

    /// Ends the experiment if the user has stopped it.
    ///
    /// # Errors
    /// [`Error::Stopped`] if so.
    pub fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Stopped.into()) } else { Ok(()) }
    }

    /// Opens the device.
    ///
    /// # Errors
    /// A device that is missing.
    pub fn device(&self) -> Result<Device> {
        Ok(Device::open(&self.settings.device)?.0)
    }

    /// The data of a need, as `data.source` takes them: the folder of `--data`, or the folder in it that has the name.
    ///
    /// # Errors
    /// If `--data` was not given, or does not exist.
    pub fn source(&self, need: Need) -> Result<String> {
        let names: &[&str] = match need {
            Need::Mnist => &["mnist", "MNIST"],
            Need::Cifar10 => &["cifar10", "cifar-10", "cifar-10-batches-bin"],
            Need::Inception => return Err(missing(need, "give the file with --inception FILE")),
        };
        let given = self.settings.data.as_deref();
        let given = given.ok_or_else(|| missing(need, "give its folder with --data DIR"))?;
        if !given.exists() {
            return Err(missing(need, &format!("there is no {}", given.display())));
        }
        let inside = names.iter().map(|name| given.join(name)).find(|path| path.is_dir());
        Ok(inside.unwrap_or_else(|| given.to_owned()).display().to_string())
    }

    /// Checks that a need is met.
    ///
    /// # Errors
    /// One line that names the missing input and its flag.
    pub fn check(&self, need: Need) -> Result<()> {
        match (need, self.settings.inception.as_deref()) {
            (Need::Mnist | Need::Cifar10, _) => self.source(need).map(drop),
            (Need::Inception, Some(path)) if path.is_file() => Ok(()),
            (Need::Inception, Some(path)) => Err(missing(need, &format!("there is no file {}", path.display()))),
            (Need::Inception, None) => Err(missing(need, "give the file with --inception FILE")),
        }
    }

    /// The run that trains `config`: found if an experiment trained it before, else trained now.
    ///
    /// # Errors
    /// A training that fails; [`Error::Stopped`] if the user stops it, which leaves a checkpoint to go on from.
    pub fn trained(&mut self, config: &Config) -> Result<RunDir> {
        self.check_stop()?;
        let folder = self.settings.out.join("runs");
        let dir = runs::trained(&folder, config, &self.settings.device, self.stop, self.watch)?;
        if !self.runs.iter().any(|path| path == dir.path()) {
            self.runs.push(dir.path().to_owned());
        }
        Ok(dir)
    }

    /// The folders of the runs that the experiment has used so far.
    pub fn runs(&self) -> &[PathBuf] {
        &self.runs
    }
}
