//! Samplers: how noise becomes an image, one step back in time after another.
//!
//! Every step of every sampler here is the same few operations per value, with coefficients that depend on the step
//! alone:
//!
//! ```text
//! x_0  = clip(p_z z + p_out out, -clip, clip)
//! z   <- m_z z + m_x x_0 + m_previous x_0' + m_out out + rho e xi        xi ~ N(0, I)
//! ```
//!
//! so one kernel takes all steps, and a sampler is a table. `out` is the network's output at `z` and `time`, `x_0'` the
//! clipped estimate of the step before. `e = 1` unless the network has a second output `v` for the variance; then `e^2 =
//! exp(f ln beta + (1 - f) ln beta_tilde)` with `f = (v + 1) / 2` (Nichol and Dhariwal 2021, eq. 15).
//!
//! A sampler is a file of this folder and a variant of [`Sampler`]. The last step adds no noise.

mod ancestral;
mod ddim;
mod dpm_solver;
mod heun;
mod langevin;
pub(in crate::diffusion) mod route;
mod step;

use super::prediction::PredictionTarget;
use super::process::Process;
use super::variance::Variance;
use crate::Result;
use route::Route;
use serde::{Deserialize, Serialize};

pub use langevin::Langevin;
pub use step::SamplerStep;

/// A rule for the step back from one time to an earlier one, as configurations name it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "sampler", rename_all = "kebab-case")]
pub enum Sampler {
    /// Ancestral steps (Ho et al. 2020) with this variance.
    #[serde(rename = "ddpm")]
    Ancestral {
        #[serde(default)]
        variance: Variance,
    },
    /// Steps along the probability flow (Song et al. 2021); `eta` in `[0, 1]` mixes noise back in, 1 has the variance
    /// of fixed-small.
    Ddim {
        #[serde(default)]
        eta: f64,
    },
    /// DPM-Solver++(2M) (Lu et al. 2022): good samples in 10 to 30 steps.
    DpmSolver,
    /// Heun's method (Karras et al. 2022), two evaluations a step: the most accurate way to many steps.
    Heun,
    /// Langevin dynamics (Song and Ermon 2019) at noise levels of its own.
    Langevin(Langevin),
}

impl Default for Sampler {
    fn default() -> Sampler {
        Sampler::Ancestral { variance: Variance::default() }
    }
}

impl Sampler {
    /// Every sampler with its default settings.
    pub fn all() -> [Sampler; 5] {
        [
            Sampler::default(),
            Sampler::Ddim { eta: 0.0 },
            Sampler::DpmSolver,
            Sampler::Heun,
            Sampler::Langevin(Langevin::default()),
        ]
    }

    /// Variance of an ancestral step; fixed-small for samplers that do not choose one.
    pub fn variance(self) -> Variance {
        if let Sampler::Ancestral { variance } = self { variance } else { Variance::default() }
    }

    /// The steps that lead from pure noise through `times` (ascending, [`Process::sampling_times`]) to an image, in the
    /// order they are taken. `clip_x0` bounds `|x_0|` in every step. Langevin dynamics has times of its own.
    ///
    /// # Errors
    /// `times` is empty, not ascending or outside the process; a bound that is not positive; settings of the sampler
    /// that are impossible, by themselves or for this process.
    pub fn steps(
        self,
        process: &Process,
        times: &[f64],
        target: PredictionTarget,
        clip_x0: Option<f64>,
    ) -> Result<Vec<SamplerStep>> {
        if self.visits_times() {
            process.check_times(times)?;
        }
        let mut steps = self.steps_along(&Route::new(process, times, target, clip_x0)?)?;
        if let Some(last) = steps.last_mut() {
            last.rho = 0.0;
        }
        Ok(steps)
    }

    /// The steps along a route. The last may add noise.
    ///
    /// # Errors
    /// Settings of the sampler that are impossible, by themselves or for the process.
    pub(in crate::diffusion) fn steps_along(self, route: &Route) -> Result<Vec<SamplerStep>> {
        match self {
            Sampler::Ancestral { variance } => ancestral::steps(route, variance),
            Sampler::Ddim { eta } => ddim::steps(route, eta),
            Sampler::DpmSolver => Ok(dpm_solver::steps(route)),
            Sampler::Heun => Ok(heun::steps(route)),
            Sampler::Langevin(langevin) => langevin.steps(route),
        }
    }

    /// Scale of the noise that samples start from: the size that `z` has at the first step for data of unit variance.
    /// 1 where variance is preserved.
    ///
    /// # Errors
    /// As [`Sampler::steps`].
    pub fn start_scale(self, process: &Process, times: &[f64]) -> Result<f64> {
        let start = match self {
            Sampler::Langevin(langevin) => langevin.first_time(process)?,
            _ => {
                process.check_times(times)?;
                times[times.len() - 1]
            }
        };
        Ok(process.level(start).norm())
    }

    /// Number of times to visit with at most so many evaluations of the network, at least 1.
    pub fn times_of(self, evaluations: usize) -> usize {
        if self == Sampler::Heun { evaluations.div_ceil(2) } else { evaluations }
    }

    /// `true` for samplers that go through given times, `false` for those with times of their own.
    pub fn visits_times(self) -> bool {
        !matches!(self, Sampler::Langevin(_))
    }
}

#[cfg(test)]
mod tests;
