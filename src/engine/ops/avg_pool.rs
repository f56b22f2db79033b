//! Average pooling over 2 x 2 pixels, `y[i, j] = 1/4 sum over a, b in {0, 1} of x[2i + a, 2j + b]`. An odd last row or
//! column is left out, and its gradient is zero.

use crate::engine::device::Memory;
use crate::engine::simd;
use crate::engine::tape::{Launches, Op, Tape};
use crate::engine::tensor::Tensor;
use rayon::prelude::*;

/// Halves height and width by averaging.
///
/// # Shapes
/// `x [n, h, w, c]`, result `[n, h/2, w/2, c]`, rounded down. Nothing is saved for backward.
pub fn avg_pool(tape: &mut Tape, x: Tensor) -> Tensor {
    let y = tape.tensor(&[x.dim(0), x.dim(1) / 2, x.dim(2) / 2, x.dim(3)], x.dtype());
    tape.push(AvgPoolFwd { y, x });
    y
}

#[derive(Debug)]
struct AvgPoolFwd {
    y: Tensor,
    x: Tensor,
}

impl Op for AvgPoolFwd {
    fn name(&self) -> &'static str {
        "avg_pool_fwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.y]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.x]
    }
    fn backward(&self, tape: &mut Tape) {
        let dx = tape.grad_slot(self.x);
        tape.push(AvgPoolBwd { dx, dy: tape.grad(self.y) });
        tape.accumulate(self.x, dx);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x]) = mem.views([self.y], [self.x]);
        forward_cpu(y, x, [self.x.dim(1), self.x.dim(2), self.x.dim(3)]);
    }
    fn launch(&self, q: &mut Launches) {
        let (x, y) = (self.x, self.y);
        let args = [y.into(), x.into(), x.dim(1).into(), x.dim(2).into(), x.dim(3).into()];
        q.kernel("avg_pool_fwd", y.dtype()).grid(slice_blocks(y)).args(&args);
    }
}

#[derive(Debug)]
struct AvgPoolBwd {
    dx: Tensor,
    dy: Tensor,
}

impl Op for AvgPoolBwd {
    fn name(&self) -> &'static str {
        "avg_pool_bwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.dx]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dy]
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([dx], [dy]) = mem.views([self.dx], [self.dy]);
        backward_cpu(dx, dy, [self.dx.dim(1), self.dx.dim(2), self.dx.dim(3)]);
    }
    fn launch(&self, q: &mut Launches) {
        let (dx, dy) = (self.dx, self.dy);
        let args = [dx.into(), dy.into(), dx.dim(1).into(), dx.dim(2).into(), dx.dim(3).into()];
        q.kernel("avg_pool_bwd", dx.dtype()).grid(slice_blocks(dx)).args(&args);
    }
}

/// `y [n, h/2, w/2, c]` of `x [n, h, w, c]`, a row of y at a time.
fn forward_cpu(y: &mut [f32], x: &[f32], [h, w, c]: [usize; 3]) {
    let (out_h, out_w) = (h / 2, w / 2);
    y.par_chunks_mut(out_w * c).enumerate().for_each(|(row, y)| {
        let (image, i) = (row / out_h, row % out_h);
        let above = &x[(image * h + 2 * i) * w * c..][..w * c];
        let below = &x[(image * h + 2 * i + 1) * w * c..][..w * c];
        simd::vectorize(
            #[inline(always)]
            || {
                let pairs = above.chunks_exact(2 * c).zip(below.chunks_exact(2 * c));
                for (y, (above, below)) in y.chunks_exact_mut(c).zip(pairs) {
                    let (a, b) = above.split_at(c);
                    let (d, e) = below.split_at(c);
                    for k in 0..c {
                        y[k] = 0.25 * (a[k] + b[k] + d[k] + e[k]);
                    }
                }
            },
        );
    });
}

/// `dx [n, h, w, c]` of `dy [n, h/2, w/2, c]`, a row of dx at a time.
fn backward_cpu(dx: &mut [f32], dy: &[f32], [h, w, c]: [usize; 3]) {
    let (out_h, out_w) = (h / 2, w / 2);
    dx.par_chunks_mut(w * c).enumerate().for_each(|(row, dx)| {
        let (image, p) = (row / h, row % h);
        if p / 2 == out_h {
            return dx.fill(0.0);
        }
        let dy = &dy[(image * out_h + p / 2) * out_w * c..][..out_w * c];
        let (pairs, rest) = dx.split_at_mut(2 * out_w * c);
        rest.fill(0.0);
        simd::vectorize(
            #[inline(always)]
            || {
                for (pair, dy) in pairs.chunks_exact_mut(2 * c).zip(dy.chunks_exact(c)) {
                    let (left, right) = pair.split_at_mut(c);
                    for k in 0..c {
                        left[k] = 0.25 * dy[k];
                        right[k] = left[k];
                    }
                }
            },
        );
    });
}

/// One thread writes 16 bytes of `out [n, h, w, c]` where c allows it, else one element; grid.y counts images.
pub(super) fn slice_blocks(out: Tensor) -> [usize; 3] {
    let vector = 16 / out.dtype().bytes();
    let per_thread = if out.last_dim().is_multiple_of(vector) { vector } else { 1 };
    [(out.numel() / out.dim(0) / per_thread).div_ceil(256), out.dim(0), 1]
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::check::{Check, Input};

    #[test]
    fn matches_the_oracle() {
        for [n, h, w, c] in [[1, 6, 4, 3], [3, 4, 8, 35], [2, 8, 8, 32], [1, 5, 7, 8], [2, 2, 2, 1]] {
            Check::default().run(
                &[Input::activation(&[n, h, w, c])],
                |tape, x| super::avg_pool(tape, x[0]),
                |x| {
                    let at = |i: usize, p: usize, q: usize, k: usize| x[0][((i * h + p) * w + q) * c + k];
                    let mut y = Vec::new();
                    for i in 0..n {
                        for p in 0..h / 2 {
                            for q in 0..w / 2 {
                                for k in 0..c {
                                    let sum: f64 = [(0, 0), (0, 1), (1, 0), (1, 1)]
                                        .map(|(a, b)| at(i, 2 * p + a, 2 * q + b, k))
                                        .iter()
                                        .sum();
                                    y.push(sum / 4.0);
                                }
                            }
                        }
                    }
                    y
                },
            );
        }
    }
}
