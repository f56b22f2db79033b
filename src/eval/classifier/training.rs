//! Training of the classifier: Adam on the cross-entropy.

use super::identity::{ClassifierConfig, Identity};
use super::network::Network;
use crate::data::{Batches, Dataset, Division};
use crate::engine::ops::adam::{AdamHyper, AdamTensors, adam};
use crate::engine::ops::cross_entropy::cross_entropy;
use crate::engine::ops::grad_norm::grad_norm;
use crate::engine::ops::records::AdamRecord;
use crate::engine::tape::{Program, Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::nn::{Forward, ParamSet, Weights};
use crate::train::config::{LrSchedule, TrainConfig};
use crate::train::schedule::learning_rate;
use crate::{Error, Result};

/// The tensors that only training needs.
pub(super) struct Training {
    images: Tensor,
    labels: Tensor,
    m: Tensor,
    v: Tensor,
    average: Tensor,
    hyper: Tensor,
    outcome: Tensor,
}

impl Training {
    pub fn reserve(store: &mut Store, identity: &Identity, params: &ParamSet) -> Training {
        let n = identity.config.batch_size;
        let [m, v, average] = [(); 3].map(|()| store.tensor(&[params.flat_len()], DType::F32));
        Training {
            images: identity.images(store, n),
            labels: store.tensor(&[n], DType::I32),
            m,
            v,
            average,
            hyper: store.tensor(&[AdamRecord::LEN], DType::F32),
            outcome: store.tensor(&[3], DType::F32),
        }
    }

    /// Trains the weights, with a learning rate that rises shortly and then falls to 0.
    pub fn run(
        &self,
        session: &mut Session,
        network: &Network,
        weights: &Weights,
        dataset: &Dataset,
        config: &ClassifierConfig,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let (mut step, loss) = self.record_step(session, network, weights)?;
        let mut update = self.record_update(session, weights)?;
        let steps = (config.epochs * dataset.len() as u64).div_ceil(config.batch_size as u64);
        let plan = TrainConfig {
            steps,
            learning_rate: config.learning_rate,
            warmup_steps: 50,
            lr_schedule: LrSchedule::Cosine,
            ..TrainConfig::default()
        };
        let loader =
            Division::new(dataset, 0, 0.0, config.seed).loader(dataset, config.batch_size, config.seed, config.flip);
        let (mut batches, mut labels) = (Batches::new(dataset, loader), vec![0; config.batch_size]);
        let mut images = vec![0.0; self.images.numel()];
        for i in 0..steps {
            batches.fill(i, &mut images, Some(&mut labels))?;
            session.write(self.images, &images)?;
            session.write_i32(self.labels, &labels)?;
            session.run(&mut step)?;
            let hyper = AdamHyper {
                learning_rate: learning_rate(&plan, i) as f32,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.0,
                step: i + 1,
                ema_decay: 0.0,
            };
            session.write(self.hyper, hyper.record().values())?;
            session.run(&mut update)?;
            progress(i + 1, steps);
        }
        session.run(&mut step)?;
        if session.read_in(&step, loss)?[0].is_finite() && session.read(self.outcome)?[2] == 0.0 {
            return Ok(());
        }
        let op = session.first_non_finite(&mut step)?.unwrap_or_default();
        Err(Error::NonFinite { step: steps, what: "the classifier's loss".into(), op })
    }

    /// Loss and gradients of a batch.
    fn record_step(&self, session: &mut Session, network: &Network, weights: &Weights) -> Result<(Program, Tensor)> {
        let mut tape = Tape::new(session.backend(), DType::F32);
        let (_, logits) = network.forward(&mut Forward::evaluate(&mut tape, weights), self.images);
        let loss = cross_entropy(&mut tape, logits, self.labels).mean;
        tape.keep(loss);
        tape.backward();
        Ok((session.load(tape)?, loss))
    }

    fn record_update(&self, session: &mut Session, weights: &Weights) -> Result<Program> {
        let mut tape = Tape::new(session.backend(), DType::F32);
        grad_norm(&mut tape, self.outcome, weights.gradients, Tensor::EMPTY);
        let tensors = AdamTensors {
            p: weights.values,
            m: self.m,
            v: self.v,
            ema: self.average,
            further: Tensor::EMPTY,
            decays: Tensor::EMPTY,
            copy: weights.copy,
            g: weights.gradients,
        };
        adam(&mut tape, tensors, self.hyper, self.outcome, 1.0, false);
        session.load(tape)
    }
}
