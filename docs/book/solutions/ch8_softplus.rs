//! Exercise 8.1: an op of your own. The kernels stand in `ch8_softplus.cu`.
//!
//! `ln(1 + e^x) = x + ln(1 + e^-x)`: of the two forms take that whose exponential is below 1. The derivative is
//! `e^x / (1 + e^x)`, the logistic function.

use ddpm::engine::ops::elementwise::{Saved, Unary, unary};
use ddpm::engine::simd::sigmoid;
use ddpm::engine::tape::Tape;
use ddpm::engine::tensor::Tensor;

/// Softplus of every element, `y = ln(1 + e^x)`.
pub fn softplus(tape: &mut Tape, x: Tensor) -> Tensor {
    unary::<Softplus>(tape, x)
}

struct Softplus;

impl Unary for Softplus {
    const NAMES: [&'static str; 2] = ["softplus_fwd", "softplus_bwd"];
    const SAVED: Saved = Saved::Operand;

    #[inline(always)]
    fn value(x: f32) -> f32 {
        x.max(0.0) + (-x.abs()).exp().ln_1p()
    }

    #[inline(always)]
    fn gradient(dy: f32, x: f32) -> f32 {
        dy * sigmoid(x)
    }
}
