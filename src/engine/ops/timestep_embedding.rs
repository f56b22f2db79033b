//! Sinusoidal embedding of diffusion times (Vaswani et al. 2017, as diffusers computes it).
//!
//! With `half = dim / 2` frequencies `f_k = 10000^(-k / (half - freq_shift))`,
//!
//! ```text
//! y[i] = [sin(t_i f_0) .. sin(t_i f_{half-1}), cos(t_i f_0) .. cos(t_i f_{half-1})]
//! ```
//! or the cosines first; an odd `dim` ends in a zero. t has no gradient.

use crate::engine::device::Memory;
use crate::engine::tape::geometry::flat;
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};
use rayon::prelude::*;

/// The longest period is so many times the shortest.
const MAX_PERIOD: f32 = 10_000.0;

/// Embeds times.
///
/// # Shapes
/// `t [n]` f32, in steps (0..T-1 for the DDPM models); result `[n, dim]` in the tape's type. `flip_sin_to_cos` puts
/// the cosines first; `freq_shift` < dim / 2 is 1 for the DDPM paper's U-Net, 0 for later ones.
pub fn timestep_embedding(tape: &mut Tape, t: Tensor, dim: usize, flip_sin_to_cos: bool, freq_shift: f32) -> Tensor {
    assert!(t.dtype() == DType::F32 && freq_shift < (dim / 2) as f32, "embedding of {t:?} in {dim} dimensions");
    let y = tape.tensor(&[t.numel(), dim], tape.dtype());
    tape.push(TimestepEmbeddingFwd { y, t, flip_sin_to_cos, freq_shift });
    y
}

op! {
    struct TimestepEmbeddingFwd = "timestep_embedding_fwd" {
        out y,  // [n, dim]
        in t,   // [n] f32
        flip_sin_to_cos: bool,
        freq_shift: f32,
    }
}

impl Op for TimestepEmbeddingFwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [t]) = mem.views([self.y], [self.t]);
        forward_cpu(y, t, self.flip_sin_to_cos, self.freq_shift);
    }
    fn launch(&self, q: &mut Launches) {
        let [n, dim] = [self.y.dim(0), self.y.dim(1)];
        // One thread handles one frequency; the zero of an odd dimension counts as one.
        q.kernel_of(self, self.y.dtype())
            .grid(flat(n * dim.div_ceil(2), 1))
            .with([n, dim, usize::from(self.flip_sin_to_cos)])
            .with([self.freq_shift, MAX_PERIOD]);
    }
}

fn forward_cpu(y: &mut [f32], t: &[f32], flip_sin_to_cos: bool, freq_shift: f32) {
    let dim = y.len() / t.len();
    let half = dim / 2;
    let step = (MAX_PERIOD as f64).ln() / (half as f64 - freq_shift as f64);
    y.par_chunks_mut(dim).zip(t).for_each(|(y, &t)| {
        let (first, rest) = y.split_at_mut(half);
        for (k, (first, second)) in first.iter_mut().zip(&mut *rest).enumerate() {
            let (sine, cosine) = (t as f64 * (-step * k as f64).exp()).sin_cos();
            (*first, *second) =
                if flip_sin_to_cos { (cosine as f32, sine as f32) } else { (sine as f32, cosine as f32) };
        }
        rest[half..].fill(0.0);
    });
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::check::{Check, Input};

    #[test]
    fn matches_the_oracle() {
        let times = vec![0.0, 1.0, 999.0, 0.37, 512.5];
        for (dim, flip, shift) in [(128, false, 1.0), (33, true, 0.0), (6, false, 0.0), (3, true, 0.5), (64, true, 1.0)]
        {
            let half = dim / 2;
            Check::default().run(
                &[Input::constant(&[5], times.clone())],
                |tape, x| super::timestep_embedding(tape, x[0], dim, flip, shift),
                |x| {
                    let mut y = Vec::new();
                    for t in &x[0] {
                        let angle = |k: usize| t * 10_000f64.powf(-(k as f64) / (half as f64 - shift as f64));
                        let sines = (0..half).map(|k| angle(k).sin());
                        let cosines = (0..half).map(|k| angle(k).cos());
                        if flip {
                            y.extend(cosines.chain(sines))
                        } else {
                            y.extend(sines.chain(cosines))
                        }
                        y.extend(std::iter::repeat_n(0.0, dim % 2));
                    }
                    y
                },
            );
        }
    }
}
