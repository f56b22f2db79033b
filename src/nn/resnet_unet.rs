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

use super::attention::AttentionBlock;
use super::config::Shortcut;
use super::layers::{BlockStyle, Conv, DoublingConv, Forward, GroupNorm, Linear, ResBlock, Start, TimeProjections};
use super::params::ParamSet;
use super::time_embedding::{Sinusoids, TimeEmbedding};
use crate::engine::ops::concat::concat;
use crate::engine::ops::conv2d::Padding;
use crate::engine::ops::silu::silu;
use crate::engine::tensor::Tensor;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A U-Net with attention at every size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResnetUnetConfig {
    /// Height and width of the images.
    pub image_size: usize,
    /// Channels of the input, 1 or 3.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Channels after the first convolution and after each encoder block.
    pub channels: Vec<usize>,
    /// So many encoder blocks, the first ones, halve the image.
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
            image_size: 32,
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

impl ResnetUnetConfig {
    /// Images must be a multiple of this in height and width.
    pub fn size_divisor(&self) -> usize {
        1 << self.halvings
    }

    /// Checks that such a network exists.
    ///
    /// # Errors
    /// The first setting that is impossible, by its name.
    pub fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Config(message));
        let positive = [
            ("image_size", self.image_size),
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("layers_per_block", self.layers_per_block),
            ("last_channels", self.last_channels),
            ("heads", self.heads),
            ("groups", self.groups),
            ("time_dim", self.time_dim),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, v)| *v == 0) {
            return wrong(format!("model.{name} must be at least 1"));
        }
        if self.channels.len() < 2 {
            return wrong("model.channels: those of the first convolution and of one block at least are needed".into());
        }
        if self.halvings >= self.channels.len() {
            let blocks = self.channels.len() - 1;
            return wrong(format!("model.halvings = {}: there are {blocks} encoder blocks", self.halvings));
        }
        if self.halvings > 16 || !self.image_size.is_multiple_of(self.size_divisor()) {
            let (size, halvings) = (self.image_size, self.halvings);
            return wrong(format!("model.image_size = {size} cannot be halved {halvings} times"));
        }
        let widths = || self.channels.iter().chain(&self.mid_channels).chain([&self.last_channels]);
        if let Some(c) = widths().find(|c| **c == 0 || !c.is_multiple_of(self.groups)) {
            return wrong(format!("model.groups = {} does not divide {c} channels", self.groups));
        }
        // The first convolution's result is not attended to, but decoder blocks that are end with as many channels.
        if let Some(c) = widths().find(|c| !c.is_multiple_of(self.heads)) {
            return wrong(format!("model.heads = {} does not divide {c} channels", self.heads));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong(format!("model.dropout = {} is not in [0, 1)", self.dropout));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps.is_finite()) {
            return wrong(format!("model.norm_eps = {} must be positive", self.norm_eps));
        }
        Ok(())
    }
}

/// A residual block, then attention.
#[derive(Clone, Debug)]
struct Layer {
    residual: ResBlock,
    attention: AttentionBlock,
}

#[derive(Clone, Debug)]
struct Down {
    layers: Vec<Layer>,
    halve: Option<Conv>,
}

#[derive(Clone, Debug)]
struct Middle {
    first: ResBlock,
    /// Attention, then a residual block.
    others: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Up {
    double: Option<DoublingConv>,
    layers: Vec<Layer>,
}

/// A U-Net with attention at every resolution.
#[derive(Clone, Debug)]
pub struct ResnetUnet {
    time_embedding: TimeEmbedding,
    time_projections: Linear,
    conv_in: Conv,
    encoder: Vec<Down>,
    middle: Vec<Middle>,
    /// Deepest block first.
    decoder: Vec<Up>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

impl ResnetUnet {
    /// Builds the network and registers its parameters.
    ///
    /// # Errors
    /// A configuration of which no network exists.
    pub fn new(config: &ResnetUnetConfig, params: &mut ParamSet) -> Result<ResnetUnet> {
        config.validate()?;
        let (c, layers) = (&config.channels, config.layers_per_block);
        let (blocks, deepest) = (c.len() - 1, c[c.len() - 1]);
        let style = BlockStyle {
            groups: config.groups,
            eps: config.norm_eps,
            dropout: config.dropout,
            dropout_before_norm: false,
            shortcut: Shortcut::PointwiseAlways,
        };
        let mut times = TimeProjections::default();
        let residual = |params: &mut ParamSet, times: &mut TimeProjections, block: &str, j: usize, c: [usize; 2]| {
            ResBlock::new(params, times, &format!("{block}.resnets.{j}"), c, style)
        };
        let attention = |params: &mut ParamSet, block: &str, j: usize, c: usize| {
            let heads = (config.heads, c / config.heads);
            AttentionBlock::new(params, &format!("{block}.attentions.{j}"), c, heads, style)
        };
        let row = |params: &mut ParamSet, times: &mut TimeProjections, block: &str, c_in: usize, c_out: usize| {
            let layer = |j| Layer {
                residual: residual(params, times, block, j, [if j == 0 { c_in } else { c_out }, c_out]),
                attention: attention(params, block, j, c_out),
            };
            (0..layers).map(layer).collect::<Vec<Layer>>()
        };

        let sinusoids = Sinusoids { dim: config.time_dim, flip_sin_to_cos: false, freq_shift: 0.0 };
        let time_embedding = TimeEmbedding::mlp(params, sinusoids, config.time_dim, config.classes);
        let conv_in = Conv::same3x3(params, "conv_in", config.in_channels, c[0], Start::FanIn);
        let mut encoder = Vec::new();
        for i in 0..blocks {
            let block = format!("down_blocks.{i}");
            let layers = row(params, &mut times, &block, c[i], c[i + 1]);
            let halve = (i < config.halvings).then(|| {
                let name = format!("{block}.downsampler");
                Conv::new(params, &name, [c[i + 1]; 2], 4, 2, Padding::same(1), Start::FanIn)
            });
            encoder.push(Down { layers, halve });
        }
        let mut h = deepest;
        let mut middle = Vec::new();
        for (i, &c_out) in config.mid_channels.iter().enumerate() {
            let block = format!("mid_blocks.{i}");
            let first = residual(params, &mut times, &block, 0, [h, c_out]);
            let layer = |j| Layer {
                attention: attention(params, &block, j, c_out),
                residual: residual(params, &mut times, &block, j + 1, [c_out; 2]),
            };
            middle.push(Middle { first, others: (0..layers).map(layer).collect() });
            h = c_out;
        }
        let mut decoder = Vec::new();
        for i in (0..blocks).rev() {
            let block = format!("up_blocks.{}", blocks - 1 - i);
            let double = (i < config.halvings).then(|| DoublingConv::new(params, &format!("{block}.upsampler"), h, h));
            let c_out = if i == 0 { config.last_channels } else { c[i - 1] };
            decoder.push(Up { double, layers: row(params, &mut times, &block, h + c[i], c_out) });
            h = c_out;
        }
        let norm_out = GroupNorm::new(params, "conv_norm_out", h, config.groups, config.norm_eps, true);
        let conv_out = Conv::same3x3(params, "conv_out", h, config.out_channels, Start::Zero);
        let time_projections = times.build(params, config.time_dim);
        Ok(ResnetUnet { time_embedding, time_projections, conv_in, encoder, middle, decoder, norm_out, conv_out })
    }

    /// Records one evaluation.
    ///
    /// # Shapes
    /// `x [n, h, w, in_channels]` in the tape's storage type with h and w multiples of 2^halvings; `t [n]` f32, the time
    /// as the network is told it; `labels [n]` i32 in 0..=classes, exactly where the model is conditional. The result is
    /// `[n, h, w, out_channels]`.
    pub fn forward(&self, cx: &mut Forward, x: Tensor, t: Tensor, labels: Option<Tensor>) -> Tensor {
        let time = self.time_embedding.forward(cx, t, labels);
        let time = silu(cx.tape, time);
        let times = self.time_projections.forward(cx, time);
        let row = |cx: &mut Forward, layers: &[Layer], h: Tensor| {
            layers.iter().fold(h, |h, layer| {
                let h = layer.residual.forward(cx, h, times);
                layer.attention.forward(cx, h)
            })
        };
        let mut h = self.conv_in.forward(cx, x);
        let mut skips = Vec::new();
        for block in &self.encoder {
            skips.push(h);
            h = row(cx, &block.layers, h);
            h = block.halve.as_ref().map_or(h, |conv| conv.forward(cx, h));
        }
        for block in &self.middle {
            h = block.first.forward(cx, h, times);
            for layer in &block.others {
                h = layer.attention.forward(cx, h);
                h = layer.residual.forward(cx, h, times);
            }
        }
        for (i, (block, skip)) in self.decoder.iter().zip(skips.into_iter().rev()).enumerate() {
            h = block.double.as_ref().map_or(h, |conv| conv.forward(cx, h));
            cx.tape.enter_layer(&format!("up_blocks.{i}.join"));
            h = concat(cx.tape, h, skip);
            h = row(cx, &block.layers, h);
        }
        let h = self.norm_out.forward(cx, h);
        self.conv_out.forward(cx, h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_and_blocks() {
        let build = |layers_per_block| {
            let mut params = ParamSet::default();
            let config = ResnetUnetConfig { layers_per_block, ..ResnetUnetConfig::default() };
            let net = ResnetUnet::new(&config, &mut params).unwrap();
            assert_eq!([net.encoder.len(), net.middle.len(), net.decoder.len()], [4, 3, 4]);
            params.count()
        };
        assert_eq!(build(6), 58_326_675);
        assert_eq!(build(2), 23_321_619);
    }

    #[test]
    fn impossible_configurations_are_refused_by_name() {
        let refused =
            |config: ResnetUnetConfig| ResnetUnet::new(&config, &mut ParamSet::default()).unwrap_err().to_string();
        let base = ResnetUnetConfig::default();
        assert!(refused(ResnetUnetConfig { heads: 5, ..base.clone() }).contains("model.heads = 5 does not divide 32"));
        assert!(
            refused(ResnetUnetConfig { groups: 3, ..base.clone() }).contains("model.groups = 3 does not divide 32")
        );
        assert!(refused(ResnetUnetConfig { halvings: 5, ..base.clone() }).contains("model.halvings = 5: there are 4"));
        assert!(refused(ResnetUnetConfig { image_size: 28, ..base }).contains("model.image_size = 28"));
    }
}
