//! Rows of a table by label: `y[i] = table[label_i]`, the class embedding of a conditional model.
//!
//! `dtable[r]` is the sum, in order, of `dy[i]` over the images i with that label.

use crate::engine::device::Memory;
use crate::engine::tape::geometry::flat;
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};
use rayon::prelude::*;

/// Looks up the row of each label.
///
/// # Shapes
/// `table [rows, dim]`, `labels [n]` i32 in `0..rows` (the caller checks), result `[n, dim]`. Nothing is saved for
/// backward.
pub fn embedding(tape: &mut Tape, table: Tensor, labels: Tensor) -> Tensor {
    assert!(labels.dtype() == DType::I32, "labels are integers, not {labels:?}");
    let y = tape.tensor(&[labels.numel(), table.dim(1)], table.dtype());
    tape.push(EmbeddingFwd { y, table, labels });
    y
}

op! {
    struct EmbeddingFwd = "embedding_fwd" {
        out y,      // [n, dim]
        in table,   // [rows, dim]
        in labels,  // [n] i32
    }
}

impl Op for EmbeddingFwd {
    fn backward(&self, tape: &mut Tape) {
        let dtable = tape.grad_slot(self.table);
        assert!(dtable.dtype() == DType::F32, "the gradient of an embedding table is f32");
        tape.push(EmbeddingBwd { dtable, dy: tape.grad(self.y), labels: self.labels });
        tape.accumulate(self.table, dtable);
    }
    fn cpu(&self, mem: &mut Memory) {
        let dim = self.table.dim(1);
        let ([y], [table, labels]) = mem.views([self.y], [self.table, self.labels]);
        for (y, label) in y.chunks_exact_mut(dim).zip(labels) {
            y.copy_from_slice(&table[label.to_bits() as usize * dim..][..dim]);
        }
    }
    fn launch(&self, q: &mut Launches) {
        let [n, dim] = [self.y.dim(0), self.y.dim(1)];
        q.kernel_of(self, self.y.dtype()).grid(flat(n * dim, 1)).with([n, dim]);
    }
}

op! {
    struct EmbeddingBwd = "embedding_bwd" {
        out dtable,  // [rows, dim] f32
        in dy,       // [n, dim]
        in labels,   // [n] i32
    }
}

impl Op for EmbeddingBwd {
    fn cpu(&self, mem: &mut Memory) {
        let dim = self.dtable.dim(1);
        let ([dtable], [dy, labels]) = mem.views([self.dtable], [self.dy, self.labels]);
        dtable.par_chunks_mut(dim).enumerate().for_each(|(row, dtable)| {
            dtable.fill(0.0);
            for (dy, _) in dy.chunks_exact(dim).zip(labels).filter(|(_, label)| label.to_bits() as usize == row) {
                for (sum, dy) in dtable.iter_mut().zip(dy) {
                    *sum += dy;
                }
            }
        });
    }
    fn launch(&self, q: &mut Launches) {
        let [rows, dim] = [self.dtable.dim(0), self.dtable.dim(1)];
        q.kernel_of(self, self.dy.dtype()).grid(flat(rows * dim, 1)).with([self.dy.dim(0), rows, dim]);
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::check::{Check, Input};

    #[test]
    fn matches_the_oracle() {
        for (rows, dim, labels) in [(4, 35, vec![0, 3, 3, 1, 3]), (1, 1, vec![0]), (11, 64, vec![10, 2, 10])] {
            Check::default().run(
                &[Input::weight(&[rows, dim]), Input::labels(&labels)],
                |tape, x| super::embedding(tape, x[0], x[1]),
                |x| labels.iter().flat_map(|&l| x[0][l as usize * dim..][..dim].to_vec()).collect(),
            );
        }
    }
}
