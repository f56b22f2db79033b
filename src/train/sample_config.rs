//! Settings of sampling: the `sample` section of a configuration.

use super::diffusion_config::DiffusionConfig;
use crate::diffusion::{DiffusersLoop, Process, SamplePlan, Sampler, Variance};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of sampling. Each sampler has settings of its own beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SampleConfig {
    /// Samples on a sheet; 0: no sheets.
    pub n: usize,
    /// The rule for the way back from noise.
    #[serde(flatten)]
    pub sampler: Sampler,
    /// Evaluations of the network per sample; 0: one for every noise level, 512 in continuous time.
    pub steps: usize,
    /// Clip the predicted image in every step.
    pub clip_x0: bool,
    /// Largest absolute value of a clipped image.
    pub clip_range: f64,
    /// Strength w of classifier-free guidance: out = (1 + w) out_with_label - w out_without; 0: none.
    pub guidance: f64,
    /// Seed of the samples.
    pub seed: u64,
    /// Times and levels as a scheduler of diffusers lays them out; only of models from a diffusers folder.
    #[serde(skip)]
    pub diffusers: Option<DiffusersLoop>,
}

impl Default for SampleConfig {
    fn default() -> Self {
        SampleConfig {
            n: 64,
            sampler: Sampler::default(),
            steps: 0,
            clip_x0: true,
            clip_range: 1.0,
            guidance: 0.0,
            seed: 0,
            diffusers: None,
        }
    }
}

impl SampleConfig {
    /// The steps back in time with a network that was trained with `diffusion`.
    ///
    /// # Errors
    /// Settings that contradict the noise schedule, the network or each other.
    pub fn plan(&self, diffusion: &DiffusionConfig, learns_variance: bool) -> Result<SamplePlan> {
        if self.sampler.variance() == Variance::Learned && !learns_variance {
            return Err(Error::Config(
                "sample.variance = \"learned\": the network has no channels for a variance; choose fixed-small or \
                 fixed-large"
                    .into(),
            ));
        }
        let (process, target) = (diffusion.process()?, diffusion.target);
        let plan = match (&self.diffusers, &process) {
            (Some(layout), Process::Discrete(schedule)) if DiffusersLoop::has(self.sampler) => {
                layout.plan(self.sampler, schedule, target, self.steps, self.clip())
            }
            _ => SamplePlan::new(self.sampler, &process, target, self.steps, self.clip()),
        };
        plan.map_err(|e| Error::Config(format!("sample: {e}")))
    }

    /// Bound of the predicted image, if it is clipped.
    pub fn clip(&self) -> Option<f64> {
        self.clip_x0.then_some(self.clip_range)
    }

    /// Checks that a network of so many classes can be guided as these settings require.
    ///
    /// # Errors
    /// Guidance of an unconditional network.
    pub fn check_guidance(&self, classes: usize) -> Result<()> {
        if !self.guidance.is_finite() {
            return Err(Error::Config(format!("sample.guidance = {} is not a number", self.guidance)));
        }
        if self.guidance != 0.0 && classes == 0 {
            return Err(Error::Config(format!(
                "sample.guidance = {}: the network was not trained with labels; guidance needs model.classes > 0",
                self.guidance
            )));
        }
        Ok(())
    }
}
