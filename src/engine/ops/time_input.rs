//! Diffusion times as plain inputs: a column of numbers for a network that takes them as they are, and row numbers for
//! one that learns a vector for each time.
//!
//! ```text
//! scaled_time:  y[i] = scale t_i              nearest_row:  row[i] = t_i rounded, ties to even, kept in 0..rows
//! ```
//! t has no gradient.

use crate::engine::device::Memory;
use crate::engine::tape::geometry::flat;
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};

/// Times multiplied by a number, as a column beside other inputs.
///
/// # Shapes
/// `t [n]` f32; result `[n, 1]` in the tape's type.
pub fn scaled_time(tape: &mut Tape, t: Tensor, scale: f32) -> Tensor {
    assert!(t.dtype() == DType::F32, "a column of times {t:?}");
    let y = tape.tensor(&[t.numel(), 1], tape.dtype());
    tape.push(ScaledTimeFwd { y, t, scale });
    y
}

/// The row of a table that belongs to each time: the nearest one.
///
/// # Shapes
/// `t [n]` f32, `rows` at least 1; result `[n]` i32 in `0..rows`, whatever the times.
pub fn nearest_row(tape: &mut Tape, t: Tensor, rows: usize) -> Tensor {
    assert!(t.dtype() == DType::F32 && rows > 0, "rows of {rows} for times {t:?}");
    let row = tape.tensor(&[t.numel()], DType::I32);
    tape.push(NearestRowFwd { row, t, rows });
    row
}

op! {
    struct ScaledTimeFwd = "scaled_time_fwd" {
        out y,  // [n, 1]
        in t,   // [n] f32
        scale: f32,
    }
}

impl Op for ScaledTimeFwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [t]) = mem.views([self.y], [self.t]);
        y.iter_mut().zip(t).for_each(|(y, t)| *y = self.scale * t);
    }
    fn launch(&self, q: &mut Launches) {
        let n = self.t.numel();
        q.kernel_of(self, self.y.dtype()).grid(flat(n, 1)).with([n]).with([self.scale]);
    }
}

op! {
    struct NearestRowFwd = "nearest_row_fwd" {
        out row,  // [n] i32
        in t,     // [n] f32
        rows: usize,
    }
}

impl Op for NearestRowFwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([row], [t]) = mem.views([self.row], [self.t]);
        let last = (self.rows - 1) as f32;
        // A tensor of integers is seen as the floats of the same bits. A NaN becomes row 0.
        row.iter_mut().zip(t).for_each(|(row, t)| {
            *row = f32::from_bits(t.round_ties_even().clamp(0.0, last) as u32);
        });
    }
    fn launch(&self, q: &mut Launches) {
        let n = self.t.numel();
        q.kernel_named("nearest_row_fwd").operands(self).grid(flat(n, 1)).with([n, self.rows]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::{Check, Input};
    use crate::engine::ops::embedding::embedding;

    #[test]
    fn columns_are_scaled() {
        let t = vec![0.0, 999.0, 1.5, -3.0, 1e-3];
        Check::default().run(
            &[Input::constant(&[5], t)],
            |tape, x| scaled_time(tape, x[0], 1e-3),
            |x| x[0].iter().map(|t| 1e-3 * t).collect(),
        );
    }

    #[test]
    fn every_time_has_a_row() {
        let (t, rows) = (vec![0.0, 3.0, 1.4, 2.6, 2.5, 1e9, -7.0, 0.49, f32::INFINITY], [0, 3, 1, 3, 2, 3, 0, 0, 3]);
        let dim = 5;
        Check::default().run(
            &[Input::weight(&[4, dim]), Input::constant(&[t.len()], t)],
            |tape, x| {
                let row = nearest_row(tape, x[1], 4);
                embedding(tape, x[0], row)
            },
            |x| rows.iter().flat_map(|&row| x[0][row * dim..][..dim].to_vec()).collect(),
        );
    }
}
