//! The model whose latent space and codes are looked at.

use crate::data::Split;
use crate::experiment::ambilduke::networks::Network;
use crate::experiment::context::Context;
use crate::experiment::images::{dataset, images_at};
use crate::experiment::settings::Need;
use crate::train::{Config, presets};
use anyhow::Result;

/// The network: of digits in the quick size, of CIFAR-10 in the full one. It takes a step for every noise level.
pub(super) fn config(context: &Context) -> Result<Config> {
    let mut config = if context.settings().quick {
        Network::Epsilon.config(context)?
    } else {
        let source = context.source(Need::Cifar10)?;
        presets::get("ddpm-cifar10")?.with_settings(&[format!("data.source={source:?}")])?
    };
    config.sample.steps = 0;
    Ok(config)
}

/// The first `n` images of the test set, `[n, h, w, c]`.
pub(super) fn test_images(config: &Config, n: usize) -> Result<Vec<f32>> {
    images_at(&dataset(config, Split::Test)?, &(0..n).collect::<Vec<_>>())
}
