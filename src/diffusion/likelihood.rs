//! The variational bound of the negative log likelihood (Ho et al. 2020, eq. 5):
//!
//! ```text
//! -log p(x_0) <= L_T + sum_{t=2}^T L_{t-1} + L_0
//! L_T     = KL(q(z_T | x_0) || N(0, I))                       the prior
//! L_{t-1} = KL(q(z_{t-1} | z_t, x_0) || p(z_{t-1} | z_t))     a step
//! L_0     = -log p(x_0 | z_1)                                 the decoder
//! ```
//!
//! A [`Bound`] is a chain of steps, over all times of a process or some of them, and turns the network's output at `z_t ~
//! q(z_t | x_0)` into the term of that time, so an evaluation is a loop over times, an output each. Everything is in
//! nats and summed over the dimensions; [`bits_per_dim`] converts.
//!
//! Images are on the grid of 256 levels in `[-1, 1]`, and the decoder is a Gaussian integrated over the cell of its
//! level (Ho et al. 2020, eq. 13). For data of no grid there is the density.

use super::level::NoiseLevel;
use super::normal::Cdf;
use super::posterior::Posterior;
use super::prediction::{Estimate, PredictionTarget};
use super::process::Process;
use super::variance::{Variance, log_variance};
use crate::{Error, Result};
use std::f64::consts::{LN_2, PI};

/// `KL(q || p)` of two Gaussians on the line, in nats.
pub fn gaussian_kl([mean_q, var_q]: [f64; 2], [mean_p, var_p]: [f64; 2]) -> f64 {
    0.5 * ((var_p / var_q).ln() + (var_q + (mean_q - mean_p).powi(2)) / var_p - 1.0)
}

/// `KL(q(z | x_0) || N(0, r^2 I))` at the noisiest level, in nats, with `r^2 = a^2 + sigma^2`: 1 where variance is
/// preserved.
pub fn prior_kl(x0: &[f64], level: NoiseLevel) -> f64 {
    let NoiseLevel { a, sigma } = level;
    x0.iter().map(|x| gaussian_kl([a * x, sigma * sigma], [0.0, level.norm().powi(2)])).sum()
}

/// Nats as bits per dimension.
pub fn bits_per_dim(nats: f64, dims: usize) -> f64 {
    nats / (dims as f64 * LN_2)
}

/// Distribution of the data at the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoder {
    /// One of 256 levels.
    Discretised(Cdf),
    /// A real number; its negative log density may be negative.
    Density,
    /// `((x_0 - mean)^2 + ln 2) / 2`, with no variance and no grid, and fixed-small in place of any fixed variance: the
    /// formula of Ambilduke, Basseras and Vujadinovic. At least half a bit per dimension.
    Ambilduke,
}

/// Half the distance of two levels.
const HALF_CELL: f64 = 1.0 / 255.0;
/// Least probability of a level, and the least value of `|x_0|` that belongs to a level at the edge.
pub(super) const LEAST_PROBABILITY: f64 = 1e-12;
const EDGE: f64 = 0.999;

/// The cell of the level `x0`, relative to a Gaussian: the first and the last level extend to infinity.
pub(super) fn cell(x0: f64, mean: f64, deviation: f64) -> [f64; 2] {
    let low = if x0 < -EDGE { f64::NEG_INFINITY } else { (x0 - HALF_CELL - mean) / deviation };
    let high = if x0 > EDGE { f64::INFINITY } else { (x0 + HALF_CELL - mean) / deviation };
    [low, high]
}

/// Probability of a cell, at least 1e-12.
pub(super) fn cell_probability([low, high]: [f64; 2], cdf: Cdf) -> f64 {
    cdf.between(low, high).max(LEAST_PROBABILITY)
}

impl Decoder {
    /// `-log p(x_0 | z_1)` of one value, whose distribution has this mean and variance, in nats.
    pub fn nats(self, x0: f64, mean: f64, variance: f64) -> f64 {
        match self {
            Decoder::Discretised(cdf) => -cell_probability(cell(x0, mean, variance.sqrt()), cdf).ln(),
            Decoder::Density => 0.5 * ((2.0 * PI * variance).ln() + (x0 - mean).powi(2) / variance),
            Decoder::Ambilduke => 0.5 * ((x0 - mean).powi(2) + LN_2),
        }
    }
}

/// The bound over a chain of times.
#[derive(Clone, Debug)]
pub struct Bound {
    steps: Vec<Step>, // in the order of the times, the decoder's first
    variance: Variance,
    decoder: Decoder,
    clip: f64,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    time: f64,
    level: NoiseLevel,
    x0: Estimate,
    posterior: Posterior,
    /// `ln beta_tilde` and `ln beta`; in the first step the former is that of the second.
    log_range: [f64; 2],
    /// `ln rho^2` where it is fixed.
    log_fixed: f64,
}

/// One term of the bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// Summed over the dimensions.
    pub nats: f64,
    /// Squared error of the estimate of `x_0`, summed over the dimensions.
    pub squared_error: f64,
}

impl Bound {
    /// The bound over `times` of the process, ascending; the decoder takes the first. The likelihood of a model is that
    /// over all times of its table; a subset bounds the likelihood of the chain with fewer steps. `clip_x0` bounds the
    /// estimate of `x_0`, as in sampling. A fixed variance is fixed-small's in the first step.
    ///
    /// # Errors
    /// Times or a target that the process does not have; a learned variance in continuous time.
    pub fn new(
        process: &Process,
        times: &[f64],
        target: PredictionTarget,
        variance: Variance,
        decoder: Decoder,
        clip_x0: Option<f64>,
    ) -> Result<Bound> {
        target.validate(process)?;
        process.check_times(times)?;
        if variance == Variance::Learned && matches!(process, Process::Continuous { .. }) {
            return Err(Error::Config(
                "bound of the likelihood: a learned variance belongs to a discrete schedule; in continuous time, choose \
                 fixed-small or fixed-large"
                    .into(),
            ));
        }
        let levels: Vec<NoiseLevel> =
            [NoiseLevel::CLEAN].into_iter().chain(times.iter().map(|&t| process.level(t))).collect();
        let posteriors: Vec<Posterior> = levels.windows(2).map(|pair| Posterior::new(pair[1], pair[0])).collect();
        let steps = times.iter().enumerate().map(|(k, &t)| {
            let posterior = posteriors[k];
            let log_range = [posterior.clipped_variance(posteriors.get(k + 1)).ln(), posterior.forward_variance.ln()];
            let large = variance == Variance::FixedLarge && decoder != Decoder::Ambilduke && k > 0;
            Step {
                time: process.network_time(t),
                level: levels[k + 1],
                x0: target.x0(&process.point(t)),
                posterior,
                log_range,
                log_fixed: log_range[usize::from(large)],
            }
        });
        Ok(Bound { steps: steps.collect(), variance, decoder, clip: clip_x0.unwrap_or(f64::INFINITY) })
    }

    /// Number of terms without the prior's.
    pub fn terms(&self) -> usize {
        self.steps.len()
    }

    /// Time input of the network and noise level of the image for term `k`, from 0, the decoder's, to the noisiest.
    pub fn query(&self, k: usize) -> (f64, NoiseLevel) {
        (self.steps[k].time, self.steps[k].level)
    }

    /// `L_T` in nats.
    pub fn prior(&self, x0: &[f64]) -> f64 {
        prior_kl(x0, self.steps[self.steps.len() - 1].level)
    }

    /// Term `k` of an image `x0`, its noisy `z` and the network's output `out` for it; where the variance is learned,
    /// also its second output `v`.
    ///
    /// # Panics
    /// On slices of different lengths, and without `v` if the variance is learned.
    pub fn term(&self, k: usize, x0: &[f64], z: &[f64], out: &[f64], v: Option<&[f64]>) -> Term {
        assert!(x0.len() == z.len() && z.len() == out.len(), "one z and one output per value");
        let step = &self.steps[k];
        let Step { posterior, log_range, .. } = step;
        let learned = (self.variance == Variance::Learned).then(|| v.expect("the network's second output"));
        let mut sum = Term { nats: 0.0, squared_error: 0.0 };
        for (i, ((x0, z), out)) in x0.iter().zip(z).zip(out).enumerate() {
            let estimate = step.x0.apply(*z, *out).clamp(-self.clip, self.clip);
            let log_rho2 = match learned {
                Some(v) if self.decoder == Decoder::Ambilduke => log_variance(*log_range, v[i].clamp(-1.0, 1.0)),
                Some(v) => log_variance(*log_range, v[i]),
                None => step.log_fixed,
            };
            sum.nats += if k == 0 {
                self.decoder.nats(*x0, posterior.z * z + posterior.x0 * estimate, log_rho2.exp())
            } else {
                // gaussian_kl of two means whose difference is that of the images, from the logarithms at hand.
                let difference = posterior.x0 * (x0 - estimate);
                let spread = (posterior.variance + difference * difference) * (-log_rho2).exp();
                0.5 * (log_rho2 - log_range[0] + spread - 1.0)
            };
            sum.squared_error += (x0 - estimate).powi(2);
        }
        sum
    }
}

/// A point of progressive coding (Ho et al. 2020, section 4.3): the cost of sending `z_t`, and the distance from the
/// image of the estimate that the receiver then has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateDistortion {
    /// Index of the term whose `z` was received.
    pub term: usize,
    /// The prior and all noisier terms, bits per dimension.
    pub rate: f64,
    /// Root mean squared error of the estimate, on the scale of the data.
    pub distortion: f64,
}

/// Progressive coding of one image, or of the mean over images, from the noisiest `z` to the last: `terms` as
/// [`Bound::term`] numbers them.
pub fn progressive_coding(prior_nats: f64, terms: &[Term], dims: usize) -> Vec<RateDistortion> {
    let mut nats = prior_nats;
    let point = |(k, term): (usize, &Term)| {
        let rate = bits_per_dim(nats, dims);
        nats += term.nats;
        RateDistortion { term: k, rate, distortion: (term.squared_error / dims as f64).sqrt() }
    };
    terms.iter().enumerate().rev().map(point).collect()
}

#[cfg(test)]
mod tests;
