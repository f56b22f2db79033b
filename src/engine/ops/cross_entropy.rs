//! Cross-entropy of logits with labels, the loss that a classifier is trained with, and its gradient in the same pass.
//!
//! ```text
//! loss_i = ln sum over j of e^l_ij - l_i,label      loss = mean of loss_i
//! dl_ij = (softmax(l_i)_j - [j = label_i]) / n
//! ```

use crate::engine::device::Memory;
use crate::engine::simd;
use crate::engine::tape::geometry::flat;
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};
use rayon::prelude::*;

/// Results of [`cross_entropy`].
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    /// Loss of each row `[n]` f32, in nats.
    pub per_row: Tensor,
    /// Their mean `[1]` f32.
    pub mean: Tensor,
    /// Gradient of the mean with respect to the logits, in their type.
    pub dlogits: Tensor,
}

/// Records the mean cross-entropy. If `logits` has a gradient, it starts here: [`Tape::backward`] may follow.
///
/// # Shapes
/// `logits [n, k]` in the storage type, `labels [n]` i32 in `0..k` (the caller checks).
pub fn cross_entropy(tape: &mut Tape, logits: Tensor, labels: Tensor) -> CrossEntropy {
    assert!(logits.rank() == 2 && labels.dims() == [logits.dim(0)], "labels {labels:?} of logits {logits:?}");
    assert!(labels.dtype() == DType::I32, "labels are integers, not {labels:?}");
    let per_row = tape.tensor(&[logits.dim(0)], DType::F32);
    let mean = tape.tensor(&[1], DType::F32);
    let dlogits = tape.tensor(&logits.dims(), logits.dtype());
    tape.push(CrossEntropyFwd { per_row, mean, dlogits, logits, labels });
    if tape.needs_grad(logits) {
        tape.seed_grad(logits, dlogits);
    }
    CrossEntropy { per_row, mean, dlogits }
}

op! {
    struct CrossEntropyFwd = "cross_entropy_fwd" {
        out per_row,  // [n] f32
        out mean,     // [1] f32
        out dlogits,  // [n, k]
        in logits,    // [n, k]
        in labels,    // [n] i32
    }
}

impl Op for CrossEntropyFwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([per_row, mean, dlogits], [logits, labels]) =
            mem.views([self.per_row, self.mean, self.dlogits], [self.logits, self.labels]);
        let (n, k) = (self.logits.dim(0), self.logits.dim(1));
        let outs = per_row.par_iter_mut().zip(dlogits.par_chunks_mut(k));
        let ins = logits.par_chunks(k).zip(labels);
        outs.zip(ins).for_each(|((loss, dlogits), (logits, label))| {
            *loss = row_cpu(dlogits, logits, label.to_bits() as usize, 1.0 / n as f32);
        });
        mean[0] = per_row.iter().sum::<f32>() / n as f32;
    }
    fn launch(&self, q: &mut Launches) {
        let (n, k) = (self.logits.dim(0), self.logits.dim(1));
        q.kernel("cross_entropy_fwd", self.logits.dtype())
            .grid(flat(32 * n, 1))
            .with([self.per_row, self.dlogits, self.logits, self.labels])
            .with([n, k]);
        q.kernel_named("cross_entropy_mean").with([self.mean, self.per_row]).with([n]);
    }
}

/// One row: writes the gradient, returns the loss.
fn row_cpu(dlogits: &mut [f32], logits: &[f32], label: usize, share: f32) -> f32 {
    simd::vectorized!(|| {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (power, logit) in dlogits.iter_mut().zip(logits) {
            *power = simd::exp(logit - most);
            sum += *power;
        }
        let scale = share / sum;
        for dlogit in dlogits.iter_mut() {
            *dlogit *= scale;
        }
        dlogits[label] -= share;
        sum.ln() + (most - logits[label])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::{Check, Input};

    /// Losses of the rows of `logits [n, k]`.
    fn losses(logits: &[f64], labels: &[i32], k: usize) -> Vec<f64> {
        let loss =
            |(row, &label): (&[f64], &i32)| row.iter().map(|l| (l - row[label as usize]).exp()).sum::<f64>().ln();
        logits.chunks(k).zip(labels).map(loss).collect()
    }

    #[test]
    fn matches_the_oracle() {
        let evaluate = |output: fn(CrossEntropy) -> Tensor| {
            move |tape: &mut Tape, x: &[Tensor]| output(cross_entropy(tape, x[0], x[1]))
        };
        for (n, k) in [(1, 1), (5, 3), (9, 10), (17, 33), (2, 100)] {
            let labels: Vec<i32> = (0..n).map(|i| (i * 7 % k) as i32).collect();
            // Large logits too: their exponentials overflow unless the largest is taken off.
            for scale in [1.0, 30.0] {
                let inputs = [Input::activation(&[n, k]).scaled(scale).detached(), Input::labels(&labels)];
                let check = Check::default();
                check.run(&inputs, evaluate(|c| c.per_row), |x| losses(&x[0], &labels, k));
                check.run(&inputs, evaluate(|c| c.mean), |x| {
                    vec![losses(&x[0], &labels, k).iter().sum::<f64>() / n as f64]
                });
                // The gradient starts in the op itself, so it is checked as a result.
                check.run(&inputs, evaluate(|c| c.dlogits), |x| {
                    let rows = x[0].chunks(k).zip(&labels).flat_map(|(row, &label)| {
                        let sum: f64 = row.iter().map(|l| l.exp()).sum();
                        (0..k).map(move |j| (row[j].exp() / sum - f64::from(j == label as usize)) / n as f64)
                    });
                    rows.collect()
                });
            }
        }
    }
}
