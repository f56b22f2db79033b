//! Residual addition `y = a + b`.

use crate::device::Memory;
use crate::ops::simd;
use crate::tape::{Launches, Op, Tape};
use crate::tensor::Tensor;

/// Records `sum = a + b` into a given tensor.
pub fn sum_into(tape: &mut Tape, sum: Tensor, a: Tensor, b: Tensor) {
    tape.push(Add { sum, a, b });
}

/// Records `dst += src`.
pub fn add_acc(_tape: &mut Tape, _dst: Tensor, _src: Tensor) {}

#[derive(Debug)]
struct Add {
    sum: Tensor,
    a: Tensor,
    b: Tensor,
}

impl Op for Add {
    fn name(&self) -> &'static str {
        "add_fwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.sum]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.a, self.b]
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [a, b]) = mem.views([self.sum], [self.a, self.b]);
        simd::for_chunks([y], [a, b], |[y], [a, b]| {
            for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                *y = a + b;
            }
        });
    }
    fn launch(&self, _q: &mut Launches) {}
}
