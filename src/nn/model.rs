//! The networks there are, as one type: what a run's `[model]` table describes, and what it builds.

use super::config::UNetConfig;
use super::layers::Forward;
use super::mlp::{Mlp, MlpConfig};
use super::params::ParamSet;
use super::resnet_unet::{ResnetUnet, ResnetUnetConfig};
use super::skip_net::{SkipNet, SkipNetConfig};
use super::unet::UNet;
use crate::engine::tensor::Tensor;
use crate::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};
use toml::Table;

/// A network by its architecture's name and settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "kebab-case")]
pub enum ModelConfig {
    /// The U-Nets of Ho et al. (2020) and their kin.
    Unet(UNetConfig),
    /// A plain encoder-decoder network with skips.
    SkipNet(SkipNetConfig),
    /// A U-Net with attention at every size.
    ResnetUnet(ResnetUnetConfig),
    /// A perceptron whose samples are points.
    Mlp(MlpConfig),
}

impl Default for ModelConfig {
    fn default() -> ModelConfig {
        ModelConfig::Unet(UNetConfig::default())
    }
}

/// The table's key that names the architecture.
pub const ARCHITECTURE: &str = "architecture";

impl ModelConfig {
    /// The default network of an architecture.
    ///
    /// # Errors
    /// An unknown name, with the known ones.
    pub fn named(architecture: &str) -> Result<ModelConfig> {
        let table = Table::from_iter([(ARCHITECTURE.to_owned(), architecture.into())]);
        table.try_into().map_err(|e: toml::de::Error| Error::Config(format!("model.{ARCHITECTURE}: {}", e.message())))
    }

    /// Reads a `[model]` table. One that names no architecture is a U-Net: it was written when there was nothing else.
    ///
    /// # Errors
    /// An unknown architecture or setting, or a value of another type.
    pub fn deserialize_of_any_age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ModelConfig, D::Error> {
        let mut table = Table::deserialize(deserializer)?;
        table.entry(ARCHITECTURE).or_insert_with(|| "unet".into());
        table.try_into().map_err(|e: toml::de::Error| serde::de::Error::custom(e.message()))
    }

    /// Height, width and channels of one noisy sample.
    pub fn sample_dims(&self) -> [usize; 3] {
        match self {
            ModelConfig::Unet(c) => [c.image_size, c.image_size, c.in_channels],
            ModelConfig::SkipNet(c) => [c.image_size, c.image_size, c.in_channels],
            ModelConfig::ResnetUnet(c) => [c.image_size, c.image_size, c.in_channels],
            ModelConfig::Mlp(c) => [1, 1, c.in_channels],
        }
    }

    /// Values of one noisy sample.
    pub fn sample_len(&self) -> usize {
        self.sample_dims().iter().product()
    }

    /// Channels of the output: those of a sample, or twice as many where the network also learns a variance.
    pub fn out_channels(&self) -> usize {
        match self {
            ModelConfig::Unet(c) => c.out_channels,
            ModelConfig::SkipNet(c) => c.out_channels,
            ModelConfig::ResnetUnet(c) => c.out_channels,
            ModelConfig::Mlp(c) => c.out_channels,
        }
    }

    /// Number of classes to condition on; 0 is an unconditional model.
    pub fn classes(&self) -> usize {
        match self {
            ModelConfig::Unet(c) => c.classes,
            ModelConfig::SkipNet(c) => c.classes,
            ModelConfig::ResnetUnet(c) => c.classes,
            ModelConfig::Mlp(c) => c.classes,
        }
    }

    /// Checks that the network can process samples of this height and width, whatever size it was made for.
    ///
    /// # Errors
    /// The sizes that are possible.
    pub fn check_size(&self, height: usize, width: usize) -> Result<()> {
        let divisor = match self {
            ModelConfig::Unet(c) => c.size_divisor(),
            ModelConfig::SkipNet(c) => c.size_divisor(),
            ModelConfig::ResnetUnet(c) => c.size_divisor(),
            ModelConfig::Mlp(_) if [height, width] == [1, 1] => return Ok(()),
            ModelConfig::Mlp(_) => return Err(Error::Config(format!("{height}x{width}: points are 1x1"))),
        };
        if [height, width].iter().any(|&size| size == 0 || size % divisor != 0) {
            let message = format!("{height}x{width}: height and width must be multiples of {divisor}");
            return Err(Error::Config(message));
        }
        Ok(())
    }

    /// Checks that such a network exists and suits its samples.
    ///
    /// # Errors
    /// The first setting that is impossible, by its name.
    pub fn validate(&self) -> Result<()> {
        match self {
            ModelConfig::Unet(c) => c.validate()?,
            ModelConfig::SkipNet(c) => c.validate()?,
            ModelConfig::ResnetUnet(c) => c.validate()?,
            ModelConfig::Mlp(c) => c.validate()?,
        }
        let ([_, _, c_in], c_out) = (self.sample_dims(), self.out_channels());
        if !matches!(self, ModelConfig::Mlp(_)) && ![1, 3].contains(&c_in) {
            return Err(Error::Config(format!("model.in_channels = {c_in}: images have 1 or 3 channels")));
        }
        if c_out != c_in && c_out != 2 * c_in {
            return Err(Error::Config(format!(
                "model.out_channels = {c_out}: wanted {c_in}, as model.in_channels, or {} with a learned variance",
                2 * c_in
            )));
        }
        Ok(())
    }
}

impl From<UNetConfig> for ModelConfig {
    fn from(config: UNetConfig) -> ModelConfig {
        ModelConfig::Unet(config)
    }
}

/// A network: predicts, for a noisy sample and its time, what the prediction target says.
#[derive(Clone, Debug)]
pub enum Network {
    /// See [`ModelConfig::Unet`].
    Unet(Box<UNet>),
    /// See [`ModelConfig::SkipNet`].
    SkipNet(Box<SkipNet>),
    /// See [`ModelConfig::ResnetUnet`].
    ResnetUnet(Box<ResnetUnet>),
    /// See [`ModelConfig::Mlp`].
    Mlp(Mlp),
}

impl Network {
    /// Builds the network and registers its parameters.
    ///
    /// # Errors
    /// A configuration of which no network exists.
    pub fn new(config: &ModelConfig, params: &mut ParamSet) -> Result<Network> {
        Ok(match config {
            ModelConfig::Unet(c) => Network::Unet(Box::new(UNet::new(c, params)?)),
            ModelConfig::SkipNet(c) => Network::SkipNet(Box::new(SkipNet::new(c, params)?)),
            ModelConfig::ResnetUnet(c) => Network::ResnetUnet(Box::new(ResnetUnet::new(c, params)?)),
            ModelConfig::Mlp(c) => Network::Mlp(Mlp::new(c, params)?),
        })
    }

    /// Records one evaluation.
    ///
    /// # Shapes
    /// `x [n, h, w, c]` in the tape's storage type, of a size that passes [`ModelConfig::check_size`]; `time [n]` f32,
    /// as the network is told it; `labels [n]` i32 in 0..=classes, where `classes` is the null label, exactly where the
    /// model is conditional. The result is `[n, h, w, out_channels]`.
    pub fn forward(&self, cx: &mut Forward, x: Tensor, time: Tensor, labels: Option<Tensor>) -> Tensor {
        match self {
            Network::Unet(net) => net.forward(cx, x, time, labels),
            Network::SkipNet(net) => net.forward(cx, x, time, labels),
            Network::ResnetUnet(net) => net.forward(cx, x, time, labels),
            Network::Mlp(net) => net.forward(cx, x, time, labels),
        }
    }
}
