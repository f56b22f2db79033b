//! Sinusoidal embedding of diffusion times (Vaswani et al. 2017, as diffusers computes it).
//!
//! With `half = dim / 2` frequencies `f_k = time_factor 10000^(-k / (half - freq_shift))`,
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

/// An embedding of times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sinusoids {
    /// Values for each time.
    pub dim: usize,
    /// Cosines before sines.
    pub flip_sin_to_cos: bool,
    /// Below `dim / 2`: 1 for the U-Net of the DDPM paper, 0 for later ones.
    pub freq_shift: f32,
    /// Factor of the times: 1 where the network was trained on 0..T-1.
    pub time_factor: f32,
}

impl Sinusoids {
    /// Sines before cosines, no shift, the times as they are.
    pub fn new(dim: usize) -> Sinusoids {
        Sinusoids { dim, flip_sin_to_cos: false, freq_shift: 0.0, time_factor: 1.0 }
    }
}

/// Embeds times.
///
/// # Shapes
/// `t [n]` f32, in steps (0..T-1 for the DDPM models); result `[n, dim]` in the tape's type.
pub fn timestep_embedding(tape: &mut Tape, t: Tensor, sinusoids: Sinusoids) -> Tensor {
    let Sinusoids { dim, freq_shift, .. } = sinusoids;
    assert!(t.dtype() == DType::F32 && freq_shift < (dim / 2) as f32, "embedding of {t:?} in {dim} dimensions");
    let y = tape.tensor(&[t.numel(), dim], tape.dtype());
    tape.push(TimestepEmbeddingFwd { y, t, sinusoids });
    y
}

op! {
    struct TimestepEmbeddingFwd = "timestep_embedding_fwd" {
        out y,  // [n, dim]
        in t,   // [n] f32
        sinusoids: Sinusoids,
    }
}

impl Op for TimestepEmbeddingFwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [t]) = mem.views([self.y], [self.t]);
        forward_cpu(y, t, self.sinusoids);
    }
    fn launch(&self, q: &mut Launches) {
        let [n, dim] = [self.y.dim(0), self.y.dim(1)];
        // One thread handles one frequency; the zero of an odd dimension counts as one.
        q.kernel_of(self, self.y.dtype())
            .grid(flat(n * dim.div_ceil(2), 1))
            .with([n, dim, usize::from(self.sinusoids.flip_sin_to_cos)])
            .with([self.sinusoids.freq_shift, self.sinusoids.time_factor, MAX_PERIOD]);
    }
}

fn forward_cpu(y: &mut [f32], t: &[f32], sinusoids: Sinusoids) {
    let Sinusoids { dim, flip_sin_to_cos, freq_shift, time_factor } = sinusoids;
    let half = dim / 2;
    let step = (MAX_PERIOD as f64).ln() / (half as f64 - freq_shift as f64);
    y.par_chunks_mut(dim).zip(t).for_each(|(y, &t)| {
        let (first, rest) = y.split_at_mut(half);
        for (k, (first, second)) in first.iter_mut().zip(&mut *rest).enumerate() {
            let (sine, cosine) = (t as f64 * time_factor as f64 * (-step * k as f64).exp()).sin_cos();
            (*first, *second) =
                if flip_sin_to_cos { (cosine as f32, sine as f32) } else { (sine as f32, cosine as f32) };
        }
        rest[half..].fill(0.0);
    });
}

#[cfg(test)]
mod tests {
    use super::{Sinusoids, timestep_embedding};
    use crate::engine::ops::check::{Check, Input};

    #[test]
    fn matches_the_oracle() {
        let times = vec![0.0, 1.0, 999.0, 0.37, 512.5];
        for (dim, flip, shift, factor) in [
            (128, false, 1.0, 1.0),
            (33, true, 0.0, 0.25),
            (6, false, 0.0, 1.0),
            (3, true, 0.5, 1.0),
            (64, true, 1.0, 0.3),
        ] {
            let sinusoids = Sinusoids { dim, flip_sin_to_cos: flip, freq_shift: shift, time_factor: factor };
            let half = dim / 2;
            Check::default().run(
                &[Input::constant(&[5], times.clone())],
                |tape, x| timestep_embedding(tape, x[0], sinusoids),
                |x| {
                    let mut y = Vec::new();
                    for t in &x[0] {
                        let scaled = t * factor as f64;
                        let angle = |k: usize| scaled * 10_000f64.powf(-(k as f64) / (half as f64 - shift as f64));
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
