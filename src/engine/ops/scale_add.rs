//! A residual connection whose branch has one learned gain: `z = x + gamma y`.
//!
//! `dx = dz` is shared, not copied; `dy = gamma dz`; `dgamma = sum of dz y`.

use crate::engine::device::Memory;
use crate::engine::simd;
use crate::engine::tape::{Launches, Op, Tape};
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

#[derive(Debug)]
struct ScaleAddFwd {
    z: Tensor,
    x: Tensor,
    gamma: Tensor,
    y: Tensor,
}

impl Op for ScaleAddFwd {
    fn name(&self) -> &'static str {
        "scale_add_fwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.z]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.x, self.gamma, self.y]
    }
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
            let partial = tape.scratch(&[partial_blocks(y.numel())], DType::F32);
            tape.push(ScaleAddBwdDgamma { dgamma, partial, dz, y });
            tape.accumulate(gamma, dgamma);
        }
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([z], [x, gamma, y]) = mem.views([self.z], [self.x, self.gamma, self.y]);
        let gamma = gamma[0];
        simd::for_chunks(
            [z],
            [x, y],
            #[inline(always)]
            |[z], [x, y]| {
                for ((z, x), y) in z.iter_mut().zip(x).zip(y) {
                    *z = x + gamma * y;
                }
            },
        );
    }
    fn launch(&self, q: &mut Launches) {
        let n = self.z.numel();
        let args = [self.z.into(), self.x.into(), self.gamma.into(), self.y.into(), (n as u64).into()];
        q.kernel("scale_add_fwd", self.z.dtype()).grid(blocks(n)).args(&args);
    }
}

#[derive(Debug)]
struct ScaleAddBwdDy {
    dy: Tensor,
    dz: Tensor,
    gamma: Tensor,
}

impl Op for ScaleAddBwdDy {
    fn name(&self) -> &'static str {
        "scale_add_bwd_dy"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.dy]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dz, self.gamma]
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([dy], [dz, gamma]) = mem.views([self.dy], [self.dz, self.gamma]);
        let gamma = gamma[0];
        simd::for_chunks(
            [dy],
            [dz],
            #[inline(always)]
            |[dy], [dz]| {
                for (dy, dz) in dy.iter_mut().zip(dz) {
                    *dy = gamma * dz;
                }
            },
        );
    }
    fn launch(&self, q: &mut Launches) {
        let n = self.dy.numel();
        let args = [self.dy.into(), self.dz.into(), self.gamma.into(), (n as u64).into()];
        q.kernel("scale_add_bwd_dy", self.dy.dtype()).grid(blocks(n)).args(&args);
    }
}

#[derive(Debug)]
struct ScaleAddBwdDgamma {
    dgamma: Tensor,
    partial: Tensor,
    dz: Tensor,
    y: Tensor,
}

impl Op for ScaleAddBwdDgamma {
    fn name(&self) -> &'static str {
        "scale_add_bwd_dgamma"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.dgamma, self.partial]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dz, self.y]
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([dgamma], [dz, y]) = mem.views([self.dgamma], [self.dz, self.y]);
        dgamma[0] = simd::dot(dz, y) as f32;
    }
    fn launch(&self, q: &mut Launches) {
        let (n, blocks) = (self.y.numel(), self.partial.numel());
        let args = [self.partial.into(), self.dz.into(), self.y.into(), (n as u64).into()];
        q.kernel("scale_add_bwd_dgamma_partial", self.y.dtype()).grid([blocks, 1, 1]).args(&args);
        let args = [self.dgamma.into(), self.partial.into(), blocks.into()];
        q.kernel_named("scale_add_bwd_dgamma_total").args(&args);
    }
}

/// One thread handles 8 elements.
fn blocks(n: usize) -> [usize; 3] {
    [n.div_ceil(8 * 256), 1, 1]
}

/// A function of the number of elements alone, large enough to fill any GPU.
fn partial_blocks(n: usize) -> usize {
    n.div_ceil(8 * 256).clamp(1, 1024)
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
