//! The measures of a trained network of points: its losses as functions of time, on points that no training has seen,
//! and the distances of its samples from the data.

use super::cell::{BOUND_RANGE, Cell, RESCALED_RANGE, TIMES, own_range};
use crate::data::points::{DATA_SEED, POINTS, PointSet, draw};
use crate::diffusion::PredictionTarget;
use crate::engine::random::RngState;
use crate::eval::energy::energy_distance;
use crate::eval::moments::Moments;
use crate::eval::time_losses::Bin;
use crate::eval::time_losses::{self, Cuts, Totals};
use crate::experiment::context::Context;
use crate::sample::Request;
use crate::train::LoadedModel;
use crate::train::sample_config::SampleConfig;
use anyhow::Result;

/// Seed of points and noise that no training uses.
pub(super) const FRESH_SEED: u64 = 1 << 40;

/// The losses of a network, each the mean over the dimensions.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    /// The error of its own target, the mean over the times of its weighted training.
    pub own: f64,
    /// The bound `-int SNR' |x - x^|^2 dt` over [`BOUND_RANGE`].
    pub nelbo: f64,
    /// The mean error of the image over [`RESCALED_RANGE`].
    pub rescaled: f64,
    /// The error of its own target by time.
    pub by_time: Vec<Bin>,
}

/// The ranges over which the losses of a target are taken.
pub(super) fn cuts(target: PredictionTarget) -> Cuts {
    Cuts { times: TIMES, own: own_range(target), bound: BOUND_RANGE, rescaled: RESCALED_RANGE }
}

impl From<time_losses::Losses> for Losses {
    fn from(found: time_losses::Losses) -> Losses {
        let [own, nelbo, rescaled] = [found.own, found.nelbo, found.rescaled].map(|mean| mean.loss);
        Losses { own, nelbo, rescaled, by_time: found.by_time }
    }
}

/// The losses of a cell's network on `n` fresh points, at times evenly spread over [`TIMES`].
pub(super) fn losses(context: &mut Context, model: &mut LoadedModel, cell: &Cell, n: usize) -> Result<Losses> {
    let cuts = cuts(cell.target);
    let mut totals = Totals::new(model, cuts)?;
    let (standardisation, chunk) = (cell.set.standardisation(), model.chunk());
    for first in (0..n).step_by(chunk) {
        context.check_stop()?;
        let count = chunk.min(n - first);
        let x = draw(cell.set, FRESH_SEED, first as u64, count, &standardisation);
        let times: Vec<f64> = (first..first + count).map(|i| cuts.time(i, n)).collect();
        let rng = RngState { seed: FRESH_SEED, step: (first / chunk) as u32, first_image: 0 };
        let answers = model.ask(&x, &times, &[], rng)?;
        for (i, &t) in times.iter().enumerate() {
            totals.add(t, [&x, &answers.eps, &answers.out].map(|values| &values[2 * i..][..2]));
        }
        context.progress((first + count) as u64, n as u64);
    }
    Ok(totals.losses().into())
}

/// `n` samples `[n, 2]` of a network by so many steps.
pub(super) fn samples(context: &mut Context, model: &mut LoadedModel, n: usize, steps: usize) -> Result<Vec<f32>> {
    context.check_stop()?;
    let sample = SampleConfig { steps, ..model.config().sample.clone() };
    let (plan, seed) =
        (sample.plan(&model.config().diffusion, model.config().learns_variance())?, context.settings().seed);
    let samples = model.sample(Request::new(&plan, n, seed), &mut |done, total| {
        context.progress(done as u64, total as u64);
    })?;
    Ok(samples.images)
}

/// Distances of samples from a set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Distances {
    pub mean: f64,
    pub covariance: f64,
}

/// Distance of the moments of samples from those of the whole set.
pub(super) fn moments(set: PointSet, samples: &[f32]) -> Result<Distances> {
    let data = Moments::of(&draw(set, DATA_SEED, 0, POINTS, &set.standardisation()), 2)?;
    let own = Moments::of(samples, 2)?;
    Ok(Distances { mean: own.mean_distance(&data), covariance: own.covariance_distance(&data) })
}

/// Energy distance of samples from as many fresh points.
pub(super) fn energy(set: PointSet, samples: &[f32]) -> Result<f64> {
    let fresh = draw(set, FRESH_SEED, 0, samples.len() / 2, &set.standardisation());
    Ok(energy_distance(samples, &fresh, 2)?)
}

/// The size of the energy distance of `n` samples of the data themselves. It may be negative; distances below this
/// cannot be told apart.
pub(super) fn energy_floor(n: usize) -> f64 {
    2.0 / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_the_data_from_themselves_are_none_and_of_others_are_not() {
        let set = PointSet::Rings;
        let data = draw(set, DATA_SEED, 0, POINTS, &set.standardisation());
        let same = moments(set, &data).unwrap();
        assert!(same.mean <= 1e-12 && same.covariance <= 1e-12, "{same:?}");
        let moved: Vec<f32> = data.chunks_exact(2).flat_map(|p| [2.0 * p[0] + 0.3, p[1] + 0.4]).collect();
        let moved = moments(set, &moved).unwrap();
        // Means (0.3, 0.4); the variance of x from 1 to 4.
        assert!((moved.mean - 0.5).abs() <= 1e-5 && (moved.covariance - 3.0).abs() <= 0.02, "{moved:?}");
    }
}
