//! A U-Net as a list of blocks: a [`Plan`] makes the list and registers the parameters, a pass walks it.
//!
//! ```text
//! x [n, h, w, c] -> conv_in -> encoder -> middle -> decoder -> norm, SiLU, conv_out
//!                              keeps `--- skips, joined as channels ---'
//! ```
//! The time embedding enters every residual block as a bias per image and channel, or as a scale and a shift.

use super::architecture::Module;
use super::attention::AttentionBlock;
use super::layers::{BlockStyle, Conv, DoublingConv, Forward, GroupNorm, Linear, ResBlock, Start, TimeProjections};
use super::params::ParamSet;
use super::time_embedding::TimeEmbedding;
use crate::engine::ops::concat::{Joined, concat, join};
use crate::engine::ops::{avg_pool, silu, upsample};
use crate::engine::tensor::Tensor;

/// One step between the first convolution and the last norm; it takes the result of the step before.
#[derive(Clone, Debug)]
enum Block {
    /// Keeps what it is given for the decoder, and passes it on.
    Keep,
    /// Adds the channels of the tensor that was kept last, under the name of a layer.
    Join(String),
    Residual(Box<ResBlock>),
    Attention(AttentionBlock),
    /// Halves or doubles the image, under the name of a layer.
    Resize(String, Resize),
}

/// A way to halve or double an image.
#[derive(Clone, Debug)]
pub(super) enum Resize {
    /// A convolution of stride 2.
    Conv(Conv),
    /// Mean of 2x2 pixels.
    AvgPool,
    /// Every pixel four times.
    Nearest,
    /// Every pixel four times, then a convolution.
    NearestConv(Conv),
    /// Bilinear, then a convolution.
    BilinearConv(Conv),
    /// A transposed convolution.
    DoublingConv(DoublingConv),
}

impl Resize {
    fn forward(&self, cx: &mut Forward, x: Tensor) -> Tensor {
        match self {
            Resize::Conv(conv) => conv.forward(cx, x),
            Resize::AvgPool => avg_pool::avg_pool(cx.tape, x),
            Resize::Nearest => upsample::upsample_nearest(cx.tape, x),
            Resize::NearestConv(conv) => conv.forward_doubled(cx, x),
            Resize::BilinearConv(conv) => {
                let up = upsample::upsample_bilinear(cx.tape, x);
                conv.forward(cx, up)
            }
            Resize::DoublingConv(conv) => conv.forward(cx, x),
        }
    }
}

/// A U-Net that is being built, from the first convolution on.
pub(super) struct Plan<'a> {
    pub params: &'a mut ParamSet,
    style: BlockStyle,
    time_embedding: TimeEmbedding,
    time_projections: TimeProjections,
    conv_in: Conv,
    blocks: Vec<Block>,
    /// Channels of the last block's result.
    pub channels: usize,
    /// Channels of the tensors that are kept and not joined yet.
    kept: Vec<usize>,
}

impl Plan<'_> {
    /// Begins with the first convolution, between these channels.
    pub fn new(
        params: &mut ParamSet,
        style: BlockStyle,
        time_embedding: TimeEmbedding,
        [c_in, channels]: [usize; 2],
    ) -> Plan<'_> {
        let conv_in = Conv::same3x3(params, "conv_in", c_in, channels, Start::FanIn);
        let (time_projections, blocks, kept) = Default::default();
        Plan { params, style, time_embedding, time_projections, conv_in, blocks, channels, kept }
    }

    /// Keeps the last result for the decoder.
    pub fn keep(&mut self) {
        self.kept.push(self.channels);
        self.blocks.push(Block::Keep);
    }

    /// Joins the tensor that was kept last.
    pub fn join(&mut self, level: &str) {
        self.channels += self.kept.pop().expect("a kept tensor for every join");
        self.blocks.push(Block::Join(format!("{level}.join")));
    }

    /// Adds a residual block.
    pub fn residual(&mut self, name: &str, c_out: usize) {
        let channels = [self.channels, c_out];
        let block = ResBlock::new(self.params, &mut self.time_projections, name, channels, self.style);
        self.channels = c_out;
        self.blocks.push(Block::Residual(Box::new(block)));
    }

    /// Registers attention between these channels, with a norm before it or without, for [`Plan::attention`] to add.
    pub fn register_attention(
        &mut self,
        name: &str,
        channels: usize,
        heads: (usize, usize),
        has_norm: bool,
    ) -> AttentionBlock {
        AttentionBlock::new(self.params, name, channels, heads, has_norm.then_some(self.style))
    }

    /// Adds attention, where there is any.
    pub fn attention(&mut self, attention: Option<AttentionBlock>) {
        self.blocks.extend(attention.map(Block::Attention));
    }

    /// Adds a step that halves or doubles the image; a convolution has `c_out` output channels.
    pub fn resize(&mut self, layer: String, resize: Resize, c_out: usize) {
        self.channels = if let Resize::AvgPool | Resize::Nearest = resize { self.channels } else { c_out };
        self.blocks.push(Block::Resize(layer, resize));
    }

    /// Ends with norm, SiLU and convolution.
    pub fn finish(self, out_channels: usize, time_dim: usize) -> UNet {
        let Plan { params, style, time_embedding, time_projections, conv_in, blocks, channels, kept } = self;
        assert!(kept.is_empty(), "a join for every kept tensor");
        let norm_out = GroupNorm::new(params, "conv_norm_out", channels, style.groups, style.eps, true);
        let conv_out = Conv::same3x3(params, "conv_out", channels, out_channels, Start::Zero);
        let time_projections = time_projections.build(params, time_dim);
        UNet { time_embedding, time_projections, conv_in, blocks, norm_out, conv_out }
    }
}

/// A U-Net whose parameters are registered.
#[derive(Clone, Debug)]
pub(super) struct UNet {
    time_embedding: TimeEmbedding,
    time_projections: Linear,
    conv_in: Conv,
    blocks: Vec<Block>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

impl Module for UNet {
    fn forward(&self, cx: &mut Forward, x: Tensor, t: Tensor, labels: Option<Tensor>) -> Tensor {
        self.record(cx, x, t, labels, ResBlock::reads_joined)
    }
}

impl UNet {
    /// Records one evaluation. Residual blocks for which `reads_joined` holds read a skip from where it lies; for all other
    /// blocks it is stored again beside their input.
    pub fn record(
        &self,
        cx: &mut Forward,
        x: Tensor,
        t: Tensor,
        labels: Option<Tensor>,
        reads_joined: impl Fn(&ResBlock, &mut Forward, [Tensor; 2]) -> bool,
    ) -> Tensor {
        let time = self.time_embedding.forward(cx, t, labels);
        let time = silu::silu(cx.tape, time);
        let times = self.time_projections.forward(cx, time);

        let mut h = Joined::from(self.conv_in.forward(cx, x));
        let mut kept = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            h = match block {
                Block::Keep => {
                    kept.push(h.whole);
                    h
                }
                Block::Join(layer) => {
                    let skip = kept.pop().expect("a kept tensor for every join");
                    let reads = |reader: &Block| match reader {
                        Block::Residual(reader) => reads_joined(reader, cx, [h.whole, skip]),
                        _ => false,
                    };
                    let joined = self.blocks.get(i + 1).is_some_and(reads);
                    cx.tape.enter_layer(layer);
                    if joined { join(cx.tape, h.whole, skip) } else { concat(cx.tape, h.whole, skip).into() }
                }
                Block::Residual(block) => block.forward(cx, h, times).into(),
                Block::Attention(block) => block.forward(cx, h.whole).into(),
                Block::Resize(layer, resize) => {
                    cx.tape.enter_layer(layer);
                    resize.forward(cx, h.whole).into()
                }
            };
        }
        let h = self.norm_out.forward(cx, h.whole);
        self.conv_out.forward(cx, h)
    }
}
