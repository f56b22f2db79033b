//! Average pooling over 2 x 2 pixels, `y[i, j] = 1/4 sum over a, b in {0, 1} of x[2i + a, 2j + b]`. An odd last row or
//! column is left out, and its gradient is zero.

use crate::engine::ops::image_map::ImageMap;
use crate::engine::simd;
use crate::engine::tape::Tape;
use crate::engine::tensor::Tensor;
use rayon::prelude::*;

/// Halves height and width by averaging.
///
/// # Shapes
/// `x [n, h, w, c]`, result `[n, h/2, w/2, c]`, rounded down. Nothing is saved for backward.
pub fn avg_pool(tape: &mut Tape, x: Tensor) -> Tensor {
    AVG_POOL.record(tape, x, &[x.dim(0), x.dim(1) / 2, x.dim(2) / 2, x.dim(3)])
}

const AVG_POOL: ImageMap =
    ImageMap { fwd: "avg_pool_fwd", bwd: "avg_pool_bwd", scatters: false, forward_cpu, backward_cpu };

/// `y [n, h/2, w/2, c]` of `x [n, h, w, c]`, a row of y at a time.
fn forward_cpu(y: &mut [f32], x: &[f32], [h, w, c]: [usize; 3]) {
    let (out_h, out_w) = (h / 2, w / 2);
    y.par_chunks_mut(out_w * c).enumerate().for_each(|(row, y)| {
        let (image, i) = (row / out_h, row % out_h);
        let above = &x[(image * h + 2 * i) * w * c..][..w * c];
        let below = &x[(image * h + 2 * i + 1) * w * c..][..w * c];
        simd::vectorized!(|| {
            let pairs = above.chunks_exact(2 * c).zip(below.chunks_exact(2 * c));
            for (y, (above, below)) in y.chunks_exact_mut(c).zip(pairs) {
                let (a, b) = above.split_at(c);
                let (d, e) = below.split_at(c);
                for k in 0..c {
                    y[k] = 0.25 * (a[k] + b[k] + d[k] + e[k]);
                }
            }
        });
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
        simd::vectorized!(|| {
            for (pair, dy) in pairs.chunks_exact_mut(2 * c).zip(dy.chunks_exact(c)) {
                let (left, right) = pair.split_at_mut(c);
                for k in 0..c {
                    left[k] = 0.25 * dy[k];
                    right[k] = left[k];
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::check::{Check, Input, images};

    #[test]
    fn matches_the_oracle() {
        for [n, h, w, c] in [[1, 6, 4, 3], [3, 4, 8, 35], [2, 8, 8, 32], [1, 5, 7, 8], [2, 2, 2, 1]] {
            Check::default().run(
                &[Input::activation(&[n, h, w, c])],
                |tape, x| super::avg_pool(tape, x[0]),
                |x| {
                    let at = |i: usize, p: usize, q: usize, k: usize| x[0][((i * h + p) * w + q) * c + k];
                    images([n, h / 2, w / 2, c], |image, p, q, k| {
                        let window = [(0, 0), (0, 1), (1, 0), (1, 1)];
                        window.iter().map(|(a, b)| at(image, 2 * p + a, 2 * q + b, k)).sum::<f64>() / 4.0
                    })
                },
            );
        }
    }
}
