//! What a trained network is worth: its losses as functions of time, on points that it has never seen, and how far its
//! samples are from the data.

use super::{BOUND_RANGE, RESCALED_RANGE, TIMES};
use crate::Result;
use crate::data::points::{PointSet, draw};
use crate::diffusion::Process;
use crate::engine::ops::philox::RngState;
use crate::eval::energy::energy_distance;
use crate::eval::moments::Moments;
use crate::experiment::Context;
use crate::sample::Request;
use crate::train::LoadedModel;

/// Stretches of time for which losses are reported separately.
const BINS: usize = 50;
/// Seeds of points and noise that no training uses.
const FRESH_SEED: u64 = 1 << 40;

/// The losses of a network, each the mean over the dimensions.
#[derive(Clone, Debug)]
pub(in crate::experiment) struct Losses {
    /// The error of its own target, the mean over the times of its weighted training, and its standard error.
    pub own: [f64; 2],
    /// The bound `-int SNR' |x - x^|^2 dt` over [`BOUND_RANGE`].
    pub nelbo: f64,
    /// The mean error of the image over [`RESCALED_RANGE`].
    pub rescaled: f64,
    /// The error of its own target by time.
    pub by_time: Vec<Bin>,
}

/// What was measured in a stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::experiment) struct Bin {
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

/// Asks a network about `n` fresh points, at times that are evenly spread over [`TIMES`]. `own_range` is where the error
/// of its target is averaged.
pub(in crate::experiment) fn losses(
    context: &mut Context,
    model: &mut LoadedModel,
    set: PointSet,
    own_range: [f64; 2],
    n: usize,
) -> Result<Losses> {
    let (process, target, chunk) = (everywhere(model.process()), model.config().diffusion.target, model.chunk());
    let Process::Continuous { schedule, .. } = process else { unreachable!("the thesis has continuous time") };
    let (standardisation, length) = (set.standardisation(), TIMES[1] - TIMES[0]);
    let mut bins = [Sums::default(); BINS];
    let (mut own, mut nelbo, mut rescaled) = (Sums::default(), 0.0, 0.0);
    for first in (0..n).step_by(chunk) {
        context.check_stop()?;
        let count = chunk.min(n - first);
        let x = draw(set, FRESH_SEED, first as u64, count, &standardisation);
        let times: Vec<f64> = (first..first + count).map(|i| TIMES[0] + length * spread_place(i, n)).collect();
        let rng = RngState { seed: FRESH_SEED, step: (first / chunk) as u32, first_image: 0 };
        let answers = model.ask(&x, &times, &[], rng)?;
        for (i, &t) in times.iter().enumerate() {
            let at = process.point(t);
            let of_point = [&x, &answers.eps, &answers.out].map(|values| &values[2 * i..][..2]);
            let error = target.squared_error(&at, of_point, 2);
            let of_image = error / target.error_ratio(&at);
            let within = |[lo, hi]: [f64; 2]| (lo..=hi).contains(&t);
            bins[((t - TIMES[0]) / length * BINS as f64) as usize % BINS].add(error);
            if within(own_range) {
                own.add(error);
            }
            if within(BOUND_RANGE) {
                nelbo += -schedule.snr_derivative(t) * of_image * length / n as f64;
            }
            if within(RESCALED_RANGE) {
                rescaled += of_image * length / n as f64 / (RESCALED_RANGE[1] - RESCALED_RANGE[0]);
            }
        }
        context.progress((first + count) as u64, n as u64);
    }
    let by_time = bins.iter().enumerate().map(|(i, sums)| Bin {
        t: TIMES[0] + length * (i as f64 + 0.5) / BINS as f64,
        mean: sums.mean(),
        variance: sums.variance(),
    });
    Ok(Losses { own: [own.mean(), (own.variance() / own.n).sqrt()], nelbo, rescaled, by_time: by_time.collect() })
}

/// The middle of one of `n` equal parts of [0, 1], each visited once; neighbours in `i` are far apart.
fn spread_place(i: usize, n: usize) -> f64 {
    const STRIDE: usize = 7_368_787; // a prime, so that no smaller n shares a factor with it
    ((i * STRIDE % n) as f64 + 0.5) / n as f64
}

/// The process without the limits of its training.
fn everywhere(process: &Process) -> Process {
    match process {
        Process::Continuous { schedule, .. } => {
            Process::Continuous { schedule: *schedule, t_min: TIMES[0], t_max: TIMES[1] }
        }
        Process::Discrete(schedule) => Process::Discrete(schedule.clone()),
    }
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

/// `n` samples `[n, 2]` of a network in so many steps.
pub(in crate::experiment) fn samples(
    context: &mut Context,
    model: &mut LoadedModel,
    n: usize,
    steps: usize,
) -> Result<Vec<f32>> {
    context.check_stop()?;
    let mut config = model.config().clone();
    config.sample.steps = steps;
    let (plan, seed) = (config.sample_plan()?, context.settings().seed);
    let samples = model.sample(Request::new(&plan, n, seed), &mut |done, total| {
        context.progress(done as u64, total as u64);
    })?;
    Ok(samples.images)
}

/// How far samples are from a set.
#[derive(Clone, Copy, Debug)]
pub(in crate::experiment) struct Distances {
    pub mean: f64,
    pub covariance: f64,
}

/// Distance of the moments of samples from those of the whole set.
pub(in crate::experiment) fn moments(set: PointSet, samples: &[f32]) -> Result<Distances> {
    use crate::data::points::{DATA_SEED, POINTS};
    let data = Moments::of(&draw(set, DATA_SEED, 0, POINTS, &set.standardisation()), 2)?;
    let own = Moments::of(samples, 2)?;
    Ok(Distances { mean: own.mean_distance(&data), covariance: own.covariance_distance(&data) })
}

/// Energy distance of samples from as many fresh points.
pub(in crate::experiment) fn energy(set: PointSet, samples: &[f32]) -> Result<f64> {
    let fresh = draw(set, FRESH_SEED, 0, samples.len() / 2, &set.standardisation());
    energy_distance(samples, &fresh, 2)
}

/// The energy distance that `n` samples of the data themselves have in size: it may be negative, and below this no two
/// distances can be told apart.
pub(in crate::experiment) fn energy_floor(n: usize) -> f64 {
    2.0 / n as f64
}

/// Spearman's rank correlation of two sequences of the same length, without ties.
pub(in crate::experiment) fn spearman(x: &[f64], y: &[f64]) -> f64 {
    let ranks = |values: &[f64]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
        let mut ranks = vec![0.0; values.len()];
        order.into_iter().enumerate().for_each(|(rank, i)| ranks[i] = rank as f64);
        ranks
    };
    let n = x.len() as f64;
    let squares: f64 = ranks(x).iter().zip(ranks(y)).map(|(a, b)| (a - b).powi(2)).sum();
    1.0 - 6.0 * squares / (n * (n * n - 1.0))
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
    fn rank_correlation_is_the_textbook_s() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 300.0, 4000.0]), 1.0);
        assert_eq!(spearman(&[1.0, 2.0, 3.0, 4.0], &[9.0, 4.0, 1.0, 0.0]), -1.0);
        assert!((spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 1.0, 4.0, 3.0, 5.0]) - 0.8).abs() <= 1e-12);
    }

    #[test]
    fn distances_of_the_data_from_themselves_are_none_and_of_others_are_not() {
        use crate::data::points::{DATA_SEED, POINTS};
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
