//! Negative log likelihood of images in bits per dimension: the variational bound of a trained model, evaluated on a data
//! set (Ho et al. 2020, section 4.3; [`Bound`] has the terms).
//!
//! All terms of an image cost `T` evaluations of the network. Where that is too much, the sum over the steps is estimated
//! from some of them: the steps are cut into equal ranges, of each range one step is drawn, and its term counts for all.
//! The estimate has the right mean; its spread is part of the standard error over the images.

use crate::data::Dataset;
use crate::diffusion::likelihood::{Bound, Decoder, bits_per_dim};
use crate::diffusion::normal::Cdf;
use crate::diffusion::{Process, Variance};
use crate::engine::ops::philox::{Philox, RngState, Stream};
use crate::train::LoadedModel;
use crate::train::validation::MeanLoss;
use crate::{Error, Result};
use serde::Serialize;
use std::ops::Range;

/// How much is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct NllOptions {
    /// The first so many images of the data set; at most all of them.
    pub images: usize,
    /// Steps of the chain that are evaluated per image; all of them if it has no more.
    pub steps: usize,
    /// Seed of the noise and of the choice of steps.
    pub seed: u64,
}

/// What an evaluation gives; everything in bits per dimension.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Nll {
    /// Images evaluated.
    pub images: usize,
    /// The bound with the discretised decoder.
    pub bits: MeanLoss,
    /// Of it the decoder's share.
    pub decoder: f64,
    /// And the prior's.
    pub prior: f64,
    /// The bound as Ambilduke et al. computed it: comparable with their figures alone.
    pub ambilduke: MeanLoss,
}

/// Evaluates a model on images of the 256-level grid. `progress` is told how many of how many evaluations of the network
/// are done.
///
/// # Errors
/// A model of continuous time or of points, images of another size, or what the device reports.
pub fn nll(
    model: &mut LoadedModel,
    dataset: &Dataset,
    options: NllOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Nll> {
    let bounds = bounds(model)?;
    let [h, w, c] = model.config().model.sample_dims();
    if dataset.image_dims() != [h, w, c] {
        return Err(Error::Config(format!(
            "likelihood: images of {h}x{w}x{c} are wanted, {} has {:?}",
            dataset.name(),
            dataset.image_dims()
        )));
    }
    let (dims, channels) = (h * w * c, model.config().model.out_channels());
    let n = options.images.min(dataset.len());
    let last = bounds[0].terms();
    let steps = options.steps.min(last - 1);
    let total = (n * (steps + 1)) as u64;
    let mut done = 0;
    // Per image, of each bound: the decoder's term, the steps' and the prior's.
    let mut images: Vec<[[f64; 3]; 2]> = Vec::with_capacity(n);
    let mut batch = Questions::default();
    for image in 0..n {
        let mut x0 = vec![0.0; dims];
        dataset.fill_batch(&[image], &[false], &mut x0);
        let x0_exact: Vec<f64> = x0.iter().map(|&x| f64::from(x)).collect();
        let mut label = [0];
        if model.config().model.classes() > 0 {
            dataset.fill_labels(&[image], &mut label);
        }
        let mut terms = [0, 1].map(|b: usize| [0.0, 0.0, bounds[b].prior(&x0_exact)]);
        batch.fill(image, steps, last, options.seed);
        for (part, asked) in batch.terms.chunks(model.chunk()).enumerate() {
            let samples = x0.repeat(asked.len());
            let times: Vec<f64> = asked.iter().map(|&(k, _)| (k + 1) as f64).collect();
            let labels = vec![label[0]; asked.len()];
            let rng = RngState { seed: options.seed, step: image as u32, first_image: (part * model.chunk()) as u32 };
            let answers = model.ask(&samples, &times, &labels, rng)?;
            let said = answers.out.chunks_exact(answers.out.len() / asked.len());
            for ((&(k, counts), z), said) in asked.iter().zip(answers.z.chunks_exact(dims)).zip(said) {
                let z: Vec<f64> = z.iter().map(|&v| f64::from(v)).collect();
                let [out, v] = split_channels(said, channels, c);
                for (bound, terms) in bounds.iter().zip(&mut terms) {
                    let nats = bound.term(k, &x0_exact, &z, &out, (!v.is_empty()).then_some(&v)).nats;
                    terms[usize::from(k > 0)] += counts * nats;
                }
            }
            done += asked.len() as u64;
            progress(done, total);
        }
        images.push(terms);
    }
    let bits = |b: usize, of: &dyn Fn(&[f64; 3]) -> f64| -> MeanLoss {
        MeanLoss::of(&images.iter().map(|terms| bits_per_dim(of(&terms[b]), dims)).collect::<Vec<f64>>())
    };
    Ok(Nll {
        images: n,
        bits: bits(0, &|terms| terms.iter().sum()),
        decoder: bits(0, &|terms| terms[0]).loss,
        prior: bits(0, &|terms| terms[2]).loss,
        ambilduke: bits(1, &|terms| terms.iter().sum()),
    })
}

/// The bound with the discretised decoder, as the model samples, and the one of Ambilduke et al.
fn bounds(model: &LoadedModel) -> Result<[Bound; 2]> {
    let Process::Discrete(schedule) = model.process() else {
        return Err(Error::Config(
            "likelihood: a discrete noise schedule is wanted (linear, cosine); in continuous time the bound is an integral \
             that the training loss nelbo estimates"
                .into(),
        ));
    };
    let (config, times) = (model.config(), (1..=schedule.steps()).map(|t| t as f64).collect::<Vec<f64>>());
    let variance = if config.learns_variance() { Variance::Learned } else { config.sample.sampler.variance() };
    let bound = |decoder, clip| Bound::new(model.process(), &times, config.diffusion.target, variance, decoder, clip);
    Ok([bound(Decoder::Discretised(Cdf::Exact), config.sample.clip())?, bound(Decoder::Ambilduke, None)?])
}

/// The terms of an image that the network is asked about, and how many terms each counts for.
#[derive(Default)]
struct Questions {
    terms: Vec<(usize, f64)>,
}

impl Questions {
    /// The decoder's term, and one of each of `steps` equal ranges of the others, `1..last`.
    fn fill(&mut self, image: usize, steps: usize, last: usize, seed: u64) {
        let mut u = vec![0.0; steps];
        let state = RngState { seed, step: u32::MAX, first_image: image as u32 };
        Philox::new(state, Stream::Timestep).fill_uniform(0, 0, &mut u);
        let cut = |range: usize| 1 + range * (last - 1) / steps.max(1);
        self.terms.clear();
        self.terms.push((0, 1.0));
        self.terms.extend((0..steps).map(|range| {
            let width = cut(range + 1) - cut(range);
            let drawn = (f64::from(u[range]) * width as f64) as usize;
            (cut(range) + drawn.min(width - 1), width as f64)
        }));
    }
}

/// The first `c` of each pixel's channels, and the others.
fn split_channels(said: &[f32], channels: usize, c: usize) -> [Vec<f64>; 2] {
    let take = |range: Range<usize>| -> Vec<f64> {
        said.chunks_exact(channels).flat_map(|pixel| pixel[range.clone()].iter().map(|&v| f64::from(v))).collect()
    };
    [take(0..c), take(c..channels)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_counts_as_often_as_it_should() {
        let mut questions = Questions::default();
        for (steps, last) in [(7, 50), (49, 50), (1, 50), (0, 1)] {
            let mut counts = vec![0.0; last];
            let images = 4000;
            for image in 0..images {
                questions.fill(image, steps, last, 3);
                questions.terms.iter().for_each(|&(k, count)| counts[k] += count / images as f64);
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
