//! Weight gradient: `kernels/conv2d/wgrad_sm90.cu`.

use super::*;

/// How the weight gradient of one shape runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WgradPlan {
    pub kernel: &'static str,
    /// The shape as the kernel gets it.
    pub shape: Conv2dShape,
    /// Output channels of a block.
    pub channels: usize,
    /// What the blocks of the grid's second axis share out: see the kernel.
    pub atom_groups: usize,
    pub tile: PixelTile,
    /// Rows of the box of `x`.
    pub box_rows: usize,
    pub stages: usize,
    /// Dynamic shared memory.
    pub smem_bytes: usize,
    /// The third axis: splits of the pixels, each of so many tiles but the last.
    pub splits: usize,
    pub split_tiles: usize,
    /// Sums that are written: one a split, or two.
    pub parts: usize,
    /// Bytes that the blocks load from the L2 cache.
    pub loaded_bytes: u64,
    /// Multiply-adds that the tensor cores do, those on padding included.
    pub macs: u64,
    /// Estimate of the time, in cycles.
    pub cycles: usize,
}

/// Splits at most: their sums take memory.
const MOST_SPLITS: usize = 64;
/// `WgradShared` of the kernel.
const FIXED_BYTES: usize = 1024;

impl WgradPlan {
    /// The plan, or nothing if the shape is none of these kernels'.
    pub fn new(s: &Conv2dShape, dtype: DType) -> Option<WgradPlan> {
        if !loads(s, dtype) || s.stride > 2 || s.kh.max(s.kw) > 7 {
            return None;
        }
        let shape = if is_pointwise(s) { flattened(s) } else { *s };
        let best = [64, 128].into_iter().filter_map(|channels| WgradPlan::of_channels(&shape, channels));
        let best = best.min_by_key(|plan| plan.cycles)?;
        (best.macs <= 3 * s.flops() / 2).then_some(best)
    }

    fn of_channels(s: &Conv2dShape, channels: usize) -> Option<WgradPlan> {
        let column = s.kh == 3 && s.stride == 1;
        let grid = Grid { n: s.n, h: s.out_h(), w: s.out_w() };
        let channel_blocks = s.c_in.div_ceil(64);
        let (atoms, copies, atom_groups) = match column {
            true => (3, 1, s.kw * channel_blocks),
            false => (4, 4, (s.kh * s.kw * channel_blocks).div_ceil(4)),
        };
        let kernel = match (column, channels) {
            (true, 128) => "conv2d_bwd_dw_sm90_column_128",
            (true, _) => "conv2d_bwd_dw_sm90_column_64",
            (false, 128) => "conv2d_bwd_dw_sm90_any_128",
            (false, _) => "conv2d_bwd_dw_sm90_any_64",
        };
        let parts_of_split = 128 / channels;
        let blocks = s.c_out.div_ceil(channels) * atom_groups;
        let sum_bytes = s.c_out * s.kh * s.kw * s.c_in * 4;
        let plan = |tile: PixelTile| {
            let pixels = tile.pixels();
            let box_rows = tile.rows + if column { 2 } else { 0 };
            let stage_bytes = (channels / 64 * pixels + copies * box_rows * tile.line()) * ROW;
            let stages = ((SHARED_BYTES - FIXED_BYTES) / stage_bytes).min(MAX_STAGES);
            // Whole steps of 16 pixels for each warpgroup, and whole swizzle patterns.
            if pixels % (16 * parts_of_split) != 0 || stages < 2 {
                return None;
            }
            let tiles = tile.count(grid);
            let macs = channels * atoms * 64 * pixels;
            let each = (macs / MACS_PER_CYCLE).max(stage_bytes / L2_BYTES_PER_CYCLE) + 100;
            let time = |splits: usize| {
                let waves = (blocks * splits).div_ceil(MULTIPROCESSORS);
                // The sums are written and read once more, by all multiprocessors together.
                let sums = 2 * splits * parts_of_split * sum_bytes / (MULTIPROCESSORS * L2_BYTES_PER_CYCLE / 2);
                waves * (tiles.div_ceil(splits) * each + 2000) + if splits * parts_of_split > 1 { sums + 3000 } else { 0 }
            };
            let splits = (1..=tiles.min(MOST_SPLITS)).min_by_key(|&splits| time(splits))?;
            let split_tiles = tiles.div_ceil(splits);
            let splits = tiles.div_ceil(split_tiles);
            Some(WgradPlan {
                kernel,
                shape: *s,
                channels,
                atom_groups,
                tile,
                box_rows,
                stages,
                smem_bytes: FIXED_BYTES + stages * stage_bytes,
                splits,
                split_tiles,
                parts: splits * parts_of_split,
                loaded_bytes: (blocks * tiles * stage_bytes) as u64,
                macs: (blocks * tiles * macs) as u64,
                cycles: time(splits),
            })
        };
        let tiles = [64, 128, 256].into_iter().flat_map(|pixels| PixelTile::candidates(grid, pixels, true));
        tiles.filter_map(plan).min_by_key(|plan| (plan.cycles, plan.loaded_bytes))
    }
}
