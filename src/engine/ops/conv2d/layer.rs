//! How the work of one convolution is shared out over blocks.

use super::hopper::Plans;
use super::{Conv2dShape, few};
use crate::engine::device::Capability;
use crate::engine::tape::{Backend, PartSum, Tape};
use crate::engine::tensor::{DType, Tensor};

/// What the ops of a layer are called in profiles.
#[derive(Debug)]
pub struct Names {
    pub fwd: &'static str,
    pub bwd_dx: &'static str,
    pub bwd_dw: &'static str,
    pub bwd_dbias: &'static str,
}

/// What the ops of a layer have in common.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    pub shape: Conv2dShape,
    pub names: &'static Names,
    /// Sizes of the blocks' tiles.
    pub fwd: Tile,
    pub bwd_dx: Tile,
    pub bwd_dw: Tile,
    /// The kernels for Hopper, where they run and pay; the tiles above are for all else.
    pub hopper: Plans,
    /// Whether forward pass and weight gradient are those for few output channels.
    pub few: bool,
}

impl Layer {
    pub fn new(shape: Conv2dShape, names: &'static Names) -> Layer {
        Layer {
            shape,
            names,
            fwd: Tile::filling(shape.out_pixels(), shape.c_out, 1),
            bwd_dx: Tile::filling(phase_pixels(&shape), shape.c_in, phases(&shape)),
            bwd_dw: Tile::fitting(shape.c_out, shape.kh * shape.kw * shape.c_in),
            hopper: Plans::default(),
            few: false,
        }
    }

    /// The same with the kernels that the tape's device allows for activations of this type.
    pub fn on(self, tape: &Tape, dtype: DType) -> Layer {
        let hopper = match tape.capability() {
            Capability::Hopper => Plans::new(&self.shape, dtype),
            Capability::Ampere => Plans::default(),
        };
        Layer { hopper, few: few::takes(&self.shape, dtype), ..self }
    }
}

/// The dimensions that the three kernels take, in their order.
pub fn dims(s: &Conv2dShape) -> [usize; 12] {
    [s.n, s.h, s.w, s.c_in, s.c_out, s.kh, s.kw, s.stride, s.pad_top, s.pad_left, s.out_h(), s.out_w()]
}

/// `dx` is computed apart for each remainder of (row, column) by the stride: see the kernel.
pub fn phases(s: &Conv2dShape) -> usize {
    s.stride * s.stride
}

/// Pixels of the largest phase.
pub fn phase_pixels(s: &Conv2dShape) -> usize {
    s.n * s.h.div_ceil(s.stride) * s.w.div_ceil(s.stride)
}

/// Length of the axis (tap, input channel) as the kernel sees it: each tap padded to whole 16-byte chunks.
pub fn weight_columns(s: &Conv2dShape, dtype: DType) -> usize {
    s.kh * s.kw * s.c_in.next_multiple_of(16 / dtype.bytes())
}

/// The part of a matrix product that one block computes: a square.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tile {
    Small,
    Large,
}

impl Tile {
    /// Large tiles move half the bytes per multiply-add, where they leave enough blocks for a whole GPU (as many
    /// multiprocessors as `BLOCKS`, about) and compute little beyond the edges of the matrix.
    pub fn filling(rows: usize, columns: usize, products: usize) -> Tile {
        const BLOCKS: usize = 128;
        if Tile::Large.blocks(rows, columns) * products >= BLOCKS { Tile::fitting(rows, columns) } else { Tile::Small }
    }

    /// The large tile, unless more than a fifth of what it computes lies beyond the edges and small tiles avoid it.
    fn fitting(rows: usize, columns: usize) -> Tile {
        let (small, large) = (Tile::Small.blocks(rows, columns), Tile::Large.blocks(rows, columns));
        if 4 * large * 4 <= small * 5 { Tile::Large } else { Tile::Small }
    }

    pub fn of<T>(self, [small, large]: [T; 2]) -> T {
        match self {
            Tile::Small => small,
            Tile::Large => large,
        }
    }

    pub fn side(self) -> usize {
        self.of([64, 128])
    }

    fn blocks(self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(self.side()) * columns.div_ceil(self.side())
    }

    pub fn threads(self) -> usize {
        2 * self.side()
    }

    /// As `Gemm::Shared` in the kernels has it at most: the stages of the pipeline, or the tile on its way out.
    pub fn smem_bytes(self) -> usize {
        self.of([40_960, 67_584])
    }
}

/// How the pixels of a weight gradient are split over blocks. The sums of the splits are added in order, so that the
/// result depends on the shape alone.
#[derive(Clone, Copy, Debug)]
pub struct Splits {
    pub count: usize,
    /// Pixels of each but the last.
    pub pixels: usize,
}

impl Splits {
    pub fn of_weights(layer: &Layer) -> Splits {
        let s = &layer.shape;
        if layer.few {
            return few::splits(s);
        }
        if let Some(plan) = &layer.hopper.bwd_dw {
            return Splits { count: plan.splits, pixels: plan.split_tiles * plan.tile.pixels() };
        }
        Splits::new(s.out_pixels(), layer.bwd_dw.blocks(s.c_out, s.kh * s.kw * s.c_in))
    }

    /// For the column sums of `dy`.
    pub fn of_bias(dy: Tensor) -> Splits {
        let c = dy.last_dim();
        Splits::new(dy.numel() / c, c.div_ceil(64))
    }

    fn new(pixels: usize, blocks: usize) -> Splits {
        /// Blocks to aim for: two for each multiprocessor of a large GPU.
        const BLOCKS: usize = 256;
        const MOST: usize = 64;
        /// Pixels that make a split worth its extra sum, and the step in which the kernel takes them.
        const LEAST_PIXELS: usize = 256;
        const STEP: usize = 32;
        let wanted = BLOCKS.div_ceil(blocks).min(pixels / LEAST_PIXELS).clamp(1, MOST);
        let each = pixels.div_ceil(wanted).next_multiple_of(STEP);
        Splits { count: pixels.div_ceil(each), pixels: each }
    }

    /// Where the kernel writes the gradient `total`: in its place, or what each split has found of it.
    pub fn destination(&self, tape: &mut Tape, total: Tensor) -> Tensor {
        let is_split = self.count > 1 && !total.is_empty() && tape.backend() != Backend::Cpu;
        if is_split { tape.tensor(&[self.count, total.numel()], DType::F32) } else { total }
    }
}

/// Has the sums of what splits have written made; what was written in its place needs none.
pub fn sum_later<const N: usize>(tape: &mut Tape, totals: [Tensor; N], destinations: [Tensor; N]) {
    let sums = totals.into_iter().zip(destinations).map(|(total, parts)| PartSum { total, parts });
    tape.sum_later(sums.filter(|sum| sum.parts.place != sum.total.place));
}
