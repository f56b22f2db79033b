//! A U-Net with attention at every size, whose skips are what each encoder block was given.
//!
//! ```text
//! x -> conv_in -> down 0 -> down 1 -> ... -> middle -> ... -> up 1 -> up 0 -> norm, SiLU, conv_out
//!              |         |                                    |       |
//!              |         `------ skips, joined as channels ---'       |
//!              `------------------------------------------------------'
//! ```
//! A block is a row of residual blocks with an attention after each; an encoder block may end by halving the image (4x4
//! convolution of stride 2), the decoder block that undoes it begins by doubling it (4x4 transposed convolution). The
//! residual blocks' way around is a 1x1 convolution everywhere.

use super::architecture::{Architecture, Module, Samples};
use super::checks;
use super::config::Shortcut;
use super::image_size::ImageSize;
use super::layers::{BlockStyle, Conv, DoublingConv, Start};
use super::params::ParamSet;
use super::time_embedding::TimeEmbedding;
use super::unet::{Plan, Resize, UNet};
use crate::engine::ops::conv2d::Padding;
use crate::engine::ops::timestep_embedding::Sinusoids;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A U-Net with attention at every size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResnetUnetConfig {
    /// Height and width of the images.
    pub image_size: ImageSize,
    /// Channels of the input: 1 or 3 for images.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Channels after the first convolution and after each encoder block.
    pub channels: Vec<usize>,
    /// Number of encoder blocks that halve the image: the first ones.
    pub halvings: usize,
    /// Channels after each middle block.
    pub mid_channels: Vec<usize>,
    /// Channels after the last decoder block; each other one ends with those that its encoder block began with.
    pub last_channels: usize,
    /// Residual blocks, each with its attention, per block; a middle block begins with one more.
    pub layers_per_block: usize,
    /// Heads of every attention.
    pub heads: usize,
    /// Groups of every group norm.
    pub groups: usize,
    /// Added to the variance in every group norm.
    pub norm_eps: f32,
    /// Width of the time embedding.
    pub time_dim: usize,
    /// Probability of dropping an activation in each residual block while training.
    pub dropout: f32,
    /// Number of classes to condition on; 0 is an unconditional model.
    pub classes: usize,
}

impl Default for ResnetUnetConfig {
    /// Four encoder, three middle and four decoder blocks of six layers, 58,326,675 parameters.
    fn default() -> ResnetUnetConfig {
        ResnetUnetConfig {
            image_size: ImageSize::from(32),
            in_channels: 3,
            out_channels: 3,
            channels: vec![32, 64, 128, 256, 256],
            halvings: 3,
            mid_channels: vec![256, 256, 256],
            last_channels: 16,
            layers_per_block: 6,
            heads: 4,
            groups: 8,
            norm_eps: 1e-5,
            time_dim: 128,
            dropout: 0.0,
            classes: 0,
        }
    }
}

impl Architecture for ResnetUnetConfig {
    fn samples(&self) -> Samples {
        Samples::Images { multiple_of: 1 << self.halvings }
    }

    fn sample_dims(&self) -> [usize; 3] {
        [self.image_size.height, self.image_size.width, self.in_channels]
    }

    fn out_channels(&self) -> usize {
        self.out_channels
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Config(message));
        checks::at_least(&[
            ("in_channels", self.in_channels, 1),
            ("out_channels", self.out_channels, 1),
            ("layers_per_block", self.layers_per_block, 1),
            ("last_channels", self.last_channels, 1),
            ("heads", self.heads, 1),
            ("groups", self.groups, 1),
            ("time_dim", self.time_dim, 1),
        ])?;
        if self.channels.len() < 2 {
            return wrong("model.channels: those of the first convolution and of one block at least are needed".into());
        }
        if self.halvings >= self.channels.len() {
            let blocks = self.channels.len() - 1;
            return wrong(format!("model.halvings = {}: there are {blocks} encoder blocks", self.halvings));
        }
        self.image_size.check_halvings(self.halvings)?;
        let widths = || self.channels.iter().chain(&self.mid_channels).chain([&self.last_channels]).copied();
        if widths().any(|c| c == 0) {
            return wrong("model.channels, mid_channels and last_channels must be at least 1".into());
        }
        checks::divides("groups", self.groups, widths())?;
        // The first convolution's result is not attended to, but decoder blocks that are end with as many channels.
        checks::divides("heads", self.heads, widths())?;
        checks::dropout(self.dropout)?;
        checks::norm_eps(self.norm_eps)
    }

    fn build(&self, params: &mut ParamSet) -> Result<Box<dyn Module>> {
        Ok(Box::new(unet(self, params)?))
    }
}

/// Builds the network and registers its parameters.
fn unet(config: &ResnetUnetConfig, params: &mut ParamSet) -> Result<UNet> {
    config.validate()?;
    let c = &config.channels;
    let style = BlockStyle {
        groups: config.groups,
        eps: config.norm_eps,
        dropout: config.dropout,
        dropout_before_norm: false,
        time_scale_shift: false,
        shortcut: Shortcut::PointwiseAlways,
    };
    let sinusoids = Sinusoids::new(config.time_dim);
    let time_embedding = TimeEmbedding::mlp(params, sinusoids, config.time_dim, config.class_rows());
    let mut plan = Plan::new(params, style, time_embedding, [config.in_channels, c[0]]);
    for (i, &c_out) in c[1..].iter().enumerate() {
        let block = format!("down_blocks.{i}");
        plan.keep();
        layers(&mut plan, config, &block, c_out);
        if i < config.halvings {
            let name = format!("{block}.downsampler");
            let conv = Conv::new(plan.params, &name, [c_out, c_out], 4, 2, Padding::same(1), Start::FanIn);
            plan.resize(name, Resize::Conv(conv), c_out);
        }
    }
    for (i, &c_out) in config.mid_channels.iter().enumerate() {
        let block = format!("mid_blocks.{i}");
        plan.residual(&format!("{block}.resnets.0"), c_out);
        for j in 0..config.layers_per_block {
            attention(&mut plan, config, &block, j);
            plan.residual(&format!("{block}.resnets.{}", j + 1), c_out);
        }
    }
    let blocks = c.len() - 1;
    for i in (0..blocks).rev() {
        let (block, h) = (format!("up_blocks.{}", blocks - 1 - i), plan.channels);
        if i < config.halvings {
            let name = format!("{block}.upsampler");
            let conv = DoublingConv::new(plan.params, &name, h, h);
            plan.resize(name, Resize::DoublingConv(conv), h);
        }
        plan.join(&block);
        layers(&mut plan, config, &block, if i == 0 { config.last_channels } else { c[i - 1] });
    }
    Ok(plan.finish(config.out_channels, config.time_dim))
}

/// The layers of an encoder or decoder block: a residual block and its attention, each.
fn layers(plan: &mut Plan, config: &ResnetUnetConfig, block: &str, c_out: usize) {
    for j in 0..config.layers_per_block {
        plan.residual(&format!("{block}.resnets.{j}"), c_out);
        attention(plan, config, block, j);
    }
}

fn attention(plan: &mut Plan, config: &ResnetUnetConfig, block: &str, j: usize) {
    let c = plan.channels;
    let heads = (config.heads, c / config.heads);
    let attention = plan.register_attention(&format!("{block}.attentions.{j}"), c, heads, true);
    plan.attention(Some(attention));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts() {
        let build = |layers_per_block| {
            let mut params = ParamSet::default();
            let config = ResnetUnetConfig { layers_per_block, ..ResnetUnetConfig::default() };
            unet(&config, &mut params).unwrap();
            params.count()
        };
        assert_eq!(build(6), 58_326_675);
        assert_eq!(build(2), 23_321_619);
    }

    #[test]
    fn impossible_configurations_are_refused_by_name() {
        let refused = |config: ResnetUnetConfig| unet(&config, &mut ParamSet::default()).unwrap_err().to_string();
        let base = ResnetUnetConfig::default();
        assert!(refused(ResnetUnetConfig { heads: 5, ..base.clone() }).contains("model.heads = 5 does not divide 32"));
        assert!(
            refused(ResnetUnetConfig { groups: 3, ..base.clone() }).contains("model.groups = 3 does not divide 32")
        );
        assert!(refused(ResnetUnetConfig { halvings: 5, ..base.clone() }).contains("model.halvings = 5: there are 4"));
        assert!(
            refused(ResnetUnetConfig { image_size: ImageSize::from(28), ..base }).contains("model.image_size = 28")
        );
    }
}
