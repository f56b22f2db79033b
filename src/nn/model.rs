//! The table of architectures, and a network of any of them.

use super::architecture::{Architecture, Module};
use super::config::UNetConfig;
use super::layers::Forward;
use super::mlp::MlpConfig;
use super::params::ParamSet;
use super::resnet_unet::ResnetUnetConfig;
use super::skip_net::SkipNetConfig;
use crate::engine::tensor::Tensor;
use crate::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;
use toml::Table;

/// Declares the architectures: a line each. In files, its name stands in kebab-case.
macro_rules! architectures {
    ($($(#[$doc:meta])* $name:ident($config:ty)),+ $(,)?) => {
        /// A network by its architecture's name and settings: the `[model]` table of a configuration.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "architecture", rename_all = "kebab-case")]
        pub enum ModelConfig {
            $($(#[$doc])* $name($config)),+
        }

        impl ModelConfig {
            fn architecture(&self) -> &dyn Architecture {
                match self {
                    $(ModelConfig::$name(config) => config),+
                }
            }
        }

        $(impl From<$config> for ModelConfig {
            fn from(config: $config) -> ModelConfig {
                ModelConfig::$name(config)
            }
        })+
    };
}

architectures! {
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
        UNetConfig::default().into()
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
        self.architecture().sample_dims()
    }

    /// Values of one noisy sample.
    pub fn sample_len(&self) -> usize {
        self.sample_dims().iter().product()
    }

    /// Channels of the output: those of a sample, or twice as many where the network also learns a variance.
    pub fn out_channels(&self) -> usize {
        self.architecture().out_channels()
    }

    /// Number of classes to condition on; 0 is an unconditional model.
    pub fn classes(&self) -> usize {
        self.architecture().classes()
    }

    /// True if the model knows a label for "no class", which is the number of classes. Guidance needs it.
    pub fn has_null_class(&self) -> bool {
        self.architecture().has_null_class()
    }

    /// Number of labels: one for each class, and the null label where there is one.
    pub fn class_rows(&self) -> usize {
        self.architecture().class_rows()
    }

    /// Checks that the network can process samples of this height and width, whatever size it was made for.
    ///
    /// # Errors
    /// The sizes that are possible.
    pub fn check_size(&self, height: usize, width: usize) -> Result<()> {
        self.architecture().samples().check_size(height, width)
    }

    /// Checks that such a network exists and suits its samples.
    ///
    /// # Errors
    /// The first setting that is impossible, by its name.
    pub fn validate(&self) -> Result<()> {
        self.architecture().validate()?;
        let ([_, _, c_in], c_out) = (self.sample_dims(), self.out_channels());
        if c_out != c_in && c_out != 2 * c_in {
            return Err(Error::Config(format!(
                "model.out_channels = {c_out}: wanted {c_in}, as model.in_channels, or {} with a learned variance",
                2 * c_in
            )));
        }
        Ok(())
    }
}

/// A network of any architecture. It predicts what the prediction target names, from a noisy sample and its time. Copies
/// share what they are made of.
#[derive(Clone, Debug)]
pub struct Network(Arc<dyn Module>);

impl Network {
    /// Builds the network and registers its parameters.
    ///
    /// # Errors
    /// A configuration for which no network exists.
    pub fn new(config: &ModelConfig, params: &mut ParamSet) -> Result<Network> {
        config.architecture().build(params).map(|module| Network(module.into()))
    }

    /// Records one evaluation; see [`Module::forward`].
    pub fn forward(&self, cx: &mut Forward, x: Tensor, time: Tensor, labels: Option<Tensor>) -> Tensor {
        self.0.forward(cx, x, time, labels)
    }
}
