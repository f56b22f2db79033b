//! The measures of a trained network of points: its losses as functions of time, on points that no training has seen,
//! and the distances of its samples from the data.

use super::cell::{BOUND_RANGE, Cell, RESCALED_RANGE, TIMES, own_range};
use crate::data::points::{DATA_SEED, POINTS, PointSet, draw};
use crate::diffusion::{Continuous, PredictionTarget, Process};
use crate::engine::random::RngState;
use crate::eval::energy::energy_distance;
use crate::eval::moments::Moments;
use crate::experiment::context::Context;
use crate::sample::Request;
use crate::train::LoadedModel;
use crate::train::sample_config::SampleConfig;
use anyhow::{Result, bail};

/// Stretches of time for which losses are reported separately.
const BINS: usize = 50;
/// The length of [`TIMES`].
const LENGTH: f64 = TIMES[1] - TIMES[0];
/// Seed of points and noise that no training uses.
const FRESH_SEED: u64 = 1 << 40;

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

/// The losses in a stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bin {
    /// The middle of the stretch.
    pub t: f64,
    pub mean: f64,
    /// Variance over single points.
    pub variance: f64,
}

/// Sums over the points of a bin.
#[derive(Clone, Copy, Default)]
struct Sums {
    n: f64,
    sum: f64,
    squares: f64,
}

/// Sums over all points of an evaluation.
struct Totals {
    schedule: Continuous,
    process: Process,
    target: PredictionTarget,
    /// Points of the evaluation.
    n: f64,
    bins: [Sums; BINS],
    own: Sums,
    nelbo: f64,
    rescaled: f64,
}

impl Totals {
    fn new(model: &LoadedModel, n: usize) -> Result<Totals> {
        let Process::Continuous { schedule, .. } = *model.process() else { bail!("points have continuous time") };
        Ok(Totals {
            schedule,
            process: Process::Continuous { schedule, t_min: TIMES[0], t_max: TIMES[1] },
            target: model.config().diffusion.target,
            n: n as f64,
            bins: [Sums::default(); BINS],
            own: Sums::default(),
            nelbo: 0.0,
            rescaled: 0.0,
        })
    }

    /// Adds a point `x` with its noise at time `t`, and the network's output.
    fn add(&mut self, t: f64, x_eps_out: [&[f32]; 3]) {
        let at = self.process.point(t);
        let error = self.target.squared_error(&at, x_eps_out, 2);
        let of_image = error / self.target.error_ratio(&at);
        let within = |[lo, hi]: [f64; 2]| (lo..=hi).contains(&t);
        self.bins[((t - TIMES[0]) / LENGTH * BINS as f64) as usize % BINS].add(error);
        if within(own_range(self.target)) {
            self.own.add(error);
        }
        if within(BOUND_RANGE) {
            self.nelbo += -self.schedule.snr_derivative(t) * of_image * LENGTH / self.n;
        }
        if within(RESCALED_RANGE) {
            self.rescaled += of_image * LENGTH / self.n / (RESCALED_RANGE[1] - RESCALED_RANGE[0]);
        }
    }

    fn losses(self) -> Losses {
        let by_time = self.bins.iter().enumerate().map(|(i, sums)| Bin {
            t: TIMES[0] + LENGTH * (i as f64 + 0.5) / BINS as f64,
            mean: sums.mean(),
            variance: sums.variance(),
        });
        Losses { own: self.own.mean(), nelbo: self.nelbo, rescaled: self.rescaled, by_time: by_time.collect() }
    }
}

/// The losses of a cell's network on `n` fresh points, at times evenly spread over [`TIMES`].
pub(super) fn losses(context: &mut Context, model: &mut LoadedModel, cell: &Cell, n: usize) -> Result<Losses> {
    let mut totals = Totals::new(model, n)?;
    let (standardisation, chunk) = (cell.set.standardisation(), model.chunk());
    for first in (0..n).step_by(chunk) {
        context.check_stop()?;
        let count = chunk.min(n - first);
        let x = draw(cell.set, FRESH_SEED, first as u64, count, &standardisation);
        let time = |i| TIMES[0] + LENGTH * spread_place(i, n);
        let times: Vec<f64> = (first..first + count).map(time).collect();
        let rng = RngState { seed: FRESH_SEED, step: (first / chunk) as u32, first_image: 0 };
        let answers = model.ask(&x, &times, &[], rng)?;
        for (i, &t) in times.iter().enumerate() {
            totals.add(t, [&x, &answers.eps, &answers.out].map(|values| &values[2 * i..][..2]));
        }
        context.progress((first + count) as u64, n as u64);
    }
    Ok(totals.losses())
}

/// The middle of one of `n` equal parts of [0, 1], each visited once; neighbours in `i` are far apart.
fn spread_place(i: usize, n: usize) -> f64 {
    const STRIDE: usize = 7_368_787; // a prime, so that no smaller n shares a factor with it
    ((i * STRIDE % n) as f64 + 0.5) / n as f64
}

impl Sums {
    fn add(&mut self, value: f64) {
        self.n += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        self.sum / self.n
    }

    fn variance(&self) -> f64 {
        (self.squares / self.n - self.mean().powi(2)).max(0.0)
    }
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
    fn times_are_spread_evenly_and_visited_once() {
        for n in [1, 7, 1000, 4097] {
            let mut places: Vec<f64> = (0..n).map(|i| spread_place(i, n)).collect();
            places.sort_by(f64::total_cmp);
            let exact = (0..n).map(|i| (i as f64 + 0.5) / n as f64);
            assert!(places.iter().zip(exact).all(|(a, b)| (a - b).abs() <= 1e-12), "{n}");
        }
    }

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
