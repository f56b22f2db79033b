//! Convolution in NHWC, and with it every linear layer (a 1x1 convolution of one-pixel images).
//!
//! With pixels `p` of the output, taps `(r, q)` of the kernel, input channels `c` and output channels `o`:
//!
//! ```text
//! y[p, o]       = bias[o] + sum over r, q, c of  x[p stride - pad + (r, q), c] w[o, r, q, c]
//! dx[p, c]      =           sum over r, q, o of  dy[(p + pad - (r, q)) / stride, o] w[o, r, q, c]
//! dw[o,r,q,c]   =           sum over p       of  dy[p, o] x[p stride - pad + (r, q), c]
//! dbias[o]      =           sum over p       of  dy[p, o]
//! ```
//!
//! where `x` outside the image is zero, and only whole quotients count in `dx`. What is added to a convolution's result
//! right away is added where that is stored: a residual to `y`, other consumers' contributions to `dx`. It is added to
//! the result as stored, so the sum is bitwise that of an op of its own.

pub mod cpu;
mod few;
pub mod hopper;
mod layer;
mod shape;
mod splits;

use crate::engine::device::Memory;
use crate::engine::ops::concat::{Joined, joined_dims};
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};
use hopper::Plans;
pub(super) use layer::{Layer, Names};
pub use shape::Conv2dShape;
use splits::{Splits, sum_later};

/// Zeros around the image, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// The same on all four sides.
    pub fn same(pixels: usize) -> Padding {
        Padding { top: pixels, left: pixels, bottom: pixels, right: pixels }
    }

    /// Below and to the right only: how diffusers pads before it halves the resolution.
    pub fn bottom_right(pixels: usize) -> Padding {
        Padding { bottom: pixels, right: pixels, ..Padding::default() }
    }
}

/// Convolution with an optional bias.
///
/// # Shapes
/// `x [n, h, w, c_in]`, `w [c_out, kh, kw, c_in]` of the same type, `bias [c_out]` in f32 or absent; the result is
/// `[n, out_h, out_w, c_out]` with `out = (size + padding - kernel) / stride + 1`. Saved for backward: `x`.
pub fn conv2d(tape: &mut Tape, x: Tensor, w: Tensor, bias: Tensor, stride: usize, padding: Padding) -> Tensor {
    conv2d_add(tape, x, w, bias, stride, padding, Tensor::EMPTY)
}

/// `conv2d(x, w) + residual`, in one launch.
///
/// # Shapes
/// As [`conv2d`]; `residual` as the result, of the same type, or absent. Its gradient is that of the result, shared.
/// `x` may be two tensors [joined](crate::engine::ops::concat::join), of which [`reads_joined`] says whether it can.
pub fn conv2d_add(
    tape: &mut Tape,
    x: impl Into<Joined>,
    w: Tensor,
    bias: Tensor,
    stride: usize,
    padding: Padding,
    residual: Tensor,
) -> Tensor {
    let x = x.into();
    let dtype = x.whole.dtype();
    let shape = shape_of(&x.whole.dims(), w, stride, padding);
    let y = tape.tensor(&[shape.n, shape.out_h(), shape.out_w(), shape.c_out], dtype);
    let layer = Layer::new(shape, &CONV2D).on(tape, dtype);
    Conv2dFwd { y, x, w, bias, residual, layer }.record(tape)
}

/// [`conv2d`] without a bias, by the kernels that `plans` names instead of those that are thought to be the fastest: to
/// compare them.
pub fn conv2d_planned(tape: &mut Tape, x: Tensor, w: Tensor, stride: usize, padding: Padding, plans: Plans) -> Tensor {
    let shape = shape_of(&x.dims(), w, stride, padding);
    let y = tape.tensor(&[shape.n, shape.out_h(), shape.out_w(), shape.c_out], x.dtype());
    let layer = Layer { hopper: plans, ..Layer::new(shape, &CONV2D) };
    Conv2dFwd { y, x: x.into(), w, bias: Tensor::EMPTY, residual: Tensor::EMPTY, layer }.record(tape)
}

/// Returns true if [`conv2d_add`] can read `a` and `b` [joined](crate::engine::ops::concat::join): the kernels for Hopper
/// can, for shapes that they compute, if the channels of `a` are whole blocks of 64.
pub fn reads_joined(tape: &Tape, [a, b]: [Tensor; 2], w: Tensor, stride: usize, padding: Padding) -> bool {
    let shape = shape_of(&joined_dims(a, b), w, stride, padding);
    Layer::new(shape, &CONV2D).on(tape, a.dtype()).hopper.read_joined(a.last_dim())
}

fn shape_of(x: &[usize], w: Tensor, stride: usize, padding: Padding) -> Conv2dShape {
    let &[n, h, width, c_in] = x else { panic!("conv2d of {x:?}") };
    assert!(w.rank() == 4 && c_in == w.dim(3), "conv2d of {x:?} with weights {w:?}");
    Conv2dShape {
        n,
        h,
        w: width,
        c_in,
        c_out: w.dim(0),
        kh: w.dim(1),
        kw: w.dim(2),
        stride,
        pad_top: padding.top,
        pad_left: padding.left,
        pad_bottom: padding.bottom,
        pad_right: padding.right,
    }
}

const CONV2D: Names =
    Names { fwd: "conv2d_fwd", bwd_dx: "conv2d_bwd_dx", bwd_dw: "conv2d_bwd_dw", bwd_dbias: "conv2d_bwd_dbias" };

op! {
    /// `y = conv(x, w) + bias + residual`; bias and residual may be absent.
    #[derive(Clone, Copy)]
    pub(super) struct Conv2dFwd = self.layer.names.fwd {
        out y,         // [n, out_h, out_w, c_out]
        in x: Joined,  // [n, h, w, c_in]
        in w,          // [c_out, kh, kw, c_in]
        in bias,       // [c_out] f32; may be absent
        in residual,   // as y; may be absent
        layer: Layer,
    }
}

impl Conv2dFwd {
    /// Records the op and returns its result.
    pub fn record(self, tape: &mut Tape) -> Tensor {
        let Conv2dFwd { y, x, w, bias, residual, layer } = self;
        let (op, c_out) = (layer.names.fwd, layer.shape.c_out);
        assert!(
            x.first.dtype() == w.dtype() && bias.dtype() == DType::F32,
            "{op} of {x:?}, weights {w:?}, bias {bias:?}"
        );
        assert!(bias.is_empty() || bias.numel() == c_out, "{op}: bias {bias:?} for {c_out} channels");
        let fits = residual.dims() == y.dims() && residual.dtype() == y.dtype();
        assert!(residual.is_empty() || fits, "{op}: residual {residual:?} for {y:?}");
        assert!(!x.is_pair() || layer.hopper.read_joined(x.split()), "{op} of {x:?}");
        tape.push(self);
        y
    }
}

impl Op for Conv2dFwd {
    fn backward(&self, tape: &mut Tape) {
        let Conv2dFwd { y, x, w, bias, residual, layer } = *self;
        let dy = tape.grad(y);
        tape.accumulate(residual, dy);
        if tape.needs_grad(w) {
            BwdDw::record(tape, w, bias, dy, x, layer);
        } else if tape.needs_grad(bias) {
            BwdDbias::record(tape, bias, dy, layer.names.bwd_dbias);
        }
        let (dx, [earlier]) = tape.grad_sum(x.whole);
        if !dx.is_empty() {
            tape.push(BwdDx { dx, dy, w, bias: Tensor::EMPTY, earlier, layer });
            tape.set_grad(x.whole, dx);
        }
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x, w, bias, residual]) = mem.views([self.y], [self.x.first, self.w, self.bias, self.residual]);
        cpu::forward(y, x, w, bias, &self.layer.shape);
        cpu::add(y, residual);
    }
    fn launch(&self, q: &mut Launches) {
        if self.layer.few {
            return few::launch_fwd(q, &self.layer.shape, self.y, [self.x.first, self.w, self.bias, self.residual]);
        }
        if let Some(plan) = &self.layer.hopper.fwd {
            return plan.launch(q, self.y, self.x, [self.w, self.bias, self.residual]);
        }
        let (s, tile) = (&self.layer.shape, self.layer.fwd);
        q.kernel(tile.of(["conv2d_fwd_64", "conv2d_fwd_128"]), self.y.dtype())
            .with([self.y, self.x.first, self.w, self.bias, self.residual])
            .with(s.dims())
            .grid([s.out_pixels().div_ceil(tile.side()), s.c_out.div_ceil(tile.side()), 1])
            .tiles(tile.side(), s.out_pixels(), s.c_out)
            .block(tile.threads())
            .smem(tile.smem_bytes());
    }
    fn flops(&self) -> u64 {
        self.layer.shape.flops()
    }
}

op! {
    /// `dx`; to it are added the `earlier` contributions to the same gradient, or for the forward pass of a transposed
    /// convolution a bias. Either may be absent.
    #[derive(Clone, Copy)]
    pub(super) struct BwdDx = self.layer.names.bwd_dx {
        out dx,      // [n, h, w, c_in]
        in dy,       // [n, out_h, out_w, c_out]
        in w,        // [c_out, kh, kw, c_in]
        in bias,     // [c_in] f32; may be absent
        in earlier,  // as dx; may be absent
        layer: Layer,
    }
}

impl Op for BwdDx {
    fn cpu(&self, mem: &mut Memory) {
        let ([dx], [dy, w, bias, earlier]) = mem.views([self.dx], [self.dy, self.w, self.bias, self.earlier]);
        cpu::backward_data(dx, dy, w, bias, &self.layer.shape);
        cpu::add(dx, earlier);
    }
    fn launch(&self, q: &mut Launches) {
        if let Some(plan) = &self.layer.hopper.bwd_dx {
            return plan.launch(q, self.dx, self.dy.into(), [self.w, self.bias, self.earlier]);
        }
        let (s, tile) = (&self.layer.shape, self.layer.bwd_dx);
        q.kernel(tile.of(["conv2d_bwd_dx_64", "conv2d_bwd_dx_128"]), self.dx.dtype())
            .operands(self)
            .with(s.dims())
            .grid([s.phase_pixels().div_ceil(tile.side()), s.c_in.div_ceil(tile.side()), s.phases()])
            .tiles(tile.side(), s.phase_pixels(), s.c_in)
            .block(tile.threads())
            .smem(tile.smem_bytes());
    }
    fn flops(&self) -> u64 {
        self.layer.shape.flops()
    }
}

op! {
    /// `dw`, and `dbias` from the same pass over `dy`, or what each split of the pixels finds of them; `dbias` may be absent.
    pub(super) struct BwdDw = self.layer.names.bwd_dw {
        out dw,        // [c_out, kh, kw, c_in] f32, or [splits, numel]
        out dbias,     // [c_out] f32, or [splits, c_out]; may be absent
        in dy,         // [n, out_h, out_w, c_out]
        in x: Joined,  // [n, h, w, c_in]
        layer: Layer,
    }
}

impl BwdDw {
    /// Records the gradient of the weights `w`, and of `bias` if that has one.
    pub fn record(tape: &mut Tape, w: Tensor, bias: Tensor, dy: Tensor, x: Joined, layer: Layer) {
        let splits = layer.weight_splits();
        let totals = [tape.weight_grad_slot(w), tape.grad_slot(bias)];
        let [dw, dbias] = totals.map(|total| splits.destination(tape, total));
        tape.push(BwdDw { dw, dbias, dy, x, layer });
        sum_later(tape, totals, [dw, dbias]);
        tape.accumulate(w, totals[0]);
        tape.accumulate(bias, totals[1]);
    }
}

impl Op for BwdDw {
    fn cpu(&self, mem: &mut Memory) {
        let ([dw, dbias], [dy, x]) = mem.views([self.dw, self.dbias], [self.dy, self.x.first]);
        cpu::backward_weights(dw, dy, x, &self.layer.shape);
        if !dbias.is_empty() {
            cpu::backward_bias(dbias, dy);
        }
    }
    fn launch(&self, q: &mut Launches) {
        let BwdDw { dw, dbias, dy, x, layer } = self;
        if layer.few {
            return few::launch_bwd_dw(q, &layer.shape, [*dw, *dbias, *dy, x.first]);
        }
        if let Some(plan) = &layer.hopper.bwd_dw {
            return plan.launch(q, [*dw, *dbias], *dy, *x);
        }
        let (s, tile, splits) = (&layer.shape, layer.bwd_dw, layer.weight_splits());
        let columns = s.weight_columns(dy.dtype());
        q.kernel(tile.of(["conv2d_bwd_dw_64", "conv2d_bwd_dw_128"]), dy.dtype())
            .with([*dw, *dbias, *dy, x.first])
            .with(s.dims())
            .with([splits.pixels])
            .grid([s.c_out.div_ceil(tile.side()), columns.div_ceil(tile.side()), splits.count])
            .tiles(tile.side(), s.c_out, s.kh * s.kw * s.c_in)
            .block(tile.threads())
            .smem(tile.smem_bytes());
    }
    fn flops(&self) -> u64 {
        self.layer.shape.flops()
    }
}

op! {
    /// `dbias` where the weights get no gradient, or where `dy` is not what that reads pixel by pixel; or what each split of
    /// the pixels finds of it.
    pub(super) struct BwdDbias = self.name {
        out dbias,  // [c] f32, or [splits, c]
        in dy,      // [.., c]
        name: &'static str,
    }
}

impl BwdDbias {
    /// Records the gradient of `bias`: the sum of `dy` over all pixels.
    pub fn record(tape: &mut Tape, bias: Tensor, dy: Tensor, name: &'static str) {
        let (total, splits) = (tape.grad_slot(bias), Splits::of_bias(dy));
        let dbias = splits.destination(tape, total);
        tape.push(BwdDbias { dbias, dy, name });
        sum_later(tape, [total], [dbias]);
        tape.accumulate(bias, total);
    }
}

impl Op for BwdDbias {
    fn cpu(&self, mem: &mut Memory) {
        let ([dbias], [dy]) = mem.views([self.dbias], [self.dy]);
        cpu::backward_bias(dbias, dy);
    }
    fn launch(&self, q: &mut Launches) {
        let dy = self.dy;
        let (c, splits) = (dy.last_dim(), Splits::of_bias(dy));
        let launch = q.kernel("conv2d_bwd_dbias", dy.dtype()).operands(self).grid([c.div_ceil(64), splits.count, 1]);
        launch.with([dy.numel() / c, c, splits.pixels]);
    }
}

#[cfg(test)]
mod tests;
