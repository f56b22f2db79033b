//! Self-attention over all pixels, as a residual block.

use super::layers::{BlockStyle, Forward, GroupNorm, Linear, Start};
use super::params::{Init, ParamId, ParamSet};
use crate::engine::ops::attention::attention;
use crate::engine::ops::scale_add;
use crate::engine::tensor::Tensor;

/// `x + to_out(attention(to_qkv(norm(x))))`, as most U-Nets have it; there may be no norm.
#[derive(Clone, Debug)]
pub(super) struct AttentionBlock {
    norm: Option<GroupNorm>,
    qkv: Linear,
    out: Linear,
    heads: usize,
    head_dim: usize,
}

impl AttentionBlock {
    pub fn new(
        params: &mut ParamSet,
        name: &str,
        c: usize,
        (heads, head_dim): (usize, usize),
        norm: Option<BlockStyle>,
    ) -> AttentionBlock {
        let name_of_norm = format!("{name}.group_norm");
        let norm = norm.map(|style| GroupNorm::new(params, &name_of_norm, c, style.groups, style.eps, false));
        let maps = ["to_q", "to_k", "to_v"].map(|m| (format!("{name}.{m}"), heads * head_dim));
        let qkv = Linear::fused(params, &maps, c, Start::FanIn);
        let out = Linear::new(params, &format!("{name}.to_out.0"), heads * head_dim, c, Start::Zero);
        AttentionBlock { norm, qkv, out, heads, head_dim }
    }

    /// `[n, h, w, c]` to the same.
    pub fn forward(&self, cx: &mut Forward, x: Tensor) -> Tensor {
        let h = self.norm.as_ref().map_or(x, |norm| norm.forward(cx, x)).reshape(&tokens(x));
        let qkv = self.qkv.forward(cx, h);
        let h = attention(cx.tape, qkv, self.heads, self.head_dim, self.head_dim);
        self.out.forward_add(cx, h, x.reshape(&tokens(x))).reshape(&x.dims())
    }
}

/// `x + gamma attention(to_qkv(x))` with one learned gain that starts at 0: a new block does nothing (Zhang et al. 2019).
/// Values have as many channels as `x`, queries and keys fewer.
#[derive(Clone, Debug)]
pub(super) struct GatedAttention {
    qkv: Linear,
    gamma: ParamId,
    head_dim: usize,
}

impl GatedAttention {
    /// Factor by which queries and keys have fewer channels.
    pub const REDUCTION: usize = 8;

    pub fn new(params: &mut ParamSet, name: &str, c: usize) -> GatedAttention {
        let head_dim = c / GatedAttention::REDUCTION;
        let maps = [("to_q", head_dim), ("to_k", head_dim), ("to_v", c)];
        let qkv = Linear::fused(params, &maps.map(|(m, rows)| (format!("{name}.{m}"), rows)), c, Start::FanIn);
        let gamma = params.add(format!("{name}.gamma"), &[1], Init::Constant(0.0));
        GatedAttention { qkv, gamma, head_dim }
    }

    /// `[n, h, w, c]` to the same.
    pub fn forward(&self, cx: &mut Forward, x: Tensor) -> Tensor {
        let qkv = self.qkv.forward(cx, x.reshape(&tokens(x)));
        let h = attention(cx.tape, qkv, 1, self.head_dim, x.last_dim()).reshape(&x.dims());
        let gamma = cx.param(self.gamma);
        scale_add::scale_add(cx.tape, x, gamma, h)
    }
}

/// The dimensions `[n, h * w, c]` of an image's pixels as tokens.
fn tokens(x: Tensor) -> [usize; 3] {
    [x.dim(0), x.dim(1) * x.dim(2), x.last_dim()]
}
