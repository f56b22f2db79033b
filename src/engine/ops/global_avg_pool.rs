//! The mean of all pixels of an image: `y[i, k] = 1/P sum over pixels p of x[i, p, k]`; `dx[i, p, k] = dy[i, k] / P`.

use crate::engine::ops::image_map::ImageMap;
use crate::engine::simd;
use crate::engine::tape::Tape;
use crate::engine::tensor::Tensor;
use rayon::prelude::*;

/// Averages over height and width.
///
/// # Shapes
/// `x [n, h, w, c]`, result `[n, c]`. Nothing is saved for backward.
pub fn global_avg_pool(tape: &mut Tape, x: Tensor) -> Tensor {
    GLOBAL_AVG_POOL.record(tape, x, &[x.dim(0), x.dim(3)])
}

const GLOBAL_AVG_POOL: ImageMap =
    ImageMap { fwd: "global_avg_pool_fwd", bwd: "global_avg_pool_bwd", scatters: false, forward_cpu, backward_cpu };

fn forward_cpu(y: &mut [f32], x: &[f32], [h, w, c]: [usize; 3]) {
    y.par_chunks_mut(c).zip(x.par_chunks(h * w * c)).for_each(|(y, x)| {
        simd::vectorized!(|| {
            y.fill(0.0);
            for x in x.chunks_exact(c) {
                for (y, x) in y.iter_mut().zip(x) {
                    *y += x;
                }
            }
            let scale = 1.0 / (h * w) as f32;
            for y in y {
                *y *= scale;
            }
        });
    });
}

fn backward_cpu(dx: &mut [f32], dy: &[f32], [h, w, c]: [usize; 3]) {
    let scale = 1.0 / (h * w) as f32;
    dx.par_chunks_mut(h * w * c).zip(dy.par_chunks(c)).for_each(|(dx, dy)| {
        simd::vectorized!(|| {
            for dx in dx.chunks_exact_mut(c) {
                for (dx, dy) in dx.iter_mut().zip(dy) {
                    *dx = scale * dy;
                }
            }
        });
    });
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
