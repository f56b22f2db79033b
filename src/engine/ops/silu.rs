//! SiLU, the activation of the DDPM U-Net (also called swish).
//!
//! `y = x s(x)` with the logistic function `s(x) = 1 / (1 + e^-x)`; `dx = dy s(x) (1 + x (1 - s(x)))`.

use crate::engine::ops::elementwise::{Saved, Unary, unary};
use crate::engine::simd::sigmoid;
use crate::engine::tape::Tape;
use crate::engine::tensor::Tensor;

/// SiLU of every element.
///
/// # Shapes
/// `x` and the result: any, equal. Saved for backward: `x`.
pub fn silu(tape: &mut Tape, x: Tensor) -> Tensor {
    unary::<Silu>(tape, x)
}

struct Silu;

impl Unary for Silu {
    const NAMES: [&'static str; 2] = ["silu_fwd", "silu_bwd"];
    const SAVED: Saved = Saved::Operand;

    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * sigmoid(x)
    }
    #[inline(always)]
    fn gradient(dy: f32, x: f32) -> f32 {
        let s = sigmoid(x);
        dy * s * (1.0 + x * (1.0 - s))
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::elementwise::tests::check;

    #[test]
    fn matches_the_oracle() {
        check(super::silu, |x| x / (1.0 + (-x).exp()));
    }
}
