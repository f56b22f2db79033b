//! How samples are drawn: the `sample` section of a [`Config`].

use super::config::Config;
use crate::diffusion::timesteps::Spacing;
use crate::diffusion::{Process, Sampler, SamplerStep, Variance};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How samples are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleConfig {
    /// Samples on a sheet; 0: no sheets.
    pub n: usize,
    /// The rule for the way back from noise.
    pub sampler: SamplerKind,
    /// Evaluations of the network per sample; 0: one for every noise level, 512 in continuous time.
    pub steps: usize,
    /// Noise of the DDIM sampler, from 0 (none) to 1 (as ancestral).
    pub eta: f64,
    /// Variance of the ancestral sampler's noise.
    pub variance: Variance,
    /// Clip the predicted image to [-1, 1] in every step.
    pub clip_x0: bool,
    /// Strength w of classifier-free guidance: out = (1 + w) out_with_label - w out_without; 0: none.
    pub guidance: f64,
    /// Noise levels of the Langevin sampler; 1: plain Langevin dynamics at `langevin_sigma_min`.
    pub langevin_levels: usize,
    /// Steps at each of them.
    pub langevin_steps: usize,
    /// Largest noise of the Langevin sampler, relative to the signal.
    pub langevin_sigma_max: f64,
    /// Smallest noise of the Langevin sampler, relative to the signal.
    pub langevin_sigma_min: f64,
    /// Step size of the Langevin sampler at its smallest noise.
    pub langevin_step_size: f64,
    /// Seed of the samples.
    pub seed: u64,
}

/// A rule for the way back from noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// Ancestral (Ho et al. 2020).
    Ddpm,
    /// Implicit (Song et al. 2021).
    Ddim,
    /// DPM-Solver++(2M) (Lu et al. 2022): good samples in 10 to 30 steps.
    DpmSolver,
    /// Annealed Langevin dynamics (Song and Ermon 2019).
    Langevin,
}

/// Evaluations per sample in continuous time, unless set.
const CONTINUOUS_STEPS: usize = 512;

impl Default for SampleConfig {
    fn default() -> Self {
        SampleConfig {
            n: 64,
            sampler: SamplerKind::Ddpm,
            steps: 0,
            eta: 0.0,
            variance: Variance::FixedSmall,
            clip_x0: true,
            guidance: 0.0,
            langevin_levels: 10,
            langevin_steps: 100,
            langevin_sigma_max: 1.0,
            langevin_sigma_min: 0.01,
            langevin_step_size: 2e-5,
            seed: 0,
        }
    }
}

/// The way from noise to samples.
#[derive(Clone, Debug)]
pub struct SamplePlan {
    /// The steps, in the order in which they are taken.
    pub steps: Vec<SamplerStep>,
    /// The time of the process at each of them, where it is the plan's to choose; empty for Langevin dynamics.
    pub times: Vec<f64>,
    /// Scale of the noise that samples start from.
    pub start_scale: f64,
}

impl SampleConfig {
    /// The rule with its settings.
    fn sampler(&self) -> Sampler {
        match self.sampler {
            SamplerKind::Ddpm => Sampler::Ancestral { variance: self.variance },
            SamplerKind::Ddim => Sampler::Ddim { eta: self.eta },
            SamplerKind::DpmSolver => Sampler::DpmSolver,
            SamplerKind::Langevin => Sampler::Langevin {
                levels: self.langevin_levels,
                steps_per_level: self.langevin_steps,
                sigma_max: self.langevin_sigma_max,
                sigma_min: self.langevin_sigma_min,
                step: self.langevin_step_size,
            },
        }
    }

    /// The steps back in time with the network of `config`.
    ///
    /// # Errors
    /// Settings that contradict the noise schedule, the network or each other.
    pub fn plan(&self, config: &Config) -> Result<SamplePlan> {
        let named = |e: Error| Error::Config(format!("sample: {e}"));
        let sampler = self.sampler();
        if sampler == (Sampler::Ancestral { variance: Variance::Learned }) && !config.learns_variance() {
            return Err(Error::Config(
                "sample.variance = \"learned\": the network has no channels for a variance; choose fixed-small or \
                 fixed-large"
                    .into(),
            ));
        }
        let process = config.diffusion.process()?;
        let evaluations = match (&process, self.steps) {
            (Process::Discrete(schedule), 0) => schedule.steps(),
            (Process::Continuous { .. }, 0) => CONTINUOUS_STEPS,
            (_, steps) => steps,
        };
        let times = match self.sampler {
            SamplerKind::Langevin => Vec::new(),
            _ => process.sampling_times(evaluations, Spacing::Linspace).map_err(named)?,
        };
        let clip = self.clip_x0.then_some(1.0);
        let steps = sampler.steps(&process, &times, config.diffusion.target, clip).map_err(named)?;
        let start_scale = sampler.start_scale(&process, &times).map_err(named)?;
        Ok(SamplePlan { steps, times: times.into_iter().rev().collect(), start_scale })
    }

    /// Checks that the network of `config` can be guided as these settings say.
    ///
    /// # Errors
    /// Guidance of an unconditional network.
    pub fn check_guidance(&self, config: &Config) -> Result<()> {
        if !self.guidance.is_finite() {
            return Err(Error::Config(format!("sample.guidance = {} is not a number", self.guidance)));
        }
        if self.guidance != 0.0 && config.model.classes() == 0 {
            return Err(Error::Config(format!(
                "sample.guidance = {}: the network was not trained with labels; guidance needs model.classes > 0",
                self.guidance
            )));
        }
        if self.guidance != 0.0 && !config.model.has_null_class() {
            return Err(Error::Config(format!(
                "sample.guidance = {}: the model has no label for \"no class\", which guidance needs",
                self.guidance
            )));
        }
        Ok(())
    }
}
