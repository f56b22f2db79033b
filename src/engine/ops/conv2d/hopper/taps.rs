//! Forward pass and input gradient: `kernels/conv2d/taps_sm90.cu`.

use super::limits::{
    CHANNEL_BLOCK, L2_BYTES_PER_CYCLE, MACS_PER_CYCLE, MAX_STAGES, MULTIPROCESSORS, ROW, SHARED_BYTES, THREADS,
    flattened, is_pointwise, takes,
};
use super::pixels::{Grid, PixelTile, input_args};
use crate::engine::device::TensorMap;
use crate::engine::ops::concat::Joined;
use crate::engine::ops::conv2d::shape::Conv2dShape;
use crate::engine::tape::{Arg, Launches};
use crate::engine::tensor::{DType, Tensor};

/// Pass of a convolution that these kernels compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Forward,
    InputGradient,
}

/// Tile that a block computes at a time: output channels by pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    channels: usize,
    pixels: usize,
    /// Blocks of a cluster, which share the weights that they load.
    cluster: usize,
    /// Kernels of the forward pass and of the input gradient.
    kernels: [&'static str; 2],
}

impl Block {
    const fn new(channels: usize, pixels: usize, cluster: usize, kernels: [&'static str; 2]) -> Block {
        Block { channels, pixels, cluster, kernels }
    }
}

/// Tiles of up to so many results (64 pixels a warpgroup) are starved: reading the operands out of shared memory takes as
/// long as multiplying them.
const STARVED_RESULTS: usize = 64 * 128;
/// Time of the products of a starved tile, in percent of the tensor cores' own: the reads do not overlap them wholly.
const STARVED_PERCENT: usize = 115;
/// Cycles from the first copy of a tile to its first product: the latency of the L2 cache, and barriers.
const FILL_CYCLES: usize = 800;
/// Results that a block writes in a cycle, as far as the other warpgroup's products do not hide it.
const RESULTS_PER_CYCLE: usize = 32;

impl Block {
    /// Estimated cycles of one tile of one phase, given the products and loads of all phases.
    fn tile_cycles(&self, macs: usize, bytes: usize, phases: usize) -> usize {
        let results = self.channels * self.pixels;
        let percent = if results <= STARVED_RESULTS { STARVED_PERCENT } else { 100 };
        let products = macs / MACS_PER_CYCLE * percent / 100;
        products.max(bytes / L2_BYTES_PER_CYCLE) / phases + FILL_CYCLES + results / RESULTS_PER_CYCLE
    }
}

/// One of the two passes as a matrix product over taps and channels.
struct Product {
    shape: Conv2dShape,
    pass: Pass,
    channels_in: usize,
    channels_out: usize,
    /// Pixels read from one to the next along a row of the result.
    input_stride: usize,
    /// Results of one phase.
    grid: Grid,
    phases: usize,
    /// Taps of a column that one phase has, which share a copy of the pixels.
    taps_of_copy: usize,
}

impl Product {
    fn new(s: &Conv2dShape, pass: Pass) -> Product {
        let (channels_in, channels_out, input_stride, grid, phases) = match pass {
            Pass::Forward => (s.c_in, s.c_out, s.stride, Grid { n: s.n, h: s.out_h(), w: s.out_w() }, 1),
            Pass::InputGradient => {
                let grid = Grid { n: s.n, h: s.h.div_ceil(s.stride), w: s.w.div_ceil(s.stride) };
                (s.c_out, s.c_in, 1, grid, s.stride * s.stride)
            }
        };
        let taps_of_copy = s.kh.div_ceil(s.stride);
        Product { shape: *s, pass, channels_in, channels_out, input_stride, grid, phases, taps_of_copy }
    }
}

/// Images of a batch whose padding decides if these kernels take a shape.
const BATCH: usize = 128;

const BLOCKS: [Block; 10] = [
    Block::new(128, 256, 1, ["conv2d_fwd_sm90_128x256", "conv2d_bwd_dx_sm90_128x256"]),
    Block::new(128, 256, 2, ["conv2d_fwd_sm90_128x256_pair", "conv2d_bwd_dx_sm90_128x256_pair"]),
    Block::new(64, 512, 1, ["conv2d_fwd_sm90_64x512", "conv2d_bwd_dx_sm90_64x512"]),
    Block::new(64, 512, 2, ["conv2d_fwd_sm90_64x512_pair", "conv2d_bwd_dx_sm90_64x512_pair"]),
    Block::new(128, 128, 1, ["conv2d_fwd_sm90_128x128", "conv2d_bwd_dx_sm90_128x128"]),
    Block::new(128, 128, 2, ["conv2d_fwd_sm90_128x128_pair", "conv2d_bwd_dx_sm90_128x128_pair"]),
    Block::new(64, 256, 1, ["conv2d_fwd_sm90_64x256", "conv2d_bwd_dx_sm90_64x256"]),
    Block::new(64, 256, 2, ["conv2d_fwd_sm90_64x256_pair", "conv2d_bwd_dx_sm90_64x256_pair"]),
    Block::new(64, 128, 1, ["conv2d_fwd_sm90_64x128", "conv2d_bwd_dx_sm90_64x128"]),
    Block::new(64, 128, 2, ["conv2d_fwd_sm90_64x128_pair", "conv2d_bwd_dx_sm90_64x128_pair"]),
];

/// How the forward pass or the input gradient of one shape runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapsPlan {
    pub kernel: &'static str,
    pub pass: Pass,
    /// The shape as the kernel gets it.
    pub shape: Conv2dShape,
    /// Output channels of a block.
    pub channels: usize,
    /// Blocks of a cluster: neighbours along the pixels, each of which loads a part of the weights for all.
    pub cluster: usize,
    pub tile: PixelTile,
    pub pixel_stages: usize,
    pub weight_stages: usize,
    /// Rows of the box that TMA loads: those of the tile and those that further taps of a column add.
    pub box_rows: usize,
    /// Dynamic shared memory.
    pub smem_bytes: usize,
    /// Tiles of all phases, each `channels` by `tile.pixels()`; whole clusters of them.
    pub tiles: usize,
    /// Persistent blocks that share them: whole clusters. A device with fewer multiprocessors is given fewer.
    pub blocks: usize,
    /// Bytes that the tiles load from the L2 cache.
    pub loaded_bytes: u64,
    /// Multiply-adds that the tensor cores do, those on padding included.
    pub macs: u64,
    /// Estimate of the time, in cycles.
    pub cycles: usize,
}

impl TapsPlan {
    /// Returns the plan of a pass; `None` if these kernels cannot compute the shape, or even a batch of `BATCH` images is
    /// mostly padding in their tiles. The batch at hand does not decide that: all of these kernels add up in the same order,
    /// others do not, and an image's result must not depend on the batch that it is part of.
    pub fn new(s: &Conv2dShape, dtype: DType, pass: Pass) -> Option<TapsPlan> {
        // The first among equals: the larger tile, a block by itself.
        let best = |s: &Conv2dShape| {
            TapsPlan::all(s, dtype, pass).into_iter().min_by_key(|plan| (plan.is_padding(), plan.cycles))
        };
        if best(&Conv2dShape { n: BATCH, ..*s })?.is_padding() { None } else { best(s) }
    }

    /// Returns the best plan of each kernel.
    pub fn all(s: &Conv2dShape, dtype: DType, pass: Pass) -> Vec<TapsPlan> {
        let every_phase_has_taps = pass == Pass::Forward || s.kh.min(s.kw) >= s.stride;
        if !takes(s, dtype) || !every_phase_has_taps {
            return Vec::new();
        }
        let views = if is_pointwise(s) { vec![flattened(s), *s] } else { vec![*s] };
        let best = |block| {
            views
                .iter()
                .filter_map(|s| TapsPlan::of_block(s, pass, block))
                .min_by_key(|plan| (plan.is_padding(), plan.cycles))
        };
        BLOCKS.iter().filter_map(best).collect()
    }

    /// The fastest plan of one kernel for one shape, by an estimate:
    ///
    /// ```text
    /// for each tile of pixels that a box can hold:
    ///     shared memory   as many stages of pixels and weights as fit, else no plan
    ///     products        tile x taps x input channels / rate of the tensor cores
    ///     loads           pixels with their halo + weights / share of the L2 cache
    ///     cycles          waves of tiles x (max(products, loads) + start and end of a tile)
    /// the tile with the fewest cycles; of equal ones, the one that loads least
    /// ```
    ///
    /// Departures from that:
    ///
    /// 1. A tile that is mostly padding loses against any other: kernels with smaller tiles take such shapes.
    /// 2. The input gradient of a strided convolution is computed in `stride x stride` phases, each with its own share of
    ///    the taps. A tile of it is one phase's: it costs the products of all phases divided by their number, and there
    ///    are that many times as many tiles.
    /// 3. A box of pixels serves all taps of a column that one phase has: it is higher by their number less one.
    /// 4. The blocks of a cluster each load their part of the weights and share it, so a block pays for one part. The
    ///    tiles are made up to whole clusters.
    /// 5. Small tiles are slower than their products alone: [`STARVED_PERCENT`].
    fn of_block(s: &Conv2dShape, pass: Pass, block: &Block) -> Option<TapsPlan> {
        let product = Product::new(s, pass);
        let tiles = PixelTile::candidates(product.grid, block.pixels, product.input_stride, product.taps_of_copy > 1);
        let plans = tiles.filter_map(|tile| TapsPlan::of_tile(&product, block, tile));
        plans.min_by_key(|plan| (plan.is_padding(), plan.cycles, plan.loaded_bytes))
    }

    fn of_tile(product: &Product, block: &Block, tile: PixelTile) -> Option<TapsPlan> {
        let &Product { shape: s, pass, channels_in, channels_out, grid, phases, taps_of_copy, .. } = product;
        if tile.count(grid) < block.cluster {
            return None;
        }
        let box_rows = tile.rows + taps_of_copy - 1;
        let box_pixels = block.pixels.max(tile.pixels()) + (taps_of_copy - 1) * tile.line();
        let pixel_bytes = (box_pixels * ROW).next_multiple_of(1024);
        let weight_bytes = block.channels * ROW;
        let (pixel_stages, weight_stages) =
            stages(SHARED_BYTES - fixed_bytes(block), pixel_bytes, weight_bytes, taps_of_copy)?;

        let tiles = tile.count(grid).next_multiple_of(block.cluster) * channels_out.div_ceil(block.channels);
        // Of all phases together: each tap belongs to one.
        let (taps, copies) = (s.kh * s.kw, s.kw * s.stride.min(s.kh));
        let k_blocks = channels_in.div_ceil(CHANNEL_BLOCK);
        let bytes = k_blocks * (copies * box_rows * tile.line() * ROW + taps * weight_bytes / block.cluster);
        let macs = k_blocks * taps * CHANNEL_BLOCK * block.channels * block.pixels;
        Some(TapsPlan {
            kernel: block.kernels[(pass == Pass::InputGradient) as usize],
            pass,
            shape: s,
            channels: block.channels,
            cluster: block.cluster,
            tile,
            pixel_stages,
            weight_stages,
            box_rows,
            smem_bytes: fixed_bytes(block) + pixel_stages * pixel_bytes + weight_stages * weight_bytes,
            tiles: tiles * phases,
            blocks: (tiles * phases).min(MULTIPROCESSORS), // an even number of both
            loaded_bytes: (tiles * bytes) as u64,
            macs: (tiles * macs) as u64,
            cycles: (tiles * phases).div_ceil(MULTIPROCESSORS) * block.tile_cycles(macs, bytes, phases),
        })
    }

    /// Returns true if more than two thirds of the products are padding: then kernels with smaller tiles do better.
    fn is_padding(&self) -> bool {
        self.macs > 3 * self.shape.flops() / 2
    }

    /// Launches the kernel: `out` is `y` or `dx`, `input` is `x` or `dy`; bias and addend may be absent.
    pub fn launch(&self, q: &mut Launches, out: Tensor, input: Joined, [w, bias, addend]: [Tensor; 3]) {
        let (s, PixelTile { columns, images, rows }) = (&self.shape, self.tile);
        let own_rows = self.channels / self.cluster; // of a stage of weights
        let (image, stride, weight_rows) = match self.pass {
            Pass::Forward => ([s.h, s.w], s.stride, own_rows),
            Pass::InputGradient => ([s.out_h(), s.out_w()], 1, own_rows.min(64)),
        };
        let boxes = |c| self.tile.boxes([s.n, image[0], image[1], c], self.box_rows, stride);
        let (pixels, split) = input_args(input, boxes);
        let weights = TensorMap::new(DType::Bf16, &[s.c_in, s.kh * s.kw, s.c_out], &[64, 1, weight_rows]).swizzle_128();
        let useful = self.shape.flops() as f64 / (2 * self.macs) as f64 * q.wave_efficiency(self.tiles);
        let grid = q.persistent(self.blocks, self.cluster);
        q.kernel_named(self.kernel)
            .grid(grid)
            .block(THREADS)
            .smem(self.smem_bytes)
            .useful(useful)
            .with([out])
            .with(pixels)
            .with([Arg::TensorMap(w, weights), bias.into(), addend.into()])
            .with(s.dims())
            .with([split])
            .with([columns, images, rows, self.pixel_stages, self.weight_stages]);
    }
}

/// `TapsShared` of the kernel.
fn fixed_bytes(block: &Block) -> usize {
    (2 * 64 * ROW + 4 * block.pixels + (2 * 2 * MAX_STAGES + 1) * 8).next_multiple_of(1024)
}

/// Stages of the two rings, so that loads are as many taps ahead as they can be: `taps` is how many a copy serves.
fn stages(budget: usize, pixel_bytes: usize, weight_bytes: usize, taps: usize) -> Option<(usize, usize)> {
    let fitting = (2..=MAX_STAGES).filter_map(|pixels| {
        let weights = (budget.checked_sub(pixels * pixel_bytes)? / weight_bytes).min(MAX_STAGES);
        (weights >= 2).then_some((pixels, weights))
    });
    fitting.max_by_key(|(pixels, weights)| ((pixels - 1) * taps).min(weights - 1))
}
