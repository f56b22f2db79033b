//! Training of a classifier: Adam on the cross-entropy, of images as they are or at all noise levels of a process.

use super::identity::ClassifierConfig;
use crate::data::{Batches, Dataset, Division};
use crate::diffusion::Process;
use crate::engine::ops::adam::{AdamHyper, AdamTensors, adam};
use crate::engine::ops::cross_entropy::cross_entropy;
use crate::engine::ops::grad_norm::grad_norm;
use crate::engine::ops::records::AdamRecord;
use crate::engine::random::{Philox, RngState, Stream};
use crate::engine::tape::{Program, Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::nn::{Classifier, Forward, ParamSet, Weights};
use crate::train::config::{LrSchedule, TrainConfig};
use crate::train::random::timestep_word;
use crate::train::schedule::learning_rate;
use crate::{Error, Result};

/// Noise of the samples.
const NOISE: Stream = Stream::new(20);

/// The tensors that only training needs.
pub(super) struct Training {
    images: Tensor,
    /// Times of noisy samples.
    time: Tensor,
    labels: Tensor,
    m: Tensor,
    v: Tensor,
    average: Tensor,
    hyper: Tensor,
    outcome: Tensor,
}

impl Training {
    pub fn reserve(store: &mut Store, config: &ClassifierConfig, [h, w, c]: [usize; 3], params: &ParamSet) -> Training {
        let n = config.batch_size;
        let [m, v, average] = [(); 3].map(|()| store.tensor(&[params.flat_len()], DType::F32));
        Training {
            images: store.tensor(&[n, h, w, c], DType::F32),
            time: store.tensor(&[n], DType::F32),
            labels: store.tensor(&[n], DType::I32),
            m,
            v,
            average,
            hyper: store.tensor(&[AdamRecord::LEN], DType::F32),
            outcome: store.tensor(&[3], DType::F32),
        }
    }

    /// Trains the weights, with a learning rate that rises shortly and then falls to 0; with a process, on its noisy
    /// samples.
    pub fn run(
        &self,
        session: &mut Session,
        (network, weights): (&Classifier, &Weights),
        (dataset, process): (&Dataset, Option<&Process>),
        config: &ClassifierConfig,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let (mut step, loss) = self.record_step(session, network, weights, process.is_some())?;
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
            if let Some(process) = process {
                let state = RngState { seed: config.seed, step: i as u32, first_image: 0 };
                let time = |image: usize| process.time(timestep_word(config.seed, i as u32, image as u32));
                let times: Vec<f64> = (0..config.batch_size).map(time).collect();
                session.write(self.time, &add_noise(&mut images, process, &times, state))?;
            }
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
    fn record_step(
        &self,
        session: &mut Session,
        network: &Classifier,
        weights: &Weights,
        is_noisy: bool,
    ) -> Result<(Program, Tensor)> {
        let mut tape = Tape::new(session.backend(), DType::F32);
        let time = is_noisy.then_some(self.time);
        let [_, logits] = network.forward(&mut Forward::evaluate(&mut tape, weights), self.images, time);
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

/// Takes samples `[n, ..]` to their times, with noise of their own. Returns the times as a network reads them.
pub(super) fn add_noise(samples: &mut [f32], process: &Process, times: &[f64], state: RngState) -> Vec<f32> {
    let values = samples.len() / times.len();
    let (philox, mut eps) = (Philox::new(state, NOISE), vec![0.0; values]);
    for (i, (z, &t)) in samples.chunks_exact_mut(values).zip(times).enumerate() {
        let level = process.level(t);
        philox.fill_normal(i as u32, 0, &mut eps);
        z.iter_mut().zip(&eps).for_each(|(z, eps)| *z = level.a as f32 * *z + level.sigma as f32 * eps);
    }
    times.iter().map(|&t| process.network_time(t) as f32).collect()
}
