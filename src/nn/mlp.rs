//! A multilayer perceptron for points: `[z, time] -> linear -> ReLU -> ... -> linear`.

use super::layers::{Forward, Linear, Start};
use super::params::ParamSet;
use super::time_embedding::ClassEmbedding;
use crate::engine::ops::{concat, relu, time_input, timestep_embedding};
use crate::engine::tensor::Tensor;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Times as the network is told them go up to about 1000; as a plain input they enter in [0, 1].
const TIME_SCALE: f32 = 1e-3;

/// A perceptron whose samples are points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpConfig {
    /// Coordinates of a point.
    pub in_channels: usize,
    /// Values of the output.
    pub out_channels: usize,
    /// Fully connected layers, the last one among them; all others are followed by ReLU.
    pub layers: usize,
    /// Values between the layers.
    pub width: usize,
    /// Sinusoids of the time, which stand beside the point as inputs; 0: the time itself, scaled to [0, 1].
    pub time_dim: usize,
    /// Number of classes to condition on; 0 is an unconditional model.
    pub classes: usize,
}

impl Default for MlpConfig {
    /// Seven layers for points of the plane, 83,330 parameters.
    fn default() -> MlpConfig {
        MlpConfig { in_channels: 2, out_channels: 2, layers: 7, width: 128, time_dim: 0, classes: 0 }
    }
}

impl MlpConfig {
    /// Checks that such a network exists.
    ///
    /// # Errors
    /// The first setting that is impossible, by its name.
    pub fn validate(&self) -> Result<()> {
        let at_least = [
            ("in_channels", self.in_channels, 1),
            ("out_channels", self.out_channels, 1),
            ("layers", self.layers, 2),
            ("width", self.width, 1),
        ];
        match at_least.iter().find(|(_, value, least)| value < least) {
            Some((name, _, least)) => Err(Error::Config(format!("model.{name} must be at least {least}"))),
            None if self.time_dim % 2 == 1 => {
                Err(Error::Config(format!("model.time_dim = {}: a sine and a cosine go together", self.time_dim)))
            }
            None => Ok(()),
        }
    }
}

/// A perceptron for points of the plane.
#[derive(Clone, Debug)]
pub struct Mlp {
    config: MlpConfig,
    layers: Vec<Linear>,
    /// Added to what the first layer gives.
    class: ClassEmbedding,
}

impl Mlp {
    /// Builds the network and registers its parameters.
    ///
    /// # Errors
    /// A configuration of which no network exists.
    pub fn new(config: &MlpConfig, params: &mut ParamSet) -> Result<Mlp> {
        config.validate()?;
        let class = ClassEmbedding::new(params, config.classes, config.width);
        let linear = |i: usize| {
            let c_in = if i == 0 { config.in_channels + config.time_dim.max(1) } else { config.width };
            let c_out = if i + 1 == config.layers { config.out_channels } else { config.width };
            Linear::new(params, &format!("layers.{i}"), c_in, c_out, Start::FanIn)
        };
        let layers = (0..config.layers).map(linear).collect();
        Ok(Mlp { config: config.clone(), layers, class })
    }

    /// Records one evaluation.
    ///
    /// # Shapes
    /// `x [n, 1, 1, in_channels]` in the tape's storage type; `t [n]` f32, the time as the network is told it (about
    /// 0..1000); `labels [n]` i32 in 0..=classes, exactly where the model is conditional. The result is
    /// `[n, 1, 1, out_channels]`.
    pub fn forward(&self, cx: &mut Forward, x: Tensor, t: Tensor, labels: Option<Tensor>) -> Tensor {
        let n = x.dim(0);
        cx.tape.enter_layer("time_embedding");
        let time = match self.config.time_dim {
            0 => time_input::scaled_time(cx.tape, t, TIME_SCALE),
            dim => timestep_embedding::timestep_embedding(cx.tape, t, dim, false, 0.0),
        };
        let input = concat::concat(cx.tape, x.reshape(&[n, self.config.in_channels]), time);
        let [first, others @ ..] = &self.layers[..] else { unreachable!("there are at least two layers") };
        let mut h = first.forward(cx, input);
        h = self.class.add_to(cx, h, labels);
        for layer in others {
            h = relu::relu(cx.tape, h);
            h = layer.forward(cx, h);
        }
        h.reshape(&[n, 1, 1, self.config.out_channels])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(config: MlpConfig) -> usize {
        let mut params = ParamSet::default();
        Mlp::new(&config, &mut params).unwrap();
        params.count()
    }

    #[test]
    fn parameter_counts() {
        assert_eq!(count(MlpConfig::default()), 83_330);
        // 66 * 256 + 256, five of 256 * 256 + 256, 256 * 2 + 2.
        let wide = MlpConfig { width: 256, time_dim: 64, ..MlpConfig::default() };
        assert_eq!(count(wide), 17_152 + 5 * 65_792 + 514);
        assert_eq!(count(MlpConfig { classes: 4, ..MlpConfig::default() }), 83_330 + 5 * 128);
    }

    #[test]
    fn impossible_configurations_are_refused_by_name() {
        let refused = |config: MlpConfig| Mlp::new(&config, &mut ParamSet::default()).unwrap_err().to_string();
        assert!(refused(MlpConfig { layers: 1, ..MlpConfig::default() }).contains("model.layers must be at least 2"));
        assert!(refused(MlpConfig { time_dim: 7, ..MlpConfig::default() }).contains("model.time_dim = 7"));
    }
}
