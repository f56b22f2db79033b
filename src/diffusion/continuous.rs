//! Noise schedules of continuous time, `t` in `[0, 1]`: the same two scales as a table, as functions.
//!
//! | schedule | `a` | `sigma` |
//! |---|---|---|
//! | VP-cosine | `cos(pi t / 2)` | `sin(pi t / 2)` |
//! | VP-linear | `exp(-B / 2)`, `B = b_0 t + (b_1 - b_0) t^2 / 2` | `sqrt(1 - exp(-B))` |
//! | VE | 1 | `sigma_min (sigma_max / sigma_min)^t` |
//!
//! VP preserves variance, `a^2 + sigma^2 = 1`; VE lets it explode. VP-linear with `b_0 = 0.1` and `b_1 = 20` is the
//! limit of a thousand linear betas from 1e-4 to 0.02 (Song et al. 2021, appendix C).

use super::level::NoiseLevel;
use crate::{Error, Result};
use std::f64::consts::{FRAC_PI_2, PI};

/// A schedule of continuous time.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Continuous {
    /// The angle between image and noise grows evenly.
    VpCosine,
    /// The rate at which noise comes in grows evenly from `b0` to `b1`.
    VpLinear { b0: f64, b1: f64 },
    /// The logarithm of the noise grows evenly; the image is never shrunk.
    Ve { sigma_min: f64, sigma_max: f64 },
}

impl Continuous {
    /// Refuses parameters under which the noise does not grow.
    ///
    /// # Errors
    /// `b0`, `b1` that are not positive, or `sigma_min`, `sigma_max` that are not positive and ascending.
    pub fn validate(self) -> Result<()> {
        let message = match self {
            Continuous::VpLinear { b0, b1 } if !(b0 > 0.0 && b1 > 0.0 && b0.is_finite() && b1.is_finite()) => {
                format!("vp-linear: wanted two positive rates, not b0 = {b0} and b1 = {b1}")
            }
            Continuous::Ve { sigma_min, sigma_max }
                if !(sigma_min > 0.0 && sigma_max > sigma_min && sigma_max.is_finite()) =>
            {
                format!("ve: wanted 0 < sigma_min < sigma_max, not {sigma_min} and {sigma_max}")
            }
            _ => return Ok(()),
        };
        Err(Error::Config(format!("noise schedule {message}")))
    }

    /// Signal and noise scale at `t`.
    pub fn level(self, t: f64) -> NoiseLevel {
        match self {
            Continuous::VpCosine => {
                let (sigma, a) = (FRAC_PI_2 * t).sin_cos();
                NoiseLevel { a, sigma }
            }
            Continuous::VpLinear { b0, b1 } => {
                let integral = b0 * t + 0.5 * (b1 - b0) * t * t;
                NoiseLevel { a: (-0.5 * integral).exp(), sigma: (-(-integral).exp_m1()).sqrt() }
            }
            Continuous::Ve { sigma_min, sigma_max } => {
                NoiseLevel { a: 1.0, sigma: sigma_min * (sigma_max / sigma_min).powf(t) }
            }
        }
    }

    /// Derivative of the signal-to-noise ratio `a^2 / sigma^2` with respect to `t`: never positive, and without bound
    /// as `t` goes to 0 unless the variance explodes.
    pub fn snr_derivative(self, t: f64) -> f64 {
        let NoiseLevel { a, sigma } = self.level(t);
        match self {
            Continuous::VpCosine => -PI * a / sigma.powi(3),
            Continuous::VpLinear { b0, b1 } => -(b0 + (b1 - b0) * t) * a * a / sigma.powi(4),
            Continuous::Ve { sigma_min, sigma_max } => -2.0 * (sigma_max / sigma_min).ln() / (sigma * sigma),
        }
    }

    /// The time at which `sigma / a`, the noise relative to the signal, has this value; outside `[0, 1]` where the
    /// schedule never has it.
    pub fn time_of_noise(self, ratio: f64) -> f64 {
        match self {
            Continuous::VpCosine => ratio.atan() / FRAC_PI_2,
            Continuous::VpLinear { b0, b1 } => {
                // B = ln(1 + ratio^2), and the root of the quadratic in the form that survives b1 = b0.
                let integral = (ratio * ratio).ln_1p();
                2.0 * integral / (b0 + (b0 * b0 + 2.0 * (b1 - b0) * integral).sqrt())
            }
            Continuous::Ve { sigma_min, sigma_max } => (ratio / sigma_min).ln() / (sigma_max / sigma_min).ln(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Continuous; 3] = [
        Continuous::VpCosine,
        Continuous::VpLinear { b0: 0.1, b1: 20.0 },
        Continuous::Ve { sigma_min: 0.01, sigma_max: 50.0 },
    ];

    #[test]
    fn levels_keep_or_explode_the_variance() {
        for k in 0..=100 {
            let t = f64::from(k) / 100.0;
            for schedule in &ALL[..2] {
                let NoiseLevel { a, sigma } = schedule.level(t);
                assert!((a * a + sigma * sigma - 1.0).abs() <= 1e-15, "{schedule:?} at {t}");
            }
        }
        assert_eq!(Continuous::VpCosine.level(0.0), NoiseLevel::CLEAN);
        assert_eq!(ALL[1].level(0.0), NoiseLevel::CLEAN);
        let explode = [0.0, 0.5, 1.0].map(|t| ALL[2].level(t));
        for (level, sigma) in explode.iter().zip([0.01, 0.5f64.sqrt(), 50.0]) {
            assert!(level.a == 1.0 && (level.sigma - sigma).abs() <= 1e-12 * sigma, "{level:?} instead of {sigma}");
        }
    }

    #[test]
    fn a_thousand_linear_betas_are_nearly_vp_linear() {
        let table = crate::diffusion::Schedule::linear(1000, 1e-4, 0.02).unwrap();
        for t in [1, 10, 100, 500, 1000] {
            let (discrete, continuous) = (table.level(t).log_snr(), ALL[1].level(t as f64 / 1000.0).log_snr());
            assert!((discrete - continuous).abs() <= 0.12, "{t}: {discrete} and {continuous}");
        }
    }

    #[test]
    fn the_derivative_of_the_ratio_is_that_of_finite_differences() {
        for schedule in ALL {
            for k in 1..100 {
                let (t, h) = (f64::from(k) / 100.0, 1e-5);
                let snr = |t: f64| schedule.level(t).snr();
                let difference = (8.0 * (snr(t + h) - snr(t - h)) - (snr(t + 2.0 * h) - snr(t - 2.0 * h))) / (12.0 * h);
                let derivative = schedule.snr_derivative(t);
                assert!(
                    (derivative - difference).abs() <= 1e-6 * derivative.abs(),
                    "{schedule:?} at {t}: {derivative}, finite difference {difference}"
                );
            }
        }
    }

    #[test]
    fn the_time_of_a_noise_ratio_inverts_the_schedule() {
        for schedule in [ALL[0], ALL[1], ALL[2], Continuous::VpLinear { b0: 3.0, b1: 3.0 }] {
            for t in [0.01, 0.3, 0.7, 0.99] {
                let NoiseLevel { a, sigma } = schedule.level(t);
                assert!((schedule.time_of_noise(sigma / a) - t).abs() <= 1e-12, "{schedule:?} at {t}");
            }
        }
    }

    #[test]
    fn schedules_that_add_no_noise_are_refused() {
        for schedule in [
            Continuous::VpLinear { b0: 0.0, b1: 1.0 },
            Continuous::VpLinear { b0: 1.0, b1: f64::NAN },
            Continuous::Ve { sigma_min: 1.0, sigma_max: 0.5 },
            Continuous::Ve { sigma_min: 0.0, sigma_max: 0.5 },
        ] {
            assert!(schedule.validate().is_err(), "{schedule:?}");
        }
        assert!(ALL.iter().all(|schedule| schedule.validate().is_ok()));
    }
}
