//! Negative log likelihood of samples in bits per dimension: the variational bound of a trained model, evaluated on a data
//! set (Ho et al. 2020, section 4.3; [`Bound`] has the terms). In continuous time it is the bound of the chain of so many steps
//! that the model samples with. Images are on the grid of 256 levels; of points it is their density.
//!
//! All terms of an image cost `T` evaluations of the network. Where that is too much, the sum over the steps is estimated
//! from some of them: the steps are cut into equal ranges, of each range one step is drawn, and its term counts for all.
//! The estimate has the right mean; its spread is part of the standard error over the images.

use crate::data::Dataset;
use crate::diffusion::likelihood::{Bound, Decoder, bits_per_dim};
use crate::diffusion::normal::Cdf;
use crate::diffusion::timesteps::Spacing;
use crate::diffusion::{Process, Variance};
use crate::engine::random::{Philox, RngState};
use crate::train::LoadedModel;
use crate::train::random::TIMES;
use crate::train::validation::MeanLoss;
use crate::{Error, Result, SampleKind};
use serde::Serialize;
use std::ops::Range;

/// The size of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct NllOptions {
    /// Number of images, the first of the data set; at most all of them.
    pub images: usize,
    /// Steps of the chain that are evaluated per image; all of them if it has no more.
    pub steps: usize,
    /// Seed of the noise and of the choice of steps.
    pub seed: u64,
}

/// The likelihood of a set of images; everything in bits per dimension.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Nll {
    /// Images evaluated.
    pub images: usize,
    /// The bound with the discretised decoder.
    pub bits: MeanLoss,
    /// The decoder's share of it.
    pub decoder: f64,
    /// The prior's share of it.
    pub prior: f64,
    /// The bound as Ambilduke et al. computed it, of images and a discrete schedule: comparable with their figures alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambilduke: Option<MeanLoss>,
    /// Terms of the chain without the prior's.
    pub terms: usize,
}

/// Steps of the chain in continuous time, unless the model samples with another number.
const CONTINUOUS_STEPS: usize = 512;

/// The bound of a model, as it samples, over the times of a chain.
pub struct Chain {
    /// The bound.
    pub bound: Bound,
    /// The time of each of its terms, ascending.
    pub times: Vec<f64>,
    variance: Variance,
}

impl Chain {
    /// The chain over all levels of a discrete schedule, or over the steps of the model's samples in continuous time.
    ///
    /// # Errors
    /// A learned variance in continuous time.
    pub fn new(model: &LoadedModel) -> Result<Chain> {
        let (config, process) = (model.config(), model.process());
        let times = match process {
            Process::Discrete(schedule) => (1..=schedule.steps()).map(|t| t as f64).collect(),
            Process::Continuous { .. } => {
                let steps = if config.sample.steps == 0 { CONTINUOUS_STEPS } else { config.sample.steps };
                process.sampling_times(steps, Spacing::Linspace)?
            }
        };
        let variance = if config.learns_variance() { Variance::Learned } else { config.sample.sampler.variance() };
        let is_points = SampleKind::of(config.model.sample_dims()) == SampleKind::Points;
        let decoder = if is_points { Decoder::Density } else { Decoder::Discretised(Cdf::Exact) };
        let bound = Bound::new(process, &times, config.diffusion.target, variance, decoder, config.sample.clip())?;
        Ok(Chain { bound, times, variance })
    }
}

/// The bounds of one model.
struct Bounds {
    chain: Chain,
    /// The one of Ambilduke et al., of images and a discrete schedule.
    ambilduke: Option<Bound>,
}

/// The parts of a bound of one image, in nats.
#[derive(Clone, Copy)]
struct Terms {
    decoder: f64,
    steps: f64,
    prior: f64,
}

impl Terms {
    fn prior_of(bound: &Bound, x0: &[f64]) -> Terms {
        Terms { decoder: 0.0, steps: 0.0, prior: bound.prior(x0) }
    }

    fn sum(self) -> f64 {
        self.decoder + self.steps + self.prior
    }
}

/// Both bounds of one image.
struct ImageTerms {
    chain: Terms,
    ambilduke: Option<Terms>,
}

/// A term of the bound to evaluate, and the number of terms that it stands for.
#[derive(Clone, Copy)]
struct Query {
    term: usize,
    counts: f64,
}

/// Evaluates a model on images of the 256-level grid, or on points. `progress` receives the number of evaluations of the
/// network that are done, and their total.
///
/// # Errors
/// Samples of another size, or what the device reports.
pub fn nll(
    model: &mut LoadedModel,
    dataset: &Dataset,
    options: NllOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Nll> {
    let bounds = Bounds::new(model)?;
    let [h, w, c] = model.config().model.sample_dims();
    if dataset.image_dims() != [h, w, c] {
        return Err(Error::Config(format!(
            "likelihood: images of {h}x{w}x{c} are wanted, {} has {:?}",
            dataset.name(),
            dataset.image_dims()
        )));
    }
    let n = options.images.min(dataset.len());
    let last = bounds.chain.bound.terms();
    let steps = options.steps.min(last - 1);
    let total = (n * (steps + 1)) as u64;
    let mut done = 0;
    let mut images: Vec<ImageTerms> = Vec::with_capacity(n);
    for image in 0..n {
        let queries = queries(image, steps, last, options.seed);
        let mut evaluated = |evaluations: usize| {
            done += evaluations as u64;
            progress(done, total);
        };
        images.push(bounds.of_image(model, dataset, image, &queries, options.seed, &mut evaluated)?);
    }
    let bits = |of: &dyn Fn(&ImageTerms) -> f64| -> MeanLoss {
        MeanLoss::of(&images.iter().map(|terms| bits_per_dim(of(terms), h * w * c)).collect::<Vec<f64>>())
    };
    let ambilduke = bounds.ambilduke.is_some().then(|| bits(&|terms| terms.ambilduke.map_or(0.0, Terms::sum)));
    Ok(Nll {
        images: n,
        bits: bits(&|terms| terms.chain.sum()),
        decoder: bits(&|terms| terms.chain.decoder).loss,
        prior: bits(&|terms| terms.chain.prior).loss,
        ambilduke,
        terms: last,
    })
}

impl Bounds {
    fn new(model: &LoadedModel) -> Result<Bounds> {
        let (config, chain) = (model.config(), Chain::new(model)?);
        let is_theirs = matches!(model.process(), Process::Discrete(_))
            && SampleKind::of(config.model.sample_dims()) == SampleKind::Images;
        let theirs = || {
            Bound::new(model.process(), &chain.times, config.diffusion.target, chain.variance, Decoder::Ambilduke, None)
        };
        let ambilduke = is_theirs.then(theirs).transpose()?;
        Ok(Bounds { chain, ambilduke })
    }

    /// The bounds of one image of a data set. `evaluated` receives the number of evaluations of each chunk.
    fn of_image(
        &self,
        model: &mut LoadedModel,
        dataset: &Dataset,
        image: usize,
        queries: &[Query],
        seed: u64,
        evaluated: &mut dyn FnMut(usize),
    ) -> Result<ImageTerms> {
        let (dims, channels) = (model.config().model.sample_len(), model.config().model.out_channels());
        let c = model.config().model.sample_dims()[2];
        let mut x0 = vec![0.0; dims];
        dataset.fill_batch(&[image], &[false], &mut x0)?;
        let x0_exact: Vec<f64> = x0.iter().map(|&x| f64::from(x)).collect();
        let mut label = [0];
        if model.config().model.classes() > 0 {
            dataset.fill_labels(&[image], &mut label);
        }
        let mut chain = Terms::prior_of(&self.chain.bound, &x0_exact);
        let mut ambilduke = self.ambilduke.as_ref().map(|bound| Terms::prior_of(bound, &x0_exact));
        for (part, queries) in queries.chunks(model.chunk()).enumerate() {
            let n = queries.len();
            let times: Vec<f64> = queries.iter().map(|query| self.chain.times[query.term]).collect();
            let rng = RngState { seed, step: image as u32, first_image: (part * model.chunk()) as u32 };
            let answers = model.ask(&x0.repeat(n), &times, &vec![label[0]; n], rng)?;
            let outputs = answers.out.chunks_exact(answers.out.len() / n);
            for ((query, z), output) in queries.iter().zip(answers.z.chunks_exact(dims)).zip(outputs) {
                let z: Vec<f64> = z.iter().map(|&v| f64::from(v)).collect();
                let [out, v] = split_channels(output, channels, c);
                let v = (!v.is_empty()).then_some(&v[..]);
                let theirs = self.ambilduke.as_ref().zip(ambilduke.as_mut());
                for (bound, terms) in [(&self.chain.bound, &mut chain)].into_iter().chain(theirs) {
                    let nats = query.counts * bound.term(query.term, &x0_exact, &z, &out, v).nats;
                    *(if query.term == 0 { &mut terms.decoder } else { &mut terms.steps }) += nats;
                }
            }
            evaluated(n);
        }
        Ok(ImageTerms { chain, ambilduke })
    }
}

/// The decoder's term, and one of each of `steps` equal ranges of the others, `1..last`.
fn queries(image: usize, steps: usize, last: usize, seed: u64) -> Vec<Query> {
    let mut u = vec![0.0; steps];
    let state = RngState { seed, step: u32::MAX, first_image: image as u32 };
    Philox::new(state, TIMES).fill_uniform(0, 0, &mut u);
    let cut = |range: usize| 1 + range * (last - 1) / steps.max(1);
    let of_range = (0..steps).map(|range| {
        let width = cut(range + 1) - cut(range);
        let drawn = (f64::from(u[range]) * width as f64) as usize;
        Query { term: cut(range) + drawn.min(width - 1), counts: width as f64 }
    });
    std::iter::once(Query { term: 0, counts: 1.0 }).chain(of_range).collect()
}

/// The first `c` of each pixel's channels, and the others.
pub(super) fn split_channels(output: &[f32], channels: usize, c: usize) -> [Vec<f64>; 2] {
    let take = |range: Range<usize>| -> Vec<f64> {
        output.chunks_exact(channels).flat_map(|pixel| pixel[range.clone()].iter().map(|&v| f64::from(v))).collect()
    };
    [take(0..c), take(c..channels)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_counts_as_often_as_it_should() {
        for (steps, last) in [(7, 50), (49, 50), (1, 50), (0, 1)] {
            let mut counts = vec![0.0; last];
            let images = 4000;
            for image in 0..images {
                let queries = queries(image, steps, last, 3);
                queries.iter().for_each(|query| counts[query.term] += query.counts / images as f64);
            }
            // Six standard deviations of a mean over the images.
            let tolerance = 6.0 * (last as f64 / images as f64).sqrt();
            assert!(counts.iter().all(|count| (count - 1.0).abs() <= tolerance), "{steps} of {last}: {counts:?}");
        }
    }

    #[test]
    fn channels_are_split_by_pixel() {
        assert_eq!(split_channels(&[1.0, 2.0, 3.0, 4.0], 2, 1), [vec![1.0, 3.0], vec![2.0, 4.0]]);
        assert_eq!(split_channels(&[1.0, 2.0], 1, 1), [vec![1.0, 2.0], vec![]]);
    }
}
