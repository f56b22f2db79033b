//! The programs of a training run. A step is one, or, where a batch is computed in shards, some for the shards, some that
//! add up what two of them gave, and one that updates the weights.
//!
//! ```text
//! shard   images, times -> noise -> network -> loss -> gradients of every weight
//! sum     gradients and loss of two halves of a tree -> those of both
//! update  gradients, loss -> norm, whether all is finite -> clip, Adam, moving average, bf16 copy
//! ```
//! All that changes from step to step lies in persistent tensors, so each program is recorded once.
//!
//! The shards are added up as the file `sum_tree.rs` says: in the same order, whoever computes them.

use super::config::{Config, Optimizer};
use super::sum_tree::{self, Call};
use crate::Result;
use crate::engine::ops::adam::AdamTensors;
use crate::engine::ops::hybrid_loss::{HybridLoss, hybrid_loss};
use crate::engine::ops::philox::state_tensor;
use crate::engine::ops::records::{AdamRecord, HybridLossRecord, NoiseRecord};
use crate::engine::ops::{adam, add, grad_norm, noise_loss};
use crate::engine::tape::{Backend, Pass, Tape, Work};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::nn::{Forward, ModelConfig, Network, ParamSet, Weights};

/// Inputs of a shard of a batch, written before each run of its program.
#[derive(Clone, Copy, Debug)]
pub struct ShardInputs {
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

impl ShardInputs {
    /// Reserves the inputs for `n` images of the model's size.
    pub fn reserve(store: &mut Store, model: &ModelConfig, n: usize) -> ShardInputs {
        let [h, w, _] = model.sample_dims();
        ShardInputs::reserve_sized(store, model, [n, h, w])
    }

    /// Reserves the inputs for `n` images of any size that the model can process.
    pub fn reserve_sized(store: &mut Store, model: &ModelConfig, [n, h, w]: [usize; 3]) -> ShardInputs {
        let [_, _, c] = model.sample_dims();
        let learns_variance = model.out_channels() > c;
        let hybrid = learns_variance.then(|| store.tensor(&[n, HybridLossRecord::LEN], DType::F32));
        ShardInputs {
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
    /// Further tensors of a batch in several shards.
    pub partial: Option<PartialSums>,
    /// Inputs of a shard of a batch.
    pub inputs: ShardInputs,
}

/// Sums over some of the shards of a batch, by their place in the tree of `sum_tree.rs`.
#[derive(Clone, Debug)]
pub struct PartialSums {
    /// Gradients at the second place and those above; at the first they are those of the weights.
    pub gradients: Vec<Tensor>,
    /// `[1]`: the loss at every place; the host sets it to 0 before a shard is computed there.
    pub losses: Vec<Tensor>,
}

impl StepTensors {
    /// Reserves what a configuration needs of which this process computes so many shards.
    pub fn reserve(store: &mut Store, params: &ParamSet, config: &Config, shards: usize, dtype: DType) -> StepTensors {
        let weights = Weights::reserve(store, params, dtype, true);
        let average = Weights::reserve(store, params, dtype, false);
        let count = config.train.further_averages();
        let further = if count == 0 { Tensor::EMPTY } else { store.tensor(&[count, params.flat_len()], DType::F32) };
        let mut array = || store.tensor(&[params.flat_len()], DType::F32);
        let (m, v) = (array(), array());
        let places = sum_tree::places(shards);
        let gradients: Vec<Tensor> = (1..places).map(|_| array()).collect();
        let outcome = store.tensor(&[3], DType::F32);
        // From here on all that the host writes for a step, in one piece.
        let mut losses = || (0..places).map(|_| store.tensor(&[1], DType::F32)).collect();
        let partial = (config.train.shards > 1).then(|| PartialSums { gradients, losses: losses() });
        let hyper = store.tensor(&[AdamRecord::LEN], DType::F32);
        let decays = if count == 0 { Tensor::EMPTY } else { store.tensor(&[count], DType::F32) };
        let state = OptimizerState { m, v, ema: average.values, further, decays, hyper, outcome };
        let inputs = ShardInputs::reserve(store, &config.model, config.train.micro_batch());
        StepTensors { weights, average, state, partial, inputs }
    }
}

/// The programs of a step; a program is a tape, or what a session has made of it.
pub struct StepPrograms<P> {
    /// Computes a shard at each place of the tree. The only one updates the weights too, if the batch is one shard.
    pub shards: Vec<P>,
    /// Adds what is at the second place, and at those above, to what is at the place below.
    pub sums: Vec<P>,
    /// Updates the weights, where the batch has several shards.
    pub update: Option<P>,
}

impl StepPrograms<Tape> {
    /// Records a step.
    pub fn record(
        (backend, dtype): (Backend, DType),
        network: &Network,
        tensors: &StepTensors,
        config: &Config,
    ) -> StepPrograms<Tape> {
        let StepTensors { weights, state, inputs, partial, .. } = tensors;
        let tape = || Tape::new(backend, dtype);
        let Some(PartialSums { gradients, losses }) = partial else {
            let mut whole = tape();
            let loss = record_shard(&mut whole, network, weights, inputs);
            record_update(&mut whole, weights, state, loss, config);
            return StepPrograms { shards: vec![whole], sums: Vec::new(), update: None };
        };
        let gather = |tape: &mut Tape, sum, more| {
            tape.enter_layer("sum of the shards");
            add::axpy_acc(tape, sum, more, 1.0);
        };
        let at = |place: usize| {
            let mut at = weights.clone();
            at.gradients = if place == 0 { weights.gradients } else { gradients[place - 1] };
            at
        };
        let shard = |(place, &loss): (usize, &Tensor)| {
            let mut shard = tape();
            let of_shard = record_shard(&mut shard, network, &at(place), inputs);
            gather(&mut shard, loss, of_shard);
            shard
        };
        let sum = |place: usize| {
            let mut sum = tape();
            gather(&mut sum, at(place - 1).gradients, at(place).gradients);
            gather(&mut sum, losses[place - 1], losses[place]);
            sum
        };
        let mut update = tape();
        record_update(&mut update, weights, state, losses[0], config);
        StepPrograms {
            shards: losses.iter().enumerate().map(shard).collect(),
            sums: (1..losses.len()).map(sum).collect(),
            update: Some(update),
        }
    }

    /// Lists the tapes.
    pub fn tapes(&self) -> impl Iterator<Item = &Tape> {
        self.shards.iter().chain(&self.sums).chain(&self.update)
    }
}

impl<P> StepPrograms<P> {
    /// Turns each program into another, in order.
    ///
    /// # Errors
    /// The first error of `f`.
    pub fn try_map<Q>(self, mut f: impl FnMut(P) -> Result<Q>) -> Result<StepPrograms<Q>> {
        Ok(StepPrograms {
            shards: self.shards.into_iter().map(&mut f).collect::<Result<_>>()?,
            sums: self.sums.into_iter().map(&mut f).collect::<Result<_>>()?,
            update: self.update.map(f).transpose()?,
        })
    }

    /// The program of a call.
    pub fn called(&mut self, call: Call) -> &mut P {
        match call {
            Call::Shard { place, .. } => &mut self.shards[place],
            Call::Sum { place } => &mut self.sums[place - 1],
        }
    }

    /// Lists the work of each launch of a step of so many shards, in order; `of` lists that of a program.
    pub fn work(&self, shards: usize, of: impl Fn(&P) -> Vec<Work>) -> Vec<Work> {
        let mut work = Vec::new();
        let update = |work: Work| Work { pass: Pass::Update, ..work };
        for call in sum_tree::calls(shards) {
            match call {
                Call::Shard { place, .. } => work.extend(of(&self.shards[place])),
                Call::Sum { place } => work.extend(of(&self.sums[place - 1]).into_iter().map(update)),
            }
        }
        work.extend(self.update.iter().flat_map(of).map(update));
        work
    }
}

/// Records forward and reverse pass of a shard; returns the loss `[1]`.
pub fn record_shard(tape: &mut Tape, network: &Network, weights: &Weights, inputs: &ShardInputs) -> Tensor {
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
