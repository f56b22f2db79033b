//! Settings of sampling: the `sample` section of a configuration.

use super::diffusion_config::DiffusionConfig;
use crate::diffusion::{SamplePlan, Sampler, Variance};
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
    /// Clip the predicted image to [-1, 1] in every step.
    pub clip_x0: bool,
    /// Strength w of classifier-free guidance: out = (1 + w) out_with_label - w out_without; 0: none.
    pub guidance: f64,
    /// Seed of the samples.
    pub seed: u64,
}

impl Default for SampleConfig {
    fn default() -> Self {
        SampleConfig { n: 64, sampler: Sampler::default(), steps: 0, clip_x0: true, guidance: 0.0, seed: 0 }
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
        let (process, clip) = (diffusion.process()?, self.clip_x0.then_some(1.0));
        SamplePlan::new(self.sampler, &process, diffusion.target, self.steps, clip)
            .map_err(|e| Error::Config(format!("sample: {e}")))
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
