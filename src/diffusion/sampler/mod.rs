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
//! - Ancestral (Ho et al. 2020, algorithm 2): the mean of `q(z_s | z_t, x_0)` plus noise, of that posterior's own
//!   variance (`beta_tilde`, "fixed small"), of the forward process's (`beta`, "fixed large"), or of one between them
//!   that was learnt.
//! - DDIM (Song et al. 2021, eq. 12): `a_s x_0 + sqrt(sigma_s^2 - rho^2) eps + rho xi` with `rho = eta
//!   sqrt(beta_tilde)`, deterministic for `eta = 0`. `eps` comes from the output itself, also where `x_0` was clipped.
//! - DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): the second-order multistep solver of the probability flow in
//!   `lambda = ln(a / sigma)`; the first and the last step are of first order.
//! - Langevin dynamics (Song and Ermon 2019, algorithm 1): steps along the score at one noise level after another.
//!
//! The last step adds no noise.

mod langevin;

use super::learned_variance::log_variance;
use super::{NoiseLevel, Posterior, PredictionTarget, Process, TimePoint};
use crate::{Error, Result};

/// Variance of the noise that an ancestral step adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variance {
    /// `beta_tilde`, the variance of the posterior: exact if the data were a single point.
    #[default]
    FixedSmall,
    /// `beta` of the (strided) forward step: exact if the data were standard normal.
    FixedLarge,
    /// Between the two, as the network says.
    Learned,
}

/// A rule for the step back from one time to an earlier one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// Steps with the posterior's mean and this variance.
    Ancestral { variance: Variance },
    /// Steps along the probability flow; `eta` in `[0, 1]` mixes noise back in, 1 has the variance of fixed-small.
    Ddim { eta: f64 },
    /// DPM-Solver++(2M).
    DpmSolver,
    /// Langevin dynamics at `levels` noise levels, their `sigma / a` falling geometrically from `sigma_max` to
    /// `sigma_min`, `steps_per_level` steps each, of size `step` at the last level (Song and Ermon 2019, algorithm 1).
    /// One level is plain Langevin dynamics at `sigma_min`.
    Langevin { levels: usize, steps_per_level: usize, sigma_max: f64, sigma_min: f64, step: f64 },
}

/// Coefficients of one step, the equations above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerStep {
    /// What the network is told of the time.
    pub time: f64,
    /// Weight of `z` in the estimate of `x_0`.
    pub p_z: f64,
    /// Weight of the network's output in the estimate of `x_0`.
    pub p_out: f64,
    /// Bound of `|x_0|`; infinite when nothing is clipped.
    pub clip: f64,
    /// Weight of `z` in the new `z`.
    pub m_z: f64,
    /// Weight of the clipped `x_0` in the new `z`.
    pub m_x: f64,
    /// Weight of the clipped `x_0` of the step before; 0 in the first step.
    pub m_previous: f64,
    /// Weight of the network's output in the new `z`.
    pub m_out: f64,
    /// Scale of the fresh noise, where the variance is learnt 1; 0 in the last step.
    pub rho: f64,
    /// `ln beta_tilde` and `ln beta` where the variance is learnt. The step that ends at clean data has the
    /// `beta_tilde` of the one before it, its own being 0.
    pub log_variance: Option<[f64; 2]>,
}

impl SamplerStep {
    /// The clipped estimate of `x_0` for one value.
    pub fn x0(&self, z: f64, out: f64) -> f64 {
        (self.p_z * z + self.p_out * out).clamp(-self.clip, self.clip)
    }

    /// `e`, the factor that the network's second output `v` gives the noise; 1 where the variance is not learnt.
    pub fn deviation(&self, v: f64) -> f64 {
        self.log_variance.map_or(1.0, |range| (0.5 * log_variance(range, v)).exp())
    }

    /// The step itself, for one value: what the kernel computes, in `f64`. `previous` is the [`SamplerStep::x0`] of the
    /// step before, `xi` the fresh noise, times [`SamplerStep::deviation`] where the variance is learnt.
    pub fn apply(&self, z: f64, out: f64, previous: f64, xi: f64) -> f64 {
        let x0 = self.x0(z, out);
        self.m_z * z + self.m_x * x0 + self.m_previous * previous + self.m_out * out + self.rho * xi
    }
}

impl Sampler {
    /// The steps that lead from pure noise through `times` (ascending, [`Process::sampling_times`]) to an image, in the
    /// order they are taken. `clip_x0` bounds `|x_0|` in every step. Langevin dynamics has times of its own.
    ///
    /// # Errors
    /// `times` is empty, not ascending or outside the process; `eta` outside `[0, 1]`; a bound that is not positive; a
    /// learned variance in continuous time; noise levels that the process does not have.
    pub fn steps(
        self,
        process: &Process,
        times: &[f64],
        target: PredictionTarget,
        clip_x0: Option<f64>,
    ) -> Result<Vec<SamplerStep>> {
        target.validate(process)?;
        let clip = clip_x0.unwrap_or(f64::INFINITY);
        if clip.is_nan() || clip <= 0.0 {
            return Err(Error::Config(format!("bound of the predicted image: wanted a positive number, not {clip}")));
        }
        if let Sampler::Langevin { .. } = self {
            return langevin::steps(self, process, target, clip);
        }
        process.check_times(times)?;
        match self {
            Sampler::Ddim { eta } if !(0.0..=1.0).contains(&eta) => {
                return Err(Error::Config(format!(
                    "eta: wanted a value from 0 (deterministic) to 1 (ancestral), not {eta}"
                )));
            }
            Sampler::Ancestral { variance: Variance::Learned } if matches!(process, Process::Continuous { .. }) => {
                return Err(Error::Config(
                    "learned variance: it lies between two variances of a discrete schedule; in continuous time, choose \
                     fixed-small or fixed-large"
                        .into(),
                ));
            }
            _ => {}
        }
        // From here on in the order of sampling, from noise to image: [t_n, ..., t_1, clean].
        let points: Vec<TimePoint> = times.iter().rev().map(|&t| process.point(t)).collect();
        let levels: Vec<NoiseLevel> = points.iter().map(|at| at.level).chain([NoiseLevel::CLEAN]).collect();
        let steps = points.iter().zip(times.iter().rev()).enumerate().map(|(k, (at, &t))| {
            let x0 = target.x0(at);
            let Update { m_z, m_x, m_previous, m_out, rho } = match self {
                Sampler::Ancestral { variance } => ancestral(variance, levels[k], levels[k + 1]),
                Sampler::Ddim { eta } => ddim(eta, target, at, levels[k + 1]),
                Sampler::DpmSolver => dpm_solver(k.checked_sub(1).map(|j| levels[j]), levels[k], levels[k + 1]),
                Sampler::Langevin { .. } => unreachable!("has times of its own"),
            };
            let log_variance = (self == Sampler::Ancestral { variance: Variance::Learned }).then(|| {
                let posterior = Posterior::new(levels[k], levels[k + 1]);
                let before = k.checked_sub(1).map(|j| Posterior::new(levels[j], levels[k]));
                [posterior.clipped_variance(before.as_ref()).ln(), posterior.forward_variance.ln()]
            });
            let time = process.network_time(t);
            let rho = if k + 1 == points.len() { 0.0 } else { rho };
            SamplerStep { time, p_z: x0.z, p_out: x0.out, clip, m_z, m_x, m_previous, m_out, rho, log_variance }
        });
        Ok(steps.collect())
    }

    /// Scale of the noise that samples start from: the size that `z` has at the first step for data of unit variance.
    /// 1 where variance is preserved.
    ///
    /// # Errors
    /// As [`Sampler::steps`].
    pub fn start_scale(self, process: &Process, times: &[f64]) -> Result<f64> {
        let start = match self {
            Sampler::Langevin { levels, sigma_max, sigma_min, .. } => {
                process.time_of_noise(if levels == 1 { sigma_min } else { sigma_max })?
            }
            _ => {
                process.check_times(times)?;
                times[times.len() - 1]
            }
        };
        Ok(process.level(start).norm())
    }
}

/// The coefficients of `z <- ...`.
#[derive(Default)]
struct Update {
    m_z: f64,
    m_x: f64,
    m_previous: f64,
    m_out: f64,
    rho: f64,
}

fn ancestral(variance: Variance, t: NoiseLevel, s: NoiseLevel) -> Update {
    let posterior = Posterior::new(t, s);
    let rho = match variance {
        Variance::FixedSmall => posterior.variance.sqrt(),
        Variance::FixedLarge => posterior.forward_variance.sqrt(),
        Variance::Learned => 1.0,
    };
    Update { m_z: posterior.z, m_x: posterior.x0, rho, ..Update::default() }
}

fn ddim(eta: f64, target: PredictionTarget, t: &TimePoint, s: NoiseLevel) -> Update {
    let eps = target.eps(t);
    let rho = eta * Posterior::new(t.level, s).variance.sqrt();
    let direction = (s.sigma * s.sigma - rho * rho).max(0.0).sqrt();
    Update { m_z: direction * eps.z, m_x: s.a, m_out: direction * eps.out, rho, ..Update::default() }
}

/// `z_s = (sigma_s / sigma_t) z_t + (a_s - a_t sigma_s / sigma_t) D`, where `D` is `x_0` extrapolated linearly in
/// `lambda` from the two latest estimates to the middle of the step; `before` is the level of the earlier one.
fn dpm_solver(before: Option<NoiseLevel>, t: NoiseLevel, s: NoiseLevel) -> Update {
    let shrink = s.sigma / t.sigma;
    let weight = s.a - t.a * shrink;
    let extrapolation = match before {
        Some(before) if s.sigma > 0.0 => (s.log_snr() - t.log_snr()) / (2.0 * (t.log_snr() - before.log_snr())),
        _ => 0.0,
    };
    Update {
        m_z: shrink,
        m_x: weight * (1.0 + extrapolation),
        m_previous: -weight * extrapolation,
        ..Update::default()
    }
}

#[cfg(test)]
mod tests;
