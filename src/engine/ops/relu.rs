//! ReLU, the activation of the plain convolutional networks: `y = max(x, 0)`; `dx = dy` where `y > 0`, else 0.

use crate::engine::ops::elementwise::{Saved, Unary, unary};
use crate::engine::tape::Tape;
use crate::engine::tensor::Tensor;

/// ReLU of every element; a NaN stays one.
///
/// # Shapes
/// `x` and the result: any, equal. Saved for backward: the result, which the next layer mostly saves anyway.
pub fn relu(tape: &mut Tape, x: Tensor) -> Tensor {
    unary::<Relu>(tape, x)
}

struct Relu;

impl Unary for Relu {
    const NAMES: [&'static str; 2] = ["relu_fwd", "relu_bwd"];
    const SAVED: Saved = Saved::Result;

    #[inline(always)]
    fn value(x: f32) -> f32 {
        if x < 0.0 { 0.0 } else { x }
    }
    #[inline(always)]
    fn gradient(dy: f32, y: f32) -> f32 {
        if y > 0.0 { dy } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::elementwise::tests::check;

    #[test]
    fn matches_the_oracle() {
        check(super::relu, |x| x.max(0.0));
    }
}
