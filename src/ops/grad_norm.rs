//! The Euclidean norm of all gradients, `sqrt(sum of g^2)` over their flat range, and whether it is finite: what
//! clipping needs, and what keeps a broken gradient from the optimiser.

use crate::device::Memory;
use crate::ops::simd;
use crate::tape::{Launches, Op, Tape};
use crate::tensor::{DType, Tensor};

/// Records `norm = [sqrt(sum of g^2), 1 if that is finite else 0]`.
///
/// # Shapes
/// `g` f32, any; `norm [2]` f32. The order of the additions depends on the number of elements alone.
pub fn grad_norm(tape: &mut Tape, norm: Tensor, g: Tensor) {
    assert!(norm.dims() == [2] && norm.dtype() == DType::F32 && g.dtype() == DType::F32, "norm {norm:?} of {g:?}");
    let partial = tape.scratch(&[blocks(g.numel())], DType::F32);
    tape.push(GradNorm { norm, partial, g });
}

#[derive(Debug)]
struct GradNorm {
    norm: Tensor,
    partial: Tensor,
    g: Tensor,
}

impl Op for GradNorm {
    fn name(&self) -> &'static str {
        "grad_norm"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.norm, self.partial]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.g]
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([norm], [g]) = mem.views([self.norm], [self.g]);
        norm[0] = simd::dot(g, g).sqrt() as f32;
        norm[1] = norm[0].is_finite() as u8 as f32;
    }
    fn launch(&self, q: &mut Launches) {
        let (n, blocks) = (self.g.numel(), self.partial.numel());
        let args = [self.partial.into(), self.g.into(), (n as u64).into()];
        q.kernel_named("grad_norm_partial").grid([blocks, 1, 1]).args(&args);
        q.kernel_named("grad_norm_total").args(&[self.norm.into(), self.partial.into(), blocks.into()]);
    }
}

/// A function of the number of elements alone, large enough to fill any GPU.
fn blocks(n: usize) -> usize {
    n.div_ceil(4 * 256).clamp(1, 1024)
}

#[cfg(test)]
mod tests {
    use crate::ops::check::{Check, Input, few};
    use crate::tensor::DType;

    fn check(values: Vec<f32>, want: [f64; 2]) {
        Check::default().run(
            &[Input::constant(&[values.len()], values)],
            |tape, x| {
                let norm = tape.tensor(&[2], DType::F32);
                super::grad_norm(tape, norm, x[0]);
                norm
            },
            |_| want.to_vec(),
        );
    }

    #[test]
    fn matches_the_oracle() {
        for n in few([5003, 1, 3, 1024, 40_001, 1_100_003]) {
            let values: Vec<f32> = (0..n).map(|i| ((i % 1009) as f32 * 0.7).sin()).collect();
            let norm = values.iter().map(|&v| (v as f64).powi(2)).sum::<f64>().sqrt();
            check(values, [norm, 1.0]);
        }
    }
}
