//! The trainer: one network, its optimiser state and the programs that improve it, on one device.

use super::checkpoint::State;
use super::config::{Config, Precision};
use super::memory;
use super::model_file::network;
use super::objective::Objective;
use super::program::{OptimizerState, PartInputs, PartTensors, StepPrograms, StepTensors};
use super::random::initial_weights;
use super::schedule::{ema_decay, learning_rate};
use super::validation::MeanLoss;
use crate::engine::device::{Device, profiler};
use crate::engine::ops::adam::AdamHyper;
use crate::engine::ops::philox::RngState;
use crate::engine::tape::{Backend, Later, Program, Session, Work};
use crate::engine::tensor::{Store, Tensor};
use crate::nn::{ParamSet, Weights};
use crate::probe::{Probe, ProbePoint};
use crate::sample::{ImageSampler, Request, Samples, chunk_images};
use crate::{Error, Result};
use bytemuck::cast_slice;
use std::collections::VecDeque;

/// What came of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss of the batch before the update.
    pub loss: f32,
    /// Norm of its gradient before clipping.
    pub grad_norm: f32,
    /// Learning rate of the update.
    pub learning_rate: f64,
}

/// See the [module](self) documentation.
pub struct Trainer {
    config: Config,
    objective: Objective,
    params: ParamSet,
    session: Session,
    weights: Weights,
    /// Their moving average, which samples are drawn with.
    average: Weights,
    state: OptimizerState,
    parts: Option<PartTensors>,
    inputs: PartInputs,
    programs: StepPrograms<Program>,
    sampler: Option<ImageSampler>,
    probe: Option<Probe>,
    /// Updates enqueued.
    step: u64,
    under_way: VecDeque<Enqueued>,
}

/// A step of which the outcome was not yet asked for.
struct Enqueued {
    batch: Batch,
    learning_rate: f64,
    outcome: Later,
}

/// The samples of a step, should it have to be repeated.
struct Batch {
    /// Number of the step, from 0.
    step: u64,
    images: Vec<f32>,
    labels: Vec<i32>,
}

impl Trainer {
    /// Allocates and records everything for a run with freshly initialised weights. `config.train.precision` `auto` is
    /// decided by the device.
    ///
    /// # Errors
    /// An impossible configuration, an op that the device cannot run in this precision, or too little memory.
    pub fn new(device: Device, config: &Config) -> Result<Trainer> {
        config.validate()?;
        let mut config = config.clone();
        let backend = device.backend();
        config.train.precision = precision(config.train.precision, backend)?;
        let free_bytes = device.free_bytes()?;
        Trainer::allocate(device, config.clone()).map_err(|error| match (error, free_bytes) {
            (error @ Error::Shape { .. }, _) => {
                let precision = config.train.precision.dtype().suffix();
                Error::Config(format!("train.precision = \"{precision}\": {error}"))
            }
            (error, Some(free_bytes)) => memory::advise(error, &config, backend, free_bytes),
            (error, None) => error,
        })
    }

    fn allocate(device: Device, config: Config) -> Result<Trainer> {
        let dtype = config.train.precision.dtype();
        let backend = device.backend();
        let (network, params) = network(&config)?;

        let mut store = Store::new();
        let tensors = StepTensors::reserve(&mut store, &params, &config, dtype);
        let mut sampler = (config.sample.n > 0).then(|| {
            let chunk = chunk_images(backend, config.model.sample_len());
            ImageSampler::reserve(&mut store, &config.model, dtype, chunk, config.sample.guidance != 0.0)
        });
        let mut probe = (config.train.validate_every > 0)
            .then(|| Probe::reserve(&mut store, &config.model, config.train.micro_batch()));

        let tapes = StepPrograms::record((backend, dtype), &network, &tensors, &config);
        tapes.first.check()?;
        let mut session = Session::new(device, &store)?;
        let programs = tapes.try_map(|tape| session.load(tape))?;
        if let Some(sampler) = &mut sampler {
            sampler.load(&mut session, &network, &tensors.average)?;
        }
        if let Some(probe) = &mut probe {
            probe.load(&mut session, &network, &tensors.weights, dtype)?;
        }
        let StepTensors { weights, average, state, parts, inputs } = tensors;
        let mut trainer = Trainer {
            objective: Objective::new(&config)?,
            config,
            params,
            session,
            weights,
            average,
            state,
            parts,
            inputs,
            programs,
            sampler,
            probe,
            step: 0,
            under_way: VecDeque::new(),
        };
        let initial = initial_weights(&trainer.params, trainer.config.train.seed);
        trainer.start_from(&initial)?;
        Ok(trainer)
    }

    /// Begins with these weights.
    ///
    /// # Errors
    /// What the device reports.
    ///
    /// # Panics
    /// If updates were made already.
    pub fn start_from(&mut self, weights: &[f32]) -> Result<()> {
        assert_eq!(self.step, 0, "the optimiser has seen other weights");
        self.weights.write(&mut self.session, weights)?;
        self.average.write(&mut self.session, weights)
    }

    /// Goes back to a state that [`Trainer::state`] gave.
    ///
    /// # Errors
    /// What the device reports.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        self.weights.write(&mut self.session, &state.weights)?;
        self.average.write(&mut self.session, &state.ema)?;
        self.session.write(self.state.m, &state.adam_m)?;
        self.session.write(self.state.v, &state.adam_v)?;
        self.step = state.step;
        Ok(())
    }

    /// All that the next steps depend on.
    ///
    /// # Errors
    /// What the device reports.
    pub fn state(&mut self) -> Result<State> {
        Ok(State {
            step: self.step,
            weights: self.session.read(self.weights.values)?,
            ema: self.session.read(self.average.values)?,
            adam_m: self.session.read(self.state.m)?,
            adam_v: self.session.read(self.state.v)?,
        })
    }

    /// Makes one update with a batch of images `[batch_size, h, w, c]` in [-1, 1] and, where the model is conditional,
    /// their labels.
    ///
    /// # Errors
    /// As for [`Trainer::finish`].
    pub fn step(&mut self, images: &[f32], labels: &[i32]) -> Result<StepResult> {
        assert!(self.under_way.is_empty(), "an earlier step is not finished");
        self.start(images, labels)?;
        self.finish()
    }

    /// Enqueues one update; [`Trainer::finish`] gives its result. A GPU has then something to do while the host prepares
    /// the next. Weights that are read meanwhile are those after all that was enqueued.
    ///
    /// # Errors
    /// What the device reports.
    pub fn start(&mut self, images: &[f32], labels: &[i32]) -> Result<()> {
        let _range = profiler::range(&format!("step {}", self.step));
        let batch = Batch { step: self.step, images: images.into(), labels: labels.into() };
        let learning_rate = learning_rate(&self.config.train, self.step);
        for part in 0..self.config.train.accumulate {
            self.write_part(part, &batch)?;
            self.session.run(self.programs.part(part))?;
        }
        if let Some(update) = self.programs.update() {
            self.session.run(update)?;
        }
        let outcome = self.session.read_later(self.state.outcome)?;
        self.under_way.push_back(Enqueued { batch, learning_rate, outcome });
        self.step += 1;
        Ok(())
    }

    /// Waits for the earliest update of which the result was not given yet.
    ///
    /// # Errors
    /// A loss or gradient that is not finite: the weights are those of before, also if later updates are enqueued. Or
    /// what the device reports.
    ///
    /// # Panics
    /// If no update is enqueued.
    pub fn finish(&mut self) -> Result<StepResult> {
        let Enqueued { batch, learning_rate, outcome } = self.under_way.pop_front().expect("an update is enqueued");
        let outcome = outcome.wait()?;
        let &[grad_norm, loss, broken] = &outcome[..] else { unreachable!("three values") };
        if broken != 0.0 {
            self.under_way.clear();
            self.step = batch.step;
            return Err(self.non_finite(if loss.is_finite() { "the gradient" } else { "the loss" }, &batch));
        }
        Ok(StepResult { loss, grad_norm, learning_rate })
    }

    /// Updates that are enqueued and of which the result was not given yet.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Whether to enqueue an update while an earlier one runs: on a GPU. Elsewhere it would only delay the results.
    pub fn runs_ahead(&self) -> bool {
        self.session.is_asynchronous()
    }

    /// Makes one update launch by launch (on the CPU: op by op) and returns the milliseconds that each took, in the order
    /// of [`Trainer::work`].
    ///
    /// # Errors
    /// What the device reports. It goes on with a loss that is not finite.
    pub fn time_ms(&mut self, images: &[f32], labels: &[i32]) -> Result<Vec<f64>> {
        let batch = Batch { step: self.step, images: images.into(), labels: labels.into() };
        let mut ms = Vec::new();
        for part in 0..self.config.train.accumulate {
            self.write_part(part, &batch)?;
            ms.extend(self.session.time_ms(self.programs.part(part))?);
        }
        if let Some(update) = self.programs.update() {
            ms.extend(self.session.time_ms(update)?);
        }
        self.step += 1;
        Ok(ms)
    }

    /// What each launch (on the CPU: each op) of one update has to compute and to move.
    pub fn work(&self) -> Vec<Work> {
        self.programs.work(self.config.train.accumulate, Program::work)
    }

    /// Writes the inputs of one part of a batch, and with the first what the update needs.
    fn write_part(&mut self, part: usize, batch: &Batch) -> Result<()> {
        let (train, values, step) = (&self.config.train, self.config.model.sample_len(), batch.step as u32);
        let n = train.micro_batch();
        let first = part * n;
        let coefficients = self.objective.part(step, first..first + n, !self.inputs.hybrid.is_empty())?;
        let rng = RngState { seed: train.seed, step, first_image: first as u32 }.words();
        let hyper = self.hyper(batch.step).values();
        let shown = self.inputs.labels.map(|_| self.objective.shown_labels(step, first, &batch.labels[first..][..n]));
        let mut list: Vec<(Tensor, &[u8])> = vec![
            (self.inputs.images, cast_slice(&batch.images[first * values..][..n * values])),
            (self.inputs.coefficients, cast_slice(&coefficients.noise)),
            (self.inputs.weight, cast_slice(&coefficients.weight)),
            (self.inputs.time, cast_slice(&coefficients.time)),
            (self.inputs.rng, cast_slice(&rng)),
        ];
        if !self.inputs.hybrid.is_empty() {
            list.push((self.inputs.hybrid, cast_slice(&coefficients.hybrid)));
        }
        if let (Some(labels), Some(shown)) = (self.inputs.labels, &shown) {
            list.push((labels, cast_slice(shown)));
        }
        if part == 0 {
            list.push((self.state.hyper, cast_slice(&hyper)));
            list.extend(self.parts.map(|parts| (parts.loss, cast_slice(&[0f32; 1]))));
        }
        self.session.write_all(&list)
    }

    /// What the optimiser is told of a step.
    fn hyper(&self, step: u64) -> AdamHyper {
        let train = &self.config.train;
        AdamHyper {
            learning_rate: learning_rate(train, step) as f32,
            beta1: train.beta1 as f32,
            beta2: train.beta2 as f32,
            epsilon: train.eps as f32,
            weight_decay: train.weight_decay as f32,
            step: step + 1,
            ema_decay: ema_decay(train, step) as f32,
        }
    }

    /// Repeats a step node by node to find where the first value that is not finite came from. It updates nothing.
    fn non_finite(&mut self, what: &str, batch: &Batch) -> Error {
        let search = |trainer: &mut Trainer| -> Result<Option<String>> {
            for part in 0..trainer.config.train.accumulate {
                trainer.write_part(part, batch)?;
                if let Some(op) = trainer.session.first_non_finite(trainer.programs.part(part))? {
                    return Ok(Some(op));
                }
            }
            // The gradients are finite and their norm is not.
            match trainer.programs.update() {
                Some(update) => trainer.session.first_non_finite(update),
                None => Ok(None),
            }
        };
        match search(self) {
            Err(error) => error,
            Ok(op) => Error::NonFinite {
                step: batch.step + 1,
                what: what.into(),
                op: op.unwrap_or_else(|| "an op that could not be found again".into()),
            },
        }
    }

    /// The loss of the weights on samples that they are not trained on, `n` of them: `batch(first, n, samples, labels)`
    /// fills the buffers with some. Noise and times are those of every validation of the run.
    ///
    /// # Errors
    /// What the device reports.
    ///
    /// # Panics
    /// If the configuration does not validate.
    pub fn validate(&mut self, n: usize, mut batch: impl FnMut(usize, &mut [f32], &mut [i32])) -> Result<MeanLoss> {
        let probe = self.probe.as_mut().expect("validation is configured");
        let ([_, _, channels], values) = (self.config.model.sample_dims(), self.config.model.sample_len());
        let said_values = values / channels * self.config.model.out_channels();
        let times = self.objective.validation_times(n);
        let (mut samples, mut labels) = (vec![0.0; probe.chunk() * values], vec![0; probe.chunk()]);
        let mut losses = Vec::with_capacity(n);
        for (chunk, times) in times.chunks(probe.chunk()).enumerate() {
            let first = chunk * probe.chunk();
            let (samples, labels) = (&mut samples[..times.len() * values], &mut labels[..times.len()]);
            batch(first, samples, labels);
            let process = self.objective.process();
            let points: Vec<ProbePoint> = times.iter().map(|&t| ProbePoint::new(process, t)).collect();
            // No step of training has this number.
            let rng = RngState { seed: self.config.train.seed, step: u32::MAX, first_image: first as u32 };
            let answers = probe.ask(&mut self.session, samples, &points, labels, rng)?;
            let said = answers.out.chunks_exact(said_values);
            let of_sample = samples.chunks_exact(values).zip(answers.eps.chunks_exact(values)).zip(said);
            for (&t, ((x, eps), said)) in times.iter().zip(of_sample) {
                losses.push(self.objective.loss(t, [x, eps, said], channels)?);
            }
        }
        Ok(MeanLoss::of(&losses))
    }

    /// Draws samples with the averaged weights, as `config.sample` says.
    ///
    /// # Errors
    /// Samples that are not finite, or what the device reports.
    ///
    /// # Panics
    /// If `config.sample.n` is 0.
    pub fn sample(&mut self) -> Result<Samples> {
        if !self.average.copy.is_empty() {
            let values = self.session.read(self.average.values)?;
            self.session.write(self.average.copy, &values)?;
        }
        let settings = &self.config.sample;
        let plan = self.config.sample_plan()?;
        let request = Request { guidance: settings.guidance, ..Request::new(&plan, settings.n, settings.seed) };
        self.sampler.as_mut().expect("samples are configured").draw(&mut self.session, request, &mut |_, _| {})
    }

    /// Updates made.
    pub fn updates(&self) -> u64 {
        self.step
    }

    /// The configuration, with its precision decided.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The parameters.
    pub fn params(&self) -> &ParamSet {
        &self.params
    }

    /// The device in words.
    pub fn device_name(&self) -> String {
        self.session.device_name()
    }

    /// Bytes of weights, optimiser state and inputs, and bytes of activations: together the peak.
    pub fn memory_bytes(&self) -> (u64, u64) {
        self.session.memory_bytes()
    }

    /// Floating-point operations of one update.
    pub fn flops(&self) -> u64 {
        self.config.train.accumulate as u64 * self.programs.first.flops()
    }
}

/// The precision that a device can do and the configuration asks for.
fn precision(wanted: Precision, backend: Backend) -> Result<Precision> {
    match (wanted, backend) {
        (Precision::Auto, Backend::Cpu) => Ok(Precision::F32),
        (Precision::Auto, Backend::Gpu(_)) => Ok(Precision::Bf16),
        (Precision::Bf16, Backend::Cpu) => {
            Err(Error::Config("train.precision = \"bf16\": the CPU computes in f32 only".into()))
        }
        (precision, _) => Ok(precision),
    }
}
