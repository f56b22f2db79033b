//! Layers, of which the networks are built. A layer registers its parameters when it is made and records ops when it is
//! called; names of parameters are those of diffusers.

use super::config::Shortcut;
use super::params::{Init, ParamId, ParamSet, Part, Weights};
use crate::engine::ops::channel_bias::{ImageBias, channel_bias_with};
use crate::engine::ops::concat::Joined;
use crate::engine::ops::conv_transpose2d::conv_transpose2d;
use crate::engine::ops::conv2d::{self, Padding, conv2d_add};
use crate::engine::ops::dropout::DropoutLayer;
use crate::engine::ops::group_norm::{self, Norm, PerImage, group_norm_with};
use crate::engine::ops::linear::linear_add;
use crate::engine::ops::upsample_conv2d::upsample_conv2d;
use crate::engine::tape::Tape;
use crate::engine::tensor::Tensor;

/// One pass over a network: where ops are recorded and which values of the parameters they read.
pub struct Forward<'a> {
    /// Where ops are recorded.
    pub tape: &'a mut Tape,
    /// The values of the parameters.
    pub weights: &'a Weights,
    /// State of the random numbers `u32[4]`, which dropout needs; absent when evaluating: nothing is dropped then.
    pub dropout_rng: Option<Tensor>,
    /// Dropout layers recorded so far: each has a random stream of its own.
    pub dropout_layers: u32,
}

impl<'a> Forward<'a> {
    /// A pass that evaluates: no dropout.
    pub fn evaluate(tape: &'a mut Tape, weights: &'a Weights) -> Forward<'a> {
        Forward { tape, weights, dropout_rng: None, dropout_layers: 0 }
    }

    /// A pass that trains: dropout draws from `rng`.
    pub fn train(tape: &'a mut Tape, weights: &'a Weights, rng: Tensor) -> Forward<'a> {
        Forward { tape, weights, dropout_rng: Some(rng), dropout_layers: 0 }
    }

    pub(crate) fn param(&mut self, id: ParamId) -> Tensor {
        self.weights.tensor(self.tape, id)
    }

    /// The next dropout layer, with probability `p`; none where nothing is dropped.
    fn dropout_layer(&mut self, p: f32) -> Option<DropoutLayer> {
        let rng = self.dropout_rng.filter(|_| p > 0.0)?;
        self.dropout_layers += 1;
        Some(DropoutLayer { p, rng, layer: self.dropout_layers - 1 })
    }
}

/// The initial values of a layer's weights.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Start {
    /// Uniform in +-1/sqrt(fan_in), as PyTorch does.
    FanIn,
    /// Zero, so that a residual branch starts as the identity (Ho et al. 2020).
    Zero,
}

impl Start {
    fn init(self, fan_in: usize) -> Init {
        match self {
            Start::FanIn => Init::Uniform(1.0 / (fan_in as f32).sqrt()),
            Start::Zero => Init::Constant(0.0),
        }
    }
}

/// Convolution with bias.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    weight: ParamId,
    bias: ParamId,
    stride: usize,
    padding: Padding,
}

impl Conv {
    /// 3x3, stride 1, same size.
    pub fn same3x3(params: &mut ParamSet, name: &str, c_in: usize, c_out: usize, start: Start) -> Conv {
        Conv::new(params, name, [c_in, c_out], 3, 1, Padding::same(1), start)
    }

    pub fn new(
        params: &mut ParamSet,
        name: &str,
        [c_in, c_out]: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: Padding,
        start: Start,
    ) -> Conv {
        let init = start.init(c_in * kernel * kernel);
        let weight = params.add(format!("{name}.weight"), &[c_out, kernel, kernel, c_in], init);
        let bias = params.add(format!("{name}.bias"), &[c_out], init);
        Conv { weight, bias, stride, padding }
    }

    /// `[n, h, w, c_in]` to `[n, h', w', c_out]`.
    pub fn forward(&self, cx: &mut Forward, x: impl Into<Joined>) -> Tensor {
        self.forward_add(cx, x, Tensor::EMPTY)
    }

    /// The same with a tensor like the result added to it.
    pub fn forward_add(&self, cx: &mut Forward, x: impl Into<Joined>, residual: Tensor) -> Tensor {
        let (w, b) = (cx.param(self.weight), cx.param(self.bias));
        conv2d_add(cx.tape, x, w, b, self.stride, self.padding, residual)
    }

    /// True if it can read two tensors that nobody has concatenated.
    fn reads_joined(&self, cx: &mut Forward, parts: [Tensor; 2]) -> bool {
        let w = cx.param(self.weight);
        conv2d::reads_joined(cx.tape, parts, w, self.stride, self.padding)
    }

    /// The result of [`Conv::same3x3`] on `x` with every pixel repeated: `[n, h, w, c_in]` to `[n, 2 h, 2 w, c_out]`.
    pub fn forward_doubled(&self, cx: &mut Forward, x: Tensor) -> Tensor {
        assert!(self.stride == 1 && self.padding == Padding::same(1), "{self:?}");
        let (w, b) = (cx.param(self.weight), cx.param(self.bias));
        upsample_conv2d(cx.tape, x, w, b)
    }
}

/// Transposed convolution with bias that doubles an image: 4x4, stride 2.
#[derive(Clone, Debug)]
pub(super) struct DoublingConv {
    weight: ParamId,
    bias: ParamId,
}

impl DoublingConv {
    pub fn new(params: &mut ParamSet, name: &str, c_in: usize, c_out: usize) -> DoublingConv {
        // A pixel of the result is reached by 2x2 of the kernel's taps.
        let init = Start::FanIn.init(c_in * 2 * 2);
        let weight = params.add(format!("{name}.weight"), &[c_in, 4, 4, c_out], init);
        let bias = params.add(format!("{name}.bias"), &[c_out], init);
        DoublingConv { weight, bias }
    }

    /// `[n, h, w, c_in]` to `[n, 2 h, 2 w, c_out]`.
    pub fn forward(&self, cx: &mut Forward, x: Tensor) -> Tensor {
        let (w, b) = (cx.param(self.weight), cx.param(self.bias));
        conv_transpose2d(cx.tape, x, w, b, 2, Padding::same(1))
    }
}

/// Linear map of the last dimension, with bias.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    weight: ParamId,
    bias: ParamId,
}

impl Linear {
    pub fn new(params: &mut ParamSet, name: &str, c_in: usize, c_out: usize, start: Start) -> Linear {
        Linear::fused(params, &[(name.into(), c_out)], c_in, start)
    }

    /// Several maps of the same input, computed as one: `(name, c_out)` each.
    pub fn fused(params: &mut ParamSet, maps: &[(String, usize)], c_in: usize, start: Start) -> Linear {
        let c_out = maps.iter().map(|m| m.1).sum();
        let parts = |suffix: &str| -> Vec<Part> {
            maps.iter().map(|(name, rows)| Part { name: format!("{name}.{suffix}"), rows: *rows }).collect()
        };
        let init = start.init(c_in);
        let weight = params.add_fused(parts("weight"), &[c_out, c_in], init);
        let bias = params.add_fused(parts("bias"), &[c_out], init);
        Linear { weight, bias }
    }

    /// `[.., c_in]` to `[.., c_out]`.
    pub fn forward(&self, cx: &mut Forward, x: Tensor) -> Tensor {
        self.forward_add(cx, x, Tensor::EMPTY)
    }

    /// The same with a tensor like the result added to it.
    pub fn forward_add(&self, cx: &mut Forward, x: Tensor, residual: Tensor) -> Tensor {
        let (w, b) = (cx.param(self.weight), cx.param(self.bias));
        linear_add(cx.tape, x, w, b, residual)
    }
}

/// Group norm with scale and shift, optionally followed by SiLU.
#[derive(Clone, Debug)]
pub(crate) struct GroupNorm {
    gamma: ParamId,
    beta: ParamId,
    norm: Norm,
}

impl GroupNorm {
    pub fn new(params: &mut ParamSet, name: &str, c: usize, groups: usize, eps: f32, silu: bool) -> GroupNorm {
        let gamma = params.add(format!("{name}.weight"), &[c], Init::Constant(1.0));
        let beta = params.add(format!("{name}.bias"), &[c], Init::Constant(0.0));
        GroupNorm { gamma, beta, norm: Norm { groups, eps, silu } }
    }

    pub fn forward(&self, cx: &mut Forward, x: Tensor) -> Tensor {
        self.forward_with(cx, x, PerImage::Nothing, None)
    }

    /// The same with what each image brings, and dropout after it.
    pub(super) fn forward_with(
        &self,
        cx: &mut Forward,
        x: impl Into<Joined>,
        per_image: PerImage,
        dropout: Option<DropoutLayer>,
    ) -> Tensor {
        let (gamma, beta) = (cx.param(self.gamma), cx.param(self.beta));
        group_norm_with(cx.tape, x, gamma, beta, self.norm, per_image, dropout)
    }
}

/// Settings that the blocks of one network have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockStyle {
    pub groups: usize,
    pub eps: f32,
    pub dropout: f32,
    /// Dropout before the second norm rather than after its SiLU.
    pub dropout_before_norm: bool,
    /// The time scales and shifts the second norm's result; else it is a bias before that norm.
    pub time_scale_shift: bool,
    /// The way around the convolutions.
    pub shortcut: Shortcut,
}

/// The biases, or scales and shifts, that the time embedding gives the residual blocks of a network: a linear map for each,
/// computed as one.
#[derive(Default)]
pub(crate) struct TimeProjections {
    /// `(name, columns)` of each map.
    maps: Vec<(String, usize)>,
}

impl TimeProjections {
    /// Adds the map of a block to so many columns. Returns the first of them in the result of all maps.
    pub(super) fn add(&mut self, block: &str, columns: usize) -> usize {
        let first = self.maps.iter().map(|map| map.1).sum();
        self.maps.push((format!("{block}.time_emb_proj"), columns));
        first
    }

    /// The layer that computes all maps that were added.
    pub fn build(self, params: &mut ParamSet, time_dim: usize) -> Linear {
        Linear::fused(params, &self.maps, time_dim, Start::FanIn)
    }
}

/// Residual block: `x + conv2(silu(norm2(conv1(silu(norm1(x))) + time)))`, or with scales and shifts
/// `x + conv2(silu(norm2(conv1(silu(norm1(x)))) (1 + scale) + shift))`.
#[derive(Clone, Debug)]
pub(crate) struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv,
    /// First column of the block's time projection.
    time: usize,
    norm2: GroupNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
    style: BlockStyle,
}

impl ResBlock {
    pub fn new(
        params: &mut ParamSet,
        time: &mut TimeProjections,
        name: &str,
        [c_in, c_out]: [usize; 2],
        style: BlockStyle,
    ) -> ResBlock {
        let norm = |params: &mut ParamSet, n, c| {
            GroupNorm::new(params, &format!("{name}.{n}"), c, style.groups, style.eps, true)
        };
        let time = time.add(name, if style.time_scale_shift { 2 * c_out } else { c_out });
        let norm1 = norm(params, "norm1", c_in);
        let conv1 = Conv::same3x3(params, &format!("{name}.conv1"), c_in, c_out, Start::FanIn);
        let norm2 = norm(params, "norm2", c_out);
        let conv2 = Conv::same3x3(params, &format!("{name}.conv2"), c_out, c_out, Start::Zero);
        let name = format!("{name}.conv_shortcut");
        let pointwise = |params| Conv::new(params, &name, [c_in, c_out], 1, 1, Padding::same(0), Start::FanIn);
        let shortcut = match style.shortcut {
            Shortcut::Pointwise => (c_in != c_out).then(|| pointwise(params)),
            Shortcut::PointwiseAlways => Some(pointwise(params)),
            Shortcut::Conv3x3 => Some(Conv::same3x3(params, &name, c_in, c_out, Start::FanIn)),
        };
        ResBlock { norm1, conv1, time, norm2, conv2, shortcut, style }
    }

    /// True if it can read two tensors that nobody has concatenated: its first norm and the way around can.
    pub fn reads_joined(&self, cx: &mut Forward, [a, b]: [Tensor; 2]) -> bool {
        let around = self.shortcut.as_ref().is_some_and(|conv| conv.reads_joined(cx, [a, b]));
        around && group_norm::reads_joined(cx.tape, a, b)
    }

    /// `x [n, h, w, c_in]` and the time projections of all blocks `[n, columns]` to `[n, h, w, c_out]`.
    pub fn forward(&self, cx: &mut Forward, x: impl Into<Joined>, times: Tensor) -> Tensor {
        let x = x.into();
        let h = self.norm1.forward_with(cx, x, PerImage::Nothing, None);
        let h = self.conv1.forward(cx, h);
        let time = ImageBias { values: times, first: self.time };
        let dropout = cx.dropout_layer(self.style.dropout);
        let h = if self.style.dropout_before_norm {
            let h = channel_bias_with(cx.tape, h, time, dropout);
            self.norm2.forward(cx, h)
        } else {
            let brings = if self.style.time_scale_shift { PerImage::ScaleShift } else { PerImage::Bias };
            self.norm2.forward_with(cx, h, brings(time), dropout)
        };
        let around = self.shortcut.as_ref().map_or(x.whole, |conv| conv.forward(cx, x));
        self.conv2.forward_add(cx, h, around)
    }
}
