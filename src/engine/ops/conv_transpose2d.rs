//! Transposed convolution: the adjoint of [`conv2d`](crate::engine::ops::conv2d), which enlarges an image by its stride.
//!
//! ```text
//! y[p, o]      = bias[o] + sum over c, (r, q) of  x[(p + pad - (r, q)) / stride, c] w[c, r, q, o]
//! dx[p, c]     =           sum over o, (r, q) of  dy[p stride - pad + (r, q), o] w[c, r, q, o]
//! dw[c,r,q,o]  =           sum over p         of  x[p, c] dy[p stride - pad + (r, q), o]
//! dbias[o]     =           sum over p         of  dy[p, o]
//! ```
//!
//! where only whole quotients count. These are the products of the convolution that takes `y` to `x`, with the roles
//! swapped: the backward pass of that one is the forward pass of this, so kernels and CPU implementation are the convolution's.

use crate::engine::device::Memory;
use crate::engine::ops::conv2d::{BwdDbias, BwdDw, BwdDx, Conv2dFwd, Conv2dShape, Layer, Names, Padding};
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};

/// Forwards it is a convolution's data gradient, and the other way round.
const CONV_TRANSPOSE2D: Names = Names {
    fwd: "conv_transpose2d_bwd_dx",
    bwd_dx: "conv_transpose2d_fwd",
    bwd_dw: "conv_transpose2d_bwd_dw",
    bwd_dbias: "conv_transpose2d_bwd_dbias",
};

/// Transposed convolution with an optional bias.
///
/// # Shapes
/// `x [n, h, w, c_in]`, `w [c_in, kh, kw, c_out]` of the same type, `bias [c_out]` in f32 or absent; the result is
/// `[n, out_h, out_w, c_out]` with `out = (size - 1) stride + kernel - padding`, so 4 x 4 kernels of stride 2 with one
/// pixel of padding double an image. Saved for backward: `x`.
///
/// In files PyTorch's `ConvTranspose2d` has its weights as `[c_in, c_out, kh, kw]`: the channels last of the rows of `w`
/// moved first, as with every convolution (see [`ParamSet`](crate::nn::ParamSet)).
pub fn conv_transpose2d(
    tape: &mut Tape,
    x: Tensor,
    w: Tensor,
    bias: Tensor,
    stride: usize,
    padding: Padding,
) -> Tensor {
    named(tape, x, w, bias, stride, padding, &CONV_TRANSPOSE2D)
}

/// Records the same under other names in profiles.
pub(super) fn named(
    tape: &mut Tape,
    x: Tensor,
    w: Tensor,
    bias: Tensor,
    stride: usize,
    padding: Padding,
    names: &'static Names,
) -> Tensor {
    assert!(x.rank() == 4 && w.rank() == 4 && x.dim(3) == w.dim(0), "conv_transpose2d of {x:?} with weights {w:?}");
    assert!(x.dtype() == w.dtype() && bias.dtype() == DType::F32, "conv_transpose2d of {x:?}, {w:?}, bias {bias:?}");
    let (kh, kw, c_out) = (w.dim(1), w.dim(2), w.dim(3));
    assert!(bias.is_empty() || bias.numel() == c_out, "conv_transpose2d: bias {bias:?} for {c_out} channels");
    let shape = Conv2dShape {
        n: x.dim(0),
        h: (x.dim(1) - 1) * stride + kh - padding.top - padding.bottom,
        w: (x.dim(2) - 1) * stride + kw - padding.left - padding.right,
        c_in: c_out,
        c_out: x.dim(3),
        kh,
        kw,
        stride,
        pad_top: padding.top,
        pad_left: padding.left,
        pad_bottom: padding.bottom,
        pad_right: padding.right,
    };
    let y = tape.tensor(&[shape.n, shape.h, shape.w, c_out], x.dtype());
    let layer = Layer::new(shape, names).on(tape, x.dtype());
    tape.push(ConvTranspose2dFwd { y, x, w, bias, layer });
    y
}

op! {
    struct ConvTranspose2dFwd = self.layer.names.bwd_dx {
        out y,    // [n, out_h, out_w, c_out]
        in x,     // [n, h, w, c_in]
        in w,     // [c_in, kh, kw, c_out]
        in bias,  // [c_out] f32; may be absent
        layer: Layer,
    }
}

impl ConvTranspose2dFwd {
    /// The data gradient that computes the same.
    fn adjoint(&self) -> BwdDx {
        let ConvTranspose2dFwd { y, x, w, bias, layer } = *self;
        BwdDx { dx: y, dy: x, w, bias, earlier: Tensor::EMPTY, layer }
    }
}

impl Op for ConvTranspose2dFwd {
    fn backward(&self, tape: &mut Tape) {
        let ConvTranspose2dFwd { y, x, w, bias, layer } = *self;
        let dy = tape.grad(y);
        if tape.needs_grad(w) {
            BwdDw::record(tape, w, Tensor::EMPTY, x, dy.into(), layer);
        }
        if tape.needs_grad(bias) {
            BwdDbias::record(tape, bias, dy, layer.names.bwd_dbias);
        }
        let (dx, [earlier]) = tape.grad_sum(x);
        if !dx.is_empty() {
            tape.push(Conv2dFwd { y: dx, x: dy.into(), w, bias: Tensor::EMPTY, residual: earlier, layer });
            tape.set_grad(x, dx);
        }
    }
    fn cpu(&self, mem: &mut Memory) {
        self.adjoint().cpu(mem);
    }
    fn launch(&self, q: &mut Launches) {
        self.adjoint().launch(q);
    }
    fn flops(&self) -> u64 {
        self.adjoint().flops()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::{Check, Input, few};

    /// The definition as a scatter: every pixel of x paints its kernel onto y.
    fn oracle(x: &[Vec<f64>], dims: [usize; 4], c_out: usize, kernel: usize, stride: usize, pad: usize) -> Vec<f64> {
        let [n, h, w, c_in] = dims;
        let out = |size: usize| (size - 1) * stride + kernel - 2 * pad;
        let (out_h, out_w) = (out(h), out(w));
        let mut y: Vec<f64> = (0..n * out_h * out_w * c_out).map(|i| x[2][i % c_out]).collect();
        for (pixel, x0) in x[0].chunks_exact(c_in).enumerate() {
            let (image, i, j) = (pixel / (h * w), pixel / w % h, pixel % w);
            for (r, q) in (0..kernel * kernel).map(|tap| (tap / kernel, tap % kernel)) {
                let (u, v) = ((i * stride + r).wrapping_sub(pad), (j * stride + q).wrapping_sub(pad));
                if u >= out_h || v >= out_w {
                    continue;
                }
                for (c, x0) in x0.iter().enumerate() {
                    for o in 0..c_out {
                        let weight = x[1][((c * kernel + r) * kernel + q) * c_out + o];
                        y[((image * out_h + u) * out_w + v) * c_out + o] += x0 * weight;
                    }
                }
            }
        }
        y
    }

    fn check(dims: [usize; 4], c_out: usize, kernel: usize, stride: usize, pad: usize) {
        let scale = stride as f32 / ((kernel * kernel * dims[3]) as f32).sqrt();
        let weights = Input::weight(&[dims[3], kernel, kernel, c_out]).scaled(scale);
        Check { samples: 24, ..Check::default() }.run(
            &[Input::activation(&dims), weights, Input::parameter(&[c_out])],
            |tape, x| conv_transpose2d(tape, x[0], x[1], x[2], stride, Padding::same(pad)),
            |x| oracle(x, dims, c_out, kernel, stride, pad),
        );
    }

    #[test]
    fn doubling_matches_the_oracle() {
        for (dims, c_out) in few([([2, 4, 5, 16], 24), ([1, 3, 4, 35], 3), ([1, 1, 1, 3], 33)]) {
            check(dims, c_out, 4, 2, 1);
        }
    }

    #[test]
    fn other_kernels_match_the_oracle() {
        check([1, 1, 2, 8], 16, 4, 1, 0);
        check([2, 5, 6, 16], 16, 3, 1, 1);
        check([1, 4, 3, 8], 5, 2, 2, 0);
    }
}
