//! The networks of points: a cell of the thesis' table, its configuration, its run.

use super::targets;
use crate::data::points::{POINTS, PointSet};
use crate::diffusion::{LossWeighting, NoiseSchedule, PredictionTarget};
use crate::experiment::context::Context;
use crate::experiment::images::open;
use crate::experiment::page::Page;
use crate::nn::{MlpConfig, ModelConfig};
use crate::train::{Config, LoadedModel, RunDir};
use anyhow::Result;
use std::path::Path;

/// All times at which a network is evaluated.
pub(super) const TIMES: [f64; 2] = [0.001, 0.999];
/// The times over which the bound is trained and reported; it diverges towards 0.
pub(super) const BOUND_RANGE: [f64; 2] = [0.05, 0.95];
/// The times over which the rescaled losses are reported; those of ε and the score diverge towards 1.
pub(super) const RESCALED_RANGE: [f64; 2] = [0.075, 0.95];
/// The earliest time of the unweighted loss of the score, which diverges towards 0.
pub(super) const SCORE_FROM: f64 = 0.075;
/// Points of a batch.
const BATCH: usize = 512;
/// Points that are learnt from.
const TRAIN_POINTS: usize = POINTS / 5 * 4;
/// Checkpoints of a run, evenly spread.
const CHECKPOINTS: u64 = 20;
/// Decay of the moving average of the weights. It is measured in place of the last weights, since it is free of the
/// jitter of a constant learning rate.
const EMA_DECAY: f64 = 0.999;

/// The weighting of the squared error of a target over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Training {
    /// The error of the target itself: the thesis' weighted loss.
    Weighted,
    /// The variational bound.
    Nelbo,
}

impl Training {
    pub const ALL: [Training; 2] = [Training::Weighted, Training::Nelbo];

    pub fn name(self) -> &'static str {
        match self {
            Training::Weighted => "weighted",
            Training::Nelbo => "NELBO",
        }
    }

    /// The times that a network is trained at.
    fn range(self, target: PredictionTarget) -> [f64; 2] {
        match self {
            Training::Weighted => own_range(target),
            Training::Nelbo => BOUND_RANGE,
        }
    }
}

/// The times over which the error of a target is averaged.
pub(super) fn own_range(target: PredictionTarget) -> [f64; 2] {
    if target == PredictionTarget::Score { [SCORE_FROM, TIMES[1]] } else { TIMES }
}

/// One network of the thesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub set: PointSet,
    pub target: PredictionTarget,
    pub training: Training,
    /// The number of the network among those that differ in the seed only.
    pub repeat: u64,
}

impl Cell {
    /// The first network of its kind.
    pub fn new(set: PointSet, target: PredictionTarget, training: Training) -> Cell {
        Cell { set, target, training, repeat: 0 }
    }

    /// The set and the target, for sentences.
    pub fn name(&self) -> String {
        format!("{} {}", self.set.name(), targets::name(self.target))
    }

    /// The training.
    pub fn config(&self, context: &Context) -> Config {
        let [t_min, t_max] = self.training.range(self.target);
        let steps = epochs(context) * (TRAIN_POINTS / BATCH) as u64;
        let mut config = Config { model: ModelConfig::Mlp(MlpConfig::default()), ..Config::default() };
        config.data.source = self.set.name().into();
        config.diffusion.schedule = NoiseSchedule::vp_cosine(t_min, t_max);
        config.diffusion.target = self.target;
        config.diffusion.loss =
            if self.training == Training::Nelbo { LossWeighting::Nelbo } else { LossWeighting::Unweighted };
        config.train.steps = steps;
        config.train.batch_size = BATCH;
        config.train.learning_rate = 1e-3;
        config.train.clip_norm = 0.0;
        config.train.ema_decay = EMA_DECAY;
        config.train.warmup_steps = 0;
        config.train.checkpoint_every = (steps / CHECKPOINTS).max(1);
        config.train.keep_checkpoints = 0;
        config.train.seed = context.settings().seed + self.repeat;
        config.sample.clip_x0 = false;
        config
    }

    /// The run that trains it.
    pub fn run(&self, context: &mut Context) -> Result<RunDir> {
        let config = self.config(context);
        let (set, target, training) = (self.set.name(), targets::name(self.target), self.training.name());
        context.note(&format!("{set}, {target}, {training}, seed {}", config.train.seed));
        context.trained(&config)
    }

    /// The trained network.
    pub fn model(&self, context: &mut Context) -> Result<LoadedModel> {
        let run = self.run(context)?;
        self.open(context, run.path())
    }

    /// The network of its run or of a checkpoint.
    pub fn open(&self, context: &Context, path: &Path) -> Result<LoadedModel> {
        open(context, path, &self.config(context))
    }
}

/// Passes over the training points.
fn epochs(context: &Context) -> u64 {
    context.size(40, 100)
}

/// The epoch that a step ends, as a fraction.
pub(super) fn epoch_of(step: u64) -> f64 {
    (step * BATCH as u64) as f64 / TRAIN_POINTS as f64
}

/// The requested sets, or those of this size.
pub(super) fn sets(context: &Context) -> Vec<PointSet> {
    let requested = &context.settings().points;
    if requested.is_empty() {
        context.size(vec![PointSet::Clusters], PointSet::ALL.to_vec())
    } else {
        requested.clone()
    }
}

/// Adds to the page the facts that all networks share.
pub(super) fn describe(context: &Context, page: &mut Page) {
    page.fact("networks", "7 layers of 128 with ReLU; time is the third input");
    page.fact("training", format!("Adam, rate 1e-3, batch {BATCH}, {} epochs, EMA {EMA_DECAY}", epochs(context)));
    page.fact("process", "VP-cosine");
    page.text(format!(
        "The thesis states neither widths, optimiser, batch size nor where its integrals over time begin and end. Here \
         the weighted losses are trained and reported on t in [{}, {}] (the score from {SCORE_FROM} on), NELBO on \
         [{}, {}], rescaled losses on [{}, {}]; losses are measured on fresh points, of which no training has seen one.",
        TIMES[0], TIMES[1], BOUND_RANGE[0], BOUND_RANGE[1], RESCALED_RANGE[0], RESCALED_RANGE[1]
    ));
}
