//! The experiments with points of Kumar's thesis: four sets, four prediction targets, two ways to weight the loss.
//!
//! ```text
//! mod.rs      what is trained: a cell of the table, its configuration, its network
//! measure.rs  losses on fresh points, distances of samples
//! table.rs    Table 4.1
//! curves.rs   losses against epochs (Figs. 4.8, 4.9) and against time (Figs. 4.11, 4.14, app. 1-3)
//! samples.rs  samples, and what fewer steps make of them (Figs. 4.12, 4.13, app. 4-6)
//! ```
//!
//! The thesis states neither width nor optimiser, batch, cut-offs in time or the sets' parameters. What is chosen here is
//! on every page.

mod cifar;
mod curves;
mod measure;
mod samples;
mod table;

pub(super) use cifar::table_4_2;
pub(super) use curves::{loss_by_time, loss_curves, nelbo_curves, variance_by_time};
pub(super) use samples::{samples_2d, steps_sweep};
pub(super) use table::table_4_1;

use super::bayes::{Clusters, Optima};
use super::snr_weights::TARGETS;
use super::{Context, Page};
use crate::Result;
use crate::data::points::{POINTS, PointSet};
use crate::diffusion::{Continuous, LossWeighting, NoiseSchedule, PredictionTarget};
use crate::nn::{MlpConfig, ModelConfig};
use crate::train::{Config, LoadedModel, ModelFile, RunDir, Which};
use std::path::Path;

/// All times at which a network is asked.
const TIMES: [f64; 2] = [0.001, 0.999];
/// The times over which the bound is trained and reported; it diverges towards 0.
const BOUND_RANGE: [f64; 2] = [0.05, 0.95];
/// The times over which the rescaled losses are reported; those of ε and the score diverge towards 1.
const RESCALED_RANGE: [f64; 2] = [0.075, 0.95];
/// The earliest time of the unweighted loss of the score, which diverges towards 0.
const SCORE_FROM: f64 = 0.075;
/// Points of a batch.
const BATCH: usize = 512;
/// Checkpoints of a run, evenly spread.
const CHECKPOINTS: u64 = 20;

/// How the squared error of a target is weighted over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Training {
    /// The error of the target itself: the thesis' weighted loss.
    Weighted,
    /// The variational bound.
    Nelbo,
}

impl Training {
    const ALL: [Training; 2] = [Training::Weighted, Training::Nelbo];

    fn name(self) -> &'static str {
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
fn own_range(target: PredictionTarget) -> [f64; 2] {
    if target == PredictionTarget::Score { [SCORE_FROM, TIMES[1]] } else { TIMES }
}

/// One network of the thesis.
#[derive(Clone, Copy, Debug)]
struct Cell {
    set: PointSet,
    target: PredictionTarget,
    training: Training,
    /// Which of the networks that differ in the seed only.
    repeat: u64,
}

impl Cell {
    /// The name of its target in plots.
    fn target_name(&self) -> &'static str {
        TARGETS.iter().find(|(_, target)| *target == self.target).map_or("", |(name, _)| name)
    }

    /// How it is trained.
    fn config(&self, context: &Context) -> Config {
        let [t_min, t_max] = self.training.range(self.target);
        let steps = epochs(context) * (POINTS / 5 * 4 / BATCH) as u64;
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
        config.train.sample_every = 0;
        config.train.seed = context.settings().seed + self.repeat;
        config.sample.n = 0;
        config.sample.clip_x0 = false;
        config
    }

    /// The run that trains it.
    fn run(&self, context: &mut Context) -> Result<RunDir> {
        let config = self.config(context);
        let (set, target, training) = (self.set.name(), self.target_name(), self.training.name());
        context.note(&format!("{set}, {target}, {training}, seed {}", config.train.seed));
        context.trained(&config)
    }

    /// The network, trained.
    fn model(&self, context: &mut Context) -> Result<LoadedModel> {
        let dir = self.run(context)?;
        open(context, dir.path())
    }
}

/// The network of a run or a checkpoint.
fn open(context: &Context, path: &Path) -> Result<LoadedModel> {
    LoadedModel::new(&ModelFile::open(path, Which::Average)?, context.device()?)
}

/// Decay of the weights' moving average, which is what is measured: it takes the jitter of a constant learning rate away.
const EMA_DECAY: f64 = 0.999;

/// Passes over the training points.
fn epochs(context: &Context) -> u64 {
    context.size(40, 100)
}

/// The epoch that a step ends, as a fraction.
fn epoch_of(step: u64) -> f64 {
    (step * BATCH as u64) as f64 / (POINTS / 5 * 4) as f64
}

/// The sets that were asked for, or those of this size.
fn sets(context: &Context) -> Vec<PointSet> {
    let asked = &context.settings().points;
    if asked.is_empty() { context.size(vec![PointSet::Clusters], PointSet::ALL.to_vec()) } else { asked.clone() }
}

/// The least possible losses: exact for the clusters; of the other sets numbers from a grid of 6 million points, good to
/// a hundredth.
fn optima(set: PointSet) -> Optima {
    let known = |x0, epsilon, v| Optima { x0, epsilon, v };
    match set {
        PointSet::Clusters => Clusters::new(&set.standardisation()).optima(Continuous::VpCosine, TIMES),
        PointSet::Rings => known(0.489, 0.426, 0.9155),
        PointSet::SwissRoll => known(0.489, 0.425, 0.9145),
        PointSet::Waves => known(0.486, 0.443, 0.929),
    }
}

/// The least possible bound over [`BOUND_RANGE`], as exact as [`optima`].
fn best_bound(set: PointSet) -> f64 {
    match set {
        PointSet::Clusters => Clusters::new(&set.standardisation()).nelbo(Continuous::VpCosine, BOUND_RANGE),
        PointSet::Rings => 4.058,
        PointSet::SwissRoll => 4.026,
        PointSet::Waves => 4.37,
    }
}

/// The least possible error of a target over [`own_range`], where it is known.
fn best_own(set: PointSet, target: PredictionTarget) -> Option<f64> {
    let Optima { x0, epsilon, v } = optima(set);
    match target {
        PredictionTarget::X0 => Some(x0),
        PredictionTarget::Epsilon => Some(epsilon),
        PredictionTarget::V => Some(v),
        _ if set == PointSet::Clusters => {
            Some(Clusters::new(&set.standardisation()).score_optimum(Continuous::VpCosine, own_range(target)))
        }
        _ => None,
    }
}

/// Says on the page what is the same for all networks.
fn describe(context: &Context, page: &mut Page) {
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
