//! Configurations with a name.

mod networks;
mod unets;

use super::config::Config;
use super::settings::nearest;
use crate::{Error, Result};

/// A configuration with a name.
pub struct Preset {
    /// Name that `--preset` takes.
    pub name: &'static str,
    /// Purpose, in one line.
    pub about: &'static str,
    /// The configuration.
    pub config: fn() -> Config,
}

/// Every preset.
pub const ALL: &[Preset] = &[
    Preset {
        name: "quickstart",
        about: "drawn digits, 16x16 grey, told which digit; minutes on two CPU cores (the default)",
        config: unets::quickstart,
    },
    Preset {
        name: "mnist-small",
        about: "MNIST at 32x32, told which digit, small enough for a CPU; needs --data DIR",
        config: unets::mnist_small,
    },
    Preset {
        name: "ddpm-cifar10",
        about: "Ho et al. (2020) on CIFAR-10, 35.7 M parameters; needs --data DIR",
        config: unets::ddpm_cifar10,
    },
    Preset {
        name: "mnist-123",
        about: "digits 1, 2, 3 at 32x32, 57.5 M parameters (Ambilduke et al.); needs --data DIR",
        config: unets::mnist_123,
    },
    Preset {
        name: "mnist-123-conditional",
        about: "the same network told which digit; needs --data DIR",
        config: unets::mnist_123_conditional,
    },
    Preset {
        name: "mnist-123-learned",
        about: "the same network learning the variance of a step back too; needs --data DIR",
        config: unets::mnist_123_learned,
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
    Preset { name: "unet64", about: "64x64 RGB, 20.5 M parameters; needs --data DIR", config: unets::unet64 },
];

/// Finds the preset of a name.
///
/// # Errors
/// An unknown name, with the nearest known one.
pub fn get(name: &str) -> Result<Config> {
    if let Some(preset) = ALL.iter().find(|p| p.name == name) {
        return Ok((preset.config)());
    }
    let names: Vec<&str> = ALL.iter().map(|p| p.name).collect();
    // A name that is part of another, as cifar10 is, means that one.
    let within = names.iter().copied().find(|known| name.len() >= 3 && known.contains(&name.to_lowercase()));
    let near = within.or_else(|| nearest(name, names.iter().copied()));
    let hint = near.map(|n| format!("; did you mean \"{n}\"?")).unwrap_or_default();
    Err(Error::Config(format!("unknown preset \"{name}\"{hint} (there are {})", names.join(", "))))
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
    fn every_preset_survives_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        for preset in ALL {
            let config = (preset.config)();
            std::fs::write(&path, config.to_toml()).unwrap();
            assert_eq!(Config::default().with_file(&path).unwrap(), config, "{}", preset.name);
            assert_eq!(get("quickstart").unwrap().with_file(&path).unwrap(), config, "{}", preset.name);
        }
    }

    /// MNIST has 6742, 5958 and 6131 training images of the digits 1, 2 and 3.
    #[test]
    fn digits_123_are_seen_in_the_fifty_epochs_of_the_paper() {
        for name in ["mnist-123", "mnist-123-conditional", "mnist-123-learned"] {
            let train = get(name).unwrap().train;
            let last = 50 * (6742 + 5958 + 6131);
            let seen = train.steps * train.batch_size as u64;
            assert!((last..last + train.batch_size as u64).contains(&seen), "{name}: {seen} images, not {last}");
            assert_eq!(train.epochs, 50.0, "{name}");
        }
    }

    #[test]
    fn an_unknown_preset_is_refused_with_the_nearest_name() {
        let message = get("quikstart").unwrap_err().to_string();
        assert!(message.contains("did you mean \"quickstart\""), "{message}");
        for (name, meant) in [("cifar10", "ddpm-cifar10"), ("CIFAR10", "ddpm-cifar10"), ("mnist", "mnist-small")] {
            let message = get(name).unwrap_err().to_string();
            assert!(message.contains(&format!("did you mean \"{meant}\"")), "{message}");
        }
    }
}
