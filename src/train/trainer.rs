//! The trainer: one network, its optimiser state and the programs that improve it, on one device.

use super::checkpoint::State;
use super::config::{Config, Precision};
use super::memory;
use super::model_file::network;
use super::objective::Objective;
use super::program::{OptimizerState, PartInputs, StepPrograms, StepTensors};
use super::random::initial_weights;
use super::schedule::{ema_decay, learning_rate};
use super::validation::MeanLoss;
use crate::device::Device;
use crate::nn::{ParamSet, Weights};
use crate::ops::adam::AdamHyper;
use crate::ops::philox::RngState;
use crate::probe::{Probe, ProbePoint};
use crate::sample::{ImageSampler, Request, Samples, chunk_images};
use crate::tape::{Backend, Program, Session, Work};
use crate::tensor::Store;
use crate::{Error, Result};

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
    inputs: PartInputs,
    programs: StepPrograms<Program>,
    sampler: Option<ImageSampler>,
    probe: Option<Probe>,
    step: u64,
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
        tapes.first.0.check()?;
        let mut session = Session::new(device, &store)?;
        let mut load = |(tape, loss)| Ok::<_, Error>((session.load(tape)?, loss));
        let programs = StepPrograms {
            first: load(tapes.first)?,
            further: tapes.further.map(load).transpose()?,
            update: session.load(tapes.update)?,
        };
        if let Some(sampler) = &mut sampler {
            sampler.load(&mut session, &network, &tensors.average)?;
        }
        if let Some(probe) = &mut probe {
            probe.load(&mut session, &network, &tensors.weights, dtype)?;
        }
        let StepTensors { weights, average, state, inputs, .. } = tensors;
        let mut trainer = Trainer {
            objective: Objective::new(&config)?,
            config,
            params,
            session,
            weights,
            average,
            state,
            inputs,
            programs,
            sampler,
            probe,
            step: 0,
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
    /// A loss or gradient that is not finite: the weights are those of before. Or what the device reports.
    pub fn step(&mut self, images: &[f32], labels: &[i32]) -> Result<StepResult> {
        let mut loss = 0.0;
        for part in 0..self.config.train.accumulate {
            self.write_part(part, images, labels)?;
            let (program, part_loss) = self.programs.part(part);
            self.session.run(program)?;
            loss += self.session.read_in(program, *part_loss)?[0];
            if !loss.is_finite() {
                return Err(self.non_finite("the loss", images, labels));
            }
        }
        let learning_rate = learning_rate(&self.config.train, self.step);
        self.write_hyper(learning_rate)?;
        self.session.run(&mut self.programs.update)?;
        let norm = self.session.read(self.state.norm)?;
        if norm[1] == 0.0 {
            return Err(self.non_finite("the gradient", images, labels));
        }
        self.step += 1;
        Ok(StepResult { loss, grad_norm: norm[0], learning_rate })
    }

    /// Makes one update launch by launch (on the CPU: op by op) and returns the milliseconds that each took, in the order
    /// of [`Trainer::work`].
    ///
    /// # Errors
    /// As for [`Trainer::step`], except that it goes on with a loss that is not finite.
    pub fn time_ms(&mut self, images: &[f32], labels: &[i32]) -> Result<Vec<f64>> {
        let mut ms = Vec::new();
        for part in 0..self.config.train.accumulate {
            self.write_part(part, images, labels)?;
            ms.extend(self.session.time_ms(&mut self.programs.part(part).0)?);
        }
        self.write_hyper(learning_rate(&self.config.train, self.step))?;
        ms.extend(self.session.time_ms(&mut self.programs.update)?);
        self.step += 1;
        Ok(ms)
    }

    /// What each launch (on the CPU: each op) of one update has to compute and to move.
    pub fn work(&self) -> Vec<Work> {
        self.programs.work(self.config.train.accumulate, Program::work)
    }

    /// Writes the inputs of one part of a batch.
    fn write_part(&mut self, part: usize, images: &[f32], labels: &[i32]) -> Result<()> {
        let (train, values, step) = (&self.config.train, self.config.model.sample_len(), self.step as u32);
        let n = train.micro_batch();
        let first = part * n;
        let coefficients = self.objective.part(step, first..first + n, !self.inputs.hybrid.is_empty())?;
        let rng = RngState { seed: train.seed, step, first_image: first as u32 };
        self.session.write(self.inputs.images, &images[first * values..][..n * values])?;
        self.session.write(self.inputs.coefficients, &coefficients.noise)?;
        self.session.write(self.inputs.weight, &coefficients.weight)?;
        self.session.write(self.inputs.time, &coefficients.time)?;
        self.session.write_i32(self.inputs.rng, &rng.words())?;
        if !self.inputs.hybrid.is_empty() {
            self.session.write(self.inputs.hybrid, &coefficients.hybrid)?;
        }
        match self.inputs.labels {
            Some(tensor) => {
                let shown = self.objective.shown_labels(step, first, &labels[first..][..n]);
                self.session.write_i32(tensor, &shown)
            }
            None => Ok(()),
        }
    }

    fn write_hyper(&mut self, learning_rate: f64) -> Result<()> {
        let train = &self.config.train;
        let hyper = AdamHyper {
            learning_rate: learning_rate as f32,
            beta1: train.beta1 as f32,
            beta2: train.beta2 as f32,
            epsilon: train.eps as f32,
            weight_decay: train.weight_decay as f32,
            step: self.step + 1,
            ema_decay: ema_decay(train, self.step) as f32,
        };
        self.session.write(self.state.hyper, &hyper.values())
    }

    /// Repeats the step node by node to find where the first value that is not finite came from.
    fn non_finite(&mut self, what: &str, images: &[f32], labels: &[i32]) -> Error {
        let search = |trainer: &mut Trainer| -> Result<Option<String>> {
            for part in 0..trainer.config.train.accumulate {
                trainer.write_part(part, images, labels)?;
                let program = &mut trainer.programs.part(part).0;
                if let Some(op) = trainer.session.first_non_finite(program)? {
                    return Ok(Some(op));
                }
            }
            // The gradients are finite and their norm is not. The update leaves the weights alone then.
            trainer.session.first_non_finite(&mut trainer.programs.update)
        };
        match search(self) {
            Err(error) => error,
            Ok(op) => Error::NonFinite {
                step: self.step + 1,
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
        let plan = settings.plan(&self.config)?;
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
        self.config.train.accumulate as u64 * self.programs.first.0.flops()
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
