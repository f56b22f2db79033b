//! The samples that a run trains on, and those that validate.

use super::dataset::Dataset;
use super::loader::Loader;
use super::members::Members;
use super::permute::permute;
use super::shuffle::shuffled;
use super::windows::Windows;
use crate::engine::random::Stream;

/// Which samples of a set in blocks validate.
const VALIDATION: Stream = Stream::new(14);

/// A data set divided by the seed.
#[derive(Debug)]
pub struct Division {
    training: Training,
    /// The samples that validate; in the order of the files where they are read in blocks.
    pub validation: Vec<usize>,
}

/// The samples to train on.
#[derive(Debug)]
enum Training {
    /// The first so many.
    First(usize),
    Listed(Vec<usize>),
    Members(Members),
}

impl Division {
    /// Divides the first `limit` samples (0: all) into those to train on and a share that validates: at least one of each,
    /// unless the share is 0. Of sets that are read in blocks nothing is listed but what validates.
    pub fn new(dataset: &Dataset, limit: usize, fraction: f64, seed: u64) -> Division {
        let samples = if limit == 0 { dataset.len() } else { limit.min(dataset.len()) };
        if !dataset.is_in_blocks() {
            let (training, validation) = split(samples, fraction, seed);
            return Division { training: training.map_or(Training::First(samples), Training::Listed), validation };
        }
        let (all, held_out) = (dataset.len(), held_out(samples, fraction));
        let validates = |i: usize| {
            held_out > 0 && i < samples && permute(i as u64, samples as u64, seed, VALIDATION, 0) < held_out as u64
        };
        let validation = (0..samples).filter(|&i| validates(i)).collect();
        let training = match (held_out, samples) {
            (0, _) if samples == all => Training::First(all),
            // A single sample serves both.
            (_, 1) => Training::Members(Members::of(all, |i| i == 0)),
            _ => Training::Members(Members::of(all, |i| i < samples && !validates(i))),
        };
        Division { training, validation }
    }

    /// The number of samples that are trained on.
    pub fn trained_on(dataset: &Dataset, limit: usize, fraction: f64) -> usize {
        let samples = if limit == 0 { dataset.len() } else { limit.min(dataset.len()) };
        // A single sample serves both.
        (samples - held_out(samples, fraction)).max(1)
    }

    /// A loader of the samples to train on.
    pub fn loader(self, dataset: &Dataset, batch_images: usize, seed: u64, flip: bool) -> Loader {
        if let Some((firsts, window)) = dataset.windows() {
            let members = match self.training {
                Training::Members(members) => Some(members),
                Training::First(_) | Training::Listed(_) => None,
            };
            return Loader::windows(Windows::new(firsts, members, window, seed), batch_images, seed, flip);
        }
        match self.training {
            Training::First(samples) => Loader::new(samples, batch_images, seed, flip),
            Training::Listed(samples) => Loader::listed(samples, batch_images, seed, flip),
            Training::Members(_) => unreachable!("samples that are read in blocks have windows"),
        }
    }
}

/// The number of samples that validate.
fn held_out(samples: usize, fraction: f64) -> usize {
    match (fraction == 0.0, samples) {
        (true, _) => 0,
        (false, 1) => 1,
        _ => ((fraction * samples as f64).round() as usize).clamp(1, samples - 1),
    }
}

/// Splits samples in an order of their own.
fn split(samples: usize, fraction: f64, seed: u64) -> (Option<Vec<usize>>, Vec<usize>) {
    match (held_out(samples, fraction), samples) {
        (0, _) => (None, Vec::new()),
        // A single sample serves both.
        (_, 1) => (None, vec![0]),
        (held_out, _) => {
            let mut order = shuffled(samples, seed);
            let validation = order.split_off(samples - held_out);
            (Some(order), validation)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_loses_nothing_and_depends_on_the_seed() {
        let (training, validation) = split(60_000, 0.2, 7);
        let training = training.unwrap();
        assert_eq!((training.len(), validation.len()), (48_000, 12_000));
        let mut all = [training, validation.clone()].concat();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..60_000));
        assert_eq!(split(60_000, 0.2, 7).1, validation);
        assert_ne!(split(60_000, 0.2, 8).1, validation);
    }

    #[test]
    fn both_parts_of_a_split_have_a_sample() {
        for fraction in [0.001, 0.5, 0.999] {
            let (training, validation) = split(3, fraction, 0);
            assert!(!training.unwrap().is_empty() && !validation.is_empty(), "{fraction}");
        }
        assert_eq!(split(10, 0.0, 0), (None, Vec::new()));
    }
}
