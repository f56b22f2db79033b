//! The loss of a network on samples that it is not trained on.

use super::config::Config;
use super::objective::Objective;
use super::validation::MeanLoss;
use crate::Result;
use crate::engine::random::RngState;
use crate::engine::tape::Session;
use crate::engine::tensor::{DType, Store};
use crate::nn::{Network, Weights};
use crate::probe::{Probe, ProbePoint};

/// Evaluates the loss of a network with fixed noise and times.
pub struct Validator {
    probe: Probe,
    objective: Objective,
    seed: u64,
    /// Channels of a sample, values of a sample, values of the network's output for it.
    sizes: [usize; 3],
}

impl Validator {
    /// Reserves the tensors for a configuration.
    ///
    /// # Errors
    /// An impossible noise schedule.
    pub fn reserve(store: &mut Store, config: &Config) -> Result<Validator> {
        let ([_, _, channels], values) = (config.model.sample_dims(), config.model.sample_len());
        Ok(Validator {
            probe: Probe::reserve(store, &config.model, config.train.micro_batch()),
            objective: Objective::new(config)?,
            seed: config.train.seed,
            sizes: [channels, values, values / channels * config.model.out_channels()],
        })
    }

    /// Takes a network with these weights, and records its evaluation for whole batches.
    ///
    /// # Errors
    /// Too little memory.
    pub fn load(&mut self, session: &mut Session, network: &Network, weights: &Weights, dtype: DType) -> Result<()> {
        self.probe.load(network, weights, dtype);
        self.probe.prepare(session, self.probe.chunk())
    }

    /// Mean loss of `n` samples: `batch(first, samples, labels)` fills the buffers with those from `first` on.
    ///
    /// # Errors
    /// A failure of the device, or the first of `batch`.
    pub fn loss(
        &mut self,
        session: &mut Session,
        n: usize,
        mut batch: impl FnMut(usize, &mut [f32], &mut [i32]) -> Result<()>,
    ) -> Result<MeanLoss> {
        let [channels, values, out_values] = self.sizes;
        let chunk = self.probe.chunk();
        let times = self.objective.validation_times(n);
        let (mut samples, mut labels) = (vec![0.0; chunk * values], vec![0; chunk]);
        let mut losses = Vec::with_capacity(n);
        for (i, times) in times.chunks(chunk).enumerate() {
            let first = i * chunk;
            let (samples, labels) = (&mut samples[..times.len() * values], &mut labels[..times.len()]);
            batch(first, samples, labels)?;
            let process = self.objective.process();
            let points: Vec<ProbePoint> = times.iter().map(|&t| ProbePoint::new(process, t)).collect();
            // No step of training has this number.
            let rng = RngState { seed: self.seed, step: u32::MAX, first_image: first as u32 };
            let answers = self.probe.ask(session, samples, &points, labels, rng)?;
            let of_sample = samples
                .chunks_exact(values)
                .zip(answers.eps.chunks_exact(values))
                .zip(answers.out.chunks_exact(out_values));
            for (&t, ((x, eps), out)) in times.iter().zip(of_sample) {
                losses.push(self.objective.loss(t, [x, eps, out], channels)?);
            }
        }
        Ok(MeanLoss::of(&losses))
    }
}
