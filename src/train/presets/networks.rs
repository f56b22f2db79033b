//! Presets of the further networks: the plain encoder-decoders of a student report, and the networks of a thesis.

use super::super::config::{Config, DataConfig, DiffusionConfig, Precision, TrainConfig};
use super::super::sample_config::SampleConfig;
use crate::diffusion::NoiseSchedule;
use crate::nn::{Activation, MlpConfig, ModelConfig, Pool, ResnetUnetConfig, SkipNetConfig, TimeVector};

const MNIST: &str = "data/mnist";
const CIFAR10: &str = "data/cifar10";

/// Training of the plain encoder-decoders: a fifth of the training data validates, batches of 128, a constant rate, no
/// moving average. It stops when `patience` epochs have brought nothing; 0: after its last step.
fn plain(model: SkipNetConfig, source: &str, timesteps: usize, patience: u64) -> Config {
    Config {
        model: ModelConfig::SkipNet(model),
        diffusion: DiffusionConfig { schedule: NoiseSchedule::linear(timesteps, 1e-4), ..DiffusionConfig::default() },
        data: DataConfig { source: source.into(), ..DataConfig::default() },
        train: TrainConfig {
            // 50 epochs of 48,000 digits, and 60 epochs of 40,000 photographs.
            steps: 18_750,
            batch_size: 128,
            learning_rate: 1e-3,
            clip_norm: 0.0,
            ema_decay: 0.0,
            sample_every: 1875,
            validation_fraction: 0.2,
            validate_every: if source == MNIST { 375 } else { 313 },
            patience,
            min_delta: 0.001,
            ..TrainConfig::default()
        },
        ..Config::default()
    }
}

pub fn mnist_dm1() -> Config {
    let model = SkipNetConfig {
        in_channels: 1,
        out_channels: 1,
        channels: vec![32, 64, 128],
        pool: Pool::Average,
        activation: Activation::Relu,
        groups: 0,
        attention_blocks: vec![],
        mid_attention: false,
        time: TimeVector::Table,
        time_rows: 500,
        ..SkipNetConfig::default()
    };
    plain(model, MNIST, 500, 0)
}

pub fn mnist_dm2() -> Config {
    plain(SkipNetConfig { in_channels: 1, out_channels: 1, ..without_norms() }, MNIST, 500, 10)
}

pub fn cifar_c1() -> Config {
    plain(without_norms(), CIFAR10, 500, 0)
}

pub fn cifar_c2() -> Config {
    plain(SkipNetConfig::default(), CIFAR10, 1000, 10)
}

pub fn cifar_c3() -> Config {
    let model = SkipNetConfig {
        channels: vec![96, 192, 384, 768, 1536],
        attention_blocks: vec![0, 1, 2, 3, 4],
        ..SkipNetConfig::default()
    };
    plain(model, CIFAR10, 1000, 13)
}

/// Attention in the two deepest encoder blocks and the bottleneck only.
fn without_norms() -> SkipNetConfig {
    SkipNetConfig { groups: 0, attention_blocks: vec![2, 3], ..SkipNetConfig::default() }
}

pub fn cifar_thesis() -> Config {
    Config {
        model: ModelConfig::ResnetUnet(ResnetUnetConfig::default()),
        diffusion: DiffusionConfig { schedule: NoiseSchedule::vp_cosine(0.001, 0.999), ..DiffusionConfig::default() },
        data: DataConfig { source: CIFAR10.into(), ..DataConfig::default() },
        train: TrainConfig {
            steps: 100_000,
            batch_size: 128,
            clip_norm: 0.0,
            ema_decay: 0.0,
            sample_every: 10_000,
            ..TrainConfig::default()
        },
        sample: SampleConfig { steps: 500, ..SampleConfig::default() },
    }
}

pub fn points_2d() -> Config {
    Config {
        model: ModelConfig::Mlp(MlpConfig::default()),
        diffusion: DiffusionConfig { schedule: NoiseSchedule::vp_cosine(0.001, 0.999), ..DiffusionConfig::default() },
        data: DataConfig { source: "clusters".into(), ..DataConfig::default() },
        train: TrainConfig {
            // 100 epochs of 40,000 points.
            steps: 7813,
            batch_size: 512,
            learning_rate: 1e-3,
            clip_norm: 0.0,
            ema_decay: 0.0,
            precision: Precision::F32,
            ..TrainConfig::default()
        },
        sample: SampleConfig { n: 1000, clip_x0: false, ..SampleConfig::default() },
    }
}
