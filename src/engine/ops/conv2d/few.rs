//! 3x3 convolutions of same size to few output channels, and the gradients of their weights: `kernels/conv2d/few.cu`.

use super::shape::Conv2dShape;
use super::splits::Splits;
use crate::engine::tape::Launches;
use crate::engine::tensor::{DType, Tensor};

/// Output channels at most, and what the input channels are a multiple of: as the kernel has them.
const OUTPUTS: usize = 8;
const CHANNELS: usize = 32;
/// Side of the square of pixels that a block owns.
const TILE: usize = 16;
const THREADS: usize = 128;
/// Two stages of a halo and of the weights, or of `dy`: `Shared` and `GradientShared` of the kernels.
const HALO_BYTES: usize = (TILE + 2) * (TILE + 2) * CHANNELS * 2;
const FWD_SMEM_BYTES: usize = 2 * (HALO_BYTES + 9 * OUTPUTS * CHANNELS * 2);
const BWD_DW_SMEM_BYTES: usize = 2 * (HALO_BYTES + TILE * TILE * OUTPUTS * 2);

/// Returns true if the kernels can compute a layer.
pub fn takes(s: &Conv2dShape, dtype: DType) -> bool {
    let is_same_size = [s.stride, s.pad_top, s.pad_left, s.pad_bottom, s.pad_right] == [1; 5] && [s.kh, s.kw] == [3; 2];
    dtype == DType::Bf16 && is_same_size && s.c_out <= OUTPUTS && s.c_in.is_multiple_of(CHANNELS)
}

/// Computes `y` from `x`, weights, bias and residual.
pub fn launch_fwd(q: &mut Launches, s: &Conv2dShape, y: Tensor, operands: [Tensor; 4]) {
    let [rows, columns] = tiles(s);
    q.kernel_named("conv2d_fwd_few")
        .grid([columns, rows, s.n])
        .block(THREADS)
        .smem(FWD_SMEM_BYTES)
        .useful(useful(s))
        .with([y])
        .with(operands)
        .with([s.h, s.w, s.c_in, s.c_out]);
}

/// How the tiles are split over the blocks of the weight gradient, which own some input channels each.
pub fn splits(s: &Conv2dShape) -> Splits {
    /// Blocks to aim for: four for each multiprocessor of a large GPU.
    const BLOCKS: usize = 512;
    /// Their sums are made one after the other.
    const MOST: usize = 64;
    let [rows, columns] = tiles(s);
    let tiles = s.n * rows * columns;
    let wanted = BLOCKS.div_ceil(s.c_in / CHANNELS).min(MOST).min(tiles);
    let each = tiles.div_ceil(wanted);
    Splits { count: tiles.div_ceil(each), pixels: each * TILE * TILE }
}

/// Computes what each split finds of `dw`, and of `dbias` unless that is absent, from `dy` and `x`.
pub fn launch_bwd_dw(q: &mut Launches, s: &Conv2dShape, operands: [Tensor; 4]) {
    let splits = splits(s);
    q.kernel_named("conv2d_bwd_dw_few")
        .grid([s.c_in / CHANNELS, splits.count, 1])
        .block(THREADS)
        .smem(BWD_DW_SMEM_BYTES)
        .useful(useful(s))
        .with(operands)
        .with([s.n, s.h, s.w, s.c_in, s.c_out, splits.pixels / (TILE * TILE)]);
}

/// Rows and columns of an image's tiles.
fn tiles(s: &Conv2dShape) -> [usize; 2] {
    [s.h, s.w].map(|side| side.div_ceil(TILE))
}

/// The part of the products that is neither of pixels beyond the edges nor of channels that are not there.
fn useful(s: &Conv2dShape) -> f64 {
    let [rows, columns] = tiles(s);
    (s.h * s.w * s.c_out) as f64 / (rows * columns * TILE * TILE * OUTPUTS) as f64
}
