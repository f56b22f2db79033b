//! Configurations with a name.

mod networks;

use super::config::{Config, DataConfig, DiffusionConfig, LrSchedule, TrainConfig};
use super::sample_config::SampleConfig;
use super::settings::nearest;
use crate::diffusion::{NoiseSchedule, Sampler};
use crate::nn::{Downsample, Layout, ModelConfig, Shortcut, UNetConfig, Upsample};
use crate::{Error, Result};

/// A configuration with a name.
pub struct Preset {
    /// What `--preset` takes.
    pub name: &'static str,
    /// What it is for, in one line.
    pub about: &'static str,
    /// The configuration.
    pub config: fn() -> Config,
}

/// Every preset.
pub const ALL: &[Preset] = &[
    Preset {
        name: "quickstart",
        about: "drawn digits, 16x16 grey; minutes on two CPU cores (the default)",
        config: quickstart,
    },
    Preset {
        name: "mnist-small",
        about: "MNIST at 32x32, small enough for a CPU; needs --data DIR",
        config: mnist_small,
    },
    Preset {
        name: "ddpm-cifar10",
        about: "Ho et al. (2020) on CIFAR-10, 35.7 M parameters; needs --data DIR",
        config: ddpm_cifar10,
    },
    Preset {
        name: "mnist-123",
        about: "digits 1, 2, 3 at 32x32, 57.5 M parameters (Ambilduke et al.); needs --data DIR",
        config: mnist_123,
    },
    Preset {
        name: "mnist-123-conditional",
        about: "the same network told which digit; needs --data DIR",
        config: networks::mnist_123_conditional,
    },
    Preset {
        name: "mnist-123-learned",
        about: "the same network learning the variance of a step back too; needs --data DIR",
        config: networks::mnist_123_learned,
    },
    Preset {
        name: "mnist-dm1",
        about: "MNIST at 32x32, plain encoder-decoder, 0.44 M parameters, T = 500; needs --data DIR",
        config: networks::mnist_dm1,
    },
    Preset {
        name: "mnist-dm2",
        about: "the same, one block deeper and with attention, 1.84 M parameters; needs --data DIR",
        config: networks::mnist_dm2,
    },
    Preset {
        name: "cifar-c1",
        about: "the same on CIFAR-10, 1.84 M parameters; needs --data DIR",
        config: networks::cifar_c1,
    },
    Preset {
        name: "cifar-c2",
        about: "the same with norms and more attention, 1.85 M parameters, T = 1000; needs --data DIR",
        config: networks::cifar_c2,
    },
    Preset {
        name: "cifar-c3",
        about: "the same three times as wide and one block deeper, 66 M parameters; needs --data DIR",
        config: networks::cifar_c3,
    },
    Preset {
        name: "cifar-thesis",
        about: "U-Net with attention at every size on CIFAR-10, 58.3 M parameters; needs --data DIR",
        config: networks::cifar_thesis,
    },
    Preset {
        name: "points-2d",
        about: "points of the plane, perceptron of 83 k parameters; minutes on a CPU",
        config: networks::points_2d,
    },
    Preset { name: "unet64", about: "64x64 RGB, 20.5 M parameters; needs --data DIR", config: unet64 },
];

/// The preset of that name.
///
/// # Errors
/// An unknown name, with the nearest known one.
pub fn get(name: &str) -> Result<Config> {
    if let Some(preset) = ALL.iter().find(|p| p.name == name) {
        return Ok((preset.config)());
    }
    let names: Vec<&str> = ALL.iter().map(|p| p.name).collect();
    let hint = nearest(name, names.iter().copied()).map(|n| format!("; did you mean \"{n}\"?")).unwrap_or_default();
    Err(Error::Config(format!("unknown preset \"{name}\"{hint} (there are {})", names.join(", "))))
}

fn quickstart() -> Config {
    Config {
        model: ModelConfig::Unet(UNetConfig {
            image_size: 16,
            in_channels: 1,
            out_channels: 1,
            channels: vec![32, 64],
            layers_per_level: 1,
            attention_levels: vec![1],
            groups: 8,
            downsample: Downsample::Conv,
            ..UNetConfig::default()
        }),
        train: TrainConfig {
            steps: 2000,
            batch_size: 32,
            learning_rate: 1e-3,
            warmup_steps: 50,
            lr_schedule: LrSchedule::Cosine,
            ema_decay: 0.995,
            checkpoint_every: 500,
            sample_every: 500,
            ..TrainConfig::default()
        },
        sample: SampleConfig { n: 64, sampler: Sampler::Ddim { eta: 1.0 }, steps: 50, ..SampleConfig::default() },
        ..Config::default()
    }
}

fn mnist_small() -> Config {
    Config {
        model: ModelConfig::Unet(UNetConfig {
            image_size: 32,
            in_channels: 1,
            out_channels: 1,
            channels: vec![16, 32, 64, 64],
            layers_per_level: 1,
            attention_levels: vec![2],
            groups: 8,
            downsample: Downsample::Conv,
            ..UNetConfig::default()
        }),
        data: DataConfig { source: "data/mnist".into(), ..DataConfig::default() },
        train: TrainConfig {
            steps: 2000,
            batch_size: 64,
            learning_rate: 1e-3,
            warmup_steps: 100,
            lr_schedule: LrSchedule::Cosine,
            ema_decay: 0.995,
            checkpoint_every: 500,
            sample_every: 1000,
            ..TrainConfig::default()
        },
        sample: SampleConfig { n: 64, sampler: Sampler::Ddim { eta: 1.0 }, steps: 50, ..SampleConfig::default() },
        ..Config::default()
    }
}

fn ddpm_cifar10() -> Config {
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

fn mnist_123() -> Config {
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
            steps: 60_000,
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

fn unet64() -> Config {
    Config {
        model: ModelConfig::Unet(UNetConfig {
            image_size: 64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_possible() {
        for preset in ALL {
            (preset.config)().validate().unwrap_or_else(|e| panic!("{}: {e}", preset.name));
        }
    }

    #[test]
    fn an_unknown_preset_is_refused_with_the_nearest_name() {
        let message = get("quikstart").unwrap_err().to_string();
        assert!(message.contains("did you mean \"quickstart\""), "{message}");
    }
}
