//! A bias per image and channel, as the time embedding enters a residual block, optionally followed by dropout:
//! `y[i, p, k] = mask[i, p, k] (x[i, p, k] + b[i, k]) / (1 - q)`, without dropout `y = x + b`.
//!
//! `dx = mask dy / (1 - q)`; without dropout it is `dy`, shared and not copied. `db[i, k]` is the sum of `dx[i, p, k]` over
//! the pixels p.

use crate::engine::device::Memory;
use crate::engine::ops::dropout::{DropoutLayer, Mask, dropout_cpu};
use crate::engine::simd;
use crate::engine::tape::geometry::{channels, image_len};
use crate::engine::tape::{Launch, Launches, Op, Operand, Tape, op};
use crate::engine::tensor::Tensor;
use rayon::prelude::*;
use std::ops::Range;

/// A bias of every image and channel.
#[derive(Clone, Copy, Debug)]
pub struct ImageBias {
    /// `[n, columns]` in the activations' type: the biases of several layers beside each other.
    pub values: Tensor,
    /// Column of the layer's first channel.
    pub first: usize,
}

impl ImageBias {
    /// None at all.
    pub(super) const NONE: ImageBias = ImageBias { values: Tensor::EMPTY, first: 0 };

    /// Columns of the layer with `c` channels.
    pub(super) fn columns(&self, c: usize) -> Range<usize> {
        self.first..self.first + c
    }

    /// Columns of all layers; 0 where there is no bias.
    pub(super) fn width(&self) -> usize {
        if self.values.is_empty() { 0 } else { self.values.dim(1) }
    }

    /// True if there is one for every image and channel of `x`.
    pub(super) fn fits(&self, x: Tensor) -> bool {
        let ImageBias { values, first } = *self;
        let has_columns = values.rank() == 2 && values.dim(0) == x.dim(0) && first + x.last_dim() <= values.dim(1);
        has_columns && values.dtype() == x.dtype()
    }

    /// Adds the arguments of both kernels after the operands: pixels and channels of `x`, the columns, dropout.
    fn arguments(&self, launch: &mut Launch, x: Tensor, dropout: &DropoutLayer) {
        let c = x.last_dim();
        launch.with([image_len(x) / c, c, self.width(), self.first]).with([dropout.argument()]);
    }
}

impl Operand for ImageBias {
    fn tensors(&self) -> Vec<Tensor> {
        vec![self.values]
    }
}

impl From<Tensor> for ImageBias {
    /// Makes a bias of one layer of its values `[n, c]`.
    fn from(values: Tensor) -> ImageBias {
        ImageBias { values, first: 0 }
    }
}

/// Adds a bias to every pixel.
///
/// # Shapes
/// `x [n, h, w, c]`, `bias` with `n` rows and the columns of c channels, result as x. Nothing is saved for backward.
pub fn channel_bias(tape: &mut Tape, x: Tensor, bias: impl Into<ImageBias>) -> Tensor {
    channel_bias_with(tape, x, bias, None)
}

/// [`channel_bias`], followed by dropout: what [`dropout`](super::dropout::dropout) would compute of its result, in one pass.
/// The mask is that of the separate op, bit for bit; neither `x + bias` nor the terms of the bias' gradient are rounded to
/// the activations' type in between.
///
/// # Shapes
/// The same as [`channel_bias`].
pub fn channel_bias_with(
    tape: &mut Tape,
    x: Tensor,
    bias: impl Into<ImageBias>,
    dropout: Option<DropoutLayer>,
) -> Tensor {
    let bias = bias.into();
    assert!(bias.fits(x), "bias {bias:?} for {x:?}");
    let dropout = dropout.unwrap_or(DropoutLayer::NONE);
    assert!(dropout.is_valid(), "channel_bias: {dropout:?}");
    let y = tape.tensor(&x.dims(), x.dtype());
    tape.push(ChannelBiasFwd { y, x, bias, dropout });
    y
}

op! {
    struct ChannelBiasFwd = "channel_bias_fwd" {
        out y,                     // [n, h, w, c]
        in x,                      // [n, h, w, c]
        in bias: ImageBias,        // [n, columns]
        in dropout: DropoutLayer,
    }
}

impl Op for ChannelBiasFwd {
    fn columns(&self, operand: Tensor) -> Option<Range<usize>> {
        (operand == self.bias.values).then(|| self.bias.columns(self.x.last_dim()))
    }
    fn backward(&self, tape: &mut Tape) {
        let (dy, dropout) = (tape.grad(self.y), self.dropout);
        let ImageBias { values, first } = self.bias;
        let columns = self.bias.columns(dy.last_dim());
        let is_whole = columns.len() == values.dim(1);
        let db = if is_whole { tape.grad_slot(values) } else { tape.grad_columns(values, columns) };
        let wanted = if dropout.is_some() { tape.grad_slot(self.x) } else { Tensor::EMPTY };
        if !(wanted.is_empty() && db.is_empty()) {
            let no_place = dropout.is_some() && wanted.is_empty();
            let dx = if no_place { tape.tensor(&dy.dims(), dy.dtype()) } else { wanted };
            tape.push(ChannelBiasBwd { dx, db: ImageBias { values: db, first }, dy, dropout });
        }
        tape.accumulate(self.x, if dropout.is_some() { wanted } else { dy });
        if is_whole {
            tape.accumulate(values, db);
        }
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x, b, rng]) = mem.views([self.y], [self.x, self.bias.values, self.dropout.rng]);
        let mask = self.dropout.mask(rng);
        forward_cpu(y, x, b, self.bias.values.dim(1), self.bias.columns(self.x.last_dim()), mask);
    }
    fn launch(&self, q: &mut Launches) {
        let launch = q.kernel(kernel(&self.dropout, ["channel_bias_fwd", "channel_bias_dropout_fwd"]), self.y.dtype());
        self.bias.arguments(launch.operands(self).grid(channels(self.y)), self.y, &self.dropout);
    }
}

op! {
    struct ChannelBiasBwd = "channel_bias_bwd" {
        out dx,                    // [n, h, w, c]; absent where nothing is dropped
        out db: ImageBias,         // [n, columns]; may be absent
        in dy,                     // [n, h, w, c]
        in dropout: DropoutLayer,
    }
}

impl Op for ChannelBiasBwd {
    fn columns(&self, operand: Tensor) -> Option<Range<usize>> {
        let is_bias = operand == self.db.values && !operand.is_empty();
        is_bias.then(|| self.db.columns(self.dy.last_dim()))
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([dx, db], [dy, rng]) = mem.views([self.dx, self.db.values], [self.dy, self.dropout.rng]);
        let (columns, image) = (self.db.columns(self.dy.last_dim()), dy.len() / self.dy.dim(0));
        let terms = match self.dropout.mask(rng) {
            Some(mask) => {
                dropout_cpu(dx, dy, image, &mask);
                &*dx
            }
            None => dy,
        };
        if !db.is_empty() {
            backward_cpu(db, terms, self.db.values.dim(1), columns);
        }
    }
    fn launch(&self, q: &mut Launches) {
        let (n, c) = (self.dy.dim(0), self.dy.last_dim());
        // A block owns the channels of a row of threads.
        let vector = 16 / self.dy.dtype().bytes();
        let channels = LANES * if c % vector == 0 { vector } else { 1 };
        let threads = (LANES * (image_len(self.dy) / c).div_ceil(THREAD_PIXELS)).next_power_of_two().clamp(128, 1024);
        let launch = q.kernel(kernel(&self.dropout, ["channel_bias_bwd", "channel_bias_dropout_bwd"]), self.dy.dtype());
        launch.operands(self).grid([c.div_ceil(channels), n, 1]).block(threads);
        self.db.arguments(launch, self.dy, &self.dropout);
    }
}

/// Threads of a row of the backward kernel.
const LANES: usize = 8;
/// Pixels of one thread there, where a block can have as many threads: two loads in flight, twice.
const THREAD_PIXELS: usize = 4;

/// The kernel of a pass, which is another one where there is dropout.
fn kernel(dropout: &DropoutLayer, [plain, with_dropout]: [&'static str; 2]) -> &'static str {
    if dropout.is_some() { with_dropout } else { plain }
}

/// Pixels that one task of the forward pass handles.
const PIXELS: usize = 64;
/// Channels that one task of the backward pass sums: they stay in registers.
const CHANNELS: usize = 64;

/// `b` has rows of `width` columns, one for each image.
fn forward_cpu(y: &mut [f32], x: &[f32], b: &[f32], width: usize, columns: Range<usize>, mask: Option<Mask>) {
    let (c, image) = (columns.len(), y.len() / (b.len() / width));
    y.par_chunks_mut(image).zip(x.par_chunks(image)).zip(b.par_chunks(width)).enumerate().for_each(
        |(i, ((y, x), b))| {
            let b = &b[columns.clone()];
            y.par_chunks_mut(PIXELS * c).zip(x.par_chunks(PIXELS * c)).enumerate().for_each(|(chunk, (y, x))| {
                simd::vectorized!(|| {
                    for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                        for ((y, x), b) in y.iter_mut().zip(x).zip(b) {
                            *y = x + b;
                        }
                    }
                    if let Some(mask) = mask {
                        mask.apply(i as u32, chunk * PIXELS * c, y);
                    }
                })
            });
        },
    );
}

fn backward_cpu(db: &mut [f32], dy: &[f32], width: usize, columns: Range<usize>) {
    let (c, image) = (columns.len(), dy.len() / (db.len() / width));
    db.par_chunks_mut(width).zip(dy.par_chunks(image)).for_each(|(db, dy)| {
        db[columns.clone()].par_chunks_mut(CHANNELS).enumerate().for_each(|(block, db)| {
            simd::vectorized!(|| {
                let mut sum = [0.0; CHANNELS];
                let sum = &mut sum[..db.len()];
                for dy in dy.chunks_exact(c) {
                    for (sum, dy) in sum.iter_mut().zip(&dy[block * CHANNELS..]) {
                        *sum += dy;
                    }
                }
                db.copy_from_slice(sum);
            })
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::Capability;
    use crate::engine::ops::check::{Check, Input, compare};
    use crate::engine::ops::dropout::dropout;
    use crate::engine::ops::dropout::layer_stream;
    use crate::engine::ops::philox;
    use crate::engine::random::{Philox, RngState};
    use crate::engine::tape::Backend;
    use crate::engine::tensor::{DType, Store};

    const STATE: RngState = RngState { seed: 0x0012_3456_0078_9abc, step: 3, first_image: 11 };
    /// The last makes the threads of the largest blocks take more than one turn.
    const SHAPES: [[usize; 4]; 6] =
        [[1, 5, 7, 3], [3, 4, 4, 35], [2, 8, 8, 32], [3, 9, 13, 72], [2, 1, 1, 136], [1, 18, 17, 8]];

    fn with_dropout(tape: &mut Tape, [x, values, rng]: [Tensor; 3]) -> Tensor {
        channel_bias_with(tape, x, values, Some(DropoutLayer { p: 0.3, rng, layer: 2 }))
    }

    #[test]
    fn matches_the_oracle() {
        for [n, h, w, c] in SHAPES {
            Check::default().run(
                &[Input::activation(&[n, h, w, c]), Input::activation(&[n, c])],
                |tape, x| channel_bias(tape, x[0], x[1]),
                |x| x[0].iter().enumerate().map(|(i, v)| v + x[1][i / (h * w * c) * c + i % c]).collect(),
            );
        }
    }

    /// Two layers, one after the other, read one tensor of biases.
    #[test]
    fn layers_have_their_columns() {
        for [n, pixels, c, other] in [[2, 6, 8, 8], [3, 4, 5, 2]] {
            let columns = c + other;
            Check::default().run(
                &[Input::activation(&[n, 2, pixels / 2, c]), Input::activation(&[n, columns])],
                |tape, x| {
                    // The other layer sees the same image with other channels.
                    let y = channel_bias(tape, x[0], ImageBias { values: x[1], first: other });
                    let flat = y.reshape(&[n, 1, pixels * c / other, other]);
                    channel_bias(tape, flat, ImageBias { values: x[1], first: 0 })
                },
                |x| {
                    let bias = |image: usize, column: usize| x[1][image * columns + column];
                    let total = |i: usize| {
                        let image = i / (pixels * c);
                        bias(image, other + i % c) + bias(image, i % (pixels * c) % other)
                    };
                    x[0].iter().enumerate().map(|(i, v)| v + total(i)).collect()
                },
            );
        }
    }

    #[test]
    fn dropout_matches_the_oracle() {
        for [n, h, w, c] in SHAPES {
            let (d, philox) = (h * w * c, Philox::new(STATE, layer_stream(2)));
            let keeps = |i: usize| philox.word((i / d) as u32, i % d) as f64 >= 0.3f32 as f64 * 2f64.powi(32);
            let biased = |x: &[Vec<f64>], i: usize| x[0][i] + x[1][i / d * c + i % c];
            Check::default().run(
                &[Input::activation(&[n, h, w, c]), Input::activation(&[n, c]), Input::labels(&STATE.words())],
                |tape, x| with_dropout(tape, [x[0], x[1], x[2]]),
                |x| {
                    let value = |i: usize| if keeps(i) { biased(x, i) / (1.0 - 0.3f32 as f64) } else { 0.0 };
                    (0..n * d).map(value).collect()
                },
            );
        }
    }

    #[test]
    fn the_fused_op_is_the_chain() {
        for [n, h, w, c] in SHAPES {
            let inputs = [Input::activation(&[n, h, w, c]), Input::activation(&[n, c]), Input::labels(&STATE.words())];
            let fused = Check::default().outcomes(&inputs, |tape, x| with_dropout(tape, [x[0], x[1], x[2]]));
            let chain = Check::default().outcomes(&inputs, |tape, x| {
                let h = channel_bias(tape, x[0], x[1]);
                dropout(tape, h, 0.3, x[2], 2)
            });
            for (fused, chain) in fused.iter().zip(&chain) {
                let what = format!("[{n}, {h}, {w}, {c}] on {}", fused.name);
                let kept = |y: &[f32]| y.iter().map(|&y| y != 0.0).collect::<Vec<_>>();
                assert!(kept(&fused.result) == kept(&chain.result), "{what}: another mask");
                assert!(fused.gradients[0] == chain.gradients[0], "{what}: dx is rounded once in both");
                // What the chain rounds in between: to one part in 256, and the terms of a sum.
                let tolerance = if fused.dtype == DType::Bf16 { 1e-2 } else { 1e-6 };
                let values = |values: &[f32]| values.iter().map(|&v| v as f64).collect::<Vec<f64>>();
                compare(&format!("y of {what}"), &fused.result, &values(&chain.result), tolerance);
                let [got, want] = [fused, chain].map(|outcome| outcome.gradients[1].as_ref().unwrap());
                compare(&format!("db of {what}"), got, &values(want), tolerance);
            }
            // No schedule of the emulator changes a bit.
            for dtype in [DType::F32, DType::Bf16] {
                let bits = |outcome: &crate::engine::ops::check::Outcome| {
                    let gradients = outcome.gradients.iter().flatten().flatten();
                    outcome.result.iter().chain(gradients).map(|v| v.to_bits()).collect::<Vec<u32>>()
                };
                let emulated = fused.iter().filter(|o| o.dtype == dtype && o.name.starts_with("emu"));
                let runs: Vec<Vec<u32>> = emulated.map(bits).collect();
                assert!(runs.windows(2).all(|pair| pair[0] == pair[1]), "[{n}, {h}, {w}, {c}] in {dtype:?}");
            }
        }
    }

    /// The bias learns, its input does not: the sum is taken all the same.
    #[test]
    fn the_bias_learns_alone() {
        let (d, philox) = (2 * 3 * 8, Philox::new(STATE, layer_stream(2)));
        let keeps = |i: usize| philox.word((i / d) as u32, i % d) as f64 >= 0.3f32 as f64 * 2f64.powi(32);
        Check::default().run(
            &[Input::activation(&[2, 2, 3, 8]).detached(), Input::activation(&[2, 8]), Input::labels(&STATE.words())],
            |tape, x| with_dropout(tape, [x[0], x[1], x[2]]),
            |x| {
                let biased = |i: usize| (x[0][i] + x[1][i / d * 8 + i % 8]) / (1.0 - 0.3f32 as f64);
                (0..2 * d).map(|i| if keeps(i) { biased(i) } else { 0.0 }).collect()
            },
        );
    }

    #[test]
    fn a_pass_is_one_launch_and_moves_what_it_must() {
        let (n, c, dims) = (4, 64, [4, 8, 8, 64]);
        let mut store = Store::new();
        let [x, dy] = [(); 2].map(|()| store.tensor(&dims, DType::Bf16));
        let (values, rng) = (store.tensor(&[n, 2 * c], DType::Bf16), philox::state_tensor(&mut store));
        let mut tape = Tape::new(Backend::Gpu(Capability::Ampere), DType::Bf16);
        tape.watch(x);
        tape.watch(values);
        let bias = ImageBias { values, first: c };
        let y = channel_bias_with(&mut tape, x, bias, Some(DropoutLayer { p: 0.1, rng, layer: 0 }));
        tape.seed_grad(y, dy);
        tape.grad_columns(values, 0..c);
        tape.backward();
        let work = tape.work();
        let kernels: Vec<_> = work.iter().map(|w| w.launch.as_ref().unwrap().kernel.as_str()).collect();
        assert_eq!(kernels, ["channel_bias_dropout_fwd_bf16", "channel_bias_dropout_bwd_bf16"]);
        let moved = (2 * n * 8 * 8 * c * 2 + n * c * 2 + 16) as u64;
        assert_eq!(work.iter().map(|w| w.bytes).collect::<Vec<_>>(), [moved; 2]);
    }
}
