//! Plan of sampling: the steps of a sampler, and the noise to start from.

use super::prediction::PredictionTarget;
use super::process::Process;
use super::sampler::{Sampler, SamplerStep};
use super::timesteps::Spacing;
use crate::Result;

/// Evaluations per sample in continuous time, unless set.
const CONTINUOUS_STEPS: usize = 512;

/// The way from noise to samples.
#[derive(Clone, Debug)]
pub struct SamplePlan {
    /// The steps, in the order in which they are taken.
    pub steps: Vec<SamplerStep>,
    /// The time of the process at each of them.
    pub times: Vec<f64>,
    /// Scale of the noise that samples start from.
    pub start_scale: f64,
}

impl SamplePlan {
    /// The plan of a sampler that evaluates the network so many times; 0: once for every noise level, 512 times in
    /// continuous time. Langevin dynamics has a number of its own.
    ///
    /// # Errors
    /// As [`Sampler::steps`], and more evaluations than a schedule has noise levels.
    pub fn new(
        sampler: Sampler,
        process: &Process,
        target: PredictionTarget,
        evaluations: usize,
        clip_x0: Option<f64>,
    ) -> Result<SamplePlan> {
        let times = if sampler.visits_times() {
            let times = match (process, evaluations) {
                (Process::Discrete(schedule), 0) => schedule.steps(),
                (Process::Continuous { .. }, 0) => CONTINUOUS_STEPS,
                (_, evaluations) => sampler.times_of(evaluations),
            };
            process.sampling_times(times, Spacing::Linspace)?
        } else {
            Vec::new()
        };
        let steps = sampler.steps(process, &times, target, clip_x0)?;
        let start_scale = sampler.start_scale(process, &times)?;
        let times = steps.iter().map(|step| process.time_at(step.time)).collect();
        Ok(SamplePlan { steps, times, start_scale })
    }
}
