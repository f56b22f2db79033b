//! Noise schedule, prediction target and loss: the `diffusion` section of a configuration.

use crate::diffusion::{LossWeighting, NoiseSchedule, PredictionTarget, Process, Reduction};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Noise schedule, prediction target and loss. A schedule and a loss have settings of their own beside them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiffusionConfig {
    /// Growth of the noise with time.
    #[serde(flatten)]
    pub schedule: NoiseSchedule,
    /// Quantity that the network predicts.
    pub target: PredictionTarget,
    /// Weight of the squared error as a function of time.
    #[serde(flatten)]
    pub loss: LossWeighting,
    /// Mean or sum of the squared errors of an image's values.
    pub reduction: Reduction,
    /// Weight of the variational bound, the mean over the values in bits, where the network has channels for a variance.
    pub vb_weight: f64,
    /// Probability that a label is hidden from a conditional network, for classifier-free guidance.
    pub label_drop: f64,
}

impl Default for DiffusionConfig {
    fn default() -> Self {
        DiffusionConfig {
            schedule: NoiseSchedule::default(),
            target: PredictionTarget::Epsilon,
            loss: LossWeighting::Simple,
            reduction: Reduction::Mean,
            vb_weight: 1.0,
            label_drop: 0.2,
        }
    }
}

impl DiffusionConfig {
    /// The forward process.
    ///
    /// # Errors
    /// Settings of which there is none.
    pub fn process(&self) -> Result<Process> {
        self.schedule.process().map_err(|e| Error::Config(format!("diffusion: {e}")))
    }

    /// Checks the settings against each other.
    ///
    /// # Errors
    /// The first that is impossible.
    pub fn validate(&self) -> Result<()> {
        let process = self.process()?;
        let named = |e: Error| Error::Config(format!("diffusion: {e}"));
        self.loss.validate(self.target, &process).map_err(named)?;
        if !(0.0..=1.0).contains(&self.label_drop) {
            return Err(Error::Config(format!("diffusion.label_drop = {} is not in [0, 1]", self.label_drop)));
        }
        if !(self.vb_weight >= 0.0 && self.vb_weight.is_finite()) {
            return Err(Error::Config(format!(
                "diffusion.vb_weight = {} must be a number of at least 0",
                self.vb_weight
            )));
        }
        Ok(())
    }
}
