//! ReLU, the activation of the plain convolutional networks: `y = max(x, 0)`; `dx = dy` where `y > 0`, else 0.

use crate::engine::device::Memory;
use crate::engine::simd;
use crate::engine::tape::{Launches, Op, Tape};
use crate::engine::tensor::Tensor;

/// ReLU of every element; a NaN stays one.
///
/// # Shapes
/// `x` and the result: any, equal. Saved for backward: the result, which the next layer mostly saves anyway.
pub fn relu(tape: &mut Tape, x: Tensor) -> Tensor {
    let y = tape.tensor(&x.dims(), x.dtype());
    tape.push(ReluFwd { y, x });
    y
}

#[derive(Debug)]
struct ReluFwd {
    y: Tensor,
    x: Tensor,
}

impl Op for ReluFwd {
    fn name(&self) -> &'static str {
        "relu_fwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.y]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.x]
    }
    fn backward(&self, tape: &mut Tape) {
        let dx = tape.grad_slot(self.x);
        tape.push(ReluBwd { dx, dy: tape.grad(self.y), y: self.y });
        tape.accumulate(self.x, dx);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x]) = mem.views([self.y], [self.x]);
        simd::for_chunks(
            [y],
            [x],
            #[inline(always)]
            |[y], [x]| {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = if x < 0.0 { 0.0 } else { x };
                }
            },
        );
    }
    fn launch(&self, q: &mut Launches) {
        let n = self.y.numel();
        let args = [self.y.into(), self.x.into(), (n as u64).into()];
        q.kernel("relu_fwd", self.y.dtype()).grid(blocks(n)).args(&args);
    }
}

#[derive(Debug)]
struct ReluBwd {
    dx: Tensor,
    dy: Tensor,
    y: Tensor,
}

impl Op for ReluBwd {
    fn name(&self) -> &'static str {
        "relu_bwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.dx]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dy, self.y]
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([dx], [dy, y]) = mem.views([self.dx], [self.dy, self.y]);
        simd::for_chunks(
            [dx],
            [dy, y],
            #[inline(always)]
            |[dx], [dy, y]| {
                for ((dx, &dy), &y) in dx.iter_mut().zip(dy).zip(y) {
                    *dx = if y > 0.0 { dy } else { 0.0 };
                }
            },
        );
    }
    fn launch(&self, q: &mut Launches) {
        let n = self.dx.numel();
        let args = [self.dx.into(), self.dy.into(), self.y.into(), (n as u64).into()];
        q.kernel("relu_bwd", self.dx.dtype()).grid(blocks(n)).args(&args);
    }
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
                |tape, x| super::relu(tape, x[0]),
                |x| x[0].iter().map(|x| x.max(0.0)).collect(),
            );
        }
    }
}
