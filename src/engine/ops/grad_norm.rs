//! Outcome of a step: the Euclidean norm of all gradients, `sqrt(sum of g^2)` over their flat range, which clipping
//! needs, and whether it and the loss are finite, which keeps a broken gradient from the optimiser.

use crate::engine::device::Memory;
use crate::engine::simd;
use crate::engine::tape::geometry::sum_blocks;
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};

/// Records `outcome = [sqrt(sum of g^2), loss, broken]`, where `broken` becomes 1 when the norm or the loss is not finite,
/// and stays so: [`adam`](super::adam::adam) then changes nothing any more.
///
/// # Shapes
/// `g` f32, any; `loss [1]` f32 or absent; `outcome [3]` f32, of which `broken` starts at 0. The order of the additions
/// depends on the number of elements alone.
pub fn grad_norm(tape: &mut Tape, outcome: Tensor, g: Tensor, loss: Tensor) {
    let f32s = [outcome, g, loss].iter().all(|t| t.dtype() == DType::F32);
    assert!(outcome.dims() == [3] && (loss.is_empty() || loss.numel() == 1) && f32s, "{outcome:?} of {g:?}, {loss:?}");
    let partial = tape.scratch(&[sum_blocks(g.numel(), 4)], DType::F32);
    let counter = tape.counters(1);
    tape.push(GradNorm { outcome, partial, counter, g, loss });
}

op! {
    struct GradNorm = "grad_norm" {
        inout outcome,  // [3] f32
        out partial,    // [blocks] f32, by kernels
        inout counter,  // [1]
        in g,           // f32, any shape
        in loss,        // [1] f32; may be absent
    }
}

impl Op for GradNorm {
    fn cpu(&self, mem: &mut Memory) {
        let ([outcome], [g, loss]) = mem.views([self.outcome], [self.g, self.loss]);
        outcome[0] = simd::dot(g, g).sqrt() as f32;
        outcome[1] = loss.first().copied().unwrap_or(0.0);
        if !(outcome[0].is_finite() && outcome[1].is_finite()) {
            outcome[2] = 1.0;
        }
    }
    fn launch(&self, q: &mut Launches) {
        let grid = [self.partial.numel(), 1, 1];
        q.kernel_named("grad_norm").operands(self).grid(grid).with([self.g.numel() as u64]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::{compare, few, targets};
    use crate::engine::tape::Session;
    use crate::engine::tensor::Store;

    /// The outcomes of one step after the other, on every device.
    fn check(name: &str, steps: &[(&[f32], f32, [f64; 3])]) {
        for target in targets() {
            let device = target.open();
            let mut store = Store::new();
            let [g, loss, outcome] = [steps[0].0.len(), 1, 3].map(|n| store.tensor(&[n], DType::F32));
            let mut tape = Tape::new(device.backend(), DType::F32);
            let mut session = Session::new(device, &store).unwrap();
            grad_norm(&mut tape, outcome, g, loss);
            let mut program = session.load(tape).unwrap();
            for (gradient, of_loss, want) in steps {
                session.write(g, gradient).unwrap();
                session.write(loss, &[*of_loss]).unwrap();
                session.run(&mut program).unwrap();
                let got = session.read(outcome).unwrap();
                // What is not finite is compared as such.
                let (got, want): (Vec<f32>, Vec<f64>) =
                    got.iter().zip(want).filter(|(got, want)| want.is_finite() || got.is_finite()).unzip();
                compare(&format!("{name} on {}", target.name), &got, &want, 1e-5);
            }
        }
    }

    #[test]
    fn matches_the_oracle() {
        for n in few([5003, 1, 3, 1024, 40_001, 1_100_003]) {
            let values: Vec<f32> = (0..n).map(|i| ((i % 1009) as f32 * 0.7).sin()).collect();
            let norm = values.iter().map(|&v| (v as f64).powi(2)).sum::<f64>().sqrt();
            check(&format!("norm of {n}"), &[(&values, 0.25, [norm, 0.25, 0.0])]);
        }
    }

    #[test]
    fn what_is_broken_stays_so() {
        let good: (&[f32], f32, [f64; 3]) = (&[3.0, 4.0], 0.5, [5.0, 0.5, 0.0]);
        let after = (good.0, good.1, [5.0, 0.5, 1.0]);
        for bad in [f32::NAN, f32::INFINITY, 1e30] {
            check("a gradient", &[good, (&[3.0, bad], 0.5, [f64::NAN, 0.5, 1.0]), after]);
        }
        for bad in [f32::NAN, f32::NEG_INFINITY] {
            check("a loss", &[good, (good.0, bad, [5.0, f64::NAN, 1.0]), after]);
        }
    }
}
