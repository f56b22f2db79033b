//! The programs of a training run. A step is one, or, where a batch is processed in parts, one for each part and one that
//! updates the weights.
//!
//! ```text
//! part    images, times -> noise -> network -> loss -> gradients of every weight
//! update  gradients, loss -> norm, whether all is finite -> clip, Adam, moving average, bf16 copy
//! ```
//! All that changes from step to step lies in persistent tensors, so each program is recorded once.

use super::config::{Config, Optimizer};
use crate::Result;
use crate::engine::ops::adam::AdamTensors;
use crate::engine::ops::hybrid_loss::{HybridLoss, hybrid_loss};
use crate::engine::ops::philox::state_tensor;
use crate::engine::ops::records::{AdamRecord, HybridLossRecord, NoiseRecord};
use crate::engine::ops::{adam, add, grad_norm, noise_loss};
use crate::engine::tape::{Backend, Pass, Tape, Work};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::nn::{Forward, ModelConfig, Network, ParamSet, Weights};

/// Inputs of a part of a batch, written before each run of its program.
#[derive(Clone, Copy, Debug)]
pub struct PartInputs {
    /// Clean images `[n, h, w, c]` f32.
    pub images: Tensor,
    /// `[n, 4]` f32: the [`NoiseRecord`] of each image's time.
    pub coefficients: Tensor,
    /// `[n]` f32: weight of each image's squared error.
    pub weight: Tensor,
    /// `[n, 8]` f32: the [`HybridLossRecord`] of each image, where the network learns a variance; else absent.
    pub hybrid: Tensor,
    /// `[n]` f32: time as the network reads it.
    pub time: Tensor,
    /// `[n]` i32, where the model is conditional.
    pub labels: Option<Tensor>,
    /// State of the random numbers.
    pub rng: Tensor,
}

impl PartInputs {
    /// Reserves the inputs for `n` images of the model's size.
    pub fn reserve(store: &mut Store, model: &ModelConfig, n: usize) -> PartInputs {
        let [h, w, _] = model.sample_dims();
        PartInputs::reserve_sized(store, model, [n, h, w])
    }

    /// Reserves the inputs for `n` images of any size that the model can process.
    pub fn reserve_sized(store: &mut Store, model: &ModelConfig, [n, h, w]: [usize; 3]) -> PartInputs {
        let [_, _, c] = model.sample_dims();
        let learns_variance = model.out_channels() > c;
        let hybrid = learns_variance.then(|| store.tensor(&[n, HybridLossRecord::LEN], DType::F32));
        PartInputs {
            images: store.tensor(&[n, h, w, c], DType::F32),
            coefficients: store.tensor(&[n, NoiseRecord::LEN], DType::F32),
            weight: store.tensor(&[n], DType::F32),
            hybrid: hybrid.unwrap_or(Tensor::EMPTY),
            time: store.tensor(&[n], DType::F32),
            labels: (model.classes() > 0).then(|| store.tensor(&[n], DType::I32)),
            rng: state_tensor(store),
        }
    }
}

/// Tensors that outlive a step.
#[derive(Clone, Debug)]
pub struct StepTensors {
    /// The weights and their gradients.
    pub weights: Weights,
    /// First moving average of the weights, which samples are drawn with.
    pub average: Weights,
    /// State of the optimiser; its moving average is `average`.
    pub state: OptimizerState,
    /// Further tensors of a batch in several parts.
    pub parts: Option<PartTensors>,
    /// Inputs of a part of a batch.
    pub inputs: PartInputs,
}

/// Tensors in which the parts of a batch come together.
#[derive(Clone, Copy, Debug)]
pub struct PartTensors {
    /// Gradients of a further part, which are then added to the first part's.
    pub gradients: Tensor,
    /// `[1]`: sum of the parts' losses; the host sets it to 0 before the first.
    pub loss: Tensor,
}

impl StepTensors {
    /// Reserves what a configuration needs.
    pub fn reserve(store: &mut Store, params: &ParamSet, config: &Config, dtype: DType) -> StepTensors {
        let weights = Weights::reserve(store, params, dtype, true);
        let average = Weights::reserve(store, params, dtype, false);
        let count = config.train.further_averages();
        let further = if count == 0 { Tensor::EMPTY } else { store.tensor(&[count, params.flat_len()], DType::F32) };
        let mut array = || store.tensor(&[params.flat_len()], DType::F32);
        let (m, v) = (array(), array());
        let part_gradients = (config.train.accumulate > 1).then(array);
        let outcome = store.tensor(&[3], DType::F32);
        // From here on all that the host writes for a step, in one piece.
        let parts = part_gradients.map(|gradients| PartTensors { gradients, loss: store.tensor(&[1], DType::F32) });
        let hyper = store.tensor(&[AdamRecord::LEN], DType::F32);
        let decays = if count == 0 { Tensor::EMPTY } else { store.tensor(&[count], DType::F32) };
        let state = OptimizerState { m, v, ema: average.values, further, decays, hyper, outcome };
        let inputs = PartInputs::reserve(store, &config.model, config.train.micro_batch());
        StepTensors { weights, average, state, parts, inputs }
    }
}

/// The programs of a step, each run in turn; a program is a tape, or what a session has made of it.
pub struct StepPrograms<P> {
    /// Processes the first part of a batch; updates the weights too, if that is all of it.
    pub first: P,
    /// Programs of the further parts.
    pub further: Option<FurtherParts<P>>,
}

/// The programs that follow the first where a batch has several parts.
pub struct FurtherParts<P> {
    /// Processes a further part.
    pub part: P,
    /// Updates the weights.
    pub update: P,
}

impl StepPrograms<Tape> {
    /// Records a step.
    pub fn record(
        (backend, dtype): (Backend, DType),
        network: &Network,
        tensors: &StepTensors,
        config: &Config,
    ) -> StepPrograms<Tape> {
        let StepTensors { weights, state, inputs, parts, .. } = tensors;
        let tape = || Tape::new(backend, dtype);
        let mut first = tape();
        let loss = record_part(&mut first, network, weights, inputs);
        let Some(parts) = parts else {
            record_update(&mut first, weights, state, loss, config);
            return StepPrograms { first, further: None };
        };
        let gather = |tape: &mut Tape, sum, part| {
            tape.enter_layer("accumulation");
            add::axpy_acc(tape, sum, part, 1.0);
        };
        gather(&mut first, parts.loss, loss);
        let (mut part, mut update) = (tape(), tape());
        let mut aside = weights.clone();
        aside.gradients = parts.gradients;
        let loss = record_part(&mut part, network, &aside, inputs);
        gather(&mut part, weights.gradients, parts.gradients);
        gather(&mut part, parts.loss, loss);
        record_update(&mut update, weights, state, parts.loss, config);
        StepPrograms { first, further: Some(FurtherParts { part, update }) }
    }

    /// Lists the tapes.
    pub fn tapes(&self) -> impl Iterator<Item = &Tape> {
        [&self.first].into_iter().chain(self.further.iter().flat_map(|further| [&further.part, &further.update]))
    }
}

impl<P> StepPrograms<P> {
    /// Turns each program into another, in order.
    ///
    /// # Errors
    /// The first error of `f`.
    pub fn try_map<Q>(self, mut f: impl FnMut(P) -> Result<Q>) -> Result<StepPrograms<Q>> {
        let first = f(self.first)?;
        let further = match self.further {
            Some(further) => Some(FurtherParts { part: f(further.part)?, update: f(further.update)? }),
            None => None,
        };
        Ok(StepPrograms { first, further })
    }

    /// The program of a part of the batch.
    pub fn part(&mut self, part: usize) -> &mut P {
        match &mut self.further {
            Some(further) if part > 0 => &mut further.part,
            _ => &mut self.first,
        }
    }

    /// The program that only updates, where there is one.
    pub fn update(&mut self) -> Option<&mut P> {
        self.further.as_mut().map(|further| &mut further.update)
    }

    /// Lists the work of each launch of a step of so many parts, in order; `of` lists that of a program.
    pub fn work(&self, parts: usize, of: impl Fn(&P) -> Vec<Work>) -> Vec<Work> {
        let mut work = of(&self.first);
        if let Some(further) = &self.further {
            let part = of(&further.part);
            (1..parts).for_each(|_| work.extend_from_slice(&part));
            work.extend(of(&further.update).into_iter().map(|work| Work { pass: Pass::Update, ..work }));
        }
        work
    }
}

/// Records forward and reverse pass of a part; returns the loss `[1]`.
pub fn record_part(tape: &mut Tape, network: &Network, weights: &Weights, inputs: &PartInputs) -> Tensor {
    tape.enter_layer("noise");
    let (z, target) = noise_loss::noise(tape, inputs.images, inputs.coefficients, inputs.rng);
    let mut cx = Forward::train(tape, weights, inputs.rng);
    let prediction = network.forward(&mut cx, z, inputs.time, inputs.labels);
    tape.enter_layer("loss");
    let loss = if inputs.hybrid.is_empty() {
        noise_loss::loss(tape, prediction, target, inputs.weight)
    } else {
        let (x, coefficients) = (inputs.images, inputs.hybrid);
        hybrid_loss(tape, HybridLoss { pred: prediction, target, z, x, coefficients })
    };
    tape.backward();
    loss.total
}

/// State of the optimiser, in arrays like that of the weights.
#[derive(Clone, Copy, Debug)]
pub struct OptimizerState {
    /// Mean of the gradient.
    pub m: Tensor,
    /// Mean of the squared gradient.
    pub v: Tensor,
    /// First moving average of the weights.
    pub ema: Tensor,
    /// The other averages `[k, n]`; absent where there is one.
    pub further: Tensor,
    /// Their decays in the step `[k]`.
    pub decays: Tensor,
    /// Numbers that change from step to step, an [`AdamRecord`].
    pub hyper: Tensor,
    /// Result of an update: norm of the gradients, loss, and 1 if either was not finite. See
    /// [`grad_norm`](crate::engine::ops::grad_norm::grad_norm).
    pub outcome: Tensor,
}

/// Records the update by gradients of a loss `[1]`.
pub fn record_update(tape: &mut Tape, weights: &Weights, state: &OptimizerState, loss: Tensor, config: &Config) {
    tape.enter_layer("optimiser");
    grad_norm::grad_norm(tape, state.outcome, weights.gradients, loss);
    let tensors = AdamTensors {
        p: weights.values,
        m: state.m,
        v: state.v,
        ema: state.ema,
        further: state.further,
        decays: state.decays,
        copy: weights.copy,
        g: weights.gradients,
    };
    let decoupled = config.train.optimizer == Optimizer::Adamw;
    adam::adam(tape, tensors, state.hyper, state.outcome, config.train.clip_norm as f32, decoupled);
}
