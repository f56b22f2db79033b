//! Attention on Hopper: which shapes the kernels `kernels/attention/*_sm90.cu` take, with how much shared memory and how
//! many blocks. Pure functions of the shape; docs/kernels/attention.md has the reasons.

mod backward;
mod forward;
mod groups;

use super::shape::Shape;
use crate::engine::tensor::DType;
pub use backward::BackwardPlan;
use forward::ForwardPlan;

/// Launch plans of the passes that the kernels compute for a shape; `None` for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plans {
    pub fwd: Option<ForwardPlan>,
    pub bwd: Option<BackwardPlan>,
}

impl Plans {
    /// For tokens stored as `dtype`.
    pub fn new(s: &Shape, dtype: DType) -> Plans {
        Plans { fwd: ForwardPlan::new(s, dtype), bwd: BackwardPlan::new(s, dtype) }
    }
}

#[cfg(test)]
mod tests;
