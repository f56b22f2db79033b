//! The mean of all pixels of an image: `y[i, k] = 1/P sum over pixels p of x[i, p, k]`; `dx[i, p, k] = dy[i, k] / P`.

use crate::engine::device::Memory;
use crate::engine::ops::avg_pool::slice_blocks;
use crate::engine::simd;
use crate::engine::tape::{Launches, Op, Tape};
use crate::engine::tensor::Tensor;
use rayon::prelude::*;

/// Averages over height and width.
///
/// # Shapes
/// `x [n, h, w, c]`, result `[n, c]`. Nothing is saved for backward.
pub fn global_avg_pool(tape: &mut Tape, x: Tensor) -> Tensor {
    assert_eq!(x.rank(), 4, "global_avg_pool of {x:?}");
    let y = tape.tensor(&[x.dim(0), x.dim(3)], x.dtype());
    tape.push(GlobalAvgPoolFwd { y, x });
    y
}

#[derive(Debug)]
struct GlobalAvgPoolFwd {
    y: Tensor,
    x: Tensor,
}

impl Op for GlobalAvgPoolFwd {
    fn name(&self) -> &'static str {
        "global_avg_pool_fwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.y]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.x]
    }
    fn backward(&self, tape: &mut Tape) {
        let dx = tape.grad_slot(self.x);
        tape.push(GlobalAvgPoolBwd { dx, dy: tape.grad(self.y) });
        tape.accumulate(self.x, dx);
    }
    fn cpu(&self, mem: &mut Memory) {
        let (c, pixels) = (self.x.dim(3), self.x.dim(1) * self.x.dim(2));
        let ([y], [x]) = mem.views([self.y], [self.x]);
        y.par_chunks_mut(c).zip(x.par_chunks(pixels * c)).for_each(|(y, x)| {
            simd::vectorize(
                #[inline(always)]
                || {
                    y.fill(0.0);
                    for x in x.chunks_exact(c) {
                        for (y, x) in y.iter_mut().zip(x) {
                            *y += x;
                        }
                    }
                    let scale = 1.0 / pixels as f32;
                    for y in y {
                        *y *= scale;
                    }
                },
            );
        });
    }
    fn launch(&self, q: &mut Launches) {
        let (y, pixels) = (self.y, self.x.dim(1) * self.x.dim(2));
        let args = [y.into(), self.x.into(), pixels.into(), y.dim(1).into()];
        q.kernel("global_avg_pool_fwd", y.dtype()).grid(slice_blocks(y)).args(&args);
    }
}

#[derive(Debug)]
struct GlobalAvgPoolBwd {
    dx: Tensor,
    dy: Tensor,
}

impl Op for GlobalAvgPoolBwd {
    fn name(&self) -> &'static str {
        "global_avg_pool_bwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.dx]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dy]
    }
    fn cpu(&self, mem: &mut Memory) {
        let (c, pixels) = (self.dx.dim(3), self.dx.dim(1) * self.dx.dim(2));
        let ([dx], [dy]) = mem.views([self.dx], [self.dy]);
        let scale = 1.0 / pixels as f32;
        dx.par_chunks_mut(pixels * c).zip(dy.par_chunks(c)).for_each(|(dx, dy)| {
            simd::vectorize(
                #[inline(always)]
                || {
                    for dx in dx.chunks_exact_mut(c) {
                        for (dx, dy) in dx.iter_mut().zip(dy) {
                            *dx = scale * dy;
                        }
                    }
                },
            );
        });
    }
    fn launch(&self, q: &mut Launches) {
        let (dx, pixels) = (self.dx, self.dx.dim(1) * self.dx.dim(2));
        let args = [dx.into(), self.dy.into(), pixels.into(), dx.dim(3).into()];
        q.kernel("global_avg_pool_bwd", dx.dtype()).grid(slice_blocks(dx)).args(&args);
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::check::{Check, Input};

    #[test]
    fn matches_the_oracle() {
        for [n, h, w, c] in [[1, 6, 4, 3], [3, 3, 5, 35], [2, 8, 8, 32], [2, 1, 1, 8]] {
            Check::default().run(
                &[Input::activation(&[n, h, w, c])],
                |tape, x| super::global_avg_pool(tape, x[0]),
                |x| {
                    let sum = |i: usize| (0..h * w).map(|p| x[0][(i / c * h * w + p) * c + i % c]).sum::<f64>();
                    (0..n * c).map(|i| sum(i) / (h * w) as f64).collect()
                },
            );
        }
    }
}
