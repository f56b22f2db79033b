//! Sums of equally shaped tensors: the residual connection, and what adds gradients up.
//!
//! `y = a + b` has the gradients `da = db = dy`, which are shared, not copied.

use crate::engine::device::Memory;
use crate::engine::simd;
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};

/// Residual addition `a + b`.
///
/// # Shapes
/// `a`, `b` and the result: any, equal. Nothing is saved for backward.
pub fn add(tape: &mut Tape, a: Tensor, b: Tensor) -> Tensor {
    assert_eq!(a.dims(), b.dims(), "add of different shapes");
    let y = tape.tensor(&a.dims(), a.dtype());
    sum_into(tape, y, a, b);
    y
}

/// Records `sum = a + b` into a given tensor.
pub fn sum_into(tape: &mut Tape, sum: Tensor, a: Tensor, b: Tensor) {
    tape.push(AddFwd { sum, a, b });
}

/// Records `y += x`: one more contribution to the gradient of a parameter.
pub fn add_acc(tape: &mut Tape, y: Tensor, x: Tensor) {
    tape.push(AddAcc { y, x });
}

/// Records `y += scale x` of f32 tensors: the gradients of one micro-batch into those of the batch.
pub fn axpy_acc(tape: &mut Tape, y: Tensor, x: Tensor, scale: f32) {
    assert!(y.dtype() == DType::F32 && x.dtype() == DType::F32 && y.numel() == x.numel(), "axpy of {x:?} to {y:?}");
    tape.push(AxpyAcc { y, x, scale });
}

op! {
    struct AddFwd = "add_fwd" {
        out sum,  // any shape
        in a,     // as sum
        in b,     // as sum
    }
}

impl Op for AddFwd {
    fn backward(&self, tape: &mut Tape) {
        let dy = tape.grad(self.sum);
        tape.accumulate(self.a, dy);
        tape.accumulate(self.b, dy);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [a, b]) = mem.views([self.sum], [self.a, self.b]);
        simd::map(y, [a, b], |y, [a, b]| *y = a + b);
    }
    fn launch(&self, q: &mut Launches) {
        q.kernel_of(self, self.sum.dtype()).elementwise(self.sum.numel());
    }
}

op! {
    struct AddAcc = "add_acc" {
        inout y,  // any shape
        in x,     // as y
    }
}

impl Op for AddAcc {
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x]) = mem.views([self.y], [self.x]);
        simd::map(y, [x], |y, [x]| *y += x);
    }
    fn launch(&self, q: &mut Launches) {
        q.kernel_of(self, self.y.dtype()).elementwise(self.y.numel());
    }
}

op! {
    struct AxpyAcc = "axpy_acc" {
        inout y,  // f32, any shape
        in x,     // as y
        scale: f32,
    }
}

impl Op for AxpyAcc {
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x]) = mem.views([self.y], [self.x]);
        simd::map(y, [x], |y, [x]| *y += self.scale * x);
    }
    fn launch(&self, q: &mut Launches) {
        q.kernel_named("axpy_acc").operands(self).elementwise(self.y.numel()).with([self.scale]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::{Check, IMAGES, Input};

    #[test]
    fn sum_and_its_gradients() {
        for dims in IMAGES {
            Check::default().run(
                &[Input::activation(&dims), Input::activation(&dims).scaled(0.5)],
                |tape, x| add(tape, x[0], x[1]),
                |x| x[0].iter().zip(&x[1]).map(|(a, b)| a + b).collect(),
            );
        }
    }

    #[test]
    fn a_tensor_used_twice_gets_both_gradients() {
        Check::default().run(
            &[Input::activation(&[3, 5, 7])],
            |tape, x| {
                let twice = add(tape, x[0], x[0]);
                add(tape, twice, x[0])
            },
            |x| x[0].iter().map(|x| 3.0 * x).collect(),
        );
    }

    #[test]
    fn accumulation_adds_in_place() {
        Check::default().run(
            &[Input::constant(&[2, 1003], (0..2006).map(|i| i as f32).collect())],
            |tape, x| {
                let y = tape.tensor(&x[0].dims(), DType::F32);
                sum_into(tape, y, x[0], x[0]);
                axpy_acc(tape, y, x[0], 0.25);
                add_acc(tape, y, x[0]);
                y
            },
            |x| x[0].iter().map(|x| 3.25 * x).collect(),
        );
        // As activations are stored: whole numbers that bf16 holds, and three times as much.
        Check::default().run(
            &[Input::stored(&[2, 1003], (0..2006).map(|i| (i % 64) as f32).collect())],
            |tape, x| {
                let y = tape.tensor(&x[0].dims(), x[0].dtype());
                sum_into(tape, y, x[0], x[0]);
                add_acc(tape, y, x[0]);
                y
            },
            |x| x[0].iter().map(|x| 3.0 * x).collect(),
        );
    }
}
