//! The run directory, which holds all there is to know of a run.
//!
//! ```text
//! config.toml                 complete, reusable
//! metrics.jsonl               one object per step
//! events.out.tfevents.*       the same for TensorBoard, with the samples
//! checkpoints/step-*.safetensors
//! samples/step-*.png          sheets; denoising.png, from noise to images
//! report.html                 all of it on one page
//! ```

use super::config::Config;
use crate::files::replace_file;
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

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

    /// Names the first of `parent/name-001`, `parent/name-002`, ... that does not exist.
    pub fn numbered(parent: &Path, name: &str) -> RunDir {
        let path = |i| parent.join(format!("{name}-{i:03}"));
        RunDir::new((1..).map(path).find(|p| !p.exists()).expect("some number is free"))
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

    /// Path of the folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Path of the checkpoint of the best validation, where the run stops early.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// Path of the sheet of samples after a step.
    pub fn sheet(&self, step: u64) -> PathBuf {
        self.path.join("samples").join(format!("step-{step:08}.png"))
    }

    /// Path of the strip from noise to images.
    pub fn strip(&self) -> PathBuf {
        self.path.join("samples").join("denoising.png")
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
        for folder in [self.checkpoints(), self.path.join("samples")] {
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
        let first = RunDir::numbered(parent.path(), "toy");
        assert!(first.path().ends_with("toy-001"));
        first.refuse_contents(false).unwrap();
        first.create(&Config::default()).unwrap();
        assert_eq!(first.begun().unwrap(), Some(Config::default()));
        assert!(first.refuse_contents(false).unwrap_err().to_string().contains("--resume"));
        assert!(RunDir::numbered(parent.path(), "toy").path().ends_with("toy-002"));
        let foreign = RunDir::new(parent.path());
        assert!(foreign.refuse_contents(true).unwrap_err().to_string().contains("not empty"));
    }
}
