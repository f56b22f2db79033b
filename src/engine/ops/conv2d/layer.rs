//! How the work of one convolution is shared out over blocks.

use super::few;
use super::hopper::Plans;
use super::shape::Conv2dShape;
use super::splits::Splits;
use crate::engine::device::Capability;
use crate::engine::tape::Tape;
use crate::engine::tensor::DType;

/// Names of a layer's ops in profiles.
#[derive(Debug)]
pub struct Names {
    pub fwd: &'static str,
    pub bwd_dx: &'static str,
    pub bwd_dw: &'static str,
    pub bwd_dbias: &'static str,
}

/// Shape, device and kernels that the ops of a layer share.
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
    /// True if forward pass and weight gradient use the kernels for few output channels.
    pub few: bool,
}

impl Layer {
    pub fn new(shape: Conv2dShape, names: &'static Names) -> Layer {
        Layer {
            shape,
            names,
            fwd: Tile::filling(shape.out_pixels(), shape.c_out, 1),
            bwd_dx: Tile::filling(shape.phase_pixels(), shape.c_in, shape.phases()),
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

    /// Splits of the pixels of the weight gradient.
    pub fn weight_splits(&self) -> Splits {
        let s = &self.shape;
        if self.few {
            return few::splits(s);
        }
        if let Some(plan) = &self.hopper.bwd_dw {
            return Splits { count: plan.splits, pixels: plan.split_tiles * plan.tile.pixels() };
        }
        Splits::new(s.out_pixels(), self.bwd_dw.blocks(s.c_out, s.kh * s.kw * s.c_in))
    }
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
