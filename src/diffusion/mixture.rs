//! Mixtures of Gaussians on the line, for which the best possible network has a closed form. Experiments and tests use
//! them to study samplers without the errors of a trained network.

use super::level::NoiseLevel;
use super::prediction::PredictionTarget;
use super::process::{Process, TimePoint};
use super::sampler::SamplerStep;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

/// A mixture of Gaussians on the line.
#[derive(Clone, Debug)]
pub struct Mixture {
    components: Vec<Component>,
}

#[derive(Clone, Copy, Debug)]
struct Component {
    weight: f64,
    mean: f64,
    std: f64,
}

impl Mixture {
    /// Components `(weight, mean, standard deviation)`, their weights adding up to 1.
    pub fn new(components: &[(f64, f64, f64)]) -> Mixture {
        let components = components.iter().map(|&(weight, mean, std)| Component { weight, mean, std });
        Mixture { components: components.collect() }
    }

    /// The noised mixture at `z`: the density of every component times its weight, relative to the largest, and its
    /// `E[x_0 | z]`.
    fn posterior(&self, z: f64, NoiseLevel { a, sigma }: NoiseLevel) -> impl Iterator<Item = (f64, f64)> {
        let log_density = move |c: &Component| {
            let variance = (a * c.std).powi(2) + sigma * sigma;
            c.weight.ln() - 0.5 * variance.ln() - 0.5 * (z - a * c.mean).powi(2) / variance
        };
        let largest = self.components.iter().map(log_density).fold(f64::NEG_INFINITY, f64::max);
        self.components.iter().map(move |c| {
            let gain = a * c.std * c.std / ((a * c.std).powi(2) + sigma * sigma);
            ((log_density(c) - largest).exp(), c.mean + gain * (z - a * c.mean))
        })
    }

    /// `E[x_0 | z]`, the best network's estimate of the image.
    pub fn x0(&self, z: f64, level: NoiseLevel) -> f64 {
        let (total, sum) = self.posterior(z, level).fold((0.0, 0.0), |(total, sum), (p, x0)| (total + p, sum + p * x0));
        sum / total
    }

    /// The score of the noised mixture at `z`, by Tweedie's formula `(a E[x_0 | z] - z) / sigma^2`.
    pub fn score(&self, z: f64, level: NoiseLevel) -> f64 {
        (level.a * self.x0(z, level) - z) / (level.sigma * level.sigma)
    }

    /// Output of the best network at `z`: the mean of its target.
    pub fn output(&self, target: PredictionTarget, z: f64, at: &TimePoint) -> f64 {
        let x0 = target.x0(at);
        (self.x0(z, at.level) - x0.z * z) / x0.out
    }
}

/// Standard normals.
pub fn standard_normal(n: usize, rng: &mut impl Rng) -> Vec<f64> {
    StandardNormal.sample_iter(rng).take(n).collect()
}

/// Takes samples `z` through the steps of a sampler; `output` is the network's output for a `z` at a time.
pub fn walk(
    process: &Process,
    steps: &[SamplerStep],
    z: Vec<f64>,
    rng: &mut impl Rng,
    output: impl Fn(f64, &TimePoint) -> f64,
) -> Vec<f64> {
    walk_watched(process, steps, z, rng, output, |_| {})
}

/// [`walk`], with a look at the samples after every step.
pub fn walk_watched(
    process: &Process,
    steps: &[SamplerStep],
    mut z: Vec<f64>,
    rng: &mut impl Rng,
    output: impl Fn(f64, &TimePoint) -> f64,
    mut watch: impl FnMut(&[f64]),
) -> Vec<f64> {
    let mut previous = vec![0.0; z.len()];
    for step in steps {
        let at = process.point(process.time_at(step.time));
        for (z, previous) in z.iter_mut().zip(&mut previous) {
            let out = output(*z, &at);
            let x0 = step.x0(*z, out);
            let xi = if step.rho == 0.0 { 0.0 } else { StandardNormal.sample(rng) };
            *z = step.apply(*z, out, std::mem::replace(previous, x0), xi);
        }
        watch(&z);
    }
    z
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Schedule;

    #[test]
    fn the_score_is_the_derivative_of_the_log_density() {
        let parts = [(0.2, -1.0, 0.1), (0.8, 1.0, 0.3)];
        let mixture = Mixture::new(&parts);
        for level in [NoiseLevel { a: 0.8, sigma: 0.6 }, NoiseLevel { a: 1.0, sigma: 2.0 }] {
            let log_density = |z: f64| {
                let density = |(weight, mean, std): (f64, f64, f64)| {
                    let variance = (level.a * std).powi(2) + level.sigma.powi(2);
                    weight * (-0.5 * (z - level.a * mean).powi(2) / variance).exp() / variance.sqrt()
                };
                parts.map(density).iter().sum::<f64>().ln()
            };
            for z in [-2.0, -0.9, -0.1, 0.0, 0.3, 1.7] {
                let difference = (log_density(z + 1e-5) - log_density(z - 1e-5)) / 2e-5;
                let score = mixture.score(z, level);
                assert!((score - difference).abs() <= 1e-8 * score.abs().max(1.0), "{score}, {difference} at {z}");
            }
        }
    }

    #[test]
    fn far_away_only_the_nearest_component_counts() {
        let mixture = Mixture::new(&[(0.2, -1.0, 0.1), (0.8, 1.0, 0.1)]);
        let level = NoiseLevel { a: 1.0, sigma: 0.01 };
        let score = mixture.score(-80.0, level);
        assert!((score - 79.0 / 0.0101).abs() <= 1e-6, "{score}");
    }

    #[test]
    fn the_best_output_is_the_mean_of_the_target() {
        let mixture = Mixture::new(&[(1.0, 0.5, 0.3)]);
        let at = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap()).point(400.0);
        let z = 0.3;
        let x0 = mixture.x0(z, at.level);
        let eps = (z - at.level.a * x0) / at.level.sigma;
        for target in [PredictionTarget::X0, PredictionTarget::V, PredictionTarget::Score, PredictionTarget::Mu] {
            let (c_x, c_eps) = target.target(&at);
            let (got, want) = (mixture.output(target, z, &at), c_x * x0 + c_eps * eps);
            assert!((got - want).abs() <= 1e-10, "{target:?}: {got} instead of {want}");
        }
    }
}
