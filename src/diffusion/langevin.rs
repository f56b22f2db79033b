//! Langevin dynamics on two modes of unequal weight (Song and Ermon 2019, figure 3): with the exact score, so that
//! every error is the dynamics' own.
//!
//! Between modes there is next to no density, the score does not depend on their weights, and no step crosses over: plain
//! dynamics leaves every sample at the mode on whose side it started. Annealed dynamics starts where the noise has
//! merged the modes, and the weights are decided there.

use super::continuous::Continuous;
use super::mixture::{Mixture, walk_watched};
use super::prediction::PredictionTarget;
use super::process::Process;
use super::sampler::{Langevin, Sampler};
use crate::Result;
use rand::{Rng, RngExt};

/// The settings of Song and Ermon (2019): ten levels from 1 to 0.01, 100 steps each.
pub const ANNEALED: Langevin =
    Langevin { levels: 10, steps_per_level: 100, sigma_max: 1.0, sigma_min: 0.01, step: 2e-5 };
/// As many steps at the last level alone, each as long as the narrow modes allow.
pub const PLAIN: Langevin = Langevin { levels: 1, steps_per_level: 1000, sigma_max: 0.01, sigma_min: 0.01, step: 1e-3 };

/// Weight, mean and standard deviation of the light and of the heavy mode.
pub const MODES: [(f64, f64, f64); 2] = [(0.2, -1.0, 0.1), (0.8, 1.0, 0.1)];
/// Samples start uniformly between minus and plus this.
pub const START: f64 = 8.0;

/// Result of a run.
#[derive(Clone, Debug)]
pub struct ModesRun {
    /// Positions of the samples at the end.
    pub samples: Vec<f64>,
    /// Share of the samples on the side of the heavy mode, before the first step and after every step.
    pub heavy_share: Vec<f64>,
}

impl ModesRun {
    /// The share at the end; 0.8 would be right.
    pub fn final_share(&self) -> f64 {
        heavy_share(&self.samples)
    }
}

/// Runs Langevin dynamics on [`MODES`] with `n` samples.
///
/// # Errors
/// Settings of the dynamics that are impossible, noise levels below 0.001 or above 100.
pub fn run(dynamics: Langevin, n: usize, rng: &mut impl Rng) -> Result<ModesRun> {
    let process = Process::continuous(Continuous::Ve { sigma_min: 1e-3, sigma_max: 100.0 }, 0.0, 1.0)?;
    let target = PredictionTarget::Score;
    let steps = Sampler::Langevin(dynamics).steps(&process, &[], target, None)?;
    let mixture = Mixture::new(&MODES);
    let start: Vec<f64> = (0..n).map(|_| rng.random_range(-START..START)).collect();
    let mut shares = vec![heavy_share(&start)];
    let output = |z, at: &_| mixture.output(target, z, at);
    let samples = walk_watched(&process, &steps, start, rng, output, |z| shares.push(heavy_share(z)));
    Ok(ModesRun { samples, heavy_share: shares })
}

fn heavy_share(samples: &[f64]) -> f64 {
    samples.iter().filter(|x| **x > 0.0).count() as f64 / samples.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::rng;

    #[test]
    fn annealing_finds_the_weights_of_the_modes_and_plain_dynamics_does_not() {
        let (annealed, plain) = (run(ANNEALED, 4000, &mut rng(1)).unwrap(), run(PLAIN, 2000, &mut rng(1)).unwrap());
        let [annealed_share, plain_share] = [&annealed, &plain].map(ModesRun::final_share);
        assert!((annealed_share - 0.78).abs() <= 0.03, "annealed: {annealed_share}");
        assert!((plain_share - 0.5).abs() <= 0.04, "plain: {plain_share}");
        assert_eq!(annealed.heavy_share.len(), 1001);
        // Both end at the modes.
        for run in [annealed, plain] {
            let near = run.samples.iter().filter(|x| (x.abs() - 1.0).abs() <= 0.4).count() as f64;
            assert!(near / run.samples.len() as f64 >= 0.97, "{near} of {}", run.samples.len());
        }
    }
}
