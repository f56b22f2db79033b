//! SiLU, the activation of the DDPM U-Net (also called swish).
//!
//! `y = x s(x)` with the logistic function `s(x) = 1 / (1 + e^-x)`; `dx = dy s(x) (1 + x (1 - s(x)))`.

use crate::engine::device::Memory;
use crate::engine::simd;
use crate::engine::tape::{Launches, Op, Tape};
use crate::engine::tensor::Tensor;

/// SiLU of every element.
///
/// # Shapes
/// `x` and the result: any, equal. Saved for backward: `x`.
pub fn silu(tape: &mut Tape, x: Tensor) -> Tensor {
    let y = tape.tensor(&x.dims(), x.dtype());
    tape.push(SiluFwd { y, x });
    y
}

#[derive(Debug)]
struct SiluFwd {
    y: Tensor,
    x: Tensor,
}

impl Op for SiluFwd {
    fn name(&self) -> &'static str {
        "silu_fwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.y]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.x]
    }
    fn backward(&self, tape: &mut Tape) {
        let dx = tape.grad_slot(self.x);
        tape.push(SiluBwd { dx, dy: tape.grad(self.y), x: self.x });
        tape.accumulate(self.x, dx);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x]) = mem.views([self.y], [self.x]);
        forward_cpu(y, x);
    }
    fn launch(&self, q: &mut Launches) {
        let n = self.y.numel();
        q.kernel("silu_fwd", self.y.dtype()).grid(blocks(n)).args(&[self.y.into(), self.x.into(), n.into()]);
    }
}

#[derive(Debug)]
struct SiluBwd {
    dx: Tensor,
    dy: Tensor,
    x: Tensor,
}

impl Op for SiluBwd {
    fn name(&self) -> &'static str {
        "silu_bwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.dx]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dy, self.x]
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([dx], [dy, x]) = mem.views([self.dx], [self.dy, self.x]);
        backward_cpu(dx, dy, x);
    }
    fn launch(&self, q: &mut Launches) {
        let n = self.dx.numel();
        let args = [self.dx.into(), self.dy.into(), self.x.into(), n.into()];
        q.kernel("silu_bwd", self.dx.dtype()).grid(blocks(n)).args(&args);
    }
}

fn forward_cpu(y: &mut [f32], x: &[f32]) {
    simd::for_chunks(
        [y],
        [x],
        #[inline(always)]
        |[y], [x]| {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = x * simd::sigmoid(x);
            }
        },
    );
}

fn backward_cpu(dx: &mut [f32], dy: &[f32], x: &[f32]) {
    simd::for_chunks(
        [dx],
        [dy, x],
        #[inline(always)]
        |[dx], [dy, x]| {
            for ((dx, &dy), &x) in dx.iter_mut().zip(dy).zip(x) {
                let s = simd::sigmoid(x);
                *dx = dy * s * (1.0 + x * (1.0 - s));
            }
        },
    );
}

/// One thread handles 8 elements.
fn blocks(n: usize) -> [usize; 3] {
    [n.div_ceil(8 * 256), 1, 1]
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::check::{Check, Input};

    #[test]
    fn matches_the_oracle() {
        for dims in [[1, 5, 7, 3], [3, 4, 4, 35], [2, 8, 8, 32]] {
            Check::default().run(
                &[Input::activation(&dims)],
                |tape, x| super::silu(tape, x[0]),
                |x| x[0].iter().map(|x| x / (1.0 + (-x).exp())).collect(),
            );
        }
    }
}
