//! The user's choices for an experiment, and the inputs that an experiment may need.

use crate::data::points::PointSet;
use crate::invocation;
use std::path::PathBuf;

/// The user's choices for an experiment.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Sizes for two CPU cores instead of those of the sources.
    pub quick: bool,
    /// Seed of everything random; an experiment over several seeds counts up from it.
    pub seed: u64,
    /// The sets of points for the experiments with points; empty: those of the size.
    pub points: Vec<PointSet>,
    /// The folder of real data.
    pub data: Option<PathBuf>,
    /// The weights of Inception-v3.
    pub inception: Option<PathBuf>,
    /// The folder for pages and trained runs.
    pub out: PathBuf,
    /// The device, in the words of [`Device::open`](crate::engine::device::Device::open).
    pub device: String,
}

impl Settings {
    /// The command line that runs an experiment with these settings.
    pub fn command(&self, name: &str) -> String {
        let mut words: Vec<String> = vec!["experiment".into(), name.into()];
        if self.quick {
            words.push("--quick".into());
        }
        if !self.points.is_empty() {
            let names: Vec<&str> = self.points.iter().map(|set| set.name()).collect();
            words.extend(["--points".into(), names.join(",")]);
        }
        for (option, path) in [("--data", &self.data), ("--inception", &self.inception)] {
            words.extend(path.iter().flat_map(|path| [option.into(), path.display().to_string()]));
        }
        words.extend(["--seed".into(), self.seed.to_string()]);
        invocation::command(words)
    }
}

/// An input that an experiment cannot run without.
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
    /// The name for messages.
    pub fn word(self) -> &'static str {
        match self {
            Need::Mnist => "MNIST",
            Need::Cifar10 => "CIFAR-10",
            Need::Inception => "Inception-v3",
        }
    }
}
