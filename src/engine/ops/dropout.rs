//! Dropout: every element is zeroed with probability p and the rest scaled by `1 / (1 - p)`, so that the mean stays.
//!
//! `y = mask x / (1 - p)`, `dx = mask dy / (1 - p)`, with `mask[i] = (word(seed, step, stream, image, i) >= p 2^32)`.
//! The mask is a function of the counter: backward is the same computation on dy, and nothing is stored. Evaluating
//! means not to record the op.

use crate::engine::device::Memory;
use crate::engine::random::{Philox, Stream};
use crate::engine::simd;
use crate::engine::tape::geometry::{image_len, images};
use crate::engine::tape::{Arg, Launches, Op, Operand, Tape, op};
use crate::engine::tensor::Tensor;
use rayon::prelude::*;

/// The stream of layer 0; each layer has its own.
const FIRST_STREAM: u32 = 256;

/// The stream of a layer's mask.
pub(super) fn layer_stream(layer: u32) -> Stream {
    Stream::new(FIRST_STREAM + layer)
}

/// One dropout layer of a network.
#[derive(Clone, Copy, Debug)]
pub struct DropoutLayer {
    /// Probability that an element is dropped, below 1.
    pub p: f32,
    /// A tensor of [`RngState::words`](crate::engine::random::RngState::words).
    pub rng: Tensor,
    /// Numbers the layers of a network: their masks are independent.
    pub layer: u32,
}

impl DropoutLayer {
    /// No dropout, for ops that can do without.
    pub(super) const NONE: DropoutLayer = DropoutLayer { p: 0.0, rng: Tensor::EMPTY, layer: 0 };

    /// True unless it is [`DropoutLayer::NONE`].
    pub(super) fn is_some(&self) -> bool {
        !self.rng.is_empty()
    }

    /// True if p is a probability below 1.
    pub(super) fn is_valid(&self) -> bool {
        (0.0..1.0).contains(&self.p)
    }

    /// p as a fraction of 2^32: words below it drop.
    fn threshold(&self) -> u32 {
        (self.p as f64 * 2f64.powi(32)) as u32
    }

    /// Factor of the elements that are kept.
    fn scale(&self) -> f32 {
        1.0 / (1.0 - self.p)
    }

    /// The stream that a kernel draws its numbers from.
    fn stream(&self) -> Stream {
        layer_stream(self.layer)
    }

    /// The mask of the step whose state `rng` holds; none without dropout.
    pub(super) fn mask(&self, rng: &[f32]) -> Option<Mask> {
        let philox = || Philox::from_view(rng, self.stream());
        self.is_some().then(|| Mask { philox: philox(), threshold: self.threshold(), scale: self.scale() })
    }

    /// The argument of a kernel: its struct `Dropout`.
    pub(super) fn argument(&self) -> Arg {
        Arg::Struct(vec![self.stream().id().into(), self.threshold().into(), self.scale().into()])
    }
}

impl Operand for DropoutLayer {
    fn tensors(&self) -> Vec<Tensor> {
        vec![self.rng]
    }
}

/// Drops elements of `x` with probability `p < 1`; see [`DropoutLayer`] for the operands.
///
/// # Shapes
/// `x` and the result `[n, ..]`. Nothing is saved for backward.
pub fn dropout(tape: &mut Tape, x: Tensor, p: f32, rng: Tensor, layer: u32) -> Tensor {
    let layer = DropoutLayer { p, rng, layer };
    assert!(layer.is_valid(), "dropout with probability {p}");
    let y = tape.tensor(&x.dims(), x.dtype());
    tape.push(Dropout { y, x, layer, name: "dropout_fwd" });
    y
}

op! {
    struct Dropout = self.name {
        out y,                   // [n, ..]
        in x,                    // as y
        in layer: DropoutLayer,
        name: &'static str,
    }
}

impl Op for Dropout {
    fn backward(&self, tape: &mut Tape) {
        let dx = tape.grad_slot(self.x);
        tape.push(Dropout { y: dx, x: tape.grad(self.y), name: "dropout_bwd", ..*self });
        tape.accumulate(self.x, dx);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x, rng]) = mem.views([self.y], [self.x, self.layer.rng]);
        dropout_cpu(y, x, image_len(self.x), &self.layer.mask(rng).expect("a layer that drops"));
    }
    fn launch(&self, q: &mut Launches) {
        q.kernel("dropout", self.y.dtype())
            .operands(self)
            .grid(images(self.x, 8))
            .with([image_len(self.x)])
            .with([self.layer.argument()]);
    }
}

/// Which elements of a step are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask {
    philox: Philox,
    threshold: u32,
    scale: f32,
}

/// Numbers that are drawn at a time: a multiple of 4, which is what a counter gives.
const WORDS: usize = 64;

impl Mask {
    /// Drops or scales the elements `first ..` of an image.
    #[inline(always)]
    pub(super) fn apply(&self, image: u32, first: usize, values: &mut [f32]) {
        let mut words = [0; WORDS];
        let mut done = 0;
        while done < values.len() {
            // Up to a multiple of what is drawn at a time, from which on no number is drawn twice.
            let count = (WORDS - (first + done) % WORDS).min(values.len() - done);
            let words = &mut words[..count];
            self.philox.fill_words(image, first + done, words);
            for (value, &word) in values[done..done + count].iter_mut().zip(&*words) {
                *value = if word >= self.threshold { *value * self.scale } else { 0.0 };
            }
            done += count;
        }
    }
}

/// Elements that one task handles.
const CHUNK: usize = 4096;

/// `y [n, d]` of `x [n, d]`.
pub(super) fn dropout_cpu(y: &mut [f32], x: &[f32], d: usize, mask: &Mask) {
    y.par_chunks_mut(d).zip(x.par_chunks(d)).enumerate().for_each(|(image, (y, x))| {
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (y, x))| {
            simd::vectorized!(|| {
                y.copy_from_slice(x);
                mask.apply(image as u32, chunk * CHUNK, y);
            })
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::{Check, Input};
    use crate::engine::random::RngState;

    #[test]
    fn the_mask_is_the_counters_and_the_same_in_both_directions() {
        let state = RngState { seed: 0x0012_3456_0078_9abc, step: 3, first_image: 11 };
        for (dims, p) in [([1, 5, 7, 3], 0.3), ([3, 4, 4, 35], 0.1), ([2, 8, 8, 32], 0.5), ([2, 3, 43, 40], 0.0)] {
            let d: usize = dims[1..].iter().product();
            let philox = Philox::new(state, layer_stream(2));
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
        let philox = Philox::new(RngState::default(), layer_stream(0));
        dropout_cpu(&mut y, &vec![1.0; n], n, &Mask { philox, threshold: (0.3 * 2f64.powi(32)) as u32, scale: 1.0 });
        let kept = y.iter().filter(|&&y| y != 0.0).count() as f64 / n as f64;
        assert!((kept - 0.7).abs() <= 5.0 * (0.21 / n as f64).sqrt(), "kept {kept}");
    }
}
