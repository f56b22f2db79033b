//! Losses of a network in continuous time (Kumar, section 3.1.5): the error of its own target, the bound of the likelihood,
//! and the error of the image, from evaluations at times that are spread evenly.
//!
//! ```text
//! weighted   E_t |target - output|^2                     the mean over t of the error of the network's own target
//! nelbo      -int SNR'(t) |x - x^|^2 dt                   twice the nats of the bound's diffusion part
//! rescaled   E_t |x - x^|^2
//! ```
//! Each is the mean over the dimensions, and has a range of times of its own: the first diverges towards 0 for the score, the
//! second for all data with a density, and the third towards 1 for noise and score.

use crate::diffusion::likelihood::bits_per_dim;
use crate::diffusion::{Continuous, PredictionTarget, Process};
use crate::report::digits;
use crate::train::LoadedModel;
use crate::train::validation::MeanLoss;
use crate::{Error, Result};
use serde::Serialize;

/// Stretches of time for which losses are reported separately.
const BINS: usize = 50;

/// Ranges of time.
#[derive(Clone, Copy, Debug)]
pub struct Cuts {
    /// All times at which the network is evaluated.
    pub times: [f64; 2],
    /// The times of the weighted loss.
    pub own: [f64; 2],
    /// The times of the bound.
    pub bound: [f64; 2],
    /// The times of the rescaled loss.
    pub rescaled: [f64; 2],
}

impl Cuts {
    /// The same range for all.
    pub fn all(range: [f64; 2]) -> Cuts {
        Cuts { times: range, own: range, bound: range, rescaled: range }
    }

    fn length(&self) -> f64 {
        self.times[1] - self.times[0]
    }

    /// The time of sample `i` of `n`: evenly spread, neighbours far apart.
    pub fn time(&self, i: usize, n: usize) -> f64 {
        self.times[0] + self.length() * spread_place(i, n)
    }
}

/// The losses of a network, each the mean over the dimensions, with its standard error.
#[derive(Clone, Debug)]
pub struct Losses {
    /// The weighted loss.
    pub own: MeanLoss,
    /// The bound.
    pub nelbo: MeanLoss,
    /// The rescaled loss.
    pub rescaled: MeanLoss,
    /// The error of its own target by time.
    pub by_time: Vec<Bin>,
}

/// The losses in a stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bin {
    /// The middle of the stretch.
    pub t: f64,
    /// Mean over samples.
    pub mean: f64,
    /// Variance over single samples.
    pub variance: f64,
}

/// Sums over samples.
#[derive(Clone, Copy, Default)]
struct Sums {
    n: f64,
    sum: f64,
    squares: f64,
}

/// Sums over an evaluation of `n` samples, at the times of [`Cuts::time`].
pub struct Totals {
    schedule: Continuous,
    process: Process,
    target: PredictionTarget,
    /// Channels of a sample.
    channels: usize,
    cuts: Cuts,
    bins: [Sums; BINS],
    own: Sums,
    nelbo: Sums,
    rescaled: Sums,
}

impl Totals {
    /// Nothing yet of a model's evaluation.
    ///
    /// # Errors
    /// A discrete schedule.
    pub fn new(model: &LoadedModel, cuts: Cuts) -> Result<Totals> {
        let Process::Continuous { schedule, .. } = *model.process() else {
            return Err(Error::Config(
                "losses over continuous time: the model has a discrete schedule, whose bound is nll".into(),
            ));
        };
        Ok(Totals::over(schedule, model.config().diffusion.target, model.config().model.sample_dims()[2], cuts))
    }

    fn over(schedule: Continuous, target: PredictionTarget, channels: usize, cuts: Cuts) -> Totals {
        Totals {
            schedule,
            process: Process::Continuous { schedule, t_min: cuts.times[0], t_max: cuts.times[1] },
            target,
            channels,
            cuts,
            bins: [Sums::default(); BINS],
            own: Sums::default(),
            nelbo: Sums::default(),
            rescaled: Sums::default(),
        }
    }

    /// Adds a sample `x` with its noise at time `t`, and the network's output.
    pub fn add(&mut self, t: f64, x_eps_out: [&[f32]; 3]) {
        let (at, length) = (self.process.point(t), self.cuts.length());
        let error = self.target.squared_error(&at, x_eps_out, self.channels);
        let of_image = error / self.target.error_ratio(&at);
        let within = |[lo, hi]: [f64; 2]| (lo..=hi).contains(&t);
        self.bins[((t - self.cuts.times[0]) / length * BINS as f64) as usize % BINS].add(error);
        if within(self.cuts.own) {
            self.own.add(error);
        }
        self.nelbo.add(if within(self.cuts.bound) {
            -self.schedule.snr_derivative(t) * of_image * length
        } else {
            0.0
        });
        if within(self.cuts.rescaled) {
            self.rescaled.add(of_image);
        }
    }

    /// The losses of the whole evaluation.
    pub fn losses(self) -> Losses {
        let by_time = self.bins.iter().enumerate().map(|(i, sums)| Bin {
            t: self.cuts.times[0] + self.cuts.length() * (i as f64 + 0.5) / BINS as f64,
            mean: sums.mean(),
            variance: sums.variance(),
        });
        let by_time = by_time.collect();
        Losses { own: self.own.loss(), nelbo: self.nelbo.loss(), rescaled: self.rescaled.loss(), by_time }
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

    fn loss(&self) -> MeanLoss {
        MeanLoss { loss: self.mean(), standard_error: (self.variance() / (self.n - 1.0).max(1.0)).sqrt() }
    }
}

/// The middle of one of `n` equal parts of [0, 1], each visited once; neighbours in `i` are far apart.
fn spread_place(i: usize, n: usize) -> f64 {
    const STRIDE: usize = 7_368_787; // a prime, so that no smaller n shares a factor with it
    ((i * STRIDE % n) as f64 + 0.5) / n as f64
}

/// The losses of a model on data, as an evaluation reports them.
#[derive(Clone, Debug, Serialize)]
pub struct TimeLosses {
    /// Samples evaluated, each at one time.
    pub samples: usize,
    /// The range of times over which each loss is taken.
    pub times: [f64; 2],
    /// The bound `-int SNR' |x - x^|^2 dt`, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nelbo: Option<MeanLoss>,
    /// The error of the network's own target, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weighted: Option<MeanLoss>,
    /// The error of the image, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescaled: Option<MeanLoss>,
}

impl TimeLosses {
    /// The results as rows of a table: name and value.
    pub fn rows(&self) -> Vec<(String, String)> {
        let [first, last] = self.times;
        let shown = |mean: MeanLoss| format!("{} ± {}", digits(mean.loss, 4), digits(mean.standard_error, 2));
        let row = |name: &str, mean: Option<MeanLoss>| {
            mean.map(|mean| (format!("{name}, t from {first} to {last}"), shown(mean)))
        };
        let bits = |mean: MeanLoss| {
            let [loss, standard_error] = [mean.loss, mean.standard_error].map(|nats| bits_per_dim(0.5 * nats, 1));
            MeanLoss { loss, standard_error }
        };
        let rows = [
            row("NELBO, the integral of -SNR' times the error of x0", self.nelbo),
            row("half of it, bits per dimension", self.nelbo.map(bits)),
            row("weighted loss, the error of the network's own target", self.weighted),
            row("rescaled loss, the error of x0", self.rescaled),
            Some(("evaluations of the losses".into(), self.samples.to_string())),
        ];
        rows.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error t² has the mean 1/3 over all times.
    #[test]
    fn the_loss_of_a_target_is_its_mean_over_all_times() {
        let (n, cuts) = (10_000, Cuts::all([0.001, 0.999]));
        let mut totals = Totals::over(Continuous::VpCosine, PredictionTarget::X0, 1, cuts);
        for t in (0..n).map(|i| cuts.time(i, n)) {
            totals.add(t, [&[0.0], &[0.0], &[t as f32]]);
        }
        let losses = totals.losses();
        assert!((losses.own.loss - 1.0 / 3.0).abs() <= 1e-3, "{:?}", losses.own);
        let bins = losses.by_time.iter().map(|bin| bin.mean).sum::<f64>() / losses.by_time.len() as f64;
        assert!((bins - losses.own.loss).abs() <= 1e-3);
        // The deviation of t² is the root of 4/45.
        assert!((losses.own.standard_error - (4.0f64 / 45.0).sqrt() / 100.0).abs() <= 1e-4, "{:?}", losses.own);
    }

    /// The error `sigma^2 / a^2` of the image, at which that of the noise is 1: the bound is the integral of `-SNR' / SNR`,
    /// which is the difference of the logarithms; and each loss keeps to its own times.
    #[test]
    fn the_bound_of_an_error_that_is_known_is_its_integral() {
        let n = 40_000;
        for schedule in [Continuous::VpCosine, Continuous::VpLinear { b0: 0.1, b1: 20.0 }] {
            let cuts = Cuts { bound: [0.2, 0.8], rescaled: [0.4, 0.5], ..Cuts::all([0.05, 0.95]) };
            let mut totals = Totals::over(schedule, PredictionTarget::Epsilon, 2, cuts);
            for t in (0..n).map(|i| cuts.time(i, n)) {
                totals.add(t, [&[0.0; 2], &[0.3, -0.2], &[1.3, -1.2]]);
            }
            let losses = totals.losses();
            let want = schedule.level(0.2).log_snr() - schedule.level(0.8).log_snr();
            assert!((losses.nelbo.loss - want).abs() <= 2e-3 * want, "{schedule:?}: {:?}, not {want}", losses.nelbo);
            assert!((losses.own.loss - 1.0).abs() <= 1e-5, "{:?}", losses.own);
            let ends = [0.4, 0.5].map(|t| schedule.level(t).snr().recip());
            assert!((ends[0]..ends[1]).contains(&losses.rescaled.loss), "{ends:?}: {:?}", losses.rescaled);
        }
    }

    #[test]
    fn times_are_spread_evenly_and_visited_once() {
        for n in [1, 7, 1000, 4097] {
            let mut places: Vec<f64> = (0..n).map(|i| spread_place(i, n)).collect();
            places.sort_by(f64::total_cmp);
            let exact = (0..n).map(|i| (i as f64 + 0.5) / n as f64);
            assert!(places.iter().zip(exact).all(|(a, b)| (a - b).abs() <= 1e-12), "{n}");
        }
    }
}
