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
//! where `x` outside the image is zero, and only whole quotients count in `dx`.

pub mod cpu;
mod shape;

use crate::device::Memory;
use crate::tape::{Arg, Launches, Op, Tape};
use crate::tensor::{DType, Tensor};
pub use shape::Conv2dShape;

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
    assert!(x.rank() == 4 && w.rank() == 4 && x.dim(3) == w.dim(3), "conv2d of {x:?} with weights {w:?}");
    let shape = Conv2dShape {
        n: x.dim(0),
        h: x.dim(1),
        w: x.dim(2),
        c_in: x.dim(3),
        c_out: w.dim(0),
        kh: w.dim(1),
        kw: w.dim(2),
        stride,
        pad_top: padding.top,
        pad_left: padding.left,
        pad_bottom: padding.bottom,
        pad_right: padding.right,
    };
    let y = tape.tensor(&[shape.n, shape.out_h(), shape.out_w(), shape.c_out], x.dtype());
    record(tape, y, x, w, bias, Layer::new(shape, &CONV2D));
    y
}

/// What the ops of a layer are called in profiles.
#[derive(Debug)]
pub(super) struct Names {
    pub fwd: &'static str,
    pub bwd_dx: &'static str,
    pub bwd_dw: &'static str,
}

const CONV2D: Names = Names { fwd: "conv2d_fwd", bwd_dx: "conv2d_bwd_dx", bwd_dw: "conv2d_bwd_dw" };

/// What the ops of a layer have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    shape: Conv2dShape,
    names: &'static Names,
    /// Sizes of the blocks' tiles.
    fwd: Tile,
    bwd_dx: Tile,
    bwd_dw: Tile,
}

impl Layer {
    pub fn new(shape: Conv2dShape, names: &'static Names) -> Layer {
        Layer {
            shape,
            names,
            fwd: Tile::filling(shape.out_pixels(), shape.c_out, 1),
            bwd_dx: Tile::filling(phase_pixels(&shape), shape.c_in, phases(&shape)),
            bwd_dw: Tile::fitting(shape.c_out, shape.kh * shape.kw * shape.c_in),
        }
    }
}

/// Records `y = conv(x, w) + bias`.
pub(super) fn record(tape: &mut Tape, y: Tensor, x: Tensor, w: Tensor, bias: Tensor, layer: Layer) {
    let (op, c_out) = (layer.names.fwd, layer.shape.c_out);
    assert!(x.dtype() == w.dtype() && bias.dtype() == DType::F32, "{op} of {x:?} with weights {w:?}, bias {bias:?}");
    assert!(bias.is_empty() || bias.numel() == c_out, "{op}: bias {bias:?} for {c_out} channels");
    tape.push(Conv2dFwd { y, x, w, bias, layer });
}

#[derive(Debug)]
struct Conv2dFwd {
    y: Tensor,
    x: Tensor,
    w: Tensor,
    bias: Tensor,
    layer: Layer,
}

impl Op for Conv2dFwd {
    fn name(&self) -> &'static str {
        self.layer.names.fwd
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.y]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.x, self.w, self.bias]
    }
    fn backward(&self, tape: &mut Tape) {
        let Conv2dFwd { y, x, w, bias, layer } = *self;
        let dy = tape.grad(y);
        if tape.needs_grad(w) || tape.needs_grad(bias) {
            // A bias may learn while the weights are frozen: then their gradient goes nowhere.
            let dw = if tape.needs_grad(w) { tape.grad_slot(w) } else { tape.tensor(&w.dims(), DType::F32) };
            let dbias = tape.grad_slot(bias);
            let splits = Splits::of(&layer);
            let dw_parts = splits.scratch(tape, splits.dw, dw);
            let dbias_parts = splits.scratch(tape, splits.dbias, dbias);
            tape.push(Conv2dBwdDw { dw, dbias, dw_parts, dbias_parts, dy, x, layer });
            tape.accumulate(w, dw);
            tape.accumulate(bias, dbias);
        }
        let dx = tape.grad_slot(x);
        if !dx.is_empty() {
            tape.push(Conv2dBwdDx { dx, dy, w, layer });
            tape.accumulate(x, dx);
        }
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x, w, bias]) = mem.views([self.y], [self.x, self.w, self.bias]);
        cpu::forward(y, x, w, bias, &self.layer.shape);
    }
    fn launch(&self, q: &mut Launches) {
        let (s, tile) = (&self.layer.shape, self.layer.fwd);
        let operands = [self.y.into(), self.x.into(), self.w.into(), self.bias.into()];
        q.kernel(tile.of(["conv2d_fwd_64", "conv2d_fwd_128"]), self.y.dtype())
            .grid([s.out_pixels().div_ceil(tile.side()), s.c_out.div_ceil(tile.side()), 1])
            .block(tile.threads())
            .smem(tile.smem_bytes())
            .args(&[&operands[..], &dims(s)].concat());
    }
    fn flops(&self) -> u64 {
        self.layer.shape.flops()
    }
}

#[derive(Debug)]
struct Conv2dBwdDx {
    dx: Tensor,
    dy: Tensor,
    w: Tensor,
    layer: Layer,
}

impl Op for Conv2dBwdDx {
    fn name(&self) -> &'static str {
        self.layer.names.bwd_dx
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.dx]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dy, self.w]
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([dx], [dy, w]) = mem.views([self.dx], [self.dy, self.w]);
        cpu::backward_data(dx, dy, w, &self.layer.shape);
    }
    fn launch(&self, q: &mut Launches) {
        let (s, tile) = (&self.layer.shape, self.layer.bwd_dx);
        let operands = [self.dx.into(), self.dy.into(), self.w.into()];
        q.kernel(tile.of(["conv2d_bwd_dx_64", "conv2d_bwd_dx_128"]), self.dx.dtype())
            .grid([phase_pixels(s).div_ceil(tile.side()), s.c_in.div_ceil(tile.side()), phases(s)])
            .block(tile.threads())
            .smem(tile.smem_bytes())
            .args(&[&operands[..], &dims(s)].concat());
    }
    fn flops(&self) -> u64 {
        self.layer.shape.flops()
    }
}

#[derive(Debug)]
struct Conv2dBwdDw {
    dw: Tensor,
    dbias: Tensor,
    dw_parts: Tensor,
    dbias_parts: Tensor,
    dy: Tensor,
    x: Tensor,
    layer: Layer,
}

impl Op for Conv2dBwdDw {
    fn name(&self) -> &'static str {
        self.layer.names.bwd_dw
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.dw, self.dbias, self.dw_parts, self.dbias_parts]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dy, self.x]
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([dw, dbias], [dy, x]) = mem.views([self.dw, self.dbias], [self.dy, self.x]);
        cpu::backward_weights(dw, dbias, dy, x, &self.layer.shape);
    }
    fn launch(&self, q: &mut Launches) {
        let (s, tile, dtype) = (&self.layer.shape, self.layer.bwd_dw, self.dy.dtype());
        let splits = Splits::of(&self.layer);
        let operands = [if splits.dw > 1 { self.dw_parts } else { self.dw }.into(), self.dy.into(), self.x.into()];
        q.kernel(tile.of(["conv2d_bwd_dw_64", "conv2d_bwd_dw_128"]), dtype)
            .grid([s.c_out.div_ceil(tile.side()), weight_columns(s, dtype).div_ceil(tile.side()), splits.dw])
            .block(tile.threads())
            .smem(tile.smem_bytes())
            .args(&[&operands[..], &dims(s), &[splits.dw_pixels.into()]].concat());
        sum_splits(q, self.dw, self.dw_parts, splits.dw);
        if !self.dbias.is_empty() {
            let out = if splits.dbias > 1 { self.dbias_parts } else { self.dbias };
            let args = [out.into(), self.dy.into(), s.out_pixels().into(), s.c_out.into(), splits.dbias_pixels.into()];
            q.kernel("conv2d_bwd_dbias", dtype).grid([s.c_out.div_ceil(64), splits.dbias, 1]).block(256).args(&args);
            sum_splits(q, self.dbias, self.dbias_parts, splits.dbias);
        }
    }
    fn flops(&self) -> u64 {
        self.layer.shape.flops()
    }
}

/// The dimensions that the three kernels take, in their order.
fn dims(s: &Conv2dShape) -> [Arg; 12] {
    [s.n, s.h, s.w, s.c_in, s.c_out, s.kh, s.kw, s.stride, s.pad_top, s.pad_left, s.out_h(), s.out_w()].map(Arg::from)
}

/// `dx` is computed apart for each remainder of (row, column) by the stride: see the kernel.
fn phases(s: &Conv2dShape) -> usize {
    s.stride * s.stride
}

/// Pixels of the largest phase.
fn phase_pixels(s: &Conv2dShape) -> usize {
    s.n * s.h.div_ceil(s.stride) * s.w.div_ceil(s.stride)
}

/// Length of the axis (tap, input channel) as the kernel sees it: each tap padded to whole 16-byte chunks.
fn weight_columns(s: &Conv2dShape, dtype: DType) -> usize {
    s.kh * s.kw * s.c_in.next_multiple_of(16 / dtype.bytes())
}

fn sum_splits(q: &mut Launches, out: Tensor, parts: Tensor, splits: usize) {
    if splits > 1 {
        let len = out.numel();
        let args = [out.into(), parts.into(), len.into(), splits.into()];
        q.kernel_named("conv2d_sum_splits").grid([len.div_ceil(4 * 256), 1, 1]).block(256).args(&args);
    }
}

/// The part of a matrix product that one block computes: a square.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tile {
    Small,
    Large,
}

impl Tile {
    /// Large tiles move half the bytes per multiply-add, where they leave enough blocks for a whole GPU (as many
    /// multiprocessors as `BLOCKS`, about) and compute little beyond the edges of the matrix.
    fn filling(rows: usize, columns: usize, products: usize) -> Tile {
        const BLOCKS: usize = 128;
        if Tile::Large.blocks(rows, columns) * products >= BLOCKS { Tile::fitting(rows, columns) } else { Tile::Small }
    }

    /// The large tile, unless more than a fifth of what it computes lies beyond the edges and small tiles avoid it.
    fn fitting(rows: usize, columns: usize) -> Tile {
        let (small, large) = (Tile::Small.blocks(rows, columns), Tile::Large.blocks(rows, columns));
        if 4 * large * 4 <= small * 5 { Tile::Large } else { Tile::Small }
    }

    fn of<T>(self, [small, large]: [T; 2]) -> T {
        match self {
            Tile::Small => small,
            Tile::Large => large,
        }
    }

    fn side(self) -> usize {
        self.of([64, 128])
    }

    fn blocks(self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(self.side()) * columns.div_ceil(self.side())
    }

    fn threads(self) -> usize {
        2 * self.side()
    }

    /// As `Gemm::Shared` in the kernels has it at most: the stages of the pipeline, or the tile on its way out.
    fn smem_bytes(self) -> usize {
        self.of([40_960, 67_584])
    }
}

/// How the pixels of a weight gradient are split over blocks. The sums of the splits are added in order, so that the
/// result depends on the shape alone.
#[derive(Clone, Copy, Debug)]
struct Splits {
    dw: usize,
    dw_pixels: usize,
    dbias: usize,
    dbias_pixels: usize,
}

impl Splits {
    fn of(layer: &Layer) -> Splits {
        /// Blocks to aim for: two for each multiprocessor of a large GPU.
        const BLOCKS: usize = 256;
        const MOST: usize = 64;
        /// Pixels that make a split worth its extra sum, and the step in which the kernel takes them.
        const LEAST_PIXELS: usize = 256;
        const STEP: usize = 32;
        let s = &layer.shape;
        let pixels = s.out_pixels();
        let split = |blocks: usize| {
            let wanted = BLOCKS.div_ceil(blocks).min(pixels / LEAST_PIXELS).clamp(1, MOST);
            let each = pixels.div_ceil(wanted).next_multiple_of(STEP);
            (pixels.div_ceil(each), each)
        };
        let (dw, dw_pixels) = split(layer.bwd_dw.blocks(s.c_out, s.kh * s.kw * s.c_in));
        let (dbias, dbias_pixels) = split(s.c_out.div_ceil(64));
        Splits { dw, dw_pixels, dbias, dbias_pixels }
    }

    /// Where the sums of the splits of `total` go, if there is more than one.
    fn scratch(&self, tape: &mut Tape, splits: usize, total: Tensor) -> Tensor {
        if splits > 1 && !total.is_empty() { tape.scratch(&[splits, total.numel()], DType::F32) } else { Tensor::EMPTY }
    }
}

#[cfg(test)]
mod tests;
