//! One exact step back in time, given the clean image: `q(z_s | z_t, x_0)` for any two times `s < t` (Ho et al. 2020,
//! eq. 6-7).
//!
//! With `a_{t|s} = a_t / a_s` and `sigma_{t|s}^2 = sigma_t^2 - a_{t|s}^2 sigma_s^2`, the noise added between `s` and
//! `t`:
//!
//! ```text
//! mean     = a_{t|s} (sigma_s^2 / sigma_t^2) z_t  +  a_s (sigma_{t|s}^2 / sigma_t^2) x_0
//! variance = sigma_{t|s}^2 sigma_s^2 / sigma_t^2
//! ```
//!
//! Neighbouring times give the textbook's `mu_tilde` and `beta_tilde`; a strided subset, continuous time and
//! exploding-variance processes need nothing else.

use super::level::NoiseLevel;

/// Coefficients of `q(z_s | z_t, x_0) = N(z z_t + x0 x_0, variance I)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posterior {
    /// Weight of `z_t` in the mean; 0 when the step ends at clean data.
    pub z: f64,
    /// Weight of `x_0` in the mean; 1 when the step ends at clean data.
    pub x0: f64,
    /// `beta_tilde`, the variance of `z_s` given `z_t` and `x_0`; 0 when the step ends at clean data.
    pub variance: f64,
    /// `sigma_{t|s}^2`, the variance that the forward process adds between the two times; `beta_t` for neighbours.
    pub forward_variance: f64,
}

impl Posterior {
    /// The step back from level `t` to the less noisy level `s`.
    pub fn new(t: NoiseLevel, s: NoiseLevel) -> Posterior {
        let a_ts = t.a / s.a;
        let (var_t, var_s) = (t.sigma * t.sigma, s.sigma * s.sigma);
        let var_ts = var_t - a_ts * a_ts * var_s;
        Posterior {
            z: a_ts * var_s / var_t,
            x0: s.a * var_ts / var_t,
            variance: var_ts * var_s / var_t,
            forward_variance: var_ts,
        }
    }

    /// The variance, or where it is 0, since the step ends at clean data, that of the step taken before it (Nichol and
    /// Dhariwal 2021, section 3.1); `forward_variance` if there is none. A network's own variance needs a logarithm.
    pub fn clipped_variance(&self, before: Option<&Posterior>) -> f64 {
        match before {
            _ if self.variance > 0.0 => self.variance,
            Some(before) => before.variance,
            None => self.forward_variance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Schedule;

    fn assert_close(what: &str, got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-11 * want.abs().max(1e-6), "{what}: {got} instead of {want}");
    }

    #[test]
    fn neighbouring_times_give_the_textbook_coefficients() {
        let schedule = Schedule::linear(1000, 1e-4, 0.02).unwrap();
        for t in 1..=1000 {
            let (beta, alpha) = (schedule.beta(t), schedule.alpha(t));
            let (bar, bar_before) = (schedule.alpha_bar(t), schedule.alpha_bar(t - 1));
            let posterior = Posterior::new(schedule.level(t), schedule.level(t - 1));
            assert_close("z", posterior.z, alpha.sqrt() * (1.0 - bar_before) / (1.0 - bar));
            assert_close("x0", posterior.x0, bar_before.sqrt() * beta / (1.0 - bar));
            assert_close("variance", posterior.variance, beta * (1.0 - bar_before) / (1.0 - bar));
            assert_close("forward variance", posterior.forward_variance, beta);
        }
    }

    #[test]
    fn the_last_step_returns_the_clean_image_without_noise() {
        let first = Schedule::linear(1000, 1e-4, 0.02).unwrap().level(1);
        let posterior = Posterior::new(first, NoiseLevel::CLEAN);
        assert_eq!((posterior.z, posterior.x0, posterior.variance), (0.0, 1.0, 0.0));
    }

    #[test]
    fn two_short_steps_are_one_long_step() {
        // The mean and variance of z_s given x_0 must not depend on which times lie between: averaged over q(z_t | x_0)
        // every step lands on q(z_s | x_0). Checked for a strided pair and for an exploding variance.
        let schedule = Schedule::cosine(1000).unwrap();
        let exploding = |sigma| NoiseLevel { a: 1.0, sigma };
        for (t, s) in [(schedule.level(900), schedule.level(350)), (exploding(20.0), exploding(0.3))] {
            let posterior = Posterior::new(t, s);
            assert_close("mean", posterior.z * t.a + posterior.x0, s.a);
            assert_close("variance", (posterior.z * t.sigma).powi(2) + posterior.variance, s.sigma * s.sigma);
        }
    }
}
