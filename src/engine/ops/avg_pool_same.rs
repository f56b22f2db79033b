//! Average pooling over the 3 x 3 pixels around every pixel, cut off at the edges of the image: with `N(p)` the pixels
//! of the image that are at most one row and one column away from p,
//!
//! ```text
//! y[p]  = 1 / |N(p)|  sum over q in N(p) of  x[q]              dx[q]  =  sum over p in N(q) of  dy[p] / |N(p)|
//! ```

use crate::engine::ops::image_map::ImageMap;
use crate::engine::simd;
use crate::engine::tape::Tape;
use crate::engine::tensor::Tensor;
use rayon::prelude::*;
use std::ops::Range;

/// The mean of the 3 x 3 window around every pixel, over those of its pixels that exist.
///
/// # Shapes
/// `x` and the result: `[n, h, w, c]`. Nothing is saved for backward.
pub fn avg_pool_same(tape: &mut Tape, x: Tensor) -> Tensor {
    AVG_POOL_SAME.record(tape, x, &x.dims())
}

const AVG_POOL_SAME: ImageMap = ImageMap {
    fwd: "avg_pool_same_fwd",
    bwd: "avg_pool_same_bwd",
    scatters: false,
    forward_cpu: |y, x, hwc| sum_neighbours(y, x, hwc, |here, _| here),
    backward_cpu: |dx, dy, hwc| sum_neighbours(dx, dy, hwc, |_, there| there),
};

/// `out[p] = sum over the neighbours q of p of source[q] / count`, a row of `out [n, h, w, c]` at a time, where `count`
/// is chosen from the numbers of neighbours of p and of q.
fn sum_neighbours(
    out: &mut [f32],
    source: &[f32],
    [h, w, c]: [usize; 3],
    count: impl Fn(usize, usize) -> usize + Sync,
) {
    let neighbours = |i: usize, j: usize| around(i, h).len() * around(j, w).len();
    out.par_chunks_mut(w * c).enumerate().for_each(|(row, out)| {
        let (image, i) = (row / h, row % h);
        simd::vectorized!(|| {
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
        });
    });
}

/// The places at most one away from `i` on an axis of `size` pixels.
fn around(i: usize, size: usize) -> Range<usize> {
    i.saturating_sub(1)..size.min(i + 2)
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::check::{Check, Input, images};

    #[test]
    fn matches_the_oracle() {
        for [n, h, w, c] in [[1, 6, 4, 3], [2, 3, 8, 35], [1, 5, 7, 32], [2, 1, 1, 8], [1, 2, 1, 1]] {
            Check::default().run(
                &[Input::activation(&[n, h, w, c])],
                |tape, x| super::avg_pool_same(tape, x[0]),
                |x| {
                    images([n, h, w, c], |image, i, j, k| {
                        let window = (0..9).map(|t| (i + t / 3, j + t % 3));
                        let inside = window.filter(|&(u, v)| (1..=h).contains(&u) && (1..=w).contains(&v));
                        let value = |(u, v): (usize, usize)| x[0][((image * h + u - 1) * w + v - 1) * c + k];
                        let values: Vec<f64> = inside.map(value).collect();
                        values.iter().sum::<f64>() / values.len() as f64
                    })
                },
            );
        }
    }
}
