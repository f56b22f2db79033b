//! Doubling height and width.
//!
//! Nearest: `y[2i + a, 2j + b] = x[i, j]`; `dx[i, j]` is the sum of the four.
//!
//! Bilinear with aligned corners: output row p lies at `p (h - 1) / (2h - 1)` between the input rows, so with
//! `hat(p, i) = max(0, 1 - |p (h - 1) / (2h - 1) - i|)`
//!
//! ```text
//! y[p, q]  = sum over i, j of hat(p, i) hat(q, j) x[i, j]
//! dx[i, j] = sum over p, q of hat(p, i) hat(q, j) dy[p, q]
//! ```
//! Numerator and denominator stay integers, so forward and backward use bitwise the same weights.

use crate::engine::ops::image_map::ImageMap;
use crate::engine::simd;
use crate::engine::tape::Tape;
use crate::engine::tensor::Tensor;
use rayon::prelude::*;

/// Doubles height and width by repeating pixels.
///
/// # Shapes
/// `x [n, h, w, c]`, result `[n, 2h, 2w, c]`. Nothing is saved for backward.
pub fn upsample_nearest(tape: &mut Tape, x: Tensor) -> Tensor {
    NEAREST.record(tape, x, &doubled(x))
}

/// Doubles height and width by bilinear interpolation with aligned corners.
///
/// # Shapes
/// `x [n, h, w, c]`, result `[n, 2h, 2w, c]`. Nothing is saved for backward.
pub fn upsample_bilinear(tape: &mut Tape, x: Tensor) -> Tensor {
    BILINEAR.record(tape, x, &doubled(x))
}

fn doubled(x: Tensor) -> [usize; 4] {
    [x.dim(0), 2 * x.dim(1), 2 * x.dim(2), x.dim(3)]
}

const NEAREST: ImageMap = ImageMap {
    fwd: "upsample_nearest_fwd",
    bwd: "upsample_nearest_bwd",
    scatters: true,
    forward_cpu: nearest_forward_cpu,
    backward_cpu: nearest_backward_cpu,
};

const BILINEAR: ImageMap = ImageMap {
    fwd: "upsample_bilinear_fwd",
    bwd: "upsample_bilinear_bwd",
    scatters: false,
    forward_cpu: bilinear_forward_cpu,
    backward_cpu: bilinear_backward_cpu,
};

/// `y [n, 2h, 2w, c]` of `x [n, h, w, c]`: each input row becomes two equal output rows.
fn nearest_forward_cpu(y: &mut [f32], x: &[f32], [_, w, c]: [usize; 3]) {
    y.par_chunks_mut(4 * w * c).zip(x.par_chunks(w * c)).for_each(|(rows, x)| {
        let (above, below) = rows.split_at_mut(2 * w * c);
        for (pair, x) in above.chunks_exact_mut(2 * c).zip(x.chunks_exact(c)) {
            pair[..c].copy_from_slice(x);
            pair[c..].copy_from_slice(x);
        }
        below.copy_from_slice(above);
    });
}

/// `dx [n, h, w, c]` of `dy [n, 2h, 2w, c]`.
fn nearest_backward_cpu(dx: &mut [f32], dy: &[f32], [_, w, c]: [usize; 3]) {
    dx.par_chunks_mut(w * c).zip(dy.par_chunks(4 * w * c)).for_each(|(dx, rows)| {
        let (above, below) = rows.split_at(2 * w * c);
        simd::vectorized!(|| {
            let pairs = above.chunks_exact(2 * c).zip(below.chunks_exact(2 * c));
            for (dx, (above, below)) in dx.chunks_exact_mut(c).zip(pairs) {
                let (a, b) = above.split_at(c);
                let (d, e) = below.split_at(c);
                for k in 0..c {
                    dx[k] = a[k] + b[k] + d[k] + e[k];
                }
            }
        });
    });
}

/// The two inputs of `size` around output p, and the second one's weight.
fn neighbours(p: usize, size: usize) -> ([usize; 2], f32) {
    let (position, scale) = (p * (size - 1), 2 * size - 1);
    let first = position / scale;
    ([first, (first + 1).min(size - 1)], (position % scale) as f32 / scale as f32)
}

/// The outputs that input i of `size` contributes to.
fn reach(i: usize, size: usize) -> std::ops::RangeInclusive<usize> {
    let (scale, step) = (2 * size - 1, (size - 1).max(1));
    let first = if i == 0 { 0 } else { (i - 1) * scale / step + 1 };
    let last = if i == size - 1 { scale } else { ((i + 1) * scale - 1) / step };
    first..=last
}

/// hat(p, i) for a p within reach of i.
fn hat(p: usize, i: usize, size: usize) -> f32 {
    let scale = 2 * size - 1;
    (scale - (p * (size - 1)).abs_diff(i * scale)) as f32 / scale as f32
}

/// `y [n, 2h, 2w, c]` of `x [n, h, w, c]`, a row of y at a time.
fn bilinear_forward_cpu(y: &mut [f32], x: &[f32], [h, w, c]: [usize; 3]) {
    y.par_chunks_mut(2 * w * c).enumerate().for_each(|(row, y)| {
        let (image, p) = (row / (2 * h), row % (2 * h));
        let (rows, down) = neighbours(p, h);
        let [above, below] = rows.map(|i| &x[(image * h + i) * w * c..][..w * c]);
        simd::vectorized!(|| {
            for (q, y) in y.chunks_exact_mut(c).enumerate() {
                let (cols, right) = neighbours(q, w);
                let [a, b] = cols.map(|j| &above[j * c..][..c]);
                let [d, e] = cols.map(|j| &below[j * c..][..c]);
                let upper = [(1.0 - down) * (1.0 - right), (1.0 - down) * right];
                let lower = [down * (1.0 - right), down * right];
                for k in 0..c {
                    y[k] = upper[0] * a[k] + upper[1] * b[k] + lower[0] * d[k] + lower[1] * e[k];
                }
            }
        });
    });
}

/// `dx [n, h, w, c]` of `dy [n, 2h, 2w, c]`, a row of dx at a time.
fn bilinear_backward_cpu(dx: &mut [f32], dy: &[f32], [h, w, c]: [usize; 3]) {
    dx.par_chunks_mut(w * c).enumerate().for_each(|(row, dx)| {
        let (image, i) = (row / h, row % h);
        simd::vectorized!(|| {
            dx.fill(0.0);
            for p in reach(i, h) {
                let dy = &dy[(image * 2 * h + p) * 2 * w * c..][..2 * w * c];
                let down = hat(p, i, h);
                for (j, dx) in dx.chunks_exact_mut(c).enumerate() {
                    for q in reach(j, w) {
                        let weight = down * hat(q, j, w);
                        for (dx, dy) in dx.iter_mut().zip(&dy[q * c..][..c]) {
                            *dx += weight * dy;
                        }
                    }
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::{Check, Input, images};

    const SHAPES: [[usize; 4]; 7] =
        [[1, 5, 7, 3], [3, 4, 4, 35], [2, 8, 8, 32], [1, 1, 1, 4], [2, 1, 3, 8], [1, 2, 2, 1], [1, 3, 16, 33]];

    #[test]
    fn nearest_matches_the_oracle() {
        for dims @ [n, h, w, c] in SHAPES {
            Check::default().run(
                &[Input::activation(&dims)],
                |tape, x| upsample_nearest(tape, x[0]),
                |x| {
                    let at = |i: usize, p: usize, q: usize, k: usize| x[0][((i * h + p) * w + q) * c + k];
                    images([n, 2 * h, 2 * w, c], |i, p, q, k| at(i, p / 2, q / 2, k))
                },
            );
        }
    }

    #[test]
    fn bilinear_matches_the_oracle() {
        let around = |p: usize, size: usize| {
            let at = p as f64 * (size - 1) as f64 / (2 * size - 1) as f64;
            let first = at.floor() as usize;
            (first, (first + 1).min(size - 1), at - at.floor())
        };
        for dims @ [n, h, w, c] in SHAPES {
            Check::default().run(
                &[Input::activation(&dims)],
                |tape, x| upsample_bilinear(tape, x[0]),
                |x| {
                    let at = |i: usize, p: usize, q: usize, k: usize| x[0][((i * h + p) * w + q) * c + k];
                    images([n, 2 * h, 2 * w, c], |i, p, q, k| {
                        let ((r0, r1, down), (c0, c1, right)) = (around(p, h), around(q, w));
                        let above = at(i, r0, c0, k) * (1.0 - right) + at(i, r0, c1, k) * right;
                        let below = at(i, r1, c0, k) * (1.0 - right) + at(i, r1, c1, k) * right;
                        above * (1.0 - down) + below * down
                    })
                },
            );
        }
    }

    #[test]
    fn reach_is_where_the_hat_is_positive() {
        for size in 1..40 {
            for i in 0..size {
                let scale = (2 * size - 1) as isize;
                let near = |p: usize| ((p * (size - 1)) as isize - i as isize * scale).abs() < scale;
                let want: Vec<usize> = (0..2 * size).filter(|&p| near(p)).collect();
                assert_eq!(reach(i, size).collect::<Vec<_>>(), want, "input {i} of {size}");
            }
        }
    }
}
