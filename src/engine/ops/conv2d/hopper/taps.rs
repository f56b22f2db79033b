//! Forward pass and input gradient: `kernels/conv2d/taps_sm90.cu`.

use super::super::layer::dims;
use super::*;
use crate::engine::tape::Launches;

/// Which product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Forward,
    InputGradient,
}

/// What a block computes at a time: so many output channels of so many pixels.
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
    /// Persistent blocks that share them: whole clusters.
    pub blocks: usize,
    /// Bytes that the tiles load from the L2 cache.
    pub loaded_bytes: u64,
    /// Multiply-adds that the tensor cores do, those on padding included.
    pub macs: u64,
    /// Estimate of the time, in cycles.
    pub cycles: usize,
}

impl TapsPlan {
    /// The plan of a pass, or nothing if the shape is none of these kernels' or mostly padding in their tiles.
    pub fn new(s: &Conv2dShape, dtype: DType, pass: Pass) -> Option<TapsPlan> {
        // The first among equals: the larger tile, a block by itself.
        let best = TapsPlan::all(s, dtype, pass).into_iter().min_by_key(|plan| (plan.is_padding(), plan.cycles))?;
        (!best.is_padding()).then_some(best)
    }

    /// The best plan of each kernel.
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

    fn of_block(s: &Conv2dShape, pass: Pass, block: &Block) -> Option<TapsPlan> {
        let (channels_in, channels_out, input_stride, grid, phases) = match pass {
            Pass::Forward => (s.c_in, s.c_out, s.stride, Grid { n: s.n, h: s.out_h(), w: s.out_w() }, 1),
            Pass::InputGradient => {
                let grid = Grid { n: s.n, h: s.h.div_ceil(s.stride), w: s.w.div_ceil(s.stride) };
                (s.c_out, s.c_in, 1, grid, s.stride * s.stride)
            }
        };
        let taps_of_copy = s.kh.div_ceil(s.stride);
        // Over all phases: each tap belongs to one.
        let (taps, copies) = (s.kh * s.kw, s.kw * s.stride.min(s.kh));
        let k_blocks = channels_in.div_ceil(64);
        let channel_tiles = channels_out.div_ceil(block.channels);
        let plan = |tile: PixelTile| {
            let box_rows = tile.rows + taps_of_copy - 1;
            let pixel_bytes =
                ((block.pixels.max(tile.pixels()) + (taps_of_copy - 1) * tile.line()) * ROW).next_multiple_of(1024);
            let weight_bytes = block.channels * ROW;
            let (pixel_stages, weight_stages) =
                stages(SHARED_BYTES - fixed_bytes(block), pixel_bytes, weight_bytes, taps_of_copy)?;
            if tile.count(grid) < block.cluster {
                return None;
            }
            let tiles = tile.count(grid).next_multiple_of(block.cluster) * channel_tiles;
            let bytes = k_blocks * (copies * box_rows * tile.line() * ROW + taps * weight_bytes / block.cluster);
            let macs = k_blocks * taps * 64 * block.channels * block.pixels;
            // All phases of a tile, in turn: the taps are shared out among them.
            let waves = (tiles * phases).div_ceil(MULTIPROCESSORS);
            // At 64 pixels a warpgroup, reading the operands takes as long as multiplying them.
            let starved = if block.channels * block.pixels <= 64 * 128 { 115 } else { 100 };
            let products = macs / MACS_PER_CYCLE * starved / 100;
            let each = products.max(bytes / L2_BYTES_PER_CYCLE) / phases + overhead_cycles(block);
            Some(TapsPlan {
                kernel: block.kernels[(pass == Pass::InputGradient) as usize],
                pass,
                shape: *s,
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
                cycles: waves * each,
            })
        };
        let tiles = PixelTile::candidates(grid, block.pixels, input_stride, taps_of_copy > 1);
        tiles.filter_map(plan).min_by_key(|plan| (plan.is_padding(), plan.cycles, plan.loaded_bytes))
    }

    /// Whether more than two thirds of the products are of padding: then kernels with smaller tiles do better.
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
        q.kernel_named(self.kernel)
            .grid([self.blocks, 1, 1])
            .block(THREADS)
            .smem(self.smem_bytes)
            .wanted(self.shape.flops() as f64 / (2 * self.macs) as f64 * self.wave_efficiency())
            .with([out])
            .with(pixels)
            .with([Arg::TensorMap(w, weights), bias.into(), addend.into()])
            .with(dims(s))
            .with([split])
            .with([columns, images, rows, self.pixel_stages, self.weight_stages]);
    }

    /// The part of the multiprocessors' turns that have a tile to compute.
    pub fn wave_efficiency(&self) -> f64 {
        self.tiles as f64 / self.tiles.next_multiple_of(MULTIPROCESSORS) as f64
    }
}

/// `TapsShared` of the kernel.
fn fixed_bytes(block: &Block) -> usize {
    (2 * 64 * ROW + 4 * block.pixels + (2 * 2 * MAX_STAGES + 1) * 8).next_multiple_of(1024)
}

/// What a tile costs beyond its products: filling the pipeline, and the way of the results to memory, of which the other
/// warpgroup's products hide a part.
fn overhead_cycles(block: &Block) -> usize {
    800 + block.channels * block.pixels / 32
}

/// Stages of the two rings, so that loads are as many taps ahead as they can be: `taps` is how many a copy serves.
fn stages(budget: usize, pixel_bytes: usize, weight_bytes: usize, taps: usize) -> Option<(usize, usize)> {
    let fitting = (2..=MAX_STAGES).filter_map(|pixels| {
        let weights = (budget.checked_sub(pixels * pixel_bytes)? / weight_bytes).min(MAX_STAGES);
        (weights >= 2).then_some((pixels, weights))
    });
    fitting.max_by_key(|(pixels, weights)| ((pixels - 1) * taps).min(weights - 1))
}
