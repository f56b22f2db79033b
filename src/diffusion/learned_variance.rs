//! Training of a variance of the reverse step (Nichol and Dhariwal 2021, section 3.1; Ambilduke et al.).
//!
//! A network with two outputs per value, one for the image and `v` for the variance, steps back with
//!
//! ```text
//! ln rho^2 = f ln beta + (1 - f) ln beta_tilde,    f = (v + 1) / 2
//! ```
//!
//! and is trained by `L = L_simple + lambda L_vb`, where `L_vb` is the term of the variational bound at the one time
//! that was drawn, in bits per dimension. The mean in it is held fixed: `L_vb` trains `v` alone, through
//!
//! ```text
//! t >= 2:  L = KL(q(z_{t-1} | z_t, x_0) || N(mu, rho^2)),  mu_tilde - mu = C_2 (x_0 - x_0^)
//!          dL / d ln rho^2 = (1 - (beta_tilde + C_2^2 (x_0 - x_0^)^2) / rho^2) / 2
//! t  = 1:  L = -ln p,  p = Phi(u_+) - Phi(u_-),  u = (x_0 +- 1/255 - x_0^) / rho
//!          dL / d ln rho^2 = (u_+ phi(u_+) - u_- phi(u_-)) / (2 p)
//! d ln rho^2 / dv = (ln beta - ln beta_tilde) / 2
//! ```
//!
//! A term that belongs to an open edge of the cell falls away, and where `p` is at its floor of 1e-12 so does the
//! gradient.
//!
//! `lambda` depends on the reduction of `L_simple`: Ambilduke et al. add `lambda = 1000` times `L_vb` to a sum over
//! 1024 values, which is 1000 / 1024 for their mean, and 1e-3 for `L_vb` counted as the whole bound, as Nichol and
//! Dhariwal have it. Other numbers of steps want `lambda` in proportion to `T`.

use super::likelihood::{LEAST_PROBABILITY, cell, cell_probability, gaussian_kl};
use super::normal::{Cdf, density};
use super::posterior::Posterior;
use super::schedule::Schedule;
use super::variance::log_variance;
use std::f64::consts::LN_2;

/// Coefficients of the term of one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VarianceStep {
    /// `ln beta_tilde` and `ln beta`; at `t = 1` the former is that of `t = 2`.
    pub log_variance: [f64; 2],
    /// `C_2`, the weight of `x_0` in the mean of the step.
    pub c_2: f64,
    /// `true` for the step that ends at the image, whose term is the decoder's.
    pub first: bool,
}

impl VarianceStep {
    /// The step from `t`, in `1..=T`.
    pub fn new(schedule: &Schedule, t: usize) -> VarianceStep {
        let Posterior { x0, .. } = schedule.posterior(t);
        VarianceStep {
            log_variance: [schedule.clipped_posterior_variance(t).ln(), schedule.beta(t).ln()],
            c_2: x0,
            first: t == 1,
        }
    }
}

/// The term of one value in bits, and its derivative with respect to `v`. `x0` is the value, `predicted` the network's
/// estimate of it, held fixed.
pub fn learned_variance_term(step: &VarianceStep, x0: f64, predicted: f64, v: f64) -> (f64, f64) {
    let [log_small, log_large] = step.log_variance;
    let log_rho2 = log_variance(step.log_variance, v);
    let (nats, slope) = if step.first {
        let cell = cell(x0, predicted, (0.5 * log_rho2).exp());
        let p = cell_probability(cell, Cdf::Exact);
        let [low, high] = cell.map(|u| if u.is_finite() { u * density(u) } else { 0.0 });
        (-p.ln(), if p == LEAST_PROBABILITY { 0.0 } else { 0.5 * (high - low) / p })
    } else {
        let (small, rho2, difference) = (log_small.exp(), log_rho2.exp(), step.c_2 * (x0 - predicted));
        let nats = gaussian_kl([difference, small], [0.0, rho2]);
        (nats, 0.5 * (1.0 - (small + difference * difference) / rho2))
    };
    (nats / LN_2, slope * 0.5 * (log_large - log_small) / LN_2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::mixture::{Mixture, standard_normal};
    use crate::diffusion::{NoiseLevel, PredictionTarget, rng};

    fn linear() -> Schedule {
        Schedule::linear(1000, 1e-4, 0.02).unwrap()
    }

    #[test]
    fn the_ends_of_the_range_are_the_fixed_variances() {
        let schedule = linear();
        for t in [1, 2, 3, 10, 500, 1000] {
            let [small, large] =
                [-1.0, 1.0].map(|v| log_variance(VarianceStep::new(&schedule, t).log_variance, v).exp());
            let want = schedule.posterior(t.max(2)).variance;
            assert!((small - want).abs() <= 1e-12 * want, "{t}: {small} instead of {want}");
            assert!((large - schedule.beta(t)).abs() <= 1e-12 * large, "{t}: {large}");
        }
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let schedule = linear();
        for t in [1, 2, 3, 10, 100, 1000] {
            let step = VarianceStep::new(&schedule, t);
            // At t = 1 also the levels at the edge, and an error of several deviations.
            for (x0, predicted) in [(0.2, 0.21), (0.2, 0.2), (-1.0, -0.99), (1.0, 0.95), (1.0, 1.3), (-0.6, -0.57)] {
                for v in [-1.3, -1.0, 0.0, 0.4, 1.0] {
                    let bits = |v: f64| learned_variance_term(&step, x0, predicted, v).0;
                    let h = 1e-3;
                    let difference =
                        (8.0 * (bits(v + h) - bits(v - h)) - (bits(v + 2.0 * h) - bits(v - 2.0 * h))) / (12.0 * h);
                    let (_, gradient) = learned_variance_term(&step, x0, predicted, v);
                    assert!(
                        (gradient - difference).abs() <= 1e-6 * gradient.abs().max(1e-3),
                        "t = {t}, x_0 = {x0}, {predicted}, v = {v}: {gradient}, finite difference {difference}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_hopeless_first_step_has_a_finite_loss_and_no_gradient() {
        let step = VarianceStep::new(&linear(), 1);
        for (x0, predicted) in [(1.0, -1.0), (-1.0, 1.0), (0.0, 1e6)] {
            let (bits, gradient) = learned_variance_term(&step, x0, predicted, 0.0);
            assert!((bits - 1e12f64.log2()).abs() <= 1e-9 && gradient == 0.0, "{bits}, {gradient}");
        }
        // Seven and eight deviations beyond the cell: there the slope of the probability is not yet lost to rounding, and
        // would be divided by the floor.
        let deviation = (0.5 * log_variance(step.log_variance, 0.0)).exp();
        for away in [7.5, 8.0, -8.0] {
            let predicted = 0.2 + f64::signum(away) / 255.0 + away * deviation;
            let cell = cell(0.2, predicted, deviation);
            let slope = cell.map(|u| u * density(u));
            assert!((slope[1] - slope[0]).abs() / LEAST_PROBABILITY >= 1e-3, "{away}: the slope is lost anyhow");
            let (bits, gradient) = learned_variance_term(&step, 0.2, predicted, 0.0);
            assert!((bits - 1e12f64.log2()).abs() <= 1e-9 && gradient == 0.0, "{away}: {bits}, {gradient}");
        }
        // Within the floor there is one.
        let (bits, gradient) = learned_variance_term(&step, 0.2, 0.2 + 1.0 / 255.0 + 5.0 * deviation, 0.0);
        assert!(bits < 1e12f64.log2() && gradient != 0.0, "{bits}, {gradient}");
    }

    #[test]
    fn the_variance_that_is_learnt_of_normal_data_is_beta() {
        // With the best estimate of x_0 ~ N(0, 1) the right variance is beta (Ho et al. 2020, section 3.2). One v per
        // time, improved by Newton's method in secant form on the mean of the gradient over samples.
        let schedule = linear();
        let n = 20_000;
        let [images, noise] = [0, 1].map(|seed| standard_normal(n, &mut rng(seed)));
        let data = Mixture::new(&[(1.0, 0.0, 1.0)]);
        for t in [2, 3, 5, 10, 500] {
            let step = VarianceStep::new(&schedule, t);
            let NoiseLevel { a, sigma } = schedule.level(t);
            let pairs: Vec<(f64, f64)> = images
                .iter()
                .zip(&noise)
                .map(|(x0, eps)| (*x0, data.x0(a * x0 + sigma * eps, NoiseLevel { a, sigma })))
                .collect();
            let gradient = |v: f64| {
                let of = |(x0, predicted): &(f64, f64)| learned_variance_term(&step, *x0, *predicted, v).1;
                pairs.iter().map(of).sum::<f64>() / n as f64
            };
            let (mut before, mut v) = (-0.2, 0.2);
            for _ in 0..30 {
                let (g_before, g) = (gradient(before), gradient(v));
                if g == g_before {
                    break;
                }
                (before, v) = (v, v - g * (v - before) / (g - g_before));
            }
            let rho2 = log_variance(step.log_variance, v).exp();
            assert!((rho2 / schedule.beta(t) - 1.0).abs() <= 0.05, "t = {t}: {rho2} instead of {}", schedule.beta(t));
        }
    }

    #[test]
    fn the_first_step_learns_its_own_error() {
        // Wide of the grid of levels, the decoder is a density: the best variance is the mean squared error.
        let step = VarianceStep { log_variance: [(0.01f64).ln(), (1.0f64).ln()], c_2: 1.0, first: true };
        let errors = standard_normal(4000, &mut rng(3));
        let gradient =
            |v: f64| errors.iter().map(|e| learned_variance_term(&step, 0.2, 0.2 + 0.1 * e, v).1).sum::<f64>() / 4000.0;
        // rho^2 = 0.01 at v = -1, where the gradient changes its sign, up to sampling error.
        assert!(gradient(-1.1) < 0.0 && gradient(-0.9) > 0.0, "{} {}", gradient(-1.1), gradient(-0.9));
    }

    #[test]
    fn the_mean_is_that_of_the_step() {
        // The difference of means that the term is made of, against the means themselves.
        let schedule = linear();
        let (t, x0, predicted, z) = (40, 0.3, 0.1, -0.2);
        let step = VarianceStep::new(&schedule, t);
        let posterior = schedule.posterior(t);
        let means = [x0, predicted].map(|x| posterior.z * z + posterior.x0 * x);
        let variance = log_variance(step.log_variance, 0.3).exp();
        let want = gaussian_kl([means[0], posterior.variance], [means[1], variance]) / LN_2;
        let (bits, _) = learned_variance_term(&step, x0, predicted, 0.3);
        assert!((bits - want).abs() <= 1e-10 * want, "{bits} instead of {want}");
        let target = PredictionTarget::Mu;
        let at = crate::diffusion::Process::Discrete(schedule).point(t as f64);
        assert!((target.x0(&at).apply(z, means[1]) - predicted).abs() <= 1e-9);
    }
}
