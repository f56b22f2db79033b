//! Ops that treat every element alike and by itself. A function of one number becomes an op by
//! implementing [`Unary`], its value and its gradient; recording, CPU loops and launches are the same for all.
//!
//! `y[i] = f(x[i])`, `dx[i] = f'(dy[i], s[i])`, where the saved value s is x or y.

use crate::engine::device::Memory;
use crate::engine::simd;
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::Tensor;

/// A function of one number. Both methods are inlined into loops: mark them `#[inline(always)]`.
pub trait Unary {
    /// Names of the op and of its gradient, which are those of their kernels.
    const NAMES: [&'static str; 2];
    /// Value that is saved for the gradient.
    const SAVED: Saved;
    /// The function.
    fn value(x: f32) -> f32;
    /// `dx` from `dy` and the saved value.
    fn gradient(dy: f32, saved: f32) -> f32;
}

/// Value that a gradient is computed from.
#[derive(Clone, Copy, Debug)]
pub enum Saved {
    /// The operand, x.
    Operand,
    /// The result, y.
    Result,
}

/// Records `F` of every element of `x`.
///
/// # Shapes
/// `x` and the result: any, equal. Saved for backward: what [`Unary::SAVED`] names.
pub fn unary<F: Unary>(tape: &mut Tape, x: Tensor) -> Tensor {
    let y = tape.tensor(&x.dims(), x.dtype());
    let [fwd, bwd] = F::NAMES;
    let function = Function { fwd, bwd, saved: F::SAVED, value: value_cpu::<F>, gradient: gradient_cpu::<F> };
    tape.push(UnaryFwd { y, x, function });
    y
}

/// A [`Unary`], with its loops.
#[derive(Clone, Copy, Debug)]
struct Function {
    fwd: &'static str,
    bwd: &'static str,
    saved: Saved,
    value: fn(&mut [f32], &[f32]),
    gradient: fn(&mut [f32], &[f32], &[f32]),
}

op! {
    struct UnaryFwd = self.function.fwd {
        out y,  // any shape
        in x,   // as y
        function: Function,
    }
}

impl Op for UnaryFwd {
    fn backward(&self, tape: &mut Tape) {
        let UnaryFwd { y, x, function } = *self;
        let saved = match function.saved {
            Saved::Operand => x,
            Saved::Result => y,
        };
        let dx = tape.grad_slot(x);
        tape.push(UnaryBwd { dx, dy: tape.grad(y), saved, function });
        tape.accumulate(x, dx);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x]) = mem.views([self.y], [self.x]);
        (self.function.value)(y, x);
    }
    fn launch(&self, q: &mut Launches) {
        q.kernel_of(self, self.y.dtype()).elementwise(self.y.numel());
    }
}

op! {
    struct UnaryBwd = self.function.bwd {
        out dx,    // any shape
        in dy,     // as dx
        in saved,  // as dx
        function: Function,
    }
}

impl Op for UnaryBwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([dx], [dy, saved]) = mem.views([self.dx], [self.dy, self.saved]);
        (self.function.gradient)(dx, dy, saved);
    }
    fn launch(&self, q: &mut Launches) {
        q.kernel_of(self, self.dx.dtype()).elementwise(self.dx.numel());
    }
}

fn value_cpu<F: Unary>(y: &mut [f32], x: &[f32]) {
    simd::map(
        y,
        [x],
        #[inline(always)]
        |y, [x]| *y = F::value(x),
    );
}

fn gradient_cpu<F: Unary>(dx: &mut [f32], dy: &[f32], saved: &[f32]) {
    simd::map(
        dx,
        [dy, saved],
        #[inline(always)]
        |dx, [dy, saved]| *dx = F::gradient(dy, saved),
    );
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::engine::ops::check::{Check, IMAGES, Input};

    /// Compares an op of one operand with its definition.
    pub fn check(op: fn(&mut Tape, Tensor) -> Tensor, definition: fn(f64) -> f64) {
        for dims in IMAGES {
            Check::default().run(
                &[Input::activation(&dims)],
                |tape, x| op(tape, x[0]),
                |x| x[0].iter().map(|&x| definition(x)).collect(),
            );
        }
    }
}
