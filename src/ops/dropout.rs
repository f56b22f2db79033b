//! Dropout: every element is zeroed with probability p and the rest scaled by `1 / (1 - p)`, so that the mean stays.
//!
//! `y = mask x / (1 - p)`, `dx = mask dy / (1 - p)`, with `mask[i] = (word(seed, step, stream, image, i) >= p 2^32)`.
//! The mask is a function of the counter: backward is the same computation on dy, and nothing is stored. Evaluating
//! means not to record the op.

use crate::device::Memory;
use crate::ops::philox::{Philox, Stream, quad_blocks};
use crate::ops::simd;
use crate::tape::{Launches, Op, Tape};
use crate::tensor::Tensor;
use rayon::prelude::*;

/// Drops elements of `x` with probability `p < 1`. `rng` is a tensor of [`RngState::words`](super::philox::RngState);
/// `layer` numbers the dropout layers of a network, whose masks are independent.
///
/// # Shapes
/// `x` and the result `[n, ..]`. Nothing is saved for backward.
pub fn dropout(tape: &mut Tape, x: Tensor, p: f32, rng: Tensor, layer: u32) -> Tensor {
    assert!((0.0..1.0).contains(&p), "dropout with probability {p}");
    let y = tape.tensor(&x.dims(), x.dtype());
    tape.push(Dropout { y, x, rng, p, layer, name: "dropout_fwd" });
    y
}

#[derive(Debug)]
struct Dropout {
    y: Tensor,
    x: Tensor,
    rng: Tensor,
    p: f32,
    layer: u32,
    name: &'static str,
}

impl Dropout {
    /// p as a fraction of 2^32: words below it drop.
    fn threshold(&self) -> u32 {
        (self.p as f64 * 2f64.powi(32)) as u32
    }

    fn scale(&self) -> f32 {
        1.0 / (1.0 - self.p)
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        self.name
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.y]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.x, self.rng]
    }
    fn backward(&self, tape: &mut Tape) {
        let dx = tape.grad_slot(self.x);
        tape.push(Dropout { y: dx, x: tape.grad(self.y), name: "dropout_bwd", ..*self });
        tape.accumulate(self.x, dx);
    }
    fn cpu(&self, mem: &mut Memory) {
        let d = self.x.numel() / self.x.dim(0);
        let ([y], [x, rng]) = mem.views([self.y], [self.x, self.rng]);
        let philox = Philox::from_view(rng, Stream::Dropout(self.layer));
        dropout_cpu(y, x, d, philox, self.threshold(), self.scale());
    }
    fn launch(&self, q: &mut Launches) {
        let (n, d) = (self.x.dim(0), self.x.numel() / self.x.dim(0));
        let stream = Stream::Dropout(self.layer).id();
        let operands = [self.y.into(), self.x.into(), self.rng.into(), d.into()];
        let scalars = [stream.into(), self.threshold().into(), self.scale().into()];
        q.kernel("dropout", self.y.dtype()).grid(quad_blocks(n, d)).args(&[&operands[..], &scalars].concat());
    }
}

/// Elements that one task handles.
const CHUNK: usize = 4096;

/// `y [n, d]` of `x [n, d]`.
fn dropout_cpu(y: &mut [f32], x: &[f32], d: usize, philox: Philox, threshold: u32, scale: f32) {
    y.par_chunks_mut(d).zip(x.par_chunks(d)).enumerate().for_each(|(image, (y, x))| {
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (y, x))| {
            simd::vectorize(
                #[inline(always)]
                || {
                    let mut words = [0; 64];
                    for (block, (y, x)) in y.chunks_mut(64).zip(x.chunks(64)).enumerate() {
                        let words = &mut words[..y.len()];
                        philox.fill_words(image as u32, chunk * CHUNK + block * 64, words);
                        for ((y, x), &word) in y.iter_mut().zip(x).zip(&*words) {
                            *y = if word >= threshold { x * scale } else { 0.0 };
                        }
                    }
                },
            )
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{Check, Input};
    use crate::ops::philox::RngState;

    #[test]
    fn the_mask_is_the_counters_and_the_same_in_both_directions() {
        let state = RngState { seed: 0x0012_3456_0078_9abc, step: 3, first_image: 11 };
        for (dims, p) in [([1, 5, 7, 3], 0.3), ([3, 4, 4, 35], 0.1), ([2, 8, 8, 32], 0.5), ([2, 3, 43, 40], 0.0)] {
            let d: usize = dims[1..].iter().product();
            let philox = Philox::new(state, Stream::Dropout(2));
            let keeps = |i: usize| philox.word((i / d) as u32, i % d) as f64 >= p as f64 * 2f64.powi(32);
            Check::default().run(
                &[Input::activation(&dims), Input::labels(&state.words())],
                |tape, x| dropout(tape, x[0], p, x[1], 2),
                |x| x[0].iter().enumerate().map(|(i, x)| if keeps(i) { x / (1.0 - p as f64) } else { 0.0 }).collect(),
            );
        }
    }

    #[test]
    fn drops_the_fraction_that_was_asked_for() {
        let n = 100_000;
        let mut y = vec![0.0; n];
        let philox = Philox::new(RngState::default(), Stream::Dropout(0));
        dropout_cpu(&mut y, &vec![1.0; n], n, philox, (0.3 * 2f64.powi(32)) as u32, 1.0);
        let kept = y.iter().filter(|&&y| y != 0.0).count() as f64 / n as f64;
        assert!((kept - 0.7).abs() <= 5.0 * (0.21 / n as f64).sqrt(), "kept {kept}");
    }
}
