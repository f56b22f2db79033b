//! Where the time of a training step goes: every launch with what it must compute and move, the least time that takes,
//! the time it is predicted to take, and, where it ran, the time it took.
//!
//! ```text
//! floor      = max(FLOPs / product ceiling, bytes / copy ceiling)
//! predicted  = launch + max(FLOPs / expected rate of the op, bytes / expected bandwidth)
//! ```
//! FLOPs and bytes are counted from the operands of each launch ([`Work`]); ceilings and rates are a [`Machine`]'s.

mod ceilings;
pub mod convolution;
mod json;
mod machine;
mod trace;

use crate::Result;
use crate::engine::device::Device;
use crate::engine::random::{Philox, RngState, Stream};
use crate::engine::tape::{Backend, Tape, Work};
use crate::engine::tensor::{DType, Store};
use crate::train::model_file::network;
use crate::train::program::{StepPrograms, StepTensors};
use crate::train::{Config, Trainer};
pub use ceilings::measure;
pub use machine::{Ceilings, Machine, Occupancy, Rates};
pub use trace::trace;

/// Inputs of measurements.
const INPUTS: Stream = Stream::new(10);

/// What a step has to do, and the memory that it needs.
pub struct Step {
    /// Its launches, in order.
    pub work: Vec<Work>,
    /// What each took in microseconds, where it ran.
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
        let tensors = StepTensors::reserve(&mut store, &params, config, dtype);
        let programs = StepPrograms::record((backend, dtype), &network, &tensors, config);
        Ok(Step {
            arena_bytes: programs.tapes().map(|tape| tape.plan().bytes).max().unwrap_or(0),
            work: programs.work(config.train.accumulate, Tape::work),
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
    let mut images = vec![0.0; n * config.model.sample_len()];
    Philox::new(RngState::default(), INPUTS).fill_normal(0, 0, &mut images);
    (images, vec![0; n])
}

/// A launch beside what a machine can do.
#[derive(Clone, Debug)]
pub struct Row {
    pub work: Work,
    pub floor_us: f64,
    pub predicted_us: f64,
    pub measured_us: Option<f64>,
    /// How the blocks fill the multiprocessors, where that is known.
    pub occupancy: Option<Occupancy>,
}

impl Row {
    /// Measured where it ran, else predicted.
    pub fn us(&self) -> f64 {
        self.measured_us.unwrap_or(self.predicted_us)
    }
}

/// A step beside what a machine can do.
pub struct Profile {
    pub step: Step,
    pub machine: Machine,
    pub rows: Vec<Row>,
}

/// Launches taken together.
#[derive(Clone, Debug, Default)]
pub struct Total {
    pub name: String,
    /// Where all have the same: that of [`Work::shape`].
    pub shape: String,
    pub launches: usize,
    pub flops: u64,
    pub bytes: u64,
    pub floor_us: f64,
    pub predicted_us: f64,
    /// Measured where the step ran, else predicted.
    pub us: f64,
}

impl Total {
    fn add(&mut self, row: &Row) {
        self.launches += 1;
        self.flops += row.work.flops;
        self.bytes += row.work.bytes;
        self.floor_us += row.floor_us;
        self.predicted_us += row.predicted_us;
        self.us += row.us();
    }
}

impl Profile {
    /// Compares a step with a machine.
    pub fn new(step: Step, machine: Machine) -> Profile {
        let row = |(i, work): (usize, &Work)| Row {
            floor_us: machine.ceilings.floor_us(work),
            predicted_us: machine.rates.predict_us(work),
            measured_us: step.measured_us.as_ref().map(|us| us[i]),
            occupancy: work.launch.as_ref().and_then(|launch| machine.occupancy(launch)),
            work: work.clone(),
        };
        let rows = step.work.iter().enumerate().map(row).collect();
        Profile { step, machine, rows }
    }

    /// The whole step.
    pub fn total(&self) -> Total {
        let mut total = Total { name: "step".into(), ..Total::default() };
        self.rows.iter().for_each(|row| total.add(row));
        total
    }

    /// Totals of each op, the longest first.
    pub fn by_op(&self) -> Vec<Total> {
        self.by(|work| (work.op, ""))
    }

    /// Totals of each block of the network, in the order in which the step comes to them.
    pub fn by_layer(&self) -> Vec<Total> {
        let mut totals = self.by(|work| (block(&work.layer), ""));
        let place = |total: &Total| self.rows.iter().position(|row| block(&row.work.layer) == total.name);
        totals.sort_by_key(place);
        totals
    }

    /// Totals of launches that do the same: the kernel (or op) and its shape.
    pub fn by_kernel(&self) -> Vec<Total> {
        self.by(|work| (work.launch.as_ref().map_or(work.op, |launch| &launch.kernel), &work.shape))
    }

    /// Totals of the launches that have the same name and shape, the longest first.
    fn by(&self, key: impl Fn(&Work) -> (&str, &str)) -> Vec<Total> {
        let mut totals: Vec<Total> = Vec::new();
        for row in &self.rows {
            let (name, shape) = key(&row.work);
            match totals.iter_mut().find(|total| (&*total.name, &*total.shape) == (name, shape)) {
                Some(total) => total.add(row),
                None => {
                    let mut total = Total { name: name.into(), shape: shape.into(), ..Total::default() };
                    total.add(row);
                    totals.push(total);
                }
            }
        }
        totals.sort_by(|a, b| b.us.total_cmp(&a.us));
        totals
    }

    /// Part of the product ceiling that the step reaches.
    pub fn mfu(&self) -> f64 {
        let total = self.total();
        total.flops as f64 / (total.us * self.machine.ceilings.tflops * 1e6)
    }

    /// Images per second at the step's time.
    pub fn images_per_s(&self) -> f64 {
        self.step.images as f64 / self.total().us * 1e6
    }
}

/// The block to which a layer belongs: its name up to the last number that something follows, e.g. `down_blocks.0.resnets.1`
/// of `down_blocks.0.resnets.1.conv1`. Without a number, its first part.
fn block(layer: &str) -> &str {
    let mut ends = layer.match_indices('.').map(|(i, _)| i);
    let is_number = |end: usize| layer[..end].rsplit('.').next().is_some_and(|part| part.parse::<u32>().is_ok());
    let end = ends.rfind(|&end| is_number(end)).or_else(|| layer.find('.'));
    &layer[..end.unwrap_or(layer.len())]
}

#[cfg(test)]
mod tests;
