//! Data for a trainer: batches of the samples to train on, and the samples that validate.

use super::config::Config;
use super::trainer::Trainer;
use super::validation::MeanLoss;
use crate::Result;
use crate::data::{Batch, Dataset, Loader, shuffled};
use crate::report::Record;
use std::time::Instant;

/// Hands batches to a trainer.
pub struct Feed<'a> {
    dataset: &'a Dataset,
    loader: Loader,
    /// Place in the data set of each of the loader's samples; `None`: the same place.
    training: Option<Vec<usize>>,
    validation: Vec<usize>,
    conditional: bool,
    batch: Batch,
    images: Vec<f32>,
    labels: Vec<i32>,
    /// Start of the wait for the step that finishes next.
    waited_since: Instant,
}

impl<'a> Feed<'a> {
    /// Prepares the batches of a configuration. The samples that validate are drawn by the seed.
    pub fn new(config: &Config, dataset: &'a Dataset) -> Feed<'a> {
        let train = &config.train;
        let images = limited(config, dataset);
        let (training, validation) = split(images, train.validation_fraction, train.seed);
        let trained_on = training.as_ref().map_or(images, Vec::len);
        Feed {
            dataset,
            loader: Loader::new(trained_on, train.batch_size, train.seed, config.data.flip),
            training,
            validation,
            conditional: config.model.classes() > 0,
            batch: Batch::default(),
            images: vec![0.0; train.batch_size * dataset.image_dims().iter().product::<usize>()],
            labels: vec![0; train.batch_size],
            waited_since: Instant::now(),
        }
    }

    /// Enqueues the trainer's next step.
    ///
    /// # Errors
    /// As for [`Trainer::start`].
    pub fn start(&mut self, trainer: &mut Trainer) -> Result<()> {
        if trainer.under_way() == 0 {
            self.waited_since = Instant::now();
        }
        self.loader.fill(trainer.updates(), &mut self.batch);
        if let Some(training) = &self.training {
            self.batch.indices.iter_mut().for_each(|i| *i = training[*i]);
        }
        self.dataset.fill_batch(&self.batch.indices, &self.batch.flips, &mut self.images);
        if self.conditional {
            self.dataset.fill_labels(&self.batch.indices, &mut self.labels);
        }
        trainer.start(&self.images, &self.labels)
    }

    /// Waits for the trainer's earliest step that is under way.
    ///
    /// # Errors
    /// As for [`Trainer::finish`].
    pub fn finish(&mut self, trainer: &mut Trainer) -> Result<Record> {
        let step = trainer.updates() + 1 - trainer.under_way() as u64;
        let result = trainer.finish()?;
        let seconds = self.waited_since.elapsed().as_secs_f64();
        self.waited_since = Instant::now();
        Ok(Record {
            step,
            loss: result.loss,
            learning_rate: result.learning_rate as f32,
            grad_norm: result.grad_norm,
            images_per_second: Some((self.labels.len() as f64 / seconds) as f32),
            ..Record::default()
        })
    }

    /// Evaluates the loss on the samples that validate.
    ///
    /// # Errors
    /// As for [`Trainer::validate`].
    pub fn validate(&self, trainer: &mut Trainer) -> Result<MeanLoss> {
        let flips = vec![false; self.validation.len()];
        trainer.validate(self.validation.len(), |first, samples, labels| {
            let indices = &self.validation[first..][..labels.len()];
            self.dataset.fill_batch(indices, &flips[..indices.len()], samples);
            if self.conditional {
                self.dataset.fill_labels(indices, labels);
            }
        })
    }
}

/// Number of samples that a configuration uses.
fn limited(config: &Config, dataset: &Dataset) -> usize {
    let limit = config.data.limit;
    if limit == 0 { dataset.len() } else { limit.min(dataset.len()) }
}

/// Number of steps that a configuration makes with these data: that of its passes, where it says their number.
pub fn steps(config: &Config, dataset: &Dataset) -> u64 {
    let train = &config.train;
    if train.epochs == 0.0 {
        return train.steps;
    }
    let images = limited(config, dataset);
    let trained_on = split(images, train.validation_fraction, train.seed).0.map_or(images, |training| training.len());
    (train.epochs * trained_on as f64 / train.batch_size as f64).ceil().max(1.0) as u64
}

/// Splits the samples into those to train on and a share that validates: at least one of each, unless the share is 0.
fn split(samples: usize, fraction: f64, seed: u64) -> (Option<Vec<usize>>, Vec<usize>) {
    match (fraction == 0.0, samples) {
        (true, _) => return (None, Vec::new()),
        // A single sample serves both.
        (false, 1) => return (None, vec![0]),
        _ => {}
    }
    let held_out = ((fraction * samples as f64).round() as usize).clamp(1, samples - 1);
    let mut order = shuffled(samples, seed);
    let validation = order.split_off(samples - held_out);
    (Some(order), validation)
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
