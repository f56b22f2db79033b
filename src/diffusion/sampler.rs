//! Samplers: how noise becomes an image, one step back in time after another.
//!
//! Every step of every sampler here is the same few operations per value, with coefficients that depend on the step
//! alone:
//!
//! ```text
//! x_0  = clip(p_z z + p_out out, -clip, clip)
//! z   <- m_z z + m_x x_0 + m_out out + rho xi        xi ~ N(0, I)
//! ```
//!
//! so one kernel takes all steps, and a sampler is a table. `out` is the network's output at `z` and `time`.
//!
//! - Ancestral (Ho et al. 2020, algorithm 2): the mean of `q(z_s | z_t, x_0)` plus noise, either of that posterior's
//!   own variance (`beta_tilde`, "fixed small") or of the forward process's (`beta`, "fixed large").
//! - DDIM (Song et al. 2021, eq. 12): `a_s x_0 + sqrt(sigma_s^2 - rho^2) eps + rho xi` with `rho = eta
//!   sqrt(beta_tilde)`, deterministic for `eta = 0`. `eps` comes from the output itself, also where `x_0` was clipped.
//!
//! The step that ends at clean data adds no noise.

use super::{NoiseLevel, Posterior, PredictionTarget, Schedule};
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
}

/// A rule for the step back from one time to an earlier one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// Steps with the posterior's mean and a fixed variance.
    Ancestral { variance: Variance },
    /// Steps along the probability flow; `eta` in `[0, 1]` mixes noise back in, 1 has the variance of fixed-small.
    Ddim { eta: f64 },
}

/// Coefficients of one step, the equations above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerStep {
    /// What the network is told: `t - 1` for discrete time `t`.
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
    /// Weight of the network's output in the new `z`.
    pub m_out: f64,
    /// Scale of the fresh noise; 0 on the last step.
    pub rho: f64,
}

impl SamplerStep {
    /// The step from level `t` to the less noisy level `s`. `clip` bounds `|x_0|`; pass infinity to leave it alone.
    pub fn new(
        sampler: Sampler,
        target: PredictionTarget,
        clip: f64,
        time: f64,
        t: NoiseLevel,
        s: NoiseLevel,
    ) -> SamplerStep {
        let posterior = Posterior::new(t, s);
        let x0 = target.x0(t);
        let (m_z, m_x, m_out, rho) = match sampler {
            Sampler::Ancestral { variance } => {
                let variance = match variance {
                    Variance::FixedSmall => posterior.variance,
                    Variance::FixedLarge => posterior.forward_variance,
                };
                (posterior.z, posterior.x0, 0.0, variance.sqrt())
            }
            Sampler::Ddim { eta } => {
                let eps = target.eps(t);
                let rho = eta * posterior.variance.sqrt();
                let direction = (s.sigma * s.sigma - rho * rho).max(0.0).sqrt();
                (direction * eps.z, s.a, direction * eps.out, rho)
            }
        };
        let rho = if s.sigma == 0.0 { 0.0 } else { rho };
        SamplerStep { time, p_z: x0.z, p_out: x0.out, clip, m_z, m_x, m_out, rho }
    }

    /// The record a device reads, rounded to `f32`: `p_z, p_out, clip, m_z, m_x, m_out, rho, time`.
    pub fn record(&self) -> [f32; 8] {
        [self.p_z, self.p_out, self.clip, self.m_z, self.m_x, self.m_out, self.rho, self.time].map(|value| value as f32)
    }

    /// The step itself, for one value: what the kernel computes, in `f64`.
    pub fn apply(&self, z: f64, out: f64, xi: f64) -> f64 {
        let x0 = (self.p_z * z + self.p_out * out).clamp(-self.clip, self.clip);
        self.m_z * z + self.m_x * x0 + self.m_out * out + self.rho * xi
    }
}

impl Sampler {
    /// The steps that lead from pure noise through `times` (ascending, within `1..=T`) to an image, in the order they
    /// are taken. `clip_x0` bounds `|x_0|` in every step.
    ///
    /// # Errors
    /// `times` is empty, not ascending or outside the schedule; `eta` outside `[0, 1]`; a bound that is not positive.
    pub fn steps(
        self,
        schedule: &Schedule,
        times: &[usize],
        target: PredictionTarget,
        clip_x0: Option<f64>,
    ) -> Result<Vec<SamplerStep>> {
        let last = schedule.steps();
        if times.is_empty() || times[0] == 0 || times.iter().any(|&t| t > last) || !times.is_sorted_by(|s, t| s < t) {
            return Err(Error::Config(format!(
                "sampling times: wanted ascending times within 1..={last}, not {times:?}"
            )));
        }
        if let Sampler::Ddim { eta } = self
            && !(0.0..=1.0).contains(&eta)
        {
            return Err(Error::Config(format!(
                "eta: wanted a value from 0 (deterministic) to 1 (ancestral), not {eta}"
            )));
        }
        let clip = clip_x0.unwrap_or(f64::INFINITY);
        if clip.is_nan() || clip <= 0.0 {
            return Err(Error::Config(format!("bound of the predicted image: wanted a positive number, not {clip}")));
        }
        let earlier = std::iter::once(0).chain(times.iter().copied());
        let mut steps: Vec<SamplerStep> = times
            .iter()
            .zip(earlier)
            .map(|(&t, s)| SamplerStep::new(self, target, clip, (t - 1) as f64, schedule.level(t), schedule.level(s)))
            .collect();
        steps.reverse();
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::timesteps::{Spacing, subset};

    const ANCESTRAL: Sampler = Sampler::Ancestral { variance: Variance::FixedSmall };
    const ANCESTRAL_LARGE: Sampler = Sampler::Ancestral { variance: Variance::FixedLarge };

    /// Mean and standard deviation of what a sampler makes of `N(0, 1)` noise when the data are `N(0.5, 0.3^2)` and the
    /// network is the best possible one. All of it is Gaussian and linear, so both are exact: nothing is sampled.
    fn sampled_moments(steps: &[SamplerStep], levels: impl Fn(usize) -> NoiseLevel) -> (f64, f64) {
        let (data_mean, data_var) = (0.5, 0.09);
        let (mut mean, mut var) = (0.0, 1.0);
        for (k, step) in steps.iter().enumerate() {
            let NoiseLevel { a, sigma } = levels(k);
            // The best predictor of x_0 is data_mean + gain (z - a data_mean); eps follows from it.
            let gain = a * data_var / (a * a * data_var + sigma * sigma);
            let best_eps = |z: f64| (z - a * (data_mean + gain * (z - a * data_mean))) / sigma;
            let next = |z: f64| step.apply(z, best_eps(z), 0.0);
            let slope = next(1.0) - next(0.0);
            mean = slope * mean + next(0.0);
            var = slope * slope * var + step.rho * step.rho;
        }
        (mean, var.sqrt())
    }

    fn discrete_moments(schedule: &Schedule, n: usize, sampler: Sampler) -> (f64, f64) {
        let times = subset(schedule.steps(), n, Spacing::Linspace).unwrap();
        let steps = sampler.steps(schedule, &times, PredictionTarget::Epsilon, None).unwrap();
        sampled_moments(&steps, |k| schedule.level(times[times.len() - 1 - k]))
    }

    #[test]
    fn ancestral_samples_have_the_exact_moments() {
        let counts = [1000, 250, 100, 50, 20, 10];
        let fixtures = [
            (1e-4, ANCESTRAL, [0.2963, 0.2870, 0.2718, 0.2522, 0.2121, 0.1636]),
            (1e-4, ANCESTRAL_LARGE, [0.3009, 0.3042, 0.3111, 0.3229, 0.3615, 0.4410]),
            (1e-3, ANCESTRAL, [0.2927, 0.2801, 0.2620, 0.2400, 0.1951, 0.1444]),
            (1e-3, ANCESTRAL_LARGE, [0.2997, 0.3038, 0.3123, 0.3273, 0.3795, 0.4915]),
        ];
        for (beta_first, sampler, stds) in fixtures {
            let schedule = Schedule::linear(1000, beta_first, 0.02).unwrap();
            for (n, want) in counts.into_iter().zip(stds) {
                let (mean, std) = discrete_moments(&schedule, n, sampler);
                assert!((mean - 0.5).abs() <= 3e-4, "{sampler:?}, {n} steps: mean {mean}");
                assert!((std - want).abs() <= 1e-4, "{sampler:?}, {n} steps: std {std} instead of {want}");
            }
        }
    }

    #[test]
    fn ancestral_samples_in_continuous_time_have_the_exact_moments() {
        let level = |t: f64| {
            let (sigma, a) = (t * std::f64::consts::FRAC_PI_2).sin_cos();
            NoiseLevel { a, sigma }
        };
        for (n, want) in [(8, 0.2033), (32, 0.2608), (128, 0.2874), (500, 0.2964), (512, 0.2965)] {
            let time = |k: usize| if k == 0 { 0.999 } else { 1.0 - k as f64 / n as f64 };
            let steps: Vec<SamplerStep> = (0..n)
                .map(|k| (time(k), time(k + 1)))
                .map(|(t, s)| {
                    SamplerStep::new(ANCESTRAL, PredictionTarget::Epsilon, f64::INFINITY, t, level(t), level(s))
                })
                .collect();
            let (_, std) = sampled_moments(&steps, |k| level(time(k)));
            assert!((std - want).abs() <= 1e-4, "{n} steps: std {std} instead of {want}");
        }
    }

    #[test]
    fn ddim_recovers_the_data_in_many_steps_and_is_ancestral_at_eta_1() {
        let schedule = Schedule::linear(1000, 1e-4, 0.02).unwrap();
        let (mean, std) = discrete_moments(&schedule, 1000, Sampler::Ddim { eta: 0.0 });
        assert!((mean - 0.5).abs() <= 5e-3 && (std - 0.3).abs() <= 5e-3, "mean {mean}, std {std}");
        for n in [1000, 50, 10] {
            let (mean, std) = discrete_moments(&schedule, n, Sampler::Ddim { eta: 1.0 });
            let (want_mean, want_std) = discrete_moments(&schedule, n, ANCESTRAL);
            assert!((mean - want_mean).abs() <= 1e-9 && (std - want_std).abs() <= 1e-9, "{n} steps: {mean} {std}");
        }
    }

    #[test]
    fn the_last_step_returns_the_predicted_image() {
        let schedule = Schedule::linear(1000, 1e-4, 0.02).unwrap();
        let times = subset(1000, 20, Spacing::Linspace).unwrap();
        for sampler in [ANCESTRAL, ANCESTRAL_LARGE, Sampler::Ddim { eta: 0.0 }, Sampler::Ddim { eta: 1.0 }] {
            let steps = sampler.steps(&schedule, &times, PredictionTarget::Epsilon, Some(1.0)).unwrap();
            let last = steps.last().unwrap();
            assert_eq!((last.time, last.m_z, last.m_x, last.m_out, last.rho), (0.0, 0.0, 1.0, 0.0, 0.0), "{sampler:?}");
            assert_eq!(last.apply(3.0, 0.1, 9.0), 1.0, "clipped");
        }
    }

    #[test]
    fn records_hold_the_coefficients_and_the_time() {
        let schedule = Schedule::linear(4, 1e-4, 0.02).unwrap();
        let steps = ANCESTRAL_LARGE.steps(&schedule, &[1, 4], PredictionTarget::Epsilon, None).unwrap();
        let step = steps[0];
        let [p_z, p_out, clip, m_z, m_x, m_out, rho, time] = step.record();
        assert_eq!((time, clip, m_out), (3.0, f32::INFINITY, 0.0));
        assert_eq!((p_z, p_out), (step.p_z as f32, step.p_out as f32));
        assert_eq!((m_z, m_x, rho), (step.m_z as f32, step.m_x as f32, step.rho as f32));
    }

    #[test]
    fn impossible_plans_are_refused() {
        let schedule = Schedule::linear(10, 1e-4, 0.02).unwrap();
        let plan =
            |sampler: Sampler, times: &[usize], clip| sampler.steps(&schedule, times, PredictionTarget::Epsilon, clip);
        for times in [&[][..], &[0, 1], &[11], &[3, 2], &[2, 2]] {
            assert!(plan(ANCESTRAL, times, None).is_err(), "{times:?}");
        }
        for eta in [-0.1, 1.1, f64::NAN] {
            assert!(plan(Sampler::Ddim { eta }, &[1, 2], None).is_err(), "{eta}");
        }
        for clip in [0.0, -1.0, f64::NAN] {
            assert!(plan(ANCESTRAL, &[1, 2], Some(clip)).is_err(), "{clip}");
        }
    }
}
