//! Between the storage types: the same values as f32 or bf16, rounded to nearest even. The gradient is the opposite
//! cast.

use crate::engine::device::Memory;
use crate::engine::tape::{Launches, Op, Tape, op};
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
    tape.push(Cast { y, x, name: name(y.dtype()) });
}

fn name(to: DType) -> &'static str {
    match to {
        DType::F32 => "cast_to_f32",
        DType::Bf16 => "cast_to_bf16",
        DType::I32 => unreachable!("integers are not cast"),
    }
}

op! {
    struct Cast = self.name {
        out y,  // any shape
        in x,   // as y, of the other type
        name: &'static str,
    }
}

impl Op for Cast {
    fn backward(&self, tape: &mut Tape) {
        let dx = tape.grad_slot(self.x);
        let dy = tape.grad(self.y);
        if !dx.is_empty() {
            cast_into(tape, dx, dy);
            tape.accumulate(self.x, dx);
        }
    }
    fn cpu(&self, _mem: &mut Memory) {
        unreachable!("the CPU device stores f32 only");
    }
    fn launch(&self, q: &mut Launches) {
        q.kernel_named(self.name).operands(self).elementwise(self.y.numel());
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::check::{Check, IMAGES, Input};
    use crate::engine::tensor::DType;

    #[test]
    fn there_and_back() {
        for dims in IMAGES {
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
