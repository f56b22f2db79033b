//! Loss weightings: the weight of the squared error as a function of time.
//!
//! A weighting is defined for the error of the image, `w_x |x_0 - x_0^|^2`, and carried over to the error of the
//! network's output, which at a given `z` is a fixed multiple of it ([`PredictionTarget::error_ratio`]); `simple` and
//! `unweighted` weigh the output's own error.
//!
//! | weighting | `w_x` |
//! |---|---|
//! | vlb | `C_2^2 / (2 rho^2)`; with `rho^2 = beta_tilde` it is `(SNR_{t-1} - SNR_t) / 2` |
//! | nelbo | `-SNR'(t)` |
//! | rescaled | 1 |
//! | min-snr | `min(SNR, gamma)` |
//!
//! A weight is the factor of the squared error *averaged over the dimensions*. Weights of the bound are nats per
//! dimension of the one term at `t`: with `t` uniform on `1..=T`, `T` times the mean over `t` is the sum over `t`; in
//! continuous time `t_max - t_min` times the mean is the integral.

use super::posterior::Posterior;
use super::prediction::PredictionTarget;
use super::process::Process;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Weight of the squared error as a function of time, as configurations name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "loss", rename_all = "kebab-case")]
pub enum LossWeighting {
    /// The error of the output, all times alike (Ho et al. 2020, eq. 14); that of a raw score times `sigma^2`, which
    /// makes it the error of the noise.
    #[default]
    Simple,
    /// The error of the target itself, all times alike; a scaled score is compared as a score.
    Unweighted,
    /// The variational bound of a discrete schedule in nats (Ho et al. 2020, eq. 12), with the posterior's variance.
    /// The first step has that of the second, since its own is 0.
    Vlb,
    /// The same with the forward process's variance `beta`, but in the first step, as `vlb`.
    VlbLarge,
    /// The variational bound in continuous time (Kingma et al. 2021, eq. 17) without its factor 1/2.
    Nelbo,
    /// The error of the image that the output implies.
    Rescaled,
    /// The error of the image times the signal-to-noise ratio or `gamma`, whichever is less (Hang et al. 2023).
    MinSnr {
        #[serde(rename = "min_snr_gamma", default = "default_gamma")]
        gamma: f64,
    },
}

/// The bound of Hang et al. (2023).
fn default_gamma() -> f64 {
    5.0
}

impl LossWeighting {
    /// Every weighting with its default settings.
    pub fn all() -> [LossWeighting; 7] {
        [
            LossWeighting::Simple,
            LossWeighting::Unweighted,
            LossWeighting::Vlb,
            LossWeighting::VlbLarge,
            LossWeighting::Nelbo,
            LossWeighting::Rescaled,
            LossWeighting::MinSnr { gamma: default_gamma() },
        ]
    }

    /// Factor of the network's squared error at `t`, averaged over the dimensions.
    ///
    /// # Errors
    /// A target that the process does not allow, the discrete bound in continuous time or the other way round, the
    /// continuous bound down to `t = 0`, a `gamma` that is not positive.
    pub fn weight(self, target: PredictionTarget, process: &Process, t: f64) -> Result<f64> {
        self.validate(target, process)?;
        let at = process.point(t);
        let sigma2 = at.level.sigma * at.level.sigma;
        let of_image = |w_x: f64| w_x / target.error_ratio(&at);
        Ok(match (self, process) {
            (LossWeighting::Simple, _) if target == PredictionTarget::Score => sigma2,
            (LossWeighting::Unweighted, _) if target == PredictionTarget::ScoreScaled => 1.0 / sigma2,
            (LossWeighting::Simple | LossWeighting::Unweighted, _) => 1.0,
            (LossWeighting::Rescaled, _) => of_image(1.0),
            (LossWeighting::MinSnr { gamma }, _) => of_image(at.level.snr().min(gamma)),
            (LossWeighting::Vlb | LossWeighting::VlbLarge, Process::Discrete(schedule)) => {
                let step = t as usize;
                let variance = if self == LossWeighting::VlbLarge && step > 1 {
                    schedule.beta(step)
                } else {
                    schedule.clipped_posterior_variance(step)
                };
                of_image(Posterior::new(at.level, at.before).x0.powi(2) / (2.0 * variance))
            }
            (LossWeighting::Nelbo, Process::Continuous { schedule, .. }) => of_image(-schedule.snr_derivative(t)),
            (LossWeighting::Vlb | LossWeighting::VlbLarge | LossWeighting::Nelbo, _) => {
                unreachable!("refused by validate")
            }
        })
    }

    /// Refuses combinations without a meaning.
    ///
    /// # Errors
    /// As [`LossWeighting::weight`].
    pub fn validate(self, target: PredictionTarget, process: &Process) -> Result<()> {
        target.validate(process)?;
        let refused = |message: &str| Err(Error::Config(format!("loss weighting {message}")));
        match (self, process) {
            (LossWeighting::Vlb | LossWeighting::VlbLarge, Process::Continuous { .. }) => {
                refused("vlb: it is a sum over the steps of a discrete schedule; in continuous time, choose nelbo")
            }
            (LossWeighting::Nelbo, Process::Discrete(_)) => {
                refused("nelbo: it is an integral over continuous time; with a discrete schedule, choose vlb")
            }
            (LossWeighting::Nelbo, Process::Continuous { t_min, .. }) if *t_min == 0.0 => {
                refused("nelbo: it grows without bound at t = 0; choose a t_min above 0, 0.05 for example")
            }
            (LossWeighting::MinSnr { gamma }, _) if !(gamma > 0.0 && gamma.is_finite()) => {
                refused(&format!("min-snr: wanted a positive gamma, 5 for example, not {gamma}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
