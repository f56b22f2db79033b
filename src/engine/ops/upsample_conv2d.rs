//! A 3x3 convolution of an image that is doubled by repeating its pixels, without doubling it.
//!
//! Under the nine taps lie only 2x2 different pixels of the small image: of three rows of the doubled one, two are the same.
//! Which two depends on the parity of the output's row:
//!
//! ```text
//! even   y[2i]     = w0 x[i - 1] + (w1 + w2) x[i]
//! odd    y[2i + 1] = (w0 + w1) x[i] + w2 x[i + 1]
//! ```
//!
//! and along columns the same. So the weights of equal pixels are added up first, and what is left is a transposed
//! convolution with 4x4 kernels and stride 2: 16 products for a pixel of the small image instead of 36, and the doubled
//! image is neither written nor read. Beyond the borders both see zeros.
//!
//! Sums of weights are rounded to the type of the activations, as weights are; the gradient of the 3x3 kernel is the exact
//! sum of f32 gradients.

use crate::engine::device::Memory;
use crate::engine::ops::conv_transpose2d;
use crate::engine::ops::conv2d::{Names, Padding, conv2d};
use crate::engine::ops::upsample::upsample_nearest;
use crate::engine::tape::{Backend, Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};
use rayon::prelude::*;
use std::ops::RangeInclusive;

/// [`conv2d`] with 3x3 kernels, stride 1 and one pixel of padding, of the image that
/// [`upsample_nearest`] makes of `x`. On the CPU it is these two, since there the convolution of the doubled image needs no
/// more products than the other (Winograd's).
///
/// # Shapes
/// `x [n, h, w, c_in]`, `w [c_out, 3, 3, c_in]` of the same type, `bias [c_out]` in f32 or absent; the result is
/// `[n, 2h, 2w, c_out]`. Saved for backward: `x`.
pub fn upsample_conv2d(tape: &mut Tape, x: Tensor, w: Tensor, bias: Tensor) -> Tensor {
    if tape.backend() == Backend::Cpu {
        let doubled = upsample_nearest(tape, x);
        return conv2d(tape, doubled, w, bias, 1, Padding::same(1));
    }
    let wide = wide_weights(tape, w);
    conv_transpose2d::named(tape, x, wide, bias, 2, Padding::same(1), &UPSAMPLE_CONV2D)
}

const UPSAMPLE_CONV2D: Names = Names {
    fwd: "upsample_conv2d_bwd_dx",
    bwd_dx: "upsample_conv2d_fwd",
    bwd_dw: "upsample_conv2d_bwd_dw",
    bwd_dbias: "upsample_conv2d_bwd_dbias",
};

/// The 4x4 kernels `[c_in, 4, 4, c_out]` that `w [c_out, 3, 3, c_in]` amounts to.
fn wide_weights(tape: &mut Tape, w: Tensor) -> Tensor {
    assert!(w.rank() == 4 && w.dim(1) == 3 && w.dim(2) == 3, "upsample_conv2d with weights {w:?}");
    let wide = tape.tensor(&[w.dim(3), 4, 4, w.dim(0)], w.dtype());
    tape.push(WeightsFwd { wide, w });
    wide
}

op! {
    struct WeightsFwd = "upsample_conv2d_weights_fwd" {
        out wide,  // [c_in, 4, 4, c_out]
        in w,      // [c_out, 3, 3, c_in]
    }
}

impl Op for WeightsFwd {
    fn backward(&self, tape: &mut Tape) {
        let dw = tape.weight_grad_slot(self.w);
        tape.push(WeightsBwd { dw, dwide: tape.grad(self.wide) });
        tape.accumulate(self.w, dw);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([wide], [w]) = mem.views([self.wide], [self.w]);
        widen_cpu(wide, w, [self.w.dim(3), self.w.dim(0)]);
    }
    fn launch(&self, q: &mut Launches) {
        let (c_in, c_out) = (self.w.dim(3), self.w.dim(0));
        q.kernel_of(self, self.w.dtype()).grid(squares(c_in, c_out)).with([c_in, c_out]);
    }
}

op! {
    struct WeightsBwd = "upsample_conv2d_weights_bwd" {
        out dw,    // [c_out, 3, 3, c_in] f32
        in dwide,  // [c_in, 4, 4, c_out] f32
    }
}

impl Op for WeightsBwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([dw], [dwide]) = mem.views([self.dw], [self.dwide]);
        narrow_cpu(dw, dwide, [self.dw.dim(3), self.dw.dim(0)]);
    }
    fn launch(&self, q: &mut Launches) {
        assert!(self.dw.dtype() == DType::F32 && self.dwide.dtype() == DType::F32, "gradients of weights are f32");
        let (c_in, c_out) = (self.dw.dim(3), self.dw.dim(0));
        let launch = q.kernel_named("upsample_conv2d_weights_bwd").operands(self);
        launch.grid(squares(c_in, c_out)).with([c_in, c_out]);
    }
}

/// Blocks of 32 by 32 channels.
fn squares(c_in: usize, c_out: usize) -> [usize; 3] {
    [c_in.div_ceil(32), c_out.div_ceil(32), 1]
}

/// Taps of the small kernel that tap `i` of the wide one adds up, along one axis.
fn narrow_taps(i: usize) -> RangeInclusive<usize> {
    2usize.saturating_sub(i)..=(3 - i).min(2)
}

fn widen_cpu(wide: &mut [f32], w: &[f32], [c_in, c_out]: [usize; 2]) {
    wide.par_chunks_mut(16 * c_out).enumerate().for_each(|(c, wide)| {
        for (tap, wide) in wide.chunks_exact_mut(c_out).enumerate() {
            for (o, wide) in wide.iter_mut().enumerate() {
                let rows = narrow_taps(tap / 4);
                let taps = rows.flat_map(|r| narrow_taps(tap % 4).map(move |q| 3 * r + q));
                *wide = taps.map(|tap| w[(o * 9 + tap) * c_in + c]).sum();
            }
        }
    });
}

fn narrow_cpu(dw: &mut [f32], dwide: &[f32], [c_in, c_out]: [usize; 2]) {
    dw.par_chunks_mut(9 * c_in).enumerate().for_each(|(o, dw)| {
        for (tap, dw) in dw.chunks_exact_mut(c_in).enumerate() {
            let first = (2 - tap / 3) * 4 + 2 - tap % 3;
            for (c, dw) in dw.iter_mut().enumerate() {
                let at = |tap: usize| dwide[(c * 16 + tap) * c_out + o];
                *dw = (at(first) + at(first + 1)) + (at(first + 4) + at(first + 5));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::{Check, Input, few, images};

    /// The definition: every tap of every pixel of the doubled image.
    fn oracle(x: &[Vec<f64>], [n, h, w, c_in]: [usize; 4], c_out: usize) -> Vec<f64> {
        images([n, 2 * h, 2 * w, c_out], |image, u, v, o| {
            let mut sum = x[2][o];
            for (r, q) in (0..9).map(|tap| (tap / 3, tap % 3)) {
                let (row, column) = ((u + r).wrapping_sub(1), (v + q).wrapping_sub(1));
                if row < 2 * h && column < 2 * w {
                    let pixel = (image * h + row / 2) * w + column / 2;
                    let weights = &x[1][((o * 3 + r) * 3 + q) * c_in..][..c_in];
                    sum += x[0][pixel * c_in..][..c_in].iter().zip(weights).map(|(x, w)| x * w).sum::<f64>();
                }
            }
            sum
        })
    }

    fn check(check: Check, dims: [usize; 4], c_out: usize) {
        let weights = Input::weight(&[c_out, 3, 3, dims[3]]).scaled(1.0 / (9.0 * dims[3] as f32).sqrt());
        Check { samples: 24, ..check }.run(
            &[Input::activation(&dims), weights, Input::parameter(&[c_out])],
            |tape, x| upsample_conv2d(tape, x[0], x[1], x[2]),
            |x| oracle(x, dims, c_out),
        );
    }

    #[test]
    fn matches_the_oracle() {
        for (dims, c_out) in few([([2, 4, 5, 16], 24), ([1, 3, 4, 35], 3), ([1, 1, 1, 3], 33), ([1, 1, 4, 40], 72)]) {
            check(Check::default(), dims, c_out);
        }
    }

    #[test]
    fn matches_the_oracle_on_hopper() {
        let kernels = &["conv2d_bwd_dx_sm90_64x128", "conv2d_fwd_sm90_64x128", "conv2d_bwd_dw_sm90_any_64"];
        check(Check::default().hopper(kernels), [2, 8, 8, 72], 64);
    }

    /// The CPU computes in this way only here.
    #[test]
    fn wide_weights_are_what_kernels_make_of_them() {
        for (c_in, c_out) in [(3, 5), (33, 40)] {
            Check::default().run(
                &[Input::parameter(&[c_out, 3, 3, c_in])],
                |tape, x| wide_weights(tape, x[0]),
                |x| {
                    let mut wide = vec![0.0; c_in * 16 * c_out];
                    for (i, w) in x[0].iter().enumerate() {
                        let (o, r, q, c) = (i / (9 * c_in), i / (3 * c_in) % 3, i / c_in % 3, i % c_in);
                        for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                            wide[((c * 4 + 2 - r + i) * 4 + 2 - q + j) * c_out + o] += w;
                        }
                    }
                    wide
                },
            );
        }
    }
}
