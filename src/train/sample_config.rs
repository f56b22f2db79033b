//! How samples are drawn: the `sample` section of a [`Config`](super::Config).

use super::config::DiffusionConfig;
use crate::diffusion::timesteps::Spacing;
use crate::diffusion::{PredictionTarget, Process, Sampler, SamplerStep, Variance};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How samples are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleConfig {
    /// Samples on a sheet; 0: no sheets.
    pub n: usize,
    /// `ddpm` is the ancestral sampler, `ddim` the implicit one.
    pub sampler: SamplerKind,
    /// Evaluations of the network per sample; 0: one for every noise level.
    pub steps: usize,
    /// Noise of the DDIM sampler, from 0 (none) to 1 (as ancestral).
    pub eta: f64,
    /// Variance of the ancestral sampler's noise.
    pub variance: Variance,
    /// Clip the predicted image to [-1, 1] in every step.
    pub clip_x0: bool,
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
}

impl Default for SampleConfig {
    fn default() -> Self {
        SampleConfig {
            n: 64,
            sampler: SamplerKind::Ddpm,
            steps: 0,
            eta: 0.0,
            variance: Variance::FixedSmall,
            clip_x0: true,
            seed: 0,
        }
    }
}

impl SampleConfig {
    /// The steps back in time, in the order in which they are taken.
    ///
    /// # Errors
    /// Settings that contradict the noise schedule or each other.
    pub fn steps(&self, diffusion: &DiffusionConfig) -> Result<Vec<SamplerStep>> {
        let sampler = match self.sampler {
            SamplerKind::Ddpm => Sampler::Ancestral { variance: self.variance },
            SamplerKind::Ddim => Sampler::Ddim { eta: self.eta },
        };
        let named = |e: Error| Error::Config(format!("sample: {e}"));
        if self.variance == Variance::Learned {
            return Err(named(Error::Config("variance = \"learned\": the network has no output for it".into())));
        }
        let process = Process::Discrete(diffusion.schedule()?);
        let evaluations = if self.steps == 0 { diffusion.timesteps } else { self.steps };
        let times = process.sampling_times(evaluations, Spacing::Linspace).map_err(named)?;
        sampler.steps(&process, &times, PredictionTarget::Epsilon, self.clip_x0.then_some(1.0)).map_err(named)
    }
}
