//! The best possible denoiser: the posterior mean `E[x_0 | z]` and its squared error.
//!
//! The clusters are a product of two mixtures of two Gaussians, so both are known in closed form. Along one axis, with
//! the components `N(m_k, c^2)`, `k = -1, 1`, and `V = a^2 c^2 + sigma^2`:
//!
//! ```text
//! p_k(z)      = N(z; a m_k, V) / sum_j N(z; a m_j, V)
//! E[x_0 | z]  = sum_k p_k (m_k + (a c^2 / V) (z - a m_k))
//! Var[x_0 | z] = c^2 sigma^2 / V + p_-1 p_1 ((m_1 - m_-1) sigma^2 / V)^2
//! ```

use crate::data::points::{CLUSTER_STD, Standardisation};
use crate::diffusion::{Continuous, NoiseLevel};
use std::f64::consts::TAU;

/// The clusters in standardised coordinates.
#[derive(Clone, Copy, Debug)]
pub struct Clusters {
    /// `m_k` of each axis.
    means: [[f64; 2]; 2],
    /// `c` of each axis.
    spread: [f64; 2],
}

impl Clusters {
    /// The clusters of the generator after `standardisation`.
    pub fn new(standardisation: &Standardisation) -> Clusters {
        let Standardisation { mean, std } = standardisation;
        Clusters {
            means: [0, 1].map(|k| [-1.0, 1.0].map(|corner| (corner - mean[k]) / std[k])),
            spread: [0, 1].map(|k| CLUSTER_STD / std[k]),
        }
    }

    /// `E[x_0 | z]` and `Var[x_0 | z]` along an axis.
    fn axis_posterior(&self, axis: usize, z: f64, NoiseLevel { a, sigma }: NoiseLevel) -> [f64; 2] {
        let (m, c2, sigma2) = (self.means[axis], self.spread[axis].powi(2), sigma * sigma);
        let v = a * a * c2 + sigma2;
        let log_ratio = a * (m[1] - m[0]) * (z - 0.5 * a * (m[0] + m[1])) / v;
        let p = 1.0 / (1.0 + (-log_ratio).exp());
        let of = |k: usize| m[k] + a * c2 / v * (z - a * m[k]);
        let variance = c2 * sigma2 / v + p * (1.0 - p) * ((m[1] - m[0]) * sigma2 / v).powi(2);
        [(1.0 - p) * of(0) + p * of(1), variance]
    }

    /// `E[x_0 | z]`.
    pub fn posterior_mean(&self, z: [f64; 2], level: NoiseLevel) -> [f64; 2] {
        [0, 1].map(|axis| self.axis_posterior(axis, z[axis], level)[0])
    }

    /// The squared error of the posterior mean, averaged over the axes: the least possible error of the image at a
    /// level.
    pub fn image_error(&self, level: NoiseLevel) -> f64 {
        // The trapezoid rule on the whole line converges faster than any power for such integrands.
        const NODES: i32 = 240;
        const REACH: f64 = 9.0;
        let error_of_axis = |axis: usize| {
            let v = (level.a * self.spread[axis]).powi(2) + level.sigma * level.sigma;
            let step = 2.0 * REACH / f64::from(NODES);
            let nodes = (0..=NODES).flat_map(|i| {
                let u = -REACH + step * f64::from(i);
                let density = 0.5 * (-0.5 * u * u).exp() / TAU.sqrt() * step;
                [0, 1].map(|k| {
                    let z = level.a * self.means[axis][k] + v.sqrt() * u;
                    density * self.axis_posterior(axis, z, level)[1]
                })
            });
            nodes.sum::<f64>()
        };
        0.5 * (error_of_axis(0) + error_of_axis(1))
    }
}

/// The best possible losses of a schedule with a set, each the mean over the dimensions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optima {
    /// `E |x_0 - x_0^|^2` over times.
    pub x0: f64,
    /// The same error as one of the noise: times SNR.
    pub epsilon: f64,
    /// The same as one of the velocity: the sum of both.
    pub v: f64,
}

/// The integral over `t` in `[t_min, t_max]` of a function of the level and the time, by Simpson's rule in `ln t`, which
/// is smooth where the function grows like `1 / t`.
fn integral(schedule: Continuous, [t_min, t_max]: [f64; 2], f: impl Fn(NoiseLevel, f64) -> f64) -> f64 {
    const INTERVALS: usize = 600;
    let step = (t_max / t_min).ln() / INTERVALS as f64;
    let terms = (0..=INTERVALS).map(|i| {
        let t = t_min * (step * i as f64).exp();
        let weight = match i {
            0 | INTERVALS => 1.0,
            i if i % 2 == 1 => 4.0,
            _ => 2.0,
        };
        weight * t * f(schedule.level(t), t)
    });
    terms.sum::<f64>() * step / 3.0
}

impl Clusters {
    /// The least possible losses for `t` uniform on `range`.
    pub fn optima(&self, schedule: Continuous, range: [f64; 2]) -> Optima {
        let mean = |f: &dyn Fn(NoiseLevel) -> f64| {
            integral(schedule, range, |level, _| f(level) * self.image_error(level)) / (range[1] - range[0])
        };
        let (x0, epsilon) = (mean(&|_| 1.0), mean(&|level| level.snr()));
        Optima { x0, epsilon, v: x0 + epsilon }
    }

    /// The least possible loss of the score itself, for `t` uniform on `range`.
    pub fn score_optimum(&self, schedule: Continuous, range: [f64; 2]) -> f64 {
        let error = |level: NoiseLevel, _| level.snr() / level.sigma.powi(2) * self.image_error(level);
        integral(schedule, range, error) / (range[1] - range[0])
    }

    /// The least possible value of the bound `-int SNR'(t) E |x_0 - x_0^|^2 dt` over `range`; no target can go below it.
    pub fn nelbo(&self, schedule: Continuous, range: [f64; 2]) -> f64 {
        integral(schedule, range, |level, t| -schedule.snr_derivative(t) * self.image_error(level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::points::{PointSet, draw};

    /// The clusters of infinitely many points: mean 0, variance 1 + 0.2^2.
    fn ideal() -> Clusters {
        Clusters::new(&Standardisation { mean: [0.0; 2], std: [1.04f64.sqrt(); 2] })
    }

    #[track_caller]
    fn assert_near(got: f64, want: f64, tolerance: f64) {
        assert!((got - want).abs() <= tolerance, "{got}, wanted {want}");
    }

    /// Computed independently with numpy (Gauss-Hermite in z, trapezoid in t).
    #[test]
    fn losses_of_the_best_denoiser_are_the_known_ones() {
        let optima = ideal().optima(Continuous::VpCosine, [1e-6, 1.0 - 1e-9]);
        assert_near(optima.x0, 0.4703, 1e-4);
        assert_near(optima.epsilon, 0.3513, 1e-4);
        assert_near(optima.v, 0.8215, 2e-4);
        let rescaled = ideal().optima(Continuous::VpCosine, [0.075, 0.95]).x0;
        assert_near(rescaled, 0.4801, 1e-4);
    }

    #[test]
    fn the_bound_of_the_best_denoiser_is_the_known_one() {
        let bound = |t_min, t_max| ideal().nelbo(Continuous::VpCosine, [t_min, t_max]);
        for (t_min, want) in [(0.001, 11.04), (0.01, 6.44), (0.05, 3.362), (0.1, 2.316), (0.2, 1.670)] {
            assert_near(bound(t_min, 1.0 - 1e-9), want, 1.5e-3 * want);
        }
        assert_near(bound(0.05, 0.95), 3.3555, 1e-3);
        let score = ideal().score_optimum(Continuous::VpCosine, [0.073, 1.0 - 1e-9]) * (1.0 - 0.073);
        assert_near(score, 2.69, 0.02);
    }

    #[test]
    fn one_gaussian_has_the_linear_denoiser() {
        let schedule = Continuous::VpCosine;
        let gaussian = Clusters { means: [[0.3; 2]; 2], spread: [0.6; 2] };
        for t in [0.05, 0.4, 0.9] {
            let level = schedule.level(t);
            let v = (level.a * 0.6).powi(2) + level.sigma.powi(2);
            let mean = gaussian.posterior_mean([1.1, -0.4], level);
            for (mean, z) in mean.into_iter().zip([1.1, -0.4]) {
                assert_near(mean, 0.3 + level.a * 0.36 / v * (z - level.a * 0.3), 1e-12);
            }
            assert_near(gaussian.image_error(level), 0.36 * level.sigma.powi(2) / v, 1e-9);
        }
    }

    /// The closed form against the mean squared error of points around the posterior mean.
    #[test]
    fn the_error_is_that_of_denoising_points() {
        let (set, n) = (PointSet::Clusters, 100_000);
        let standardisation = set.standardisation();
        let clusters = Clusters::new(&standardisation);
        let x = draw(set, 5, 0, n, &standardisation);
        let noise: Vec<f32> = {
            let mut noise = vec![0.0; 2 * n];
            let state = crate::engine::random::RngState { seed: 5, step: 0, first_image: 0 };
            crate::engine::random::Philox::new(state, crate::engine::ops::noise_loss::NOISE)
                .fill_normal(0, 0, &mut noise);
            noise
        };
        for t in [0.1, 0.35, 0.7] {
            let level = Continuous::VpCosine.level(t);
            let errors = x.chunks_exact(2).zip(noise.chunks_exact(2)).map(|(x, eps)| {
                let z = [0, 1].map(|k| level.a * f64::from(x[k]) + level.sigma * f64::from(eps[k]));
                let mean = clusters.posterior_mean(z, level);
                0.5 * ((f64::from(x[0]) - mean[0]).powi(2) + (f64::from(x[1]) - mean[1]).powi(2))
            });
            let error = errors.sum::<f64>() / n as f64;
            assert_near(error, clusters.image_error(level), 0.02 * clusters.image_error(level));
        }
    }
}
