//! Noise schedules of discrete time: how much of the image is left at each of `T` times.
//!
//! One forward step is `q(z_t | z_{t-1}) = N(sqrt(alpha_t) z_{t-1}, beta_t I)` with `alpha_t = 1 - beta_t`; `t` of them
//! at once are `q(z_t | x_0) = N(a_t x_0, sigma_t^2 I)` with `a_t^2 = alpha_bar_t = alpha_1 ... alpha_t` and `sigma_t^2
//! = 1 - alpha_bar_t`.

use super::level::NoiseLevel;
use super::posterior::Posterior;
use crate::{Error, Result};

/// Steps beyond which a table is not what anybody meant.
const MOST_STEPS: usize = 1_000_000;

/// A variance-preserving schedule of `T` steps. Tables are indexed by time, `0..=T`; time 0 is clean data.
#[derive(Clone, Debug)]
pub struct Schedule {
    beta: Vec<f64>,      // [T + 1], beta[0] = 0
    alpha_bar: Vec<f64>, // [T + 1], alpha_bar[0] = 1
}

impl Schedule {
    /// `beta_t` linear from `beta_first` at `t = 1` to `beta_last` at `t = steps` (Ho et al. 2020: 1e-4 to 0.02, 1000
    /// steps). The end points are taken as they are, whatever the number of steps.
    ///
    /// # Errors
    /// No steps, or an end point outside `(0, 1)`.
    pub fn linear(steps: usize, beta_first: f64, beta_last: f64) -> Result<Schedule> {
        check_range(beta_first, beta_last)?;
        let intervals = intervals(steps);
        Schedule::from_beta(steps, |t| beta_first + (beta_last - beta_first) * (t - 1) as f64 / intervals)
    }

    /// The root of `beta_t` linear from that of `beta_first` to that of `beta_last` (Rombach et al. 2022).
    ///
    /// # Errors
    /// As [`Schedule::linear`].
    pub fn scaled_linear(steps: usize, beta_first: f64, beta_last: f64) -> Result<Schedule> {
        check_range(beta_first, beta_last)?;
        let (first, last, intervals) = (beta_first.sqrt(), beta_last.sqrt(), intervals(steps));
        Schedule::from_beta(steps, |t| (first + (last - first) * (t - 1) as f64 / intervals).powi(2))
    }

    /// `beta_t` between `beta_first` and `beta_last` along the logistic function from -6 to 6 (Xu et al. 2022). Neither
    /// end is quite reached.
    ///
    /// # Errors
    /// As [`Schedule::linear`].
    pub fn sigmoid(steps: usize, beta_first: f64, beta_last: f64) -> Result<Schedule> {
        check_range(beta_first, beta_last)?;
        let intervals = intervals(steps);
        let logistic = |t: usize| 1.0 / (1.0 + (6.0 - 12.0 * (t - 1) as f64 / intervals).exp());
        Schedule::from_beta(steps, |t| beta_first + (beta_last - beta_first) * logistic(t))
    }

    /// The schedule of these `beta_1 ..= beta_T`.
    ///
    /// # Errors
    /// An empty list, or a beta outside `(0, 1)`.
    pub fn from_betas(betas: &[f64]) -> Result<Schedule> {
        match betas.iter().position(|beta| !(*beta > 0.0 && *beta < 1.0)) {
            Some(i) => Err(Error::Config(format!(
                "noise schedule: beta {} of {} must lie between 0 and 1, not {}",
                i + 1,
                betas.len(),
                betas[i]
            ))),
            None => Schedule::from_beta(betas.len(), |t| betas[t - 1]),
        }
    }

    /// This schedule with the roots of `alpha_bar` shifted and scaled such that the last is 0 and the first stays (Lin et
    /// al. 2024, algorithm 1). A schedule of one step stays as it is.
    #[must_use]
    pub fn with_zero_terminal_snr(mut self) -> Schedule {
        let (first, last) = (self.alpha_bar[1].sqrt(), self.alpha_bar[self.steps()].sqrt());
        if self.steps() > 1 {
            for alpha_bar in &mut self.alpha_bar[1..] {
                *alpha_bar = ((alpha_bar.sqrt() - last) * (first / (first - last))).powi(2);
            }
            for t in 1..=self.steps() {
                self.beta[t] = 1.0 - self.alpha_bar[t] / self.alpha_bar[t - 1];
            }
        }
        self
    }

    /// The cosine schedule (Nichol and Dhariwal 2021, eq. 17): `alpha_bar` proportional to `f(tau) = cos^2((tau +
    /// 0.008) / 1.008 pi / 2)` at `tau = t / T`, every `beta_t` at most 0.999.
    ///
    /// # Errors
    /// No steps.
    pub fn cosine(steps: usize) -> Result<Schedule> {
        let f = |t: usize| {
            let tau = t as f64 / steps as f64;
            ((tau + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2)
        };
        Schedule::from_beta(steps, |t| (1.0 - f(t) / f(t - 1)).min(0.999))
    }

    fn from_beta(steps: usize, beta: impl Fn(usize) -> f64) -> Result<Schedule> {
        if steps == 0 {
            return Err(Error::Config("noise schedule: the number of steps must be at least 1, not 0".into()));
        }
        if steps > MOST_STEPS {
            let message = format!("noise schedule: at most {MOST_STEPS} steps are possible, not {steps}");
            return Err(Error::Config(message));
        }
        let beta: Vec<f64> = std::iter::once(0.0).chain((1..=steps).map(beta)).collect();
        let alpha_bar = beta
            .iter()
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect();
        Ok(Schedule { beta, alpha_bar })
    }

    /// The number of steps, `T`.
    pub fn steps(&self) -> usize {
        self.beta.len() - 1
    }

    /// Variance that the step from `t - 1` to `t` adds; 0 at `t = 0`.
    pub fn beta(&self, t: usize) -> f64 {
        self.beta[t]
    }

    /// `1 - beta_t`, the squared factor by which the step from `t - 1` to `t` shrinks the signal.
    pub fn alpha(&self, t: usize) -> f64 {
        1.0 - self.beta[t]
    }

    /// Squared signal scale at `t`, the product of `alpha_1 ..= alpha_t`; 1 at `t = 0`.
    pub fn alpha_bar(&self, t: usize) -> f64 {
        self.alpha_bar[t]
    }

    /// Signal and noise scale at `t`.
    pub fn level(&self, t: usize) -> NoiseLevel {
        NoiseLevel::variance_preserving(self.alpha_bar[t])
    }

    /// `q(z_{t-1} | z_t, x_0)`.
    pub fn posterior(&self, t: usize) -> Posterior {
        Posterior::new(self.level(t), self.level(t - 1))
    }

    /// `beta_tilde_t`, the variance of [`Schedule::posterior`]; at `t = 1`, where that is 0, the one at `t = 2`.
    pub fn clipped_posterior_variance(&self, t: usize) -> f64 {
        let before = (t < self.steps()).then(|| self.posterior(t + 1));
        self.posterior(t).clipped_variance(before.as_ref())
    }
}

fn check_range(beta_first: f64, beta_last: f64) -> Result<()> {
    for (name, beta) in [("first", beta_first), ("last", beta_last)] {
        if !(beta > 0.0 && beta < 1.0) {
            return Err(Error::Config(format!("noise schedule: the {name} beta must lie between 0 and 1, not {beta}")));
        }
    }
    Ok(())
}

fn intervals(steps: usize) -> f64 {
    steps.saturating_sub(1).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal to `digits` significant digits, as a table in a paper would be checked.
    fn assert_digits(what: &str, got: f64, want: f64, digits: i32) {
        let tolerance = 0.51 * 10f64.powi(want.abs().log10().floor() as i32 + 1 - digits);
        assert!((got - want).abs() <= tolerance, "{what}: {got} instead of {want}");
    }

    #[test]
    fn tables_have_the_published_values() {
        let linear_a = Schedule::linear(1000, 1e-3, 0.02).unwrap();
        let linear_ho = Schedule::linear(1000, 1e-4, 0.02).unwrap();
        let linear_ho_500 = Schedule::linear(500, 1e-4, 0.02).unwrap();
        let cosine = Schedule::cosine(1000).unwrap();
        // alpha_bar_1, alpha_bar_T, log SNR at 1 and at T, first t with alpha_bar <= 1/2, beta_tilde_2, prior KL in
        // bits/dim at x_0^2 = 1
        let fixtures = [
            ("linear-A", &linear_a, 0.999, 2.5652e-5, 6.907, -10.571, 223, 5.0496e-4, 1.85e-5),
            ("linear-Ho", &linear_ho, 0.9999, 4.0358e-5, 9.210, -10.118, 260, 5.4532e-5, 2.91e-5),
            ("linear-Ho, 500 steps", &linear_ho_500, 0.9999, 6.3527e-3, 9.210, -5.053, 185, 5.8316e-5, 4.60e-3),
            ("cosine", &cosine, 0.999959, 2.4288e-9, 10.095, -19.836, 497, 2.1789e-5, 1.8e-9),
        ];
        for (name, schedule, alpha_bar_1, alpha_bar_last, log_snr_1, log_snr_last, half, beta_tilde_2, prior_kl) in
            fixtures
        {
            let last = schedule.steps();
            assert_digits(&format!("{name}: alpha_bar_1"), schedule.alpha_bar(1), alpha_bar_1, 6);
            assert_digits(&format!("{name}: alpha_bar_T"), schedule.alpha_bar(last), alpha_bar_last, 5);
            assert_digits(&format!("{name}: log SNR at 1"), schedule.level(1).log_snr(), log_snr_1, 4);
            assert_digits(&format!("{name}: log SNR at T"), schedule.level(last).log_snr(), log_snr_last, 4);
            assert_eq!((1..=last).find(|&t| schedule.alpha_bar(t) <= 0.5), Some(half), "{name}: half of the signal");
            assert_digits(&format!("{name}: beta_tilde_2"), schedule.clipped_posterior_variance(2), beta_tilde_2, 5);
            assert_eq!(schedule.clipped_posterior_variance(1), schedule.clipped_posterior_variance(2), "{name}");
            let alpha_bar = schedule.alpha_bar(last);
            let kl_bits = 0.5 * (alpha_bar - alpha_bar - (-alpha_bar).ln_1p()) / std::f64::consts::LN_2;
            assert_digits(&format!("{name}: prior KL"), kl_bits, prior_kl, 2);
        }
    }

    #[test]
    fn time_zero_is_clean_data() {
        for schedule in [Schedule::linear(7, 1e-4, 0.02).unwrap(), Schedule::cosine(7).unwrap()] {
            assert_eq!((schedule.beta(0), schedule.alpha(0), schedule.alpha_bar(0)), (0.0, 1.0, 1.0));
            assert_eq!(schedule.level(0), NoiseLevel::CLEAN);
            assert_eq!(schedule.steps(), 7);
        }
    }

    #[test]
    fn one_step_is_a_schedule() {
        let schedule = Schedule::linear(1, 0.1, 0.2).unwrap();
        assert_eq!(schedule.beta(1), 0.1);
        assert!((schedule.clipped_posterior_variance(1) - 0.1).abs() <= 1e-15);
    }

    #[test]
    fn impossible_schedules_are_refused() {
        assert!(Schedule::linear(0, 1e-4, 0.02).is_err());
        assert!(Schedule::cosine(0).is_err());
        for (first, last) in [(0.0, 0.02), (1e-4, 1.0), (-0.1, 0.02), (f64::NAN, 0.02)] {
            assert!(Schedule::linear(10, first, last).is_err(), "{first}..{last}");
        }
    }
}
