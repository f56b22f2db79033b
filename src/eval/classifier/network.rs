//! The layers of the classifier.

use super::identity::Identity;
use crate::engine::ops::avg_pool::avg_pool;
use crate::engine::ops::silu::silu;
use crate::engine::tensor::Tensor;
use crate::nn::layers::{Conv, GroupNorm, Linear, Start};
use crate::nn::{Forward, ParamSet};

/// Channels of a group of the norms.
const GROUP_CHANNELS: usize = 8;

/// The layers.
pub(super) struct Network {
    stages: Vec<(Conv, GroupNorm)>,
    hidden: Linear,
    head: Linear,
}

impl Network {
    pub fn new(identity: &Identity) -> (Network, ParamSet) {
        let ([mut h, mut w, mut c], config) = (identity.image_dims, &identity.config);
        let (mut params, mut stages, mut c_out) = (ParamSet::default(), Vec::new(), config.channels);
        loop {
            let name = |layer: &str| format!("stages.{}.{layer}", stages.len());
            let conv = Conv::same3x3(&mut params, &name("conv"), c, c_out, Start::FanIn);
            let norm = GroupNorm::new(&mut params, &name("norm"), c_out, c_out / GROUP_CHANNELS, 1e-5, true);
            stages.push((conv, norm));
            (c, c_out) = (c_out, (2 * c_out).min(config.most_channels));
            if h.min(w) < 8 {
                break;
            }
            (h, w) = (h / 2, w / 2);
        }
        let hidden = Linear::new(&mut params, "hidden", h * w * c, config.features, Start::FanIn);
        let head = Linear::new(&mut params, "head", config.features, identity.class_names.len(), Start::FanIn);
        (Network { stages, hidden, head }, params)
    }

    /// Features `[n, features]` and logits `[n, classes]` of `x [n, h, w, c]`.
    pub fn forward(&self, cx: &mut Forward, mut x: Tensor) -> (Tensor, Tensor) {
        for (i, (conv, norm)) in self.stages.iter().enumerate() {
            if i > 0 {
                x = avg_pool(cx.tape, x);
            }
            x = conv.forward(cx, x);
            x = norm.forward(cx, x);
        }
        let n = x.dim(0);
        let hidden = self.hidden.forward(cx, x.reshape(&[n, x.numel() / n]));
        let features = silu(cx.tape, hidden);
        (features, self.head.forward(cx, features))
    }
}
