//! Convolutions on Hopper: which of the kernels `kernels/conv2d/*_sm90.cu` runs a shape, with which tiles, how much
//! shared memory and what traffic. Pure functions of the shape; docs/kernels/convolution.md has the reasons.

mod limits;
mod pixels;
mod taps;
mod wgrad;

use super::shape::Conv2dShape;
use crate::engine::tensor::DType;
use limits::CHANNEL_BLOCK;
pub use limits::{MULTIPROCESSORS, SHARED_BYTES, THREADS};
pub use taps::{Pass, TapsPlan};
pub use wgrad::WgradPlan;

/// The plans of a layer: nothing for a pass that the kernels for Hopper do not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plans {
    pub fwd: Option<TapsPlan>,
    pub bwd_dx: Option<TapsPlan>,
    pub bwd_dw: Option<WgradPlan>,
}

impl Plans {
    /// Returns true if the kernels that read `x` can read two tensors, the first with this many channels: then every block
    /// of channels lies in one of them. The input gradient is written as one tensor by any kernel.
    pub fn read_joined(&self, channels: usize) -> bool {
        self.fwd.is_some() && self.bwd_dw.is_some() && channels.is_multiple_of(CHANNEL_BLOCK)
    }

    /// Every kernel that takes the shape: the i-th of each pass, as long as there is one.
    pub fn all(s: &Conv2dShape, dtype: DType) -> Vec<Plans> {
        let [fwd, bwd_dx] = [Pass::Forward, Pass::InputGradient].map(|pass| TapsPlan::all(s, dtype, pass));
        let bwd_dw = WgradPlan::all(s, dtype);
        let plans = |i: usize| Plans {
            fwd: fwd.get(i).copied(),
            bwd_dx: bwd_dx.get(i).copied(),
            bwd_dw: bwd_dw.get(i).copied(),
        };
        (0..fwd.len().max(bwd_dx.len()).max(bwd_dw.len())).map(plans).collect()
    }

    /// For activations stored as `dtype`.
    pub fn new(s: &Conv2dShape, dtype: DType) -> Plans {
        Plans {
            fwd: TapsPlan::new(s, dtype, Pass::Forward),
            bwd_dx: TapsPlan::new(s, dtype, Pass::InputGradient),
            bwd_dw: WgradPlan::new(s, dtype),
        }
    }
}

#[cfg(test)]
impl Plans {
    /// The kernels of those passes that have a plan.
    fn kernels(self) -> impl Iterator<Item = &'static str> {
        let kernels = [self.fwd.map(|p| p.kernel), self.bwd_dx.map(|p| p.kernel), self.bwd_dw.map(|p| p.kernel)];
        kernels.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests;
