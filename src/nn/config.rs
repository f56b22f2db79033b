//! What a U-Net looks like.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How encoder and decoder are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Ho et al. (2020), as diffusers' `UNet2DModel` computes it: every encoder tensor after its attention is a skip,
    /// the first convolution's output too; a decoder level has one residual block more than an encoder level.
    #[default]
    Ddpm,
    /// Ambilduke et al.: skips are taken before the attention, the decoder attends before it joins a skip, has as many
    /// residual blocks as the encoder and narrows in the last one; the sinusoids are used without an MLP; dropout
    /// stands before the second norm.
    Paired,
}

/// How a level halves the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Downsample {
    /// 3x3 convolution with stride 2 and one row of zeros on every side.
    #[default]
    Conv,
    /// 3x3 convolution with stride 2 and zeros only at the bottom and the right (`downsample_padding` 0 of diffusers).
    ConvAsymmetric,
    /// Mean of 2x2 pixels.
    AvgPool,
}

/// How a level doubles the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upsample {
    /// Every pixel four times, then a 3x3 convolution.
    #[default]
    NearestConv,
    /// Every pixel four times.
    Nearest,
    /// Bilinear with corners aligned, then a 3x3 convolution.
    BilinearConv,
}

/// The residual block's way around its convolutions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortcut {
    /// 1x1 convolution where needed, else the identity.
    #[default]
    Pointwise,
    /// 1x1 convolution in every block.
    PointwiseAlways,
    /// 3x3 convolution in every block.
    Conv3x3,
}

/// A DDPM U-Net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UNetConfig {
    /// Height and width of the images.
    pub image_size: usize,
    /// Channels of the input, 1 or 3.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Channels of each level, from the full image down; each further level halves the image.
    pub channels: Vec<usize>,
    /// Residual blocks per encoder level.
    pub layers_per_level: usize,
    /// Levels with self-attention after each residual block; 0 is the full image.
    pub attention_levels: Vec<usize>,
    /// Self-attention between the two residual blocks of the middle.
    pub mid_attention: bool,
    /// Channels of one attention head; 0 is one head of all channels.
    pub head_dim: usize,
    /// Groups of every group norm.
    pub groups: usize,
    /// Added to the variance in every group norm.
    pub norm_eps: f32,
    /// How encoder and decoder are joined.
    pub layout: Layout,
    /// How a level halves the image.
    pub downsample: Downsample,
    /// How a level doubles the image.
    pub upsample: Upsample,
    /// The residual block's way around.
    pub shortcut: Shortcut,
    /// Width of the time embedding; 0 is four times the first level's channels.
    pub time_dim: usize,
    /// Cosines before sines in the time embedding.
    pub flip_sin_to_cos: bool,
    /// The time embedding's frequencies are 10000^(-k / (half - freq_shift)).
    pub freq_shift: f32,
    /// Probability of dropping an activation in each residual block while training.
    pub dropout: f32,
    /// Number of classes to condition on; 0 is an unconditional model.
    pub classes: usize,
}

impl Default for UNetConfig {
    /// The U-Net of Ho et al. (2020) for CIFAR-10, 35,746,307 parameters.
    fn default() -> UNetConfig {
        UNetConfig {
            image_size: 32,
            in_channels: 3,
            out_channels: 3,
            channels: vec![128, 256, 256, 256],
            layers_per_level: 2,
            attention_levels: vec![1],
            mid_attention: true,
            head_dim: 0,
            groups: 32,
            norm_eps: 1e-6,
            layout: Layout::Ddpm,
            downsample: Downsample::ConvAsymmetric,
            upsample: Upsample::NearestConv,
            shortcut: Shortcut::Pointwise,
            time_dim: 0,
            flip_sin_to_cos: false,
            freq_shift: 1.0,
            dropout: 0.0,
            classes: 0,
        }
    }
}

impl UNetConfig {
    /// Width of the time embedding.
    pub fn time_dim(&self) -> usize {
        if self.time_dim == 0 { 4 * self.channels[0] } else { self.time_dim }
    }

    /// Images must be a multiple of this in height and width.
    pub fn size_divisor(&self) -> usize {
        1 << (self.channels.len() - 1)
    }

    /// Heads and channels per head at `channels` channels.
    pub fn heads(&self, channels: usize) -> (usize, usize) {
        channels.checked_div(self.head_dim).map_or((1, channels), |heads| (heads, self.head_dim))
    }

    /// Checks that such a network exists.
    ///
    /// # Errors
    /// The first setting that is impossible, by its name.
    pub fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Config(message));
        if self.channels.is_empty() || self.channels.contains(&0) {
            return wrong("model.channels: at least one level with at least one channel is needed".into());
        }
        let positive = [
            ("image_size", self.image_size),
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("layers_per_level", self.layers_per_level),
            ("groups", self.groups),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, v)| *v == 0) {
            return wrong(format!("model.{name} must be at least 1"));
        }
        if self.channels.len() > 16 || !self.image_size.is_multiple_of(self.size_divisor()) {
            return wrong(format!(
                "model.image_size = {} cannot be halved {} times; {} levels need a multiple of {}",
                self.image_size,
                self.channels.len() - 1,
                self.channels.len(),
                1u64 << (self.channels.len() - 1).min(63),
            ));
        }
        let normed = self.channels.iter().zip(&self.channels[1..]).map(|(a, b)| a + b).chain(self.channels.clone());
        if let Some(c) = normed.into_iter().find(|c| !c.is_multiple_of(self.groups)) {
            return wrong(format!("model.groups = {} does not divide {c} channels", self.groups));
        }
        if let Some(l) = self.attention_levels.iter().find(|&&l| l >= self.channels.len()) {
            return wrong(format!("model.attention_levels: {l} is not among the {} levels", self.channels.len()));
        }
        let attended = self.attention_levels.iter().map(|&l| self.channels[l]);
        let middle = self.mid_attention.then(|| self.channels[self.channels.len() - 1]);
        if self.head_dim > 0
            && let Some(c) = attended.chain(middle).find(|c| !c.is_multiple_of(self.head_dim))
        {
            return wrong(format!("model.head_dim = {} does not divide {c} channels", self.head_dim));
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
