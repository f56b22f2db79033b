//! A bias per image and channel, as the time embedding enters a residual block: `y[i, p, k] = x[i, p, k] + b[i, k]`.
//!
//! `dx = dy` is shared, not copied; `db[i, k]` is the sum of `dy[i, p, k]` over the pixels p.

use crate::device::Memory;
use crate::ops::avg_pool::slice_blocks;
use crate::ops::simd;
use crate::tape::{Arg, Launches, Op, Tape};
use crate::tensor::Tensor;
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
}

impl From<Tensor> for ImageBias {
    /// That of one layer, `[n, c]`.
    fn from(values: Tensor) -> ImageBias {
        ImageBias { values, first: 0 }
    }
}

/// Adds a bias to every pixel.
///
/// # Shapes
/// `x [n, h, w, c]`, `bias` with `n` rows and the columns of c channels, result as x. Nothing is saved for backward.
pub fn channel_bias(tape: &mut Tape, x: Tensor, bias: impl Into<ImageBias>) -> Tensor {
    let (bias, c) = (bias.into(), x.last_dim());
    let fits = bias.values.rank() == 2 && bias.values.dim(0) == x.dim(0) && bias.first + c <= bias.values.dim(1);
    assert!(fits && bias.values.dtype() == x.dtype(), "bias {bias:?} for {x:?}");
    let y = tape.tensor(&x.dims(), x.dtype());
    tape.push(ChannelBiasFwd { y, x, bias });
    y
}

#[derive(Debug)]
struct ChannelBiasFwd {
    y: Tensor,
    x: Tensor,
    bias: ImageBias,
}

impl Op for ChannelBiasFwd {
    fn name(&self) -> &'static str {
        "channel_bias_fwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.y]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.x, self.bias.values]
    }
    fn columns(&self, operand: Tensor) -> Option<Range<usize>> {
        (operand == self.bias.values).then(|| self.bias.columns(self.x.last_dim()))
    }
    fn backward(&self, tape: &mut Tape) {
        let dy = tape.grad(self.y);
        tape.accumulate(self.x, dy);
        let ImageBias { values, first } = self.bias;
        let columns = self.bias.columns(dy.last_dim());
        if columns.len() == values.dim(1) {
            let db = tape.grad_slot(values);
            if !db.is_empty() {
                tape.push(ChannelBiasBwd { db: db.into(), dy });
                tape.accumulate(values, db);
            }
        } else {
            let db = tape.grad_columns(values, columns);
            if !db.is_empty() {
                tape.push(ChannelBiasBwd { db: ImageBias { values: db, first }, dy });
            }
        }
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x, b]) = mem.views([self.y], [self.x, self.bias.values]);
        forward_cpu(y, x, b, self.bias.values.dim(1), self.bias.columns(self.x.last_dim()));
    }
    fn launch(&self, q: &mut Launches) {
        let args = [self.y.into(), self.x.into(), self.bias.values.into()];
        let args = [&args[..], &dims(self.y, &self.bias)].concat();
        q.kernel("channel_bias_fwd", self.y.dtype()).grid(slice_blocks(self.y)).args(&args);
    }
}

#[derive(Debug)]
struct ChannelBiasBwd {
    db: ImageBias,
    dy: Tensor,
}

impl Op for ChannelBiasBwd {
    fn name(&self) -> &'static str {
        "channel_bias_bwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.db.values]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dy]
    }
    fn columns(&self, operand: Tensor) -> Option<Range<usize>> {
        (operand == self.db.values).then(|| self.db.columns(self.dy.last_dim()))
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([db], [dy]) = mem.views([self.db.values], [self.dy]);
        backward_cpu(db, dy, self.db.values.dim(1), self.db.columns(self.dy.last_dim()));
    }
    fn launch(&self, q: &mut Launches) {
        let (n, c) = (self.dy.dim(0), self.dy.last_dim());
        // A block owns eight threads' channels.
        let vector = 16 / self.dy.dtype().bytes();
        let channels = 8 * if c % vector == 0 { vector } else { 1 };
        let args = [&[self.db.values.into(), self.dy.into()][..], &dims(self.dy, &self.db)].concat();
        q.kernel("channel_bias_bwd", self.dy.dtype()).grid([c.div_ceil(channels), n, 1]).args(&args);
    }
}

/// Pixels and channels of `x`, columns of its biases, and the first that is `x`'s.
fn dims(x: Tensor, bias: &ImageBias) -> [Arg; 4] {
    let c = x.last_dim();
    [x.numel() / (x.dim(0) * c), c, bias.values.dim(1), bias.first].map(Arg::from)
}

/// Pixels that one task of the forward pass handles.
const PIXELS: usize = 64;
/// Channels that one task of the backward pass sums: they stay in registers.
const CHANNELS: usize = 64;

/// `b` has rows of `width` columns, one for each image.
fn forward_cpu(y: &mut [f32], x: &[f32], b: &[f32], width: usize, columns: Range<usize>) {
    let (c, image) = (columns.len(), y.len() / (b.len() / width));
    y.par_chunks_mut(image).zip(x.par_chunks(image)).zip(b.par_chunks(width)).for_each(|((y, x), b)| {
        let b = &b[columns.clone()];
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

fn backward_cpu(db: &mut [f32], dy: &[f32], width: usize, columns: Range<usize>) {
    let (c, image) = (columns.len(), dy.len() / (db.len() / width));
    db.par_chunks_mut(width).zip(dy.par_chunks(image)).for_each(|(db, dy)| {
        db[columns.clone()].par_chunks_mut(CHANNELS).enumerate().for_each(|(block, db)| {
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
    use super::*;
    use crate::ops::check::{Check, Input};

    #[test]
    fn matches_the_oracle() {
        for [n, h, w, c] in [[1, 5, 7, 3], [3, 4, 4, 35], [2, 8, 8, 32], [3, 9, 13, 72], [2, 1, 1, 136]] {
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
}
