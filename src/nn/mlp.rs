//! A multilayer perceptron for points: `[z, time] -> linear -> ReLU -> ... -> linear`.

use super::architecture::{Architecture, Module, Samples};
use super::checks;
use super::layers::{Forward, Linear, Start};
use super::params::ParamSet;
use super::time_embedding::ClassEmbedding;
use crate::engine::ops::timestep_embedding::{Sinusoids, timestep_embedding};
use crate::engine::ops::{concat, relu, time_input};
use crate::engine::tensor::Tensor;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Factor that brings conditioning times, which go up to about 1000, to [0, 1] as a plain input.
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

impl Architecture for MlpConfig {
    fn samples(&self) -> Samples {
        Samples::Points
    }

    fn sample_dims(&self) -> [usize; 3] {
        [1, 1, self.in_channels]
    }

    fn out_channels(&self) -> usize {
        self.out_channels
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn validate(&self) -> Result<()> {
        checks::at_least(&[
            ("in_channels", self.in_channels, 1),
            ("out_channels", self.out_channels, 1),
            ("layers", self.layers, 2),
            ("width", self.width, 1),
        ])?;
        if self.time_dim % 2 == 1 {
            let dim = self.time_dim;
            return Err(Error::Config(format!("model.time_dim = {dim}: a sine and a cosine go together")));
        }
        Ok(())
    }

    fn build(&self, params: &mut ParamSet) -> Result<Box<dyn Module>> {
        Ok(Box::new(Mlp::new(self, params)?))
    }
}

/// A perceptron for points of the plane.
#[derive(Clone, Debug)]
struct Mlp {
    config: MlpConfig,
    layers: Vec<Linear>,
    /// Added to what the first layer gives.
    class: ClassEmbedding,
}

impl Mlp {
    /// Builds the network and registers its parameters.
    ///
    /// # Errors
    /// A configuration for which no network exists.
    fn new(config: &MlpConfig, params: &mut ParamSet) -> Result<Mlp> {
        config.validate()?;
        let class = ClassEmbedding::new(params, config.class_rows(), config.width);
        let linear = |i: usize| {
            let c_in = if i == 0 { config.in_channels + config.time_dim.max(1) } else { config.width };
            let c_out = if i + 1 == config.layers { config.out_channels } else { config.width };
            Linear::new(params, &format!("layers.{i}"), c_in, c_out, Start::FanIn)
        };
        let layers = (0..config.layers).map(linear).collect();
        Ok(Mlp { config: config.clone(), layers, class })
    }
}

impl Module for Mlp {
    fn forward(&self, cx: &mut Forward, x: Tensor, t: Tensor, labels: Option<Tensor>) -> Tensor {
        let n = x.dim(0);
        cx.tape.enter_layer("time_embedding");
        let time = match self.config.time_dim {
            0 => time_input::scaled_time(cx.tape, t, TIME_SCALE),
            dim => timestep_embedding(cx.tape, t, Sinusoids::new(dim)),
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
