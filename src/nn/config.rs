//! The settings of a U-Net.

use super::checks;
use super::image_size::ImageSize;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The way in which encoder and decoder are joined.
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

/// The way in which a level halves the image.
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

/// The way in which a level doubles the image.
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

/// Residual blocks of a level beyond which a network is not what anybody meant.
const MOST_LAYERS: usize = 1000;

/// A DDPM U-Net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UNetConfig {
    /// Height and width of the images.
    pub image_size: ImageSize,
    /// Channels of the input: 1 or 3 for images.
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
    /// A norm before that attention, as before every other one. What diffusers builds for `scale_shift` lacks it, unless
    /// `attn_norm_num_groups` is given.
    pub mid_attention_norm: bool,
    /// Channels of one attention head; 0 is one head of all channels, or as many heads as `heads` says.
    pub head_dim: usize,
    /// Attention heads at every level, however many channels it has; 0 is as `head_dim` says.
    pub heads: usize,
    /// Groups of every group norm.
    pub groups: usize,
    /// Added to the variance in every group norm.
    pub norm_eps: f32,
    /// The way in which encoder and decoder are joined.
    pub layout: Layout,
    /// The way in which a level halves the image.
    pub downsample: Downsample,
    /// The way in which a level doubles the image.
    pub upsample: Upsample,
    /// The residual block's way around.
    pub shortcut: Shortcut,
    /// The time scales and shifts what the second norm of a residual block gives (Nichol and Dhariwal 2021,
    /// `resnet_time_scale_shift` of diffusers), rather than being added before that norm.
    pub time_scale_shift: bool,
    /// Width of the time embedding; 0 is four times the first level's channels.
    pub time_dim: usize,
    /// Cosines before sines in the time embedding.
    pub flip_sin_to_cos: bool,
    /// The time embedding's frequencies are 10000^(-k / (half - freq_shift)).
    pub freq_shift: f32,
    /// Factor of the times before they are embedded: 1000 / T for networks of Nichol and Dhariwal (`rescale_timesteps`).
    pub time_factor: f32,
    /// Probability of dropping an activation in each residual block while training.
    pub dropout: f32,
    /// Number of classes to condition on; 0 is an unconditional model.
    pub classes: usize,
    /// A label for "no class" besides those of the classes, which guidance and dropped labels need. Models of other
    /// programs may lack it. Read where there are classes.
    pub null_class: bool,
}

impl Default for UNetConfig {
    /// The U-Net of Ho et al. (2020) for CIFAR-10, 35,746,307 parameters.
    fn default() -> UNetConfig {
        UNetConfig {
            image_size: ImageSize::from(32),
            in_channels: 3,
            out_channels: 3,
            channels: vec![128, 256, 256, 256],
            layers_per_level: 2,
            attention_levels: vec![1],
            mid_attention: true,
            mid_attention_norm: true,
            head_dim: 0,
            heads: 0,
            groups: 32,
            norm_eps: 1e-6,
            layout: Layout::Ddpm,
            downsample: Downsample::ConvAsymmetric,
            upsample: Upsample::NearestConv,
            shortcut: Shortcut::Pointwise,
            time_scale_shift: false,
            time_dim: 0,
            flip_sin_to_cos: false,
            freq_shift: 1.0,
            time_factor: 1.0,
            dropout: 0.0,
            classes: 0,
            null_class: true,
        }
    }
}

impl UNetConfig {
    /// Width of the time embedding.
    pub fn time_dim(&self) -> usize {
        if self.time_dim == 0 { 4 * self.channels[0] } else { self.time_dim }
    }

    /// Heads and channels per head at `channels` channels.
    pub fn heads(&self, channels: usize) -> (usize, usize) {
        let heads = channels.checked_div(self.head_dim).unwrap_or(self.heads.max(1));
        (heads, channels / heads)
    }

    /// Channels of every attention: of the levels that have it, and of the middle.
    pub(super) fn attended(&self) -> impl Iterator<Item = usize> {
        let middle = self.mid_attention.then(|| self.channels[self.channels.len() - 1]);
        self.attention_levels.iter().map(|&level| self.channels[level]).chain(middle)
    }

    /// Checks that such a network exists.
    ///
    /// # Errors
    /// The first setting that is impossible, by its name.
    pub fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Config(message));
        let c = &self.channels;
        if c.is_empty() || c.contains(&0) {
            return wrong("model.channels: at least one level with at least one channel is needed".into());
        }
        checks::at_least(&[
            ("in_channels", self.in_channels, 1),
            ("out_channels", self.out_channels, 1),
            ("layers_per_level", self.layers_per_level, 1),
            ("groups", self.groups, 1),
        ])?;
        if self.layers_per_level > MOST_LAYERS {
            return wrong(format!("model.layers_per_level = {}: at most {MOST_LAYERS}", self.layers_per_level));
        }
        self.image_size.check_halvings(c.len() - 1)?;
        let joined = c.iter().zip(&c[1..]).map(|(a, b)| a + b);
        checks::divides("groups", self.groups, joined.chain(c.iter().copied()))?;
        if let Some(l) = self.attention_levels.iter().find(|&&l| l >= c.len()) {
            return wrong(format!("model.attention_levels: {l} is not among the {} levels", c.len()));
        }
        if self.head_dim > 0 {
            checks::divides("head_dim", self.head_dim, self.attended())?;
        }
        if self.heads > 0 {
            checks::divides("heads", self.heads, self.attended())?;
        }
        if self.head_dim > 0 && self.heads > 0 {
            return wrong(format!("model.heads = {}: model.head_dim = {} says it already", self.heads, self.head_dim));
        }
        if self.time_scale_shift && self.layout == Layout::Paired {
            return wrong("model.time_scale_shift: the paired layout adds the time before the norm".into());
        }
        if !(self.time_factor > 0.0 && self.time_factor.is_finite()) {
            return wrong(format!("model.time_factor = {} must be positive", self.time_factor));
        }
        checks::dropout(self.dropout)?;
        checks::norm_eps(self.norm_eps)
    }
}
