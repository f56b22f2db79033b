//! A bias per image and channel, as the time embedding enters a residual block: `y[i, p, k] = x[i, p, k] + b[i, k]`.
//!
//! `dx = dy` is shared, not copied; `db[i, k]` is the sum of `dy[i, p, k]` over the pixels p.

use crate::device::Memory;
use crate::ops::avg_pool::slice_blocks;
use crate::ops::simd;
use crate::tape::{Launches, Op, Tape};
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::ops::Range;

/// A bias of every image and channel, for an op that adds it on its way.
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
}

/// Adds `b` to every pixel.
///
/// # Shapes
/// `x [n, h, w, c]`, `b [n, c]`, result as x. Nothing is saved for backward.
pub fn channel_bias(tape: &mut Tape, x: Tensor, b: Tensor) -> Tensor {
    assert_eq!(b.dims(), [x.dim(0), x.last_dim()], "bias for {x:?}");
    assert_eq!(b.dtype(), x.dtype(), "bias for {x:?}");
    let y = tape.tensor(&x.dims(), x.dtype());
    tape.push(ChannelBiasFwd { y, x, b });
    y
}

#[derive(Debug)]
struct ChannelBiasFwd {
    y: Tensor,
    x: Tensor,
    b: Tensor,
}

impl Op for ChannelBiasFwd {
    fn name(&self) -> &'static str {
        "channel_bias_fwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.y]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.x, self.b]
    }
    fn backward(&self, tape: &mut Tape) {
        let dy = tape.grad(self.y);
        tape.accumulate(self.x, dy);
        let db = tape.grad_slot(self.b);
        if !db.is_empty() {
            tape.push(ChannelBiasBwd { db, dy });
            tape.accumulate(self.b, db);
        }
    }
    fn cpu(&self, mem: &mut Memory) {
        let [n, c] = [self.b.dim(0), self.b.dim(1)];
        let ([y], [x, b]) = mem.views([self.y], [self.x, self.b]);
        forward_cpu(y, x, b, n, c);
    }
    fn launch(&self, q: &mut Launches) {
        let [n, c] = [self.b.dim(0), self.b.dim(1)];
        let pixels = self.y.numel() / (n * c);
        let args = [self.y.into(), self.x.into(), self.b.into(), pixels.into(), c.into()];
        q.kernel("channel_bias_fwd", self.y.dtype()).grid(slice_blocks(self.y)).args(&args);
    }
}

#[derive(Debug)]
struct ChannelBiasBwd {
    db: Tensor,
    dy: Tensor,
}

impl Op for ChannelBiasBwd {
    fn name(&self) -> &'static str {
        "channel_bias_bwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.db]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dy]
    }
    fn cpu(&self, mem: &mut Memory) {
        let [n, c] = [self.db.dim(0), self.db.dim(1)];
        let ([db], [dy]) = mem.views([self.db], [self.dy]);
        backward_cpu(db, dy, n, c);
    }
    fn launch(&self, q: &mut Launches) {
        let [n, c] = [self.db.dim(0), self.db.dim(1)];
        let pixels = self.dy.numel() / (n * c);
        // A block owns eight threads' channels.
        let vector = 16 / self.dy.dtype().bytes();
        let channels = 8 * if c % vector == 0 { vector } else { 1 };
        let args = [self.db.into(), self.dy.into(), pixels.into(), c.into()];
        q.kernel("channel_bias_bwd", self.dy.dtype()).grid([c.div_ceil(channels), n, 1]).args(&args);
    }
}

/// Pixels that one task of the forward pass handles.
const PIXELS: usize = 64;
/// Channels that one task of the backward pass sums: they stay in registers.
const CHANNELS: usize = 64;

fn forward_cpu(y: &mut [f32], x: &[f32], b: &[f32], n: usize, c: usize) {
    let image = y.len() / n;
    y.par_chunks_mut(image).zip(x.par_chunks(image)).zip(b.par_chunks(c)).for_each(|((y, x), b)| {
        y.par_chunks_mut(PIXELS * c).zip(x.par_chunks(PIXELS * c)).for_each(|(y, x)| {
            simd::vectorize(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                        for ((y, x), b) in y.iter_mut().zip(x).zip(b) {
                            *y = x + b;
                        }
                    }
                },
            )
        });
    });
}

fn backward_cpu(db: &mut [f32], dy: &[f32], n: usize, c: usize) {
    let image = dy.len() / n;
    db.par_chunks_mut(c).zip(dy.par_chunks(image)).for_each(|(db, dy)| {
        db.par_chunks_mut(CHANNELS).enumerate().for_each(|(block, db)| {
            simd::vectorize(
                #[inline(always)]
                || {
                    let mut sum = [0.0; CHANNELS];
                    let sum = &mut sum[..db.len()];
                    for dy in dy.chunks_exact(c) {
                        for (sum, dy) in sum.iter_mut().zip(&dy[block * CHANNELS..]) {
                            *sum += dy;
                        }
                    }
                    db.copy_from_slice(sum);
                },
            )
        });
    });
}

#[cfg(test)]
mod tests {
    use crate::ops::check::{Check, Input};

    #[test]
    fn matches_the_oracle() {
        for [n, h, w, c] in [[1, 5, 7, 3], [3, 4, 4, 35], [2, 8, 8, 32], [3, 9, 13, 72], [2, 1, 1, 136]] {
            Check::default().run(
                &[Input::activation(&[n, h, w, c]), Input::activation(&[n, c])],
                |tape, x| super::channel_bias(tape, x[0], x[1]),
                |x| x[0].iter().enumerate().map(|(i, v)| v + x[1][i / (h * w * c) * c + i % c]).collect(),
            );
        }
    }
}
