//! The run directory, which holds all there is to know of a run.
//!
//! ```text
//! .lock                       held by the process that trains
//! config.toml                 complete, reusable
//! metrics.jsonl               one object per step
//! evaluations.jsonl           one object per measurement of samples
//! events.out.tfevents.*       the same for TensorBoard, with the samples
//! checkpoints/step-*.safetensors
//! best-samples.safetensors    the checkpoint whose samples were measured best
//! best.safetensors            that of the best validation, where the run stops early
//! history.jsonl               the processes that have trained here: when, how long, with which version
//! samples/step-*.png          sheets, of points step-*.svg; denoising.png, from noise to images
//! loss.svg                    the loss against the step
//! report.html                 all of it on one page, kept up to date
//! ```

use super::checkpoint;
use super::config::Config;
use super::run_lock::{LOCK_FILE, RunLock};
use crate::files::replace_file;
use crate::{Error, Result, SampleKind};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A run directory, which need not exist yet.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Names the run directory at `path`.
    pub fn new(path: impl Into<PathBuf>) -> RunDir {
        RunDir { path: path.into() }
    }

    /// Creates the first of `parent/name-001`, `parent/name-002`, ... that does not exist, empty. Two processes that do so
    /// at once get two.
    ///
    /// # Errors
    /// A place where that is not possible.
    pub fn numbered(parent: &Path, name: &str) -> Result<RunDir> {
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
        for path in (1..).map(|i| parent.join(format!("{name}-{i:03}"))) {
            match fs::create_dir(&path) {
                Ok(()) => return Ok(RunDir::new(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(path)(error)),
            }
        }
        unreachable!("there are more numbers than folders")
    }

    /// Finds the run in `parent` that was last written to, of those called `name-001` and so on where a name is given.
    ///
    /// # Errors
    /// No such run, or a folder that cannot be read.
    pub fn newest(parent: &Path, name: Option<&str>) -> Result<RunDir> {
        let is_called = |path: &Path| {
            let stem = path.file_name().unwrap_or_default().to_string_lossy();
            name.is_none_or(|name| stem.rsplit_once('-').is_some_and(|(stem, _)| stem == name))
        };
        let mut newest: Option<(SystemTime, RunDir)> = None;
        for entry in fs::read_dir(parent).into_iter().flatten() {
            let run = RunDir::new(entry.map_err(Error::io(parent))?.path());
            let written = |path: PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
            let Some(at) = written(run.config()).max(written(run.metrics())) else { continue };
            if is_called(run.path()) && newest.as_ref().is_none_or(|(other, _)| at > *other) {
                newest = Some((at, run));
            }
        }
        let of = name.map_or(String::new(), |name| format!(" of {name}"));
        let none = || Error::Config(format!("--resume: there is no run{of} in {}; give its --out", parent.display()));
        newest.map(|(_, run)| run).ok_or_else(none)
    }

    /// Removes the directory if nothing is in it.
    pub fn remove_if_empty(&self) {
        // The system refuses to remove one that is not empty.
        let _ = fs::remove_dir(&self.path);
    }

    /// Takes the directory for this process, and creates it if need be.
    ///
    /// # Errors
    /// Another process that trains there, or a place that cannot be written.
    pub fn lock(&self) -> Result<RunLock> {
        fs::create_dir_all(&self.path).map_err(Error::io(&self.path))?;
        RunLock::take(&self.path)
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// Path of the log of losses.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Path of the history of its parts.
    pub fn history(&self) -> PathBuf {
        self.path.join("history.jsonl")
    }

    /// Path of the folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Path of the log of measurements of samples.
    pub fn evaluations(&self) -> PathBuf {
        self.path.join("evaluations.jsonl")
    }

    /// Path of the checkpoint whose samples were measured best.
    pub fn best_samples(&self) -> PathBuf {
        self.path.join("best-samples.safetensors")
    }

    /// Path of the checkpoint of the best validation, where the run stops early.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// Finds a checkpoint by its name: `best`, by the samples that were measured in training or else by the validation,
    /// `last`, or the number of a step.
    ///
    /// # Errors
    /// A checkpoint that is not there.
    pub fn checkpoint(&self, name: &str) -> Result<PathBuf> {
        let all = checkpoint::list(&self.checkpoints())?;
        let found = match name {
            "best" => [self.best_samples(), self.best()].into_iter().find(|path| path.exists()),
            "last" => all.last().map(|(_, path)| path.clone()),
            step => {
                step.parse().ok().and_then(|step: u64| all.iter().find(|(s, _)| *s == step)).map(|(_, p)| p.clone())
            }
        };
        found.ok_or_else(|| {
            let best = if self.best_samples().exists() || self.best().exists() { "best" } else { "no best" };
            let steps: Vec<String> = all.iter().map(|(step, _)| step.to_string()).collect();
            let steps = if steps.is_empty() { "no steps".into() } else { format!("the steps {}", steps.join(", ")) };
            Error::format(&self.path, format!("has no checkpoint \"{name}\"; there is {best}, and there are {steps}"))
        })
    }

    /// Path of the folder of sheets.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples")
    }

    /// Path of the sheet of samples after a step: a picture of images, or a plot of points.
    pub fn sheet(&self, step: u64, kind: SampleKind) -> PathBuf {
        let extension = if kind == SampleKind::Points { "svg" } else { "png" };
        self.samples().join(format!("step-{step:08}.{extension}"))
    }

    /// Path of the strip from noise to images.
    pub fn strip(&self) -> PathBuf {
        self.samples().join("denoising.png")
    }

    /// Path of the plot of the loss.
    pub fn loss_curve(&self) -> PathBuf {
        self.path.join("loss.svg")
    }

    /// Path of the page that shows the run.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// Reads the configuration of a run that was begun here.
    ///
    /// # Errors
    /// A configuration that cannot be read.
    pub fn begun(&self) -> Result<Option<Config>> {
        let path = self.config();
        if path.exists() { Config::default().with_file(&path).map(Some) } else { Ok(None) }
    }

    /// Checks that a new run may be made here: in a new or empty directory, or in one that a killed run had just made.
    ///
    /// # Errors
    /// A directory with contents, or something that is no directory.
    pub fn refuse_contents(&self, resuming: bool) -> Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        if !self.path.is_dir() {
            return Err(Error::format(&self.path, "exists and is not a folder"));
        }
        let ours = |name: &str| [".config.toml.partial", "checkpoints", "samples"].contains(&name);
        for entry in fs::read_dir(&self.path).map_err(Error::io(&self.path))? {
            let name = entry.map_err(Error::io(&self.path))?.file_name();
            if name == LOCK_FILE {
                continue;
            }
            if !(resuming && ours(&name.to_string_lossy())) {
                let reason = if self.config().exists() {
                    "holds a run already; continue it with --resume, or choose another --out"
                } else {
                    "exists and is not empty; choose another --out"
                };
                return Err(Error::format(&self.path, reason));
            }
        }
        Ok(())
    }

    /// Creates the directory and its folders, and writes the configuration.
    ///
    /// # Errors
    /// A place where that is not possible.
    pub fn create(&self, config: &Config) -> Result<()> {
        for folder in [self.checkpoints(), self.samples()] {
            fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        }
        replace_file(&self.config(), config.to_toml().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_up_and_foreign_folders_are_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let first = RunDir::numbered(parent.path(), "toy").unwrap();
        assert!(first.path().ends_with("toy-001"));
        let second = RunDir::numbered(parent.path(), "toy").unwrap();
        assert!(second.path().ends_with("toy-002"));
        second.remove_if_empty();
        first.refuse_contents(false).unwrap();
        first.create(&Config::default()).unwrap();
        assert_eq!(first.begun().unwrap(), Some(Config::default()));
        assert!(first.refuse_contents(false).unwrap_err().to_string().contains("--resume"));
        first.remove_if_empty();
        assert!(RunDir::numbered(parent.path(), "toy").unwrap().path().ends_with("toy-002"));
        let foreign = RunDir::new(parent.path());
        assert!(foreign.refuse_contents(true).unwrap_err().to_string().contains("not empty"));
    }
}
