//! Presets of the U-Nets.

use super::super::config::{Config, DataConfig, DiffusionConfig, LrSchedule, TrainConfig};
use super::super::sample_config::SampleConfig;
use crate::diffusion::{NoiseSchedule, PredictionTarget, Reduction, Sampler, Variance};
use crate::nn::{Downsample, ImageSize, Layout, ModelConfig, Shortcut, UNetConfig, Upsample};

pub fn quickstart() -> Config {
    Config {
        model: ModelConfig::Unet(UNetConfig {
            image_size: ImageSize::from(16),
            in_channels: 1,
            out_channels: 1,
            // The full image costs most and decides least: few channels there, and a third level instead.
            channels: vec![16, 64, 64],
            layers_per_level: 1,
            attention_levels: vec![2],
            groups: 8,
            downsample: Downsample::Conv,
            classes: 10,
            ..UNetConfig::default()
        }),
        diffusion: digit_diffusion(),
        train: TrainConfig {
            steps: 1000,
            batch_size: 32,
            learning_rate: 2e-3,
            warmup_steps: 50,
            lr_schedule: LrSchedule::Cosine,
            ema_decay: 0.995,
            checkpoint_every: 500,
            sample_every: 500,
            ..TrainConfig::default()
        },
        sample: digit_samples(),
        ..Config::default()
    }
}

/// The noise as target would leave the shape of a digit, which is decided where all is noise, to a small error.
fn digit_diffusion() -> DiffusionConfig {
    DiffusionConfig { schedule: NoiseSchedule::cosine(), target: PredictionTarget::V, ..DiffusionConfig::default() }
}

/// Guided samples: two evaluations a step, with the class and without.
fn digit_samples() -> SampleConfig {
    SampleConfig { n: 64, sampler: Sampler::Ddim { eta: 1.0 }, steps: 25, guidance: 0.5, ..SampleConfig::default() }
}

pub fn mnist_small() -> Config {
    Config {
        model: ModelConfig::Unet(UNetConfig {
            image_size: ImageSize::from(32),
            in_channels: 1,
            out_channels: 1,
            channels: vec![16, 32, 64, 64],
            layers_per_level: 1,
            attention_levels: vec![2],
            groups: 8,
            downsample: Downsample::Conv,
            classes: 10,
            ..UNetConfig::default()
        }),
        diffusion: digit_diffusion(),
        data: DataConfig { source: "data/mnist".into(), ..DataConfig::default() },
        train: TrainConfig {
            steps: 2000,
            batch_size: 64,
            learning_rate: 2e-3,
            warmup_steps: 100,
            lr_schedule: LrSchedule::Cosine,
            ema_decay: 0.995,
            checkpoint_every: 500,
            sample_every: 1000,
            ..TrainConfig::default()
        },
        sample: digit_samples(),
    }
}

pub fn ddpm_cifar10() -> Config {
    Config {
        model: ModelConfig::Unet(UNetConfig { dropout: 0.1, ..UNetConfig::default() }),
        data: DataConfig { source: "data/cifar10".into(), flip: true, ..DataConfig::default() },
        train: TrainConfig {
            steps: 800_000,
            batch_size: 128,
            warmup_steps: 5000,
            ema_decay: 0.9999,
            checkpoint_every: 5000,
            sample_every: 10_000,
            ..TrainConfig::default()
        },
        ..Config::default()
    }
}

pub fn mnist_123() -> Config {
    Config {
        model: ModelConfig::Unet(UNetConfig {
            in_channels: 1,
            out_channels: 1,
            channels: vec![64, 128, 256, 512],
            layout: Layout::Paired,
            downsample: Downsample::Conv,
            upsample: Upsample::BilinearConv,
            shortcut: Shortcut::Conv3x3,
            norm_eps: 1e-5,
            dropout: 0.1,
            ..UNetConfig::default()
        }),
        diffusion: DiffusionConfig { schedule: NoiseSchedule::linear(1000, 1e-3), ..DiffusionConfig::default() },
        data: DataConfig { source: "data/mnist".into(), classes: vec![1, 2, 3], ..DataConfig::default() },
        train: TrainConfig {
            epochs: 50.0,
            // Of 18,831 digits.
            steps: 29_424,
            batch_size: 32,
            learning_rate: 1e-4,
            clip_norm: 0.0,
            ema_decay: 0.0,
            sample_every: 5000,
            ..TrainConfig::default()
        },
        ..Config::default()
    }
}

pub fn mnist_123_conditional() -> Config {
    let mut config = mnist_123();
    if let ModelConfig::Unet(unet) = &mut config.model {
        unet.classes = config.data.classes.len();
    }
    config
}

pub fn mnist_123_learned() -> Config {
    let mut config = mnist_123();
    if let ModelConfig::Unet(unet) = &mut config.model {
        unet.out_channels = 2 * unet.in_channels;
    }
    // The paper sums the squared error of an image and weighs the bound, a mean, by 1000.
    config.diffusion.reduction = Reduction::Sum;
    config.diffusion.vb_weight = 1000.0;
    config.sample.sampler = Sampler::Ancestral { variance: Variance::Learned };
    config
}

pub fn unet64() -> Config {
    Config {
        model: ModelConfig::Unet(UNetConfig {
            image_size: ImageSize::from(64),
            channels: vec![64, 128, 192, 256],
            attention_levels: vec![2, 3],
            head_dim: 32,
            downsample: Downsample::AvgPool,
            upsample: Upsample::Nearest,
            ..UNetConfig::default()
        }),
        data: DataConfig { source: "data/images64".into(), flip: true, ..DataConfig::default() },
        train: TrainConfig {
            steps: 200_000,
            warmup_steps: 1000,
            ema_decay: 0.9999,
            checkpoint_every: 5000,
            sample_every: 10_000,
            ..TrainConfig::default()
        },
        ..Config::default()
    }
}
