//! The launches of a training step: planned for a machine that may not be there, or measured on this one.

use super::inputs::normals;
use crate::Result;
use crate::engine::device::Device;
use crate::engine::tape::{Backend, Tape, Work};
use crate::engine::tensor::{DType, Store};
use crate::train::model_file::network;
use crate::train::program::{StepPrograms, StepTensors};
use crate::train::{Config, Trainer};

/// The work of a training step, and the memory that it needs.
pub struct Step {
    /// Its launches, in order.
    pub work: Vec<Work>,
    /// Time of each launch in microseconds, where the step ran.
    pub measured_us: Option<Vec<f64>>,
    /// Storage type of its activations.
    pub dtype: DType,
    /// Images of one step.
    pub images: usize,
    /// Trainable values.
    pub parameters: usize,
    /// Bytes of weights, optimiser state and inputs.
    pub persistent_bytes: u64,
    /// Bytes of activations and their gradients at most.
    pub arena_bytes: u64,
}

impl Step {
    /// Records the training step of a configuration. Memory is planned, not allocated, and nothing runs.
    ///
    /// # Errors
    /// An impossible configuration.
    pub fn plan(config: &Config, backend: Backend, dtype: DType) -> Result<Step> {
        config.validate()?;
        let (network, params) = network(config)?;
        let mut store = Store::new();
        let tensors = StepTensors::reserve(&mut store, &params, config, config.train.shards, dtype);
        let programs = StepPrograms::record((backend, dtype), &network, &tensors, config);
        Ok(Step {
            arena_bytes: programs.tapes().map(|tape| tape.plan().bytes).max().unwrap_or(0),
            work: programs.work(config.train.shards, Tape::work),
            measured_us: None,
            dtype,
            images: config.train.batch_size,
            parameters: params.count(),
            persistent_bytes: store.bytes(),
        })
    }

    /// Runs training steps on random images, `rounds` of them launch by launch, and keeps the median time of each launch.
    /// The text is the device in words.
    ///
    /// # Errors
    /// An impossible configuration, or what the device reports.
    pub fn measure(config: &Config, device: Device, rounds: usize) -> Result<(Step, String)> {
        let mut trainer = Trainer::new(device, config)?;
        let (images, labels) = random_batch(config);
        trainer.step(&images, &labels)?;
        let rounds: Vec<Vec<f64>> =
            (0..rounds.max(1)).map(|_| trainer.time_ms(&images, &labels)).collect::<Result<_>>()?;
        let median = |launch: usize| {
            let mut ms: Vec<f64> = rounds.iter().map(|round| round[launch]).collect();
            ms.sort_by(f64::total_cmp);
            1e3 * ms[ms.len() / 2]
        };
        let (work, (persistent_bytes, arena_bytes)) = (trainer.work(), trainer.memory_bytes());
        let step = Step {
            measured_us: Some((0..work.len()).map(median).collect()),
            work,
            dtype: trainer.config().train.precision.dtype(),
            images: config.train.batch_size,
            parameters: trainer.params().count(),
            persistent_bytes,
            arena_bytes,
        };
        Ok((step, trainer.device_name()))
    }
}

/// Images `[batch_size, h, w, c]` of noise, and labels.
pub fn random_batch(config: &Config) -> (Vec<f32>, Vec<i32>) {
    let n = config.train.batch_size;
    (normals(0, n * config.model.sample_len()), vec![0; n])
}
