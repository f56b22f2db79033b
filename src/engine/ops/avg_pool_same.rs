//! Average pooling over the 3 x 3 pixels around every pixel, cut off at the edges of the image: with `N(p)` the pixels
//! of the image that are at most one row and one column away from p,
//!
//! ```text
//! y[p]  = 1 / |N(p)|  sum over q in N(p) of  x[q]              dx[q]  =  sum over p in N(q) of  dy[p] / |N(p)|
//! ```

use crate::engine::device::Memory;
use crate::engine::ops::avg_pool::slice_blocks;
use crate::engine::simd;
use crate::engine::tape::{Launches, Op, Tape};
use crate::engine::tensor::Tensor;
use rayon::prelude::*;
use std::ops::Range;

/// The mean of the 3 x 3 window around every pixel, over those of its pixels that exist.
///
/// # Shapes
/// `x` and the result: `[n, h, w, c]`. Nothing is saved for backward.
pub fn avg_pool_same(tape: &mut Tape, x: Tensor) -> Tensor {
    assert_eq!(x.rank(), 4, "avg_pool_same of {x:?}");
    let y = tape.tensor(&x.dims(), x.dtype());
    tape.push(AvgPoolSameFwd { y, x });
    y
}

#[derive(Debug)]
struct AvgPoolSameFwd {
    y: Tensor,
    x: Tensor,
}

impl Op for AvgPoolSameFwd {
    fn name(&self) -> &'static str {
        "avg_pool_same_fwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.y]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.x]
    }
    fn backward(&self, tape: &mut Tape) {
        let dx = tape.grad_slot(self.x);
        tape.push(AvgPoolSameBwd { dx, dy: tape.grad(self.y) });
        tape.accumulate(self.x, dx);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x]) = mem.views([self.y], [self.x]);
        sum_neighbours(y, x, &self.x.dims(), |here, _| here);
    }
    fn launch(&self, q: &mut Launches) {
        launch(q, "avg_pool_same_fwd", self.y, self.x);
    }
}

#[derive(Debug)]
struct AvgPoolSameBwd {
    dx: Tensor,
    dy: Tensor,
}

impl Op for AvgPoolSameBwd {
    fn name(&self) -> &'static str {
        "avg_pool_same_bwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.dx]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dy]
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([dx], [dy]) = mem.views([self.dx], [self.dy]);
        sum_neighbours(dx, dy, &self.dx.dims(), |_, there| there);
    }
    fn launch(&self, q: &mut Launches) {
        launch(q, "avg_pool_same_bwd", self.dx, self.dy);
    }
}

fn launch(q: &mut Launches, kernel: &'static str, out: Tensor, source: Tensor) {
    let args = [out.into(), source.into(), out.dim(1).into(), out.dim(2).into(), out.dim(3).into()];
    q.kernel(kernel, out.dtype()).grid(slice_blocks(out)).args(&args);
}

/// `out[p] = sum over the neighbours q of p of source[q] / count`, a row of `out [n, h, w, c]` at a time, where `count`
/// is chosen from the numbers of neighbours of p and of q.
fn sum_neighbours(out: &mut [f32], source: &[f32], dims: &[usize], count: impl Fn(usize, usize) -> usize + Sync) {
    let &[_, h, w, c] = dims else { unreachable!("images") };
    let neighbours = |i: usize, j: usize| around(i, h).len() * around(j, w).len();
    out.par_chunks_mut(w * c).enumerate().for_each(|(row, out)| {
        let (image, i) = (row / h, row % h);
        simd::vectorize(
            #[inline(always)]
            || {
                for (j, out) in out.chunks_exact_mut(c).enumerate() {
                    out.fill(0.0);
                    for (u, v) in around(i, h).flat_map(|u| around(j, w).map(move |v| (u, v))) {
                        let weight = 1.0 / count(neighbours(i, j), neighbours(u, v)) as f32;
                        let source = &source[((image * h + u) * w + v) * c..][..c];
                        for (out, x) in out.iter_mut().zip(source) {
                            *out += weight * x;
                        }
                    }
                }
            },
        );
    });
}

/// The places at most one away from `i` on an axis of `size` pixels.
fn around(i: usize, size: usize) -> Range<usize> {
    i.saturating_sub(1)..size.min(i + 2)
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::check::{Check, Input};

    #[test]
    fn matches_the_oracle() {
        for [n, h, w, c] in [[1, 6, 4, 3], [2, 3, 8, 35], [1, 5, 7, 32], [2, 1, 1, 8], [1, 2, 1, 1]] {
            Check::default().run(
                &[Input::activation(&[n, h, w, c])],
                |tape, x| super::avg_pool_same(tape, x[0]),
                |x| {
                    let mut y = Vec::new();
                    for index in 0..n * h * w * c {
                        let (pixel, k) = (index / c, index % c);
                        let (image, i, j) = (pixel / (h * w), pixel / w % h, pixel % w);
                        let window = (0..9).map(|t| (i + t / 3, j + t % 3));
                        let inside = window.filter(|&(u, v)| (1..=h).contains(&u) && (1..=w).contains(&v));
                        let values: Vec<f64> =
                            inside.map(|(u, v)| x[0][((image * h + u - 1) * w + v - 1) * c + k]).collect();
                        y.push(values.iter().sum::<f64>() / values.len() as f64);
                    }
                    y
                },
            );
        }
    }
}
