//! Weight gradient: `kernels/conv2d/wgrad_sm90.cu`.

use super::limits::{
    L2_BYTES_PER_CYCLE, MACS_PER_CYCLE, MAX_STAGES, MULTIPROCESSORS, ROW, SHARED_BYTES, THREADS, flattened,
    is_pointwise, takes,
};
use super::pixels::{Grid, PixelTile, input_args};
use crate::engine::ops::concat::Joined;
use crate::engine::ops::conv2d::shape::Conv2dShape;
use crate::engine::tape::{Arg, Launches};
use crate::engine::tensor::{DType, Tensor};

/// How the weight gradient of one shape runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WgradPlan {
    pub kernel: &'static str,
    /// The shape as the kernel gets it.
    pub shape: Conv2dShape,
    /// Output channels of a block.
    pub channels: usize,
    /// Groups of atoms that the blocks of the grid's second axis divide among themselves: see the kernel.
    pub atom_groups: usize,
    pub tile: PixelTile,
    /// Rows of the box of `x`.
    pub box_rows: usize,
    pub stages: usize,
    /// Dynamic shared memory.
    pub smem_bytes: usize,
    /// Tiles that cover the pixels.
    pub tiles: usize,
    /// The third axis: splits of the pixels, each of so many tiles but the last.
    pub splits: usize,
    pub split_tiles: usize,
    /// Bytes that the blocks load from the L2 cache.
    pub loaded_bytes: u64,
    /// Multiply-adds that the tensor cores do, those on padding included.
    pub macs: u64,
    /// Estimate of the time, in cycles.
    pub cycles: usize,
}

/// Part of the gradient that a block computes: output channels by atoms (64 input channels under one tap).
#[derive(Clone, Copy, Debug)]
struct Block {
    kernel: &'static str,
    channels: usize,
    atoms: usize,
    /// True if three atoms are the taps of a column of a 3x3 kernel, which share a copy of `x`.
    column: bool,
}

const BLOCKS: [Block; 6] = [
    Block { kernel: "conv2d_bwd_dw_sm90_column_128x128", channels: 128, atoms: 6, column: true },
    Block { kernel: "conv2d_bwd_dw_sm90_column_128x64", channels: 128, atoms: 3, column: true },
    Block { kernel: "conv2d_bwd_dw_sm90_column_64x128", channels: 64, atoms: 6, column: true },
    Block { kernel: "conv2d_bwd_dw_sm90_column_64x64", channels: 64, atoms: 3, column: true },
    Block { kernel: "conv2d_bwd_dw_sm90_any_128", channels: 128, atoms: 4, column: false },
    Block { kernel: "conv2d_bwd_dw_sm90_any_64", channels: 64, atoms: 4, column: false },
];

/// Pixels that a warpgroup multiplies at a time.
const STEP_PIXELS: usize = 32;
/// Splits at most: their sums take memory.
const MOST_SPLITS: usize = 64;
/// `WgradShared` of the kernel.
const FIXED_BYTES: usize = 1024;

impl WgradPlan {
    /// The plan, or nothing if the shape is none of these kernels' or mostly padding in their tiles.
    pub fn new(s: &Conv2dShape, dtype: DType) -> Option<WgradPlan> {
        let best = WgradPlan::all(s, dtype).into_iter().min_by_key(|plan| (plan.is_padding(), plan.cycles))?;
        (!best.is_padding()).then_some(best)
    }

    /// The best plan of each kernel.
    pub fn all(s: &Conv2dShape, dtype: DType) -> Vec<WgradPlan> {
        if !takes(s, dtype) {
            return Vec::new();
        }
        let shape = if is_pointwise(s) { flattened(s) } else { *s };
        BLOCKS.iter().filter_map(|block| WgradPlan::of_block(&shape, block)).collect()
    }

    /// Returns true if more than two thirds of the products are padding: then kernels with smaller tiles do better.
    fn is_padding(&self) -> bool {
        self.macs > 3 * self.shape.flops() / 2
    }

    /// Launches the kernel, which writes a sum for each split to `dw`, and to `dbias` unless that is absent.
    pub fn launch(&self, q: &mut Launches, [dw, dbias]: [Tensor; 2], dy: Tensor, x: Joined) {
        let (s, PixelTile { columns, images, rows }) = (&self.shape, self.tile);
        let dy = Arg::TensorMap(dy, self.tile.boxes([s.n, s.out_h(), s.out_w(), s.c_out], rows, 1));
        let (x, split) = input_args(x, |c| self.tile.boxes([s.n, s.h, s.w, c], self.box_rows, s.stride));
        let dims = [s.n, s.c_in, s.c_out, s.kh, s.kw, s.stride, s.pad_top, s.pad_left, s.out_h(), s.out_w()];
        q.kernel_named(self.kernel)
            .grid([s.c_out.div_ceil(self.channels), self.atom_groups, self.splits])
            .block(THREADS)
            .smem(self.smem_bytes)
            .useful(self.shape.flops() as f64 / (2 * self.macs) as f64)
            .with([dw.into(), dbias.into(), dy])
            .with(x)
            .with(dims)
            .with([split])
            .with([columns, images, rows, self.stages, self.split_tiles]);
    }

    /// Thread blocks.
    pub fn blocks(&self) -> usize {
        self.shape.c_out.div_ceil(self.channels) * self.atom_groups * self.splits
    }

    /// The same with so many splits, or fewer if they were not all of use.
    pub fn split(self, splits: usize) -> WgradPlan {
        let split_tiles = self.tiles.div_ceil(splits);
        let splits = self.tiles.div_ceil(split_tiles);
        WgradPlan { splits, split_tiles, ..self }
    }

    fn of_block(s: &Conv2dShape, block: &Block) -> Option<WgradPlan> {
        let Block { kernel, channels, atoms, column } = *block;
        if column && (s.kh != 3 || s.stride != 1) {
            return None;
        }
        let grid = Grid { n: s.n, h: s.out_h(), w: s.out_w() };
        let channel_blocks = s.c_in.div_ceil(64);
        let (copies, atom_groups) = match column {
            true => (atoms / 3, s.kw * channel_blocks.div_ceil(atoms / 3)),
            false => (atoms, (s.kh * s.kw * channel_blocks).div_ceil(atoms)),
        };
        // With 64 output channels the warpgroups halve the pixels, and one hands its sums to the other.
        let sharers = 128 / channels;
        let handed_bytes = if sharers > 1 { channels * atoms * 64 * 4 } else { 0 };
        let blocks = s.c_out.div_ceil(channels) * atom_groups;
        let sum_bytes = s.c_out * s.kh * s.kw * s.c_in * 4;
        let plan = |tile: PixelTile| {
            let pixels = tile.pixels();
            let box_rows = tile.rows + if column { 2 } else { 0 };
            let stage_bytes = (channels / 64 * pixels + copies * box_rows * tile.line()) * ROW;
            let stages = ((SHARED_BYTES - FIXED_BYTES) / stage_bytes).min(MAX_STAGES);
            if !pixels.is_multiple_of(STEP_PIXELS * sharers) || stages < 2 {
                return None;
            }
            let tiles = tile.count(grid);
            let macs = channels * atoms * 64 * pixels;
            let each = (macs / MACS_PER_CYCLE).max(stage_bytes / L2_BYTES_PER_CYCLE) + 100;
            let time = |splits: usize| {
                let waves = (blocks * splits).div_ceil(MULTIPROCESSORS);
                // The sums are written and read once more, by all multiprocessors together.
                let sums = 2 * splits * sum_bytes / (MULTIPROCESSORS * L2_BYTES_PER_CYCLE / 2);
                waves * (tiles.div_ceil(splits) * each + 2000) + if splits > 1 { sums + 3000 } else { 0 }
            };
            let splits = (1..=tiles.min(MOST_SPLITS)).min_by_key(|&splits| time(splits))?;
            let plan = WgradPlan {
                kernel,
                shape: *s,
                channels,
                atom_groups,
                tile,
                box_rows,
                stages,
                smem_bytes: FIXED_BYTES + handed_bytes.max(stages * stage_bytes),
                tiles,
                splits: 1,
                split_tiles: tiles,
                loaded_bytes: (blocks * tiles * stage_bytes) as u64,
                macs: (blocks * tiles * macs) as u64,
                cycles: time(splits),
            };
            Some(plan.split(splits))
        };
        let tiles = [64, 128, 256].into_iter().flat_map(|pixels| PixelTile::candidates(grid, pixels, s.stride, true));
        tiles.filter_map(plan).min_by_key(|plan| (plan.is_padding(), plan.cycles, plan.loaded_bytes))
    }
}
