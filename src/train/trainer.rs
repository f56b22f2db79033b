//! The trainer: one network, its optimiser state and the programs that improve it, on one device.

use super::checkpoint::State;
use super::config::{Config, Precision};
use super::memory;
use super::model_file::network;
use super::program::{OptimizerState, StepPrograms, StepTensors};
use super::random::initial_weights;
use super::share::Share;
use super::step_inputs::{Batch, StepInputs};
use super::sum_tree::{self, Call};
use super::validation::MeanLoss;
use super::validator::Validator;
use crate::engine::device::{Device, profiler};
use crate::engine::tape::{Backend, Later, Program, Session, Work};
use crate::engine::tensor::{Store, Tensor};
use crate::nn::{ParamSet, Weights};
use crate::ranks::Ranks;
use crate::sample::{ImageSampler, Request, Samples, chunk_images};
use crate::{Error, Result};
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;

/// Result of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss of the batch before the update.
    pub loss: f32,
    /// Norm of its gradient before clipping.
    pub grad_norm: f32,
    /// Learning rate of the update.
    pub learning_rate: f64,
}

/// A network in training: its weights, the state of its optimiser and the programs of a step, on one device.
pub struct Trainer {
    config: Config,
    params: ParamSet,
    session: Session,
    weights: Weights,
    /// First moving average of the weights, which samples are drawn with.
    average: Weights,
    state: OptimizerState,
    inputs: StepInputs,
    ranks: Ranks,
    share: Share,
    /// Loss `[1]` of the share, where there are other ranks.
    loss: Option<Tensor>,
    programs: StepPrograms<Program>,
    sampler: Option<ImageSampler>,
    validator: Option<Validator>,
    /// Updates enqueued.
    step: u64,
    under_way: VecDeque<Enqueued>,
}

/// A step whose result was not yet requested.
struct Enqueued {
    batch: Batch,
    outcome: Later,
}

impl Trainer {
    /// Allocates and records everything for a run, and draws its initial weights. `config.train.precision` `auto` is
    /// decided by the device.
    ///
    /// # Errors
    /// An impossible configuration, an op that the device cannot run in this precision, or too little memory.
    pub fn new(device: Device, config: &Config) -> Result<Trainer> {
        let mut trainer = Trainer::without_weights(device, config, &Ranks::alone())?;
        trainer.draw_weights()?;
        Ok(trainer)
    }

    /// Allocates and records everything for this rank's share of a run. Its weights are zero until
    /// [`Trainer::draw_weights`], [`Trainer::start_from`] or [`Trainer::restore`] writes some.
    ///
    /// # Errors
    /// As for [`Trainer::new`], and shards that the ranks cannot share.
    pub fn without_weights(device: Device, config: &Config, ranks: &Ranks) -> Result<Trainer> {
        config.validate()?;
        let mut config = config.clone();
        let backend = device.backend();
        config.train.precision = precision(config.train.precision, backend)?;
        let free_bytes = device.free_bytes()?;
        Trainer::allocate(device, config.clone(), ranks).map_err(|error| match (error, free_bytes) {
            (error @ Error::Shape { .. }, _) => {
                let precision = config.train.precision.dtype().suffix();
                Error::Config(format!("train.precision = \"{precision}\": {error}"))
            }
            (error, Some(free_bytes)) => memory::advise(error, &config, backend, free_bytes),
            (error, None) => error,
        })
    }

    fn allocate(device: Device, config: Config, ranks: &Ranks) -> Result<Trainer> {
        let dtype = config.train.precision.dtype();
        let backend = device.backend();
        let (network, params) = network(&config)?;
        let share = Share::new(&config.train, ranks)?;

        let mut store = Store::new();
        let tensors = StepTensors::reserve(&mut store, &params, &config, share.shards, dtype);
        // Rank 0 alone draws samples and validates.
        let samples = ranks.leads() && (config.sample.n > 0 || config.train.evaluate_every > 0);
        let mut sampler = samples.then(|| {
            let chunk = chunk_images(backend, config.model.sample_len());
            ImageSampler::reserve(&mut store, &config.model, dtype, chunk, config.sample.guidance != 0.0)
        });
        let validates = ranks.leads() && config.train.validate_every > 0;
        let mut validator = validates.then(|| Validator::reserve(&mut store, &config)).transpose()?;

        let tapes = StepPrograms::record((backend, dtype), &network, &tensors, &config);
        tapes.shards[0].check()?;
        let mut session = Session::new(device, &store)?;
        let programs = tapes.try_map(|tape| session.load(tape))?;
        if let Some(sampler) = &mut sampler {
            sampler.load(&network, &tensors.average);
            let evaluated = if config.train.evaluate_every > 0 { config.train.evaluate_n } else { 0 };
            [config.sample.n, evaluated].into_iter().try_for_each(|n| sampler.prepare(&mut session, n))?;
        }
        if let Some(validator) = &mut validator {
            validator.load(&mut session, &network, &tensors.weights, dtype)?;
        }
        let inputs = StepInputs::new(&config, share, &tensors)?;
        let loss = tensors.partial.as_ref().filter(|_| ranks.size() > 1).map(|partial| partial.losses[0]);
        let StepTensors { weights, average, state, .. } = tensors;
        Ok(Trainer {
            config,
            params,
            session,
            weights,
            average,
            state,
            inputs,
            ranks: ranks.clone(),
            share,
            loss,
            programs,
            sampler,
            validator,
            step: 0,
            under_way: VecDeque::new(),
        })
    }

    /// Begins with weights drawn by the seed.
    ///
    /// # Errors
    /// A failure of the device.
    ///
    /// # Panics
    /// If updates were made already.
    pub fn draw_weights(&mut self) -> Result<()> {
        let initial = initial_weights(&self.params, self.config.train.seed);
        self.start_from(&initial)
    }

    /// Begins with these weights.
    ///
    /// # Errors
    /// A failure of the device.
    ///
    /// # Panics
    /// If updates were made already.
    pub fn start_from(&mut self, weights: &[f32]) -> Result<()> {
        assert_eq!(self.step, 0, "the optimiser has seen other weights");
        self.weights.write(&mut self.session, weights)?;
        self.average.write(&mut self.session, weights)?;
        let further = self.config.train.further_averages();
        if further == 0 { Ok(()) } else { self.session.write(self.state.further, &weights.repeat(further)) }
    }

    /// Goes back to a state that [`Trainer::state`] gave.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        self.weights.write(&mut self.session, &state.weights)?;
        self.average.write(&mut self.session, &state.ema)?;
        if !state.further.is_empty() {
            self.session.write(self.state.further, &state.further.concat())?;
        }
        self.session.write(self.state.m, &state.adam_m)?;
        self.session.write(self.state.v, &state.adam_v)?;
        self.step = state.step;
        Ok(())
    }

    /// Reads back all that the next steps depend on.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn state(&mut self) -> Result<State> {
        Ok(State {
            step: self.step,
            weights: self.session.read(self.weights.values)?,
            ema: self.session.read(self.average.values)?,
            further: self.further_averages()?,
            adam_m: self.session.read(self.state.m)?,
            adam_v: self.session.read(self.state.v)?,
        })
    }

    fn further_averages(&mut self) -> Result<Vec<Vec<f32>>> {
        if self.state.further.is_empty() {
            return Ok(Vec::new());
        }
        let flat = self.session.read(self.state.further)?;
        Ok(flat.chunks_exact(self.params.flat_len()).map(<[f32]>::to_vec).collect())
    }

    /// Gives all ranks the state of rank 0.
    ///
    /// # Errors
    /// A failure of the device, or a connection that fails.
    pub fn share_state(&mut self) -> Result<()> {
        if self.ranks.size() == 1 {
            return Ok(());
        }
        let mut step = self.step.to_le_bytes().to_vec();
        self.ranks.broadcast(&mut step)?;
        self.step =
            u64::from_le_bytes(step.try_into().map_err(|_| Error::Config("rank 0 runs another program".into()))?);
        let OptimizerState { m, v, further, .. } = self.state;
        for array in [self.weights.values, self.average.values, further, m, v] {
            if array.is_empty() {
                continue;
            }
            let mut values = if self.ranks.leads() { self.session.read(array)? } else { Vec::new() };
            self.ranks.broadcast_f32(&mut values)?;
            if array == self.weights.values {
                self.weights.write(&mut self.session, &values)?;
            } else if array == self.average.values {
                self.average.write(&mut self.session, &values)?;
            } else {
                self.session.write(array, &values)?;
            }
        }
        Ok(())
    }

    /// Makes one update with a batch of images `[batch_size, h, w, c]` in [-1, 1] and, where the model is conditional,
    /// their labels; each rank is given its share of both.
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
    /// A failure of the device.
    pub fn start(&mut self, images: &[f32], labels: &[i32]) -> Result<()> {
        let _range = profiler::range(&format!("step {}", self.step));
        let batch = self.inputs.batch(self.step, images, labels);
        for call in sum_tree::calls(self.share.shards) {
            self.write_inputs(call, &batch)?;
            self.session.run(self.programs.called(call))?;
        }
        self.add_up_ranks()?;
        if let Some(update) = &mut self.programs.update {
            self.session.run(update)?;
        }
        let outcome = self.session.read_later(self.state.outcome)?;
        self.under_way.push_back(Enqueued { batch, outcome });
        self.step += 1;
        Ok(())
    }

    /// Adds up the gradients and losses of all ranks; afterwards each has the sums.
    fn add_up_ranks(&mut self) -> Result<()> {
        let Some(loss) = self.loss else { return Ok(()) };
        let mut values = self.session.read(self.weights.gradients)?;
        values.extend(self.session.read(loss)?);
        self.ranks.sum(&mut values)?;
        let (gradients, of_loss) = values.split_at(values.len() - 1);
        self.session.write(self.weights.gradients, gradients)?;
        self.session.write(loss, of_loss)
    }

    /// Writes the inputs of a call, if it has any.
    fn write_inputs(&mut self, call: Call, batch: &Batch) -> Result<()> {
        match call {
            Call::Shard { shard, place } => self.inputs.write(&mut self.session, shard, place, batch),
            Call::Sum { .. } => Ok(()),
        }
    }

    /// Waits for the earliest enqueued update.
    ///
    /// # Errors
    /// A loss or gradient that is not finite: the weights are those of before, also if later updates are enqueued. Or a
    /// failure of the device.
    ///
    /// # Panics
    /// If no update is enqueued.
    pub fn finish(&mut self) -> Result<StepResult> {
        let Enqueued { batch, outcome } = self.under_way.pop_front().expect("an update is enqueued");
        let outcome = outcome.wait()?;
        let &[grad_norm, loss, broken] = &outcome[..] else { unreachable!("three values") };
        if broken != 0.0 {
            self.under_way.clear();
            self.step = batch.step;
            return Err(self.non_finite(if loss.is_finite() { "the gradient" } else { "the loss" }, &batch));
        }
        Ok(StepResult { loss, grad_norm, learning_rate: batch.learning_rate })
    }

    /// Number of updates that are enqueued and not finished.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Tells if an update should be enqueued while an earlier one runs: on a GPU. Elsewhere it would only delay results, and
    /// several ranks wait for each other in between.
    pub fn runs_ahead(&self) -> bool {
        self.session.is_asynchronous() && self.ranks.size() == 1
    }

    /// The ranks that make the updates together.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Makes one update launch by launch (on the CPU: op by op) and returns the milliseconds that each took, in the order
    /// of [`Trainer::work`].
    ///
    /// # Errors
    /// A failure of the device. It goes on with a loss that is not finite.
    pub fn time_ms(&mut self, images: &[f32], labels: &[i32]) -> Result<Vec<f64>> {
        let batch = self.inputs.batch(self.step, images, labels);
        let mut ms = Vec::new();
        for call in sum_tree::calls(self.share.shards) {
            self.write_inputs(call, &batch)?;
            ms.extend(self.session.time_ms(self.programs.called(call))?);
        }
        if let Some(update) = &mut self.programs.update {
            ms.extend(self.session.time_ms(update)?);
        }
        self.step += 1;
        Ok(ms)
    }

    /// Work of each launch (on the CPU: of each op) of one update: what it computes and moves.
    pub fn work(&self) -> Vec<Work> {
        self.programs.work(self.share.shards, Program::work)
    }

    /// Repeats a step node by node to find where the first value that is not finite came from. It updates nothing. Each rank
    /// looks in its own shards.
    fn non_finite(&mut self, what: &str, batch: &Batch) -> Error {
        let search = |trainer: &mut Trainer| -> Result<Option<String>> {
            for call in sum_tree::calls(trainer.share.shards) {
                trainer.write_inputs(call, batch)?;
                if let Some(op) = trainer.session.first_non_finite(trainer.programs.called(call))? {
                    return Ok(Some(op));
                }
            }
            // The gradients are finite and their norm is not; or they are not on another rank.
            match &mut trainer.programs.update {
                Some(update) if trainer.ranks.size() == 1 => trainer.session.first_non_finite(update),
                _ => Ok(None),
            }
        };
        let found = search(self).and_then(|op| self.ranks.gather(op.unwrap_or_default().as_bytes()));
        let in_words = |ops: Vec<Vec<u8>>| {
            let (rank, op) = ops.iter().enumerate().find(|(_, op)| !op.is_empty())?;
            let place = if ops.len() > 1 { format!(" on rank {rank}") } else { String::new() };
            Some(String::from_utf8_lossy(op).into_owned() + &place)
        };
        match found.map(in_words) {
            Err(error) => error,
            Ok(op) => Error::NonFinite {
                step: batch.step + 1,
                what: what.into(),
                op: op.unwrap_or_else(|| "an op that could not be found again".into()),
            },
        }
    }

    /// Evaluates the loss on `n` samples that are not trained on: `batch(first, samples, labels)` fills the buffers with
    /// those from `first` on. Noise and times are the same in every validation of the run.
    ///
    /// # Errors
    /// A failure of the device, or the first of `batch`.
    ///
    /// # Panics
    /// If the configuration does not validate.
    pub fn validate(
        &mut self,
        n: usize,
        batch: impl FnMut(usize, &mut [f32], &mut [i32]) -> Result<()>,
    ) -> Result<MeanLoss> {
        let validator = self.validator.as_mut().expect("validation is configured");
        validator.loss(&mut self.session, n, batch)
    }

    /// Draws `n` samples with the averaged weights, by the settings of `config.sample`. Where `stop` is set, it ends early;
    /// `progress` receives the number of network evaluations that are done, and of all.
    ///
    /// # Errors
    /// Samples that are not finite, a failure of the device, or [`Error::Stopped`].
    ///
    /// # Panics
    /// If neither sheets nor measurements of samples are configured.
    pub fn sample(
        &mut self,
        n: usize,
        stop: Option<&AtomicBool>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Samples> {
        if !self.average.copy.is_empty() {
            let values = self.session.read(self.average.values)?;
            self.session.write(self.average.copy, &values)?;
        }
        let settings = &self.config.sample;
        let plan = self.config.sample_plan()?;
        let request = Request { guidance: settings.guidance, stop, ..Request::new(&plan, n, settings.seed) };
        self.sampler.as_mut().expect("samples are configured").draw(&mut self.session, request, progress)
    }

    /// Number of updates made.
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
        self.config.train.shards as u64 * self.programs.shards[0].flops()
    }
}

/// Decides the precision: the requested one, if the device can compute in it.
fn precision(requested: Precision, backend: Backend) -> Result<Precision> {
    match (requested, backend) {
        (Precision::Auto, Backend::Cpu) => Ok(Precision::F32),
        (Precision::Auto, Backend::Gpu(_)) => Ok(Precision::Bf16),
        (Precision::Bf16, Backend::Cpu) => {
            Err(Error::Config("train.precision = \"bf16\": the CPU computes in f32 only".into()))
        }
        (precision, _) => Ok(precision),
    }
}
