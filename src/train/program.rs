//! The programs of a training run: one processes a part of a batch, one updates the weights.
//!
//! ```text
//! part    images, times -> noise -> network -> loss -> gradients of every weight
//! update  gradients -> norm -> clip, Adam, moving average, bf16 copy
//! ```
//! What changes from step to step lies in persistent tensors, so both are recorded once.

use super::config::{Config, Optimizer};
use crate::nn::{Forward, ModelConfig, Network, ParamSet, Weights};
use crate::ops::adam::AdamTensors;
use crate::ops::hybrid_loss::{self, HybridLoss, hybrid_loss};
use crate::ops::philox::RngState;
use crate::ops::{adam, add, grad_norm, noise_loss};
use crate::tape::{Backend, Pass, Tape, Work};
use crate::tensor::{DType, Store, Tensor};

/// What a part of a batch is: written before each run of its program.
#[derive(Clone, Copy, Debug)]
pub struct PartInputs {
    /// Clean images `[n, h, w, c]` f32.
    pub images: Tensor,
    /// `[n, 4]` f32: a, sigma, c_x, c_eps of each image's time.
    pub coefficients: Tensor,
    /// `[n]` f32: weight of each image's squared error.
    pub weight: Tensor,
    /// `[n, 8]` f32: coefficients of the hybrid loss, where the network learns a variance; else absent.
    pub hybrid: Tensor,
    /// `[n]` f32: time as the network is told it.
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
        let hybrid = learns_variance.then(|| store.tensor(&[n, hybrid_loss::COEFFICIENTS], DType::F32));
        PartInputs {
            images: store.tensor(&[n, h, w, c], DType::F32),
            coefficients: store.tensor(&[n, 4], DType::F32),
            weight: store.tensor(&[n], DType::F32),
            hybrid: hybrid.unwrap_or(Tensor::EMPTY),
            time: store.tensor(&[n], DType::F32),
            labels: (model.classes() > 0).then(|| store.tensor(&[n], DType::I32)),
            rng: RngState::tensor(store),
        }
    }
}

/// What outlives a step.
#[derive(Clone, Debug)]
pub struct StepTensors {
    /// The weights and their gradients.
    pub weights: Weights,
    /// Moving average of the weights, which samples are drawn with.
    pub average: Weights,
    /// State of the optimiser; its moving average is `average`.
    pub state: OptimizerState,
    /// Where further parts of a batch write their gradients, from where they are added to the first part's.
    pub part_gradients: Option<Tensor>,
    /// What a part of a batch is.
    pub inputs: PartInputs,
}

impl StepTensors {
    /// Reserves what a configuration needs.
    pub fn reserve(store: &mut Store, params: &ParamSet, config: &Config, dtype: DType) -> StepTensors {
        let weights = Weights::reserve(store, params, dtype, true);
        let average = Weights::reserve(store, params, dtype, false);
        let mut array = || store.tensor(&[params.flat_len()], DType::F32);
        let (m, v) = (array(), array());
        let part_gradients = (config.train.accumulate > 1).then(array);
        let state = OptimizerState {
            m,
            v,
            ema: average.values,
            hyper: store.tensor(&[8], DType::F32),
            norm: store.tensor(&[2], DType::F32),
        };
        let inputs = PartInputs::reserve(store, &config.model, config.train.micro_batch());
        StepTensors { weights, average, state, part_gradients, inputs }
    }
}

/// The programs of a step, each run in turn; a program is a tape, or what a session has made of it.
pub struct StepPrograms<P> {
    /// Processes the first part of a batch and leaves the loss `[1]`.
    pub first: (P, Tensor),
    /// Processes every further part, where there are several.
    pub further: Option<(P, Tensor)>,
    /// Updates the weights.
    pub update: P,
}

impl StepPrograms<Tape> {
    /// Records a step.
    pub fn record(on: (Backend, DType), network: &Network, tensors: &StepTensors, config: &Config) -> Self {
        let StepTensors { weights, state, inputs, part_gradients, .. } = tensors;
        let further = part_gradients.map(|gradients| {
            let mut aside = weights.clone();
            aside.gradients = gradients;
            record_part(on, network, &aside, inputs, Some(weights.gradients))
        });
        StepPrograms {
            first: record_part(on, network, weights, inputs, None),
            further,
            update: record_update(on, weights, state, config),
        }
    }
}

impl<P> StepPrograms<P> {
    /// The program of a part of the batch, and the loss that it leaves.
    pub fn part(&mut self, part: usize) -> &mut (P, Tensor) {
        match &mut self.further {
            Some(further) if part > 0 => further,
            _ => &mut self.first,
        }
    }

    /// What the launches of one step with so many parts have to do, in order; `of` tells it of a program.
    pub fn work(&self, parts: usize, of: impl Fn(&P) -> Vec<Work>) -> Vec<Work> {
        let mut work = of(&self.first.0);
        let further: Vec<Work> = self.further.iter().flat_map(|(program, _)| of(program)).collect();
        (1..parts).for_each(|_| work.extend_from_slice(&further));
        work.extend(of(&self.update).into_iter().map(|work| Work { pass: Pass::Update, ..work }));
        work
    }
}

/// Records forward and reverse pass of a part; returns the tape and the loss `[1]`, which is kept. With `add_to`, the
/// gradients are then added to those of earlier parts.
pub fn record_part(
    (backend, dtype): (Backend, DType),
    network: &Network,
    weights: &Weights,
    inputs: &PartInputs,
    add_to: Option<Tensor>,
) -> (Tape, Tensor) {
    let mut tape = Tape::new(backend, dtype);
    tape.enter_layer("noise");
    let (z, target) = noise_loss::noise(&mut tape, inputs.images, inputs.coefficients, inputs.rng);
    let mut cx = Forward::train(&mut tape, weights, inputs.rng);
    let prediction = network.forward(&mut cx, z, inputs.time, inputs.labels);
    tape.enter_layer("loss");
    let loss = if inputs.hybrid.is_empty() {
        noise_loss::loss(&mut tape, prediction, target, inputs.weight)
    } else {
        let (x, coefficients) = (inputs.images, inputs.hybrid);
        hybrid_loss(&mut tape, HybridLoss { pred: prediction, target, z, x, coefficients })
    };
    tape.keep(loss.total);
    tape.backward();
    if let Some(sum) = add_to {
        tape.enter_layer("accumulation");
        add::axpy_acc(&mut tape, sum, weights.gradients, 1.0);
    }
    (tape, loss.total)
}

/// State of the optimiser, in arrays like the weights'.
#[derive(Clone, Copy, Debug)]
pub struct OptimizerState {
    /// Mean of the gradient.
    pub m: Tensor,
    /// Mean of the squared gradient.
    pub v: Tensor,
    /// Moving average of the weights.
    pub ema: Tensor,
    /// What changes from step to step: [`AdamHyper::values`](crate::ops::adam::AdamHyper::values).
    pub hyper: Tensor,
    /// Norm of the gradients, and whether it is finite: what an update leaves to be read.
    pub norm: Tensor,
}

/// Records the update.
pub fn record_update(
    (backend, dtype): (Backend, DType),
    weights: &Weights,
    state: &OptimizerState,
    config: &Config,
) -> Tape {
    let mut tape = Tape::new(backend, dtype);
    tape.enter_layer("optimiser");
    grad_norm::grad_norm(&mut tape, state.norm, weights.gradients);
    let tensors = AdamTensors {
        p: weights.values,
        m: state.m,
        v: state.v,
        ema: state.ema,
        copy: weights.copy,
        g: weights.gradients,
    };
    let decoupled = config.train.optimizer == Optimizer::Adamw;
    adam::adam(&mut tape, tensors, state.hyper, state.norm, config.train.clip_norm as f32, decoupled);
    tape
}
