//! A residual connection whose branch has one learned gain: `z = x + gamma y`.
//!
//! `dx = dz` is shared, not copied; `dy = gamma dz`; `dgamma = sum of dz y`.

use crate::engine::device::Memory;
use crate::engine::simd;
use crate::engine::tape::geometry::sum_blocks;
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};

/// `x + gamma y` with a scalar parameter.
///
/// # Shapes
/// `x`, `y` and the result: any, equal; `gamma [1]` f32. Saved for backward: `y`.
pub fn scale_add(tape: &mut Tape, x: Tensor, gamma: Tensor, y: Tensor) -> Tensor {
    assert!(x.dims() == y.dims() && x.dtype() == y.dtype(), "scale_add of {x:?} and {y:?}");
    assert!(gamma.numel() == 1 && gamma.dtype() == DType::F32, "scale_add by {gamma:?}");
    let z = tape.tensor(&x.dims(), x.dtype());
    tape.push(ScaleAddFwd { z, x, gamma, y });
    z
}

op! {
    struct ScaleAddFwd = "scale_add_fwd" {
        out z,     // any shape
        in x,      // as z
        in gamma,  // [1] f32
        in y,      // as z
    }
}

impl Op for ScaleAddFwd {
    fn backward(&self, tape: &mut Tape) {
        let ScaleAddFwd { z, x, gamma, y } = *self;
        let dz = tape.grad(z);
        tape.accumulate(x, dz);
        if tape.needs_grad(y) {
            let dy = tape.grad_slot(y);
            tape.push(ScaleAddBwdDy { dy, dz, gamma });
            tape.accumulate(y, dy);
        }
        if tape.needs_grad(gamma) {
            let dgamma = tape.grad_slot(gamma);
            let partial = tape.scratch(&[sum_blocks(y.numel(), 8)], DType::F32);
            tape.push(ScaleAddBwdDgamma { dgamma, partial, dz, y });
            tape.accumulate(gamma, dgamma);
        }
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([z], [x, gamma, y]) = mem.views([self.z], [self.x, self.gamma, self.y]);
        let gamma = gamma[0];
        simd::map(z, [x, y], |z, [x, y]| *z = x + gamma * y);
    }
    fn launch(&self, q: &mut Launches) {
        q.kernel_of(self, self.z.dtype()).elementwise(self.z.numel());
    }
}

op! {
    struct ScaleAddBwdDy = "scale_add_bwd_dy" {
        out dy,    // any shape
        in dz,     // as dy
        in gamma,  // [1] f32
    }
}

impl Op for ScaleAddBwdDy {
    fn cpu(&self, mem: &mut Memory) {
        let ([dy], [dz, gamma]) = mem.views([self.dy], [self.dz, self.gamma]);
        let gamma = gamma[0];
        simd::map(dy, [dz], |dy, [dz]| *dy = gamma * dz);
    }
    fn launch(&self, q: &mut Launches) {
        q.kernel_of(self, self.dy.dtype()).elementwise(self.dy.numel());
    }
}

op! {
    struct ScaleAddBwdDgamma = "scale_add_bwd_dgamma" {
        out dgamma,   // [1] f32
        out partial,  // [blocks] f32, by kernels
        in dz,        // any shape
        in y,         // as dz
    }
}

impl Op for ScaleAddBwdDgamma {
    fn cpu(&self, mem: &mut Memory) {
        let ([dgamma], [dz, y]) = mem.views([self.dgamma], [self.dz, self.y]);
        dgamma[0] = simd::dot(dz, y) as f32;
    }
    fn launch(&self, q: &mut Launches) {
        let (n, blocks) = (self.y.numel(), self.partial.numel());
        q.kernel("scale_add_bwd_dgamma_partial", self.y.dtype())
            .grid([blocks, 1, 1])
            .with([self.partial, self.dz, self.y])
            .with([n as u64]);
        q.kernel_named("scale_add_bwd_dgamma_total").with([self.dgamma, self.partial]).with([blocks]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::{Check, Input};

    #[test]
    fn matches_the_oracle() {
        for dims in [[1, 5, 7, 3], [3, 4, 4, 35], [2, 8, 8, 32], [1, 64, 33, 2]] {
            Check::default().run(
                &[Input::activation(&dims), Input::parameter(&[1]), Input::activation(&dims).scaled(0.7)],
                |tape, x| scale_add(tape, x[0], x[1], x[2]),
                |x| x[0].iter().zip(&x[2]).map(|(a, b)| a + x[1][0] * b).collect(),
            );
        }
    }

    /// The gain starts at zero: then nothing reaches the branch, but its own gradient does not vanish.
    #[test]
    fn a_gain_of_zero_learns() {
        Check::default().run(
            &[Input::activation(&[2, 35]), Input::parameter(&[1]).scaled(0.0), Input::activation(&[2, 35]).detached()],
            |tape, x| scale_add(tape, x[0], x[1], x[2]),
            |x| x[0].iter().zip(&x[2]).map(|(a, b)| a + x[1][0] * b).collect(),
        );
    }
}
