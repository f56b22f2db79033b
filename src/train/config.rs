//! The configuration of a run: one TOML file of five sections decides all that is computed.
//!
//! `config.toml` in a run directory is complete: a run started from it repeats the run.

pub use super::diffusion_config::DiffusionConfig;
use super::sample_config::SampleConfig;
use crate::data::{DataOptions, Split};
use crate::diffusion::{Process, SamplePlan};
use crate::engine::tensor::DType;
use crate::nn::ModelConfig;
use crate::{Error, Result, SampleKind};
use serde::{Deserialize, Serialize};

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The network.
    #[serde(deserialize_with = "ModelConfig::deserialize_of_any_age")]
    pub model: ModelConfig,
    /// The noise.
    pub diffusion: DiffusionConfig,
    /// The images.
    pub data: DataConfig,
    /// The optimisation.
    pub train: TrainConfig,
    /// The sheets of samples, while training and from `ddpm sample`.
    pub sample: SampleConfig,
}

/// The images to train on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// `glyphs`, or the path of a file or folder, whose format is recognised by its content.
    pub source: String,
    /// `train` or `test`.
    pub split: Split,
    /// Only these classes, relabelled 0, 1, ... in this order; empty: all.
    pub classes: Vec<u32>,
    /// Use only the first so many images; 0: all.
    pub limit: usize,
    /// Mirror half of the images left to right.
    pub flip: bool,
    /// Turn colour images to grey where the model has one channel; otherwise they are refused.
    pub grey: bool,
    /// The labels of a set that has several kinds, such as `coarse` of CIFAR-100; `prefix` takes the classes of images from
    /// their names, `cat_0001.png`; empty: the usual ones.
    pub labels: String,
    /// Megabytes of decoded images that are held in memory. Larger folders and parquet sets stay on the disk, and their
    /// images are decoded as they are needed.
    pub memory_limit: usize,
    /// Images within which the order is random where blocks of them are read from the disk, as of parquet files.
    pub shuffle_window: usize,
}

/// The optimisation of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Updates of the weights; where `epochs` is set, it follows from that.
    pub steps: u64,
    /// Passes over the samples that are trained on, instead of a number of steps; 0: `steps` counts.
    pub epochs: f64,
    /// Images per update.
    pub batch_size: usize,
    /// Equal parts in which a batch is computed, to save memory or on several processes. Their gradients are added up as a
    /// tree, so the number of shards decides the result, and the number of processes does not.
    #[serde(alias = "accumulate")]
    pub shards: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// `adam` adds the weight decay to the gradient, `adamw` subtracts it from the weights.
    pub optimizer: Optimizer,
    /// Decay of the gradient's running mean.
    pub beta1: f64,
    /// Decay of the squared gradient's running mean.
    pub beta2: f64,
    /// Added to the root of the squared gradient's mean.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Steps in which the learning rate rises linearly from 0; a run shorter than that only rises.
    pub warmup_steps: u64,
    /// Course of the learning rate after the warm-up.
    pub lr_schedule: LrSchedule,
    /// Step at which that course ends; 0: the last one. A cosine stays at 0 from there on.
    pub lr_steps: u64,
    /// Gradients of a larger global norm are scaled down to it; 0: never.
    pub clip_norm: f64,
    /// Decay of the weights' moving average, which samples are drawn with; 0: the weights themselves.
    pub ema_decay: f64,
    /// Moving averages instead of that one, such as `["power=0.75", "half-life=500000"]`: see
    /// [`averages`](super::averages). Samples are drawn with the first, `--ema` chooses another.
    pub ema: Vec<String>,
    /// Type in which activations are stored.
    pub precision: Precision,
    /// Steps between checkpoints; 0: only the last step.
    pub checkpoint_every: u64,
    /// Minutes after which a checkpoint is written though none is due by the steps; 0: never.
    pub checkpoint_every_minutes: f64,
    /// Checkpoints kept, the latest ones; 0: all.
    pub keep_checkpoints: usize,
    /// Steps between sheets of samples; 0: only after the last step.
    pub sample_every: u64,
    /// Minutes after which a sheet is drawn though none is due by the steps; 0: never.
    pub sample_every_minutes: f64,
    /// Steps between measurements of samples against the data, the last of which follows the last step; 0: never. The
    /// step with the best samples is kept beside the last ones.
    pub evaluate_every: u64,
    /// Samples that are measured.
    pub evaluate_n: usize,
    /// File with the weights of Inception-v3, for the distance that papers report; empty: the features of our own
    /// classifier of the data.
    pub evaluate_inception: String,
    /// Steps between the points of the TensorBoard curves.
    pub log_every: u64,
    /// Share of the data, drawn by the seed, that is not trained on but validates.
    pub validation_fraction: f64,
    /// Steps between validations; 0: never.
    pub validate_every: u64,
    /// Stop when so many validations in a row have not lowered the loss, and go back to the best weights; 0: never.
    pub patience: u64,
    /// Least difference that counts as lower, for `patience`.
    pub min_delta: f64,
    /// Seed of the initial weights, the order of the images, the times, the noise and the dropout.
    pub seed: u64,
}

/// The update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Kingma and Ba (2015); the weight decay is part of the gradient.
    Adam,
    /// Loshchilov and Hutter (2019); the weight decay acts on the weights.
    Adamw,
}

/// Course of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LrSchedule {
    /// Constant.
    Constant,
    /// Falls along half a cosine to 0 at the end.
    Cosine,
}

/// Type in which activations are stored. Weights, optimiser state and losses are f32 in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// bf16 on a CUDA device, f32 elsewhere.
    Auto,
    /// 32-bit floats.
    F32,
    /// bfloat16; not on the CPU.
    Bf16,
}

impl Precision {
    /// The type in which activations are stored; of `auto`, that of the CPU.
    pub fn dtype(self) -> DType {
        if self == Precision::Bf16 { DType::Bf16 } else { DType::F32 }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        let options = DataOptions::default();
        DataConfig {
            source: "glyphs".into(),
            split: Split::Train,
            classes: Vec::new(),
            limit: 0,
            flip: false,
            grey: false,
            labels: String::new(),
            memory_limit: options.memory_limit,
            shuffle_window: options.shuffle_window,
        }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            steps: 100_000,
            epochs: 0.0,
            batch_size: 64,
            shards: 1,
            learning_rate: 2e-4,
            optimizer: Optimizer::Adam,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            warmup_steps: 0,
            lr_schedule: LrSchedule::Constant,
            lr_steps: 0,
            clip_norm: 1.0,
            ema_decay: 0.999,
            ema: Vec::new(),
            precision: Precision::Auto,
            checkpoint_every: 1000,
            checkpoint_every_minutes: 5.0,
            keep_checkpoints: 2,
            sample_every: 0,
            sample_every_minutes: 0.0,
            evaluate_every: 0,
            evaluate_n: 1000,
            evaluate_inception: String::new(),
            log_every: 10,
            validation_fraction: 0.0,
            validate_every: 0,
            patience: 0,
            min_delta: 0.001,
            seed: 0,
        }
    }
}

impl Config {
    /// Returns true if the network has channels for the variance of a step back.
    pub fn learns_variance(&self) -> bool {
        self.model.out_channels() > self.model.sample_dims()[2]
    }

    /// Images or points of the plane.
    pub fn sample_kind(&self) -> SampleKind {
        SampleKind::of(self.model.sample_dims())
    }

    /// The steps from noise to samples that the `sample` section describes.
    ///
    /// # Errors
    /// Settings that contradict the noise schedule, the network or each other.
    pub fn sample_plan(&self) -> Result<SamplePlan> {
        self.sample.plan(&self.diffusion, self.learns_variance())
    }

    /// The same steps, from the time of them on that is nearest to `t`.
    ///
    /// # Errors
    /// As [`Config::sample_plan`], and a sampler that cannot begin at a time.
    pub fn sample_plan_from(&self, t: f64) -> Result<SamplePlan> {
        self.sample.plan_from(&self.diffusion, self.learns_variance(), Some(t))
    }

    /// Checks every setting that can be checked without looking at the data.
    ///
    /// # Errors
    /// The first impossible setting, by its name.
    pub fn validate(&self) -> Result<()> {
        self.model.validate()?;
        self.diffusion.validate()?;
        self.train.validate()?;
        let wrong = |message: String| Err(Error::Config(message));
        if self.learns_variance() && matches!(self.diffusion.process()?, Process::Continuous { .. }) {
            return wrong(
                "model.out_channels: a learned variance needs a discrete noise schedule, linear or cosine".into(),
            );
        }
        self.sample_plan()?;
        self.sample.check_guidance(&self.model)?;
        if self.model.classes() > 0 && !self.model.has_null_class() && self.diffusion.label_drop > 0.0 {
            return wrong(format!(
                "diffusion.label_drop = {}: model.null_class = false leaves no label to put in place of a dropped one",
                self.diffusion.label_drop
            ));
        }
        if self.data.source.is_empty() {
            return wrong("data.source is empty: \"glyphs\", or the path of a file or folder, is needed".into());
        }
        if self.data.shuffle_window == 0 {
            return wrong("data.shuffle_window = 0: a window holds at least 1 image".into());
        }
        Ok(())
    }
}

impl DataConfig {
    /// Options that bring the data to the model's shape.
    pub fn options(&self, model: &ModelConfig) -> DataOptions {
        let [height, width, channels] = model.sample_dims();
        DataOptions {
            size: Some([height, width]),
            channels: Some(channels),
            to_grey: self.grey,
            labels: (!self.labels.is_empty()).then(|| self.labels.clone()),
            classes: (!self.classes.is_empty()).then(|| self.classes.clone()),
            memory_limit: self.memory_limit,
            shuffle_window: self.shuffle_window,
        }
    }
}

impl TrainConfig {
    /// Number of images in one shard of a batch.
    pub fn micro_batch(&self) -> usize {
        self.batch_size / self.shards
    }

    /// Number of steps for which the course of the learning rate is planned.
    pub fn lr_horizon(&self) -> u64 {
        if self.lr_steps == 0 { self.steps } else { self.lr_steps }
    }

    fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Config(message));
        if self.steps == 0 && self.epochs == 0.0 {
            return wrong("train.steps = 0: set train.steps, or train.epochs".into());
        }
        let positive =
            [("batch_size", self.batch_size as u64), ("shards", self.shards as u64), ("log_every", self.log_every)];
        if let Some((name, _)) = positive.iter().find(|(_, v)| *v == 0) {
            return wrong(format!("train.{name} must be at least 1"));
        }
        if self.steps > u64::from(u32::MAX) {
            return wrong(format!("train.steps = {} is more than {}", self.steps, u32::MAX));
        }
        if !self.batch_size.is_multiple_of(self.shards) {
            return wrong(format!(
                "train.shards = {} does not divide train.batch_size = {}",
                self.shards, self.batch_size
            ));
        }
        let fractions = [
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("ema_decay", self.ema_decay),
            ("validation_fraction", self.validation_fraction),
        ];
        if let Some((name, v)) = fractions.iter().find(|(_, v)| !(0.0..1.0).contains(v)) {
            return wrong(format!("train.{name} = {v} is not in [0, 1)"));
        }
        let amounts = [
            ("learning_rate", self.learning_rate),
            ("weight_decay", self.weight_decay),
            ("clip_norm", self.clip_norm),
            ("min_delta", self.min_delta),
            ("checkpoint_every_minutes", self.checkpoint_every_minutes),
            ("sample_every_minutes", self.sample_every_minutes),
            ("epochs", self.epochs),
        ];
        if let Some((name, v)) = amounts.iter().find(|(_, v)| !(*v >= 0.0 && v.is_finite())) {
            return wrong(format!("train.{name} = {v} must be a number of at least 0"));
        }
        if self.validate_every > 0 && self.validation_fraction == 0.0 {
            return wrong(
                "train.validate_every: there is nothing to validate on; set train.validation_fraction".into(),
            );
        }
        if self.evaluate_every > 0 && self.evaluate_n < 2 {
            return wrong(format!("train.evaluate_n = {}: a distance needs at least 2 samples", self.evaluate_n));
        }
        self.averages()?;
        if self.patience > 0 && self.validate_every == 0 {
            return wrong("train.patience: nothing is validated; set train.validate_every".into());
        }
        if !(self.eps > 0.0 && self.eps.is_finite()) {
            return wrong(format!("train.eps = {} must be positive", self.eps));
        }
        Ok(())
    }
}
