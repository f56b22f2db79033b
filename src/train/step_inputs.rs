//! The inputs of a training step: its batch, the coefficients of its times, the numbers of its update.

use super::averages::Average;
use super::config::{Config, TrainConfig};
use super::objective::Objective;
use super::program::{ShardInputs, StepTensors};
use super::schedule::learning_rate;
use super::share::Share;
use crate::Result;
use crate::engine::ops::adam::AdamHyper;
use crate::engine::random::RngState;
use crate::engine::tape::Session;
use crate::engine::tensor::Tensor;
use bytemuck::cast_slice;

/// The samples of a step. They are kept until its result is known, should it have to be repeated.
pub struct Batch {
    /// Number of the step, from 0.
    pub step: u64,
    /// Learning rate of its update.
    pub learning_rate: f64,
    images: Vec<f32>,
    labels: Vec<i32>,
}

/// Writes the tensors that a step reads.
pub struct StepInputs {
    train: TrainConfig,
    share: Share,
    objective: Objective,
    shard: ShardInputs,
    /// Numbers of the optimiser, written with the first shard.
    hyper: Tensor,
    /// Decays of the moving averages beside the first, written with them.
    decays: Tensor,
    averages: Vec<Average>,
    /// Losses of a batch in several shards by their place in the sum, set to 0 before a shard is computed there.
    losses: Vec<Tensor>,
}

impl StepInputs {
    /// Inputs of a rank's share of the steps of a configuration, in these tensors.
    ///
    /// # Errors
    /// An impossible noise schedule or moving average.
    pub fn new(config: &Config, share: Share, tensors: &StepTensors) -> Result<StepInputs> {
        Ok(StepInputs {
            train: config.train.clone(),
            share,
            objective: Objective::new(config)?,
            shard: tensors.inputs,
            hyper: tensors.state.hyper,
            decays: tensors.state.decays,
            averages: config.train.averages()?,
            losses: tensors.partial.as_ref().map_or_else(Vec::new, |partial| partial.losses.clone()),
        })
    }

    /// The share of the batch of step `step`.
    pub fn batch(&self, step: u64, images: &[f32], labels: &[i32]) -> Batch {
        let learning_rate = learning_rate(&self.train, step);
        Batch { step, learning_rate, images: images.into(), labels: labels.into() }
    }

    /// Writes one shard of the share, to be computed at a place of the sum, and with the first the numbers of the update.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn write(&self, session: &mut Session, shard: usize, place: usize, batch: &Batch) -> Result<()> {
        let (n, step) = (self.train.micro_batch(), batch.step as u32);
        // Its first image in the share, and in the batch, whose numbers decide all that is random.
        let (held, values) = (shard * n, self.shard.images.numel() / n);
        let first = self.share.images(&self.train).start + held;
        let coefficients = self.objective.part(step, first..first + n, !self.shard.hybrid.is_empty())?;
        let rng = RngState { seed: self.train.seed, step, first_image: first as u32 }.words();
        let (hyper, decays) = (self.hyper(batch).record(), self.decays(batch.step));
        let shown = self.shard.labels.map(|_| self.objective.shown_labels(step, first, &batch.labels[held..][..n]));
        let mut list: Vec<(Tensor, &[u8])> = vec![
            (self.shard.images, cast_slice(&batch.images[held * values..][..n * values])),
            (self.shard.coefficients, cast_slice(&coefficients.noise)),
            (self.shard.weight, cast_slice(&coefficients.weight)),
            (self.shard.time, cast_slice(&coefficients.time)),
            (self.shard.rng, cast_slice(&rng)),
        ];
        if !self.shard.hybrid.is_empty() {
            list.push((self.shard.hybrid, cast_slice(&coefficients.hybrid)));
        }
        if let (Some(labels), Some(shown)) = (self.shard.labels, &shown) {
            list.push((labels, cast_slice(shown)));
        }
        if shard == 0 {
            list.push((self.hyper, cast_slice(hyper.values())));
            if !self.decays.is_empty() {
                list.push((self.decays, cast_slice(&decays[1..])));
            }
        }
        list.extend(self.losses.get(place).map(|&loss| (loss, cast_slice(&[0f32; 1]))));
        session.write_all(&list)
    }

    fn hyper(&self, batch: &Batch) -> AdamHyper {
        let train = &self.train;
        AdamHyper {
            learning_rate: batch.learning_rate as f32,
            beta1: train.beta1 as f32,
            beta2: train.beta2 as f32,
            epsilon: train.eps as f32,
            weight_decay: train.weight_decay as f32,
            step: batch.step + 1,
            ema_decay: self.decays(batch.step)[0],
        }
    }

    /// Decay of every moving average in a step.
    fn decays(&self, step: u64) -> Vec<f32> {
        self.averages.iter().map(|average| average.decay(step, self.train.batch_size) as f32).collect()
    }
}
