//! Between the storage types: the same values as f32 or bf16, rounded to nearest even. The gradient is the opposite
//! cast.

use crate::engine::device::Memory;
use crate::engine::tape::{Launches, Op, Tape};
use crate::engine::tensor::{DType, Tensor};

/// `x` as a tensor of type `dtype`; `x` itself if it has that type already.
///
/// # Shapes
/// `x` and the result: any, equal. Nothing is saved for backward.
pub fn cast(tape: &mut Tape, x: Tensor, dtype: DType) -> Tensor {
    if x.dtype() == dtype {
        return x;
    }
    let y = tape.tensor(&x.dims(), dtype);
    cast_into(tape, y, x);
    y
}

/// Records the cast of `x` into a given tensor of the other type.
pub fn cast_into(tape: &mut Tape, y: Tensor, x: Tensor) {
    assert!(y.dtype() != x.dtype() && y.numel() == x.numel(), "cast of {x:?} to {y:?}");
    tape.push(Cast { y, x });
}

#[derive(Debug)]
struct Cast {
    y: Tensor,
    x: Tensor,
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        match self.y.dtype() {
            DType::F32 => "cast_to_f32",
            DType::Bf16 => "cast_to_bf16",
            DType::I32 => unreachable!("integers are not cast"),
        }
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.y]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.x]
    }
    fn backward(&self, tape: &mut Tape) {
        let dx = tape.grad_slot(self.x);
        let dy = tape.grad(self.y);
        if !dx.is_empty() {
            tape.push(Cast { y: dx, x: dy });
            tape.accumulate(self.x, dx);
        }
    }
    fn cpu(&self, _mem: &mut Memory) {
        unreachable!("the CPU device stores f32 only");
    }
    fn launch(&self, q: &mut Launches) {
        let n = self.y.numel();
        let args = [self.y.into(), self.x.into(), (n as u64).into()];
        q.kernel_named(self.name()).grid([n.div_ceil(8 * 256), 1, 1]).args(&args);
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::check::{Check, Input};
    use crate::engine::tensor::DType;

    #[test]
    fn there_and_back() {
        for dims in [[1, 5, 7, 3], [3, 4, 4, 35], [2, 8, 8, 32]] {
            Check::default().run(
                &[Input::activation(&dims)],
                |tape, x| {
                    let wide = super::cast(tape, x[0], DType::F32);
                    super::cast(tape, wide, x[0].dtype())
                },
                |x| x[0].clone(),
            );
        }
    }
}
