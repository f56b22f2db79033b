//! Noise schedule, prediction target and loss: the `diffusion` section of a configuration.

use crate::diffusion::{Continuous, LossWeighting, PredictionTarget, Process, Reduction, Schedule};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Noise schedule, prediction target and loss. Each loss has settings of its own beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiffusionConfig {
    /// Growth of the noise with time.
    pub schedule: NoiseSchedule,
    /// Number of noise levels T of the discrete schedules.
    pub timesteps: usize,
    /// Variance of the first step of `linear`; of `vp-linear`, the rate at which noise is added at time 0.
    pub beta_start: f64,
    /// Variance of the last step of `linear`; of `vp-linear`, the rate at which noise is added at time 1.
    pub beta_end: f64,
    /// Noise at time 0 of `ve`.
    pub sigma_min: f64,
    /// Noise at time 1 of `ve`.
    pub sigma_max: f64,
    /// Earliest time of the continuous schedules.
    pub t_min: f64,
    /// Latest time of the continuous schedules.
    pub t_max: f64,
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

/// Growth of the noise with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseSchedule {
    /// beta linear in time (Ho et al. 2020).
    Linear,
    /// alpha_bar a squared cosine of time (Nichol and Dhariwal 2021).
    Cosine,
    /// Continuous time: a = cos(pi t / 2), sigma = sin(pi t / 2).
    VpCosine,
    /// Continuous time: the limit of `linear` for ever more steps.
    VpLinear,
    /// Continuous time, exploding variance: a = 1, sigma geometric in t.
    Ve,
}

impl Default for DiffusionConfig {
    fn default() -> Self {
        DiffusionConfig {
            schedule: NoiseSchedule::Linear,
            timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            sigma_min: 0.01,
            sigma_max: 50.0,
            t_min: 0.001,
            t_max: 0.999,
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
        let continuous = |schedule| Process::continuous(schedule, self.t_min, self.t_max);
        let process = match self.schedule {
            NoiseSchedule::Linear => {
                Schedule::linear(self.timesteps, self.beta_start, self.beta_end).map(Process::Discrete)
            }
            NoiseSchedule::Cosine => Schedule::cosine(self.timesteps).map(Process::Discrete),
            NoiseSchedule::VpCosine => continuous(Continuous::VpCosine),
            NoiseSchedule::VpLinear => continuous(Continuous::VpLinear { b0: self.beta_start, b1: self.beta_end }),
            NoiseSchedule::Ve => continuous(Continuous::Ve { sigma_min: self.sigma_min, sigma_max: self.sigma_max }),
        };
        process.map_err(|e| Error::Config(format!("diffusion: {e}")))
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
