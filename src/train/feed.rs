//! Data for a trainer: batches of the samples to train on, and the samples that validate.

use super::config::Config;
use super::share::Share;
use super::trainer::Trainer;
use super::validation::MeanLoss;
use crate::Result;
use crate::data::{Batches, Dataset, Division};
use crate::report::Record;
use std::time::Instant;

/// Hands batches to a trainer.
pub struct Feed<'a> {
    dataset: &'a Dataset,
    batches: Batches<'a>,
    validation: Validation,
    conditional: bool,
    images: Vec<f32>,
    labels: Vec<i32>,
    batch_size: usize,
    /// Start of the wait for the step that finishes next.
    waited_since: Instant,
}

/// The samples that validate.
enum Validation {
    /// The samples at these places of the data set.
    Places(Vec<usize>),
    /// Samples in memory, of a data set that is read in blocks: each validation would read all of them.
    Held(Dataset),
}

impl<'a> Feed<'a> {
    /// Prepares the batches of a configuration, or the share of each that a rank computes. The samples that validate are
    /// drawn by the seed.
    ///
    /// # Errors
    /// Samples that validate and cannot be read, or take too much memory.
    pub fn new(config: &Config, dataset: &'a Dataset, share: Share) -> Result<Feed<'a>> {
        let (train, data) = (&config.train, &config.data);
        let mut division = Division::new(dataset, data.limit, train.validation_fraction, train.seed);
        let places = std::mem::take(&mut division.validation);
        let validation = if dataset.is_in_blocks() && !places.is_empty() {
            Validation::Held(dataset.in_memory(&places, data.memory_limit)?)
        } else {
            Validation::Places(places)
        };
        let images = share.images(train);
        let loader = division.loader(dataset, train.batch_size, train.seed, data.flip).of_share(images.clone());
        Ok(Feed {
            dataset,
            batches: Batches::new(dataset, loader),
            validation,
            conditional: config.model.classes() > 0,
            images: vec![0.0; images.len() * dataset.image_dims().iter().product::<usize>()],
            labels: vec![0; images.len()],
            batch_size: train.batch_size,
            waited_since: Instant::now(),
        })
    }

    /// Enqueues the trainer's next step.
    ///
    /// # Errors
    /// As for [`Trainer::start`], and samples that cannot be read.
    pub fn start(&mut self, trainer: &mut Trainer) -> Result<()> {
        if trainer.under_way() == 0 {
            self.waited_since = Instant::now();
        }
        let labels = self.conditional.then_some(&mut self.labels[..]);
        self.batches.fill(trainer.updates(), &mut self.images, labels)?;
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
            images_per_second: Some((self.batch_size as f64 / seconds) as f32),
            ..Record::default()
        })
    }

    /// Evaluates the loss on the samples that validate; `beat` is called now and then.
    ///
    /// # Errors
    /// As for [`Trainer::validate`], and samples that cannot be read.
    pub fn validate(&self, trainer: &mut Trainer, beat: &mut dyn FnMut()) -> Result<MeanLoss> {
        let places = match &self.validation {
            Validation::Places(places) => places.clone(),
            Validation::Held(dataset) => (0..dataset.len()).collect(),
        };
        let dataset = match &self.validation {
            Validation::Places(_) => self.dataset,
            Validation::Held(dataset) => dataset,
        };
        let flips = vec![false; places.len()];
        trainer.validate(places.len(), |first, samples, labels| {
            beat();
            let indices = &places[first..][..labels.len()];
            dataset.fill_batch(indices, &flips[..indices.len()], samples)?;
            if self.conditional {
                dataset.fill_labels(indices, labels);
            }
            Ok(())
        })
    }
}

/// Number of steps that a configuration makes with these data: that of its passes, where it says their number.
pub fn steps(config: &Config, dataset: &Dataset) -> u64 {
    let (train, data) = (&config.train, &config.data);
    if train.epochs == 0.0 {
        return train.steps;
    }
    let trained_on = Division::trained_on(dataset, data.limit, train.validation_fraction);
    (train.epochs * trained_on as f64 / train.batch_size as f64).ceil().max(1.0) as u64
}
