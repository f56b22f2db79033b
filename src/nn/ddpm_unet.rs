//! The U-Net of Ho et al. (2020) and the variants that [`UNetConfig`] describes, as a plan.

use super::architecture::{Architecture, Module, Samples};
use super::attention::AttentionBlock;
use super::config::{Downsample, Layout, UNetConfig, Upsample};
use super::layers::{BlockStyle, Conv, Start};
use super::params::ParamSet;
use super::time_embedding::TimeEmbedding;
use super::unet::{Plan, Resize, UNet};
use crate::Result;
use crate::engine::ops::conv2d::Padding;
use crate::engine::ops::timestep_embedding::Sinusoids;

impl Architecture for UNetConfig {
    fn samples(&self) -> Samples {
        Samples::Images { multiple_of: 1 << (self.channels.len() - 1) }
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

    fn has_null_class(&self) -> bool {
        self.classes > 0 && self.null_class
    }

    fn validate(&self) -> Result<()> {
        UNetConfig::validate(self)
    }

    fn build(&self, params: &mut ParamSet) -> Result<Box<dyn Module>> {
        Ok(Box::new(unet(self, params)?))
    }
}

/// Builds the network and registers its parameters.
pub(super) fn unet(config: &UNetConfig, params: &mut ParamSet) -> Result<UNet> {
    config.validate()?;
    let style = BlockStyle {
        groups: config.groups,
        eps: config.norm_eps,
        dropout: config.dropout,
        dropout_before_norm: config.layout == Layout::Paired,
        time_scale_shift: config.time_scale_shift,
        shortcut: config.shortcut,
    };
    let (c, time_dim) = (&config.channels, config.time_dim());
    let UNetConfig { flip_sin_to_cos, freq_shift, time_factor, .. } = *config;
    let sinusoids = |dim| Sinusoids { dim, flip_sin_to_cos, freq_shift, time_factor };
    let time_embedding = match config.layout {
        Layout::Ddpm => TimeEmbedding::mlp(params, sinusoids(c[0]), time_dim, config.class_rows()),
        Layout::Paired => TimeEmbedding::sinusoids(params, sinusoids(time_dim), config.class_rows()),
    };
    let mut plan = Plan::new(params, style, time_embedding, [config.in_channels, c[0]]);
    encoder(&mut plan, config);
    middle(&mut plan, config);
    decoder(&mut plan, config);
    Ok(plan.finish(config.out_channels, time_dim))
}

fn encoder(plan: &mut Plan, config: &UNetConfig) {
    if config.layout == Layout::Ddpm {
        plan.keep();
    }
    for (level, &c) in config.channels.iter().enumerate() {
        let block = format!("down_blocks.{level}");
        for j in 0..config.layers_per_level {
            plan.residual(&format!("{block}.resnets.{j}"), c);
            let attention = attention(plan, config, level, &format!("{block}.attentions.{j}"), c);
            match config.layout {
                Layout::Ddpm => {
                    plan.attention(attention);
                    plan.keep();
                }
                Layout::Paired => {
                    plan.keep();
                    plan.attention(attention);
                }
            }
        }
        if level + 1 < config.channels.len() {
            let name = format!("{block}.downsamplers.0");
            let resize = downsample(plan.params, config.downsample, &format!("{name}.conv"), c);
            plan.resize(format!("{name}.resize"), resize, c);
            plan.keep();
        }
    }
}

fn middle(plan: &mut Plan, config: &UNetConfig) {
    let c = plan.channels;
    plan.residual("mid_block.resnets.0", c);
    let heads = config.heads(c);
    let attention = config
        .mid_attention
        .then(|| plan.register_attention("mid_block.attentions.0", c, heads, config.mid_attention_norm));
    plan.attention(attention);
    plan.residual("mid_block.resnets.1", c);
}

fn decoder(plan: &mut Plan, config: &UNetConfig) {
    let c = &config.channels;
    for level in (0..c.len()).rev() {
        let block = format!("up_blocks.{}", c.len() - 1 - level);
        let (layers, last) = match config.layout {
            Layout::Ddpm => (config.layers_per_level + 1, c[level]),
            Layout::Paired => (config.layers_per_level, c[level.saturating_sub(1)]),
        };
        for j in 0..layers {
            let c_out = if j + 1 == layers { last } else { c[level] };
            // Registered before the residual block in both layouts: the order decides where weights lie in memory, and
            // which random numbers they start from.
            let attended = if config.layout == Layout::Ddpm { c_out } else { plan.channels };
            let attention = attention(plan, config, level, &format!("{block}.attentions.{j}"), attended);
            let (before, after) = match config.layout {
                Layout::Ddpm => (None, attention),
                Layout::Paired => (attention, None),
            };
            plan.attention(before);
            plan.join(&block);
            plan.residual(&format!("{block}.resnets.{j}"), c_out);
            plan.attention(after);
        }
        if level > 0 {
            let c_out = plan.channels;
            if config.layout == Layout::Paired {
                plan.join(&block);
            }
            let (name, channels) = (format!("{block}.upsamplers.0"), [plan.channels, c_out]);
            let resize = upsample(plan.params, config.upsample, &format!("{name}.conv"), channels);
            plan.resize(format!("{name}.resize"), resize, c_out);
        }
    }
}

/// Registers the attention of a level, where it has any.
fn attention(plan: &mut Plan, config: &UNetConfig, level: usize, name: &str, c: usize) -> Option<AttentionBlock> {
    config.attention_levels.contains(&level).then(|| plan.register_attention(name, c, config.heads(c), true))
}

fn downsample(params: &mut ParamSet, kind: Downsample, name: &str, c: usize) -> Resize {
    let padding = match kind {
        Downsample::Conv => Padding::same(1),
        Downsample::ConvAsymmetric => Padding::bottom_right(1),
        Downsample::AvgPool => return Resize::AvgPool,
    };
    Resize::Conv(Conv::new(params, name, [c, c], 3, 2, padding, Start::FanIn))
}

fn upsample(params: &mut ParamSet, kind: Upsample, name: &str, [c_in, c_out]: [usize; 2]) -> Resize {
    let conv = |params| Conv::same3x3(params, name, c_in, c_out, Start::FanIn);
    match kind {
        Upsample::NearestConv => Resize::NearestConv(conv(params)),
        Upsample::BilinearConv => Resize::BilinearConv(conv(params)),
        Upsample::Nearest => Resize::Nearest,
    }
}

#[cfg(test)]
mod tests;
