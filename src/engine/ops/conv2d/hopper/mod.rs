//! Convolutions on Hopper: which of the kernels `kernels/conv2d/*_sm90.cu` runs a shape, with which tiles, how much
//! shared memory and what traffic. Pure functions of the shape; docs/kernels/convolution.md has the reasons.

mod taps;
mod wgrad;

use super::Conv2dShape;
use crate::engine::device::TensorMap;
use crate::engine::ops::concat::Joined;
use crate::engine::tape::Arg;
use crate::engine::tensor::{DType, Tensor};
pub use taps::{Pass, TapsPlan};
pub use wgrad::WgradPlan;

/// The plans of a layer: nothing for a pass that the kernels for Hopper do not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plans {
    pub fwd: Option<TapsPlan>,
    pub bwd_dx: Option<TapsPlan>,
    pub bwd_dw: Option<WgradPlan>,
}

impl Plans {
    /// Returns true if the kernels that read `x` can read two tensors, the first with this many channels: then every block
    /// of channels lies in one of them. The input gradient is written as one tensor by any kernel.
    pub fn read_joined(&self, channels: usize) -> bool {
        self.fwd.is_some() && self.bwd_dw.is_some() && channels.is_multiple_of(CHANNEL_BLOCK)
    }

    /// Every kernel that takes the shape: the i-th of each pass, as long as there is one.
    pub fn all(s: &Conv2dShape, dtype: DType) -> Vec<Plans> {
        let [fwd, bwd_dx] = [Pass::Forward, Pass::InputGradient].map(|pass| TapsPlan::all(s, dtype, pass));
        let bwd_dw = WgradPlan::all(s, dtype);
        let plans = |i: usize| Plans {
            fwd: fwd.get(i).copied(),
            bwd_dx: bwd_dx.get(i).copied(),
            bwd_dw: bwd_dw.get(i).copied(),
        };
        (0..fwd.len().max(bwd_dx.len()).max(bwd_dw.len())).map(plans).collect()
    }

    /// For activations stored as `dtype`.
    pub fn new(s: &Conv2dShape, dtype: DType) -> Plans {
        Plans {
            fwd: TapsPlan::new(s, dtype, Pass::Forward),
            bwd_dx: TapsPlan::new(s, dtype, Pass::InputGradient),
            bwd_dw: WgradPlan::new(s, dtype),
        }
    }
}

#[cfg(test)]
impl Plans {
    /// The kernels of those passes that have a plan.
    fn kernels(self) -> impl Iterator<Item = &'static str> {
        let kernels = [self.fwd.map(|p| p.kernel), self.bwd_dx.map(|p| p.kernel), self.bwd_dw.map(|p| p.kernel)];
        kernels.into_iter().flatten()
    }
}

/// Multiprocessors of an H100 or H200 (SXM): how many persistent blocks there are.
pub const MULTIPROCESSORS: usize = 132;
/// Shared memory of a block.
pub const SHARED_BYTES: usize = 227 * 1024;
/// As in the kernels: a loading warpgroup and two that multiply.
pub const THREADS: usize = 384;
/// Input channels that a box holds.
const CHANNEL_BLOCK: usize = 64;
/// Bytes of 64 bf16 channels, the innermost extent of every box.
const ROW: usize = 128;
/// Stages that a ring has barriers for.
const MAX_STAGES: usize = 8;
/// Largest extent of a TMA box in one dimension.
const MAX_BOX: usize = 256;
/// Most rows and columns of a kernel.
const MAX_KERNEL: usize = 8;

/// bf16 multiply-adds of a multiprocessor in a cycle.
const MACS_PER_CYCLE: usize = 2048;
/// Bytes that a multiprocessor gets out of the L2 cache in a cycle while all of them ask.
const L2_BYTES_PER_CYCLE: usize = 26;

/// The part of the pixels that a block works on at a time: `rows` rows of `columns` columns of `images` images, which lie
/// in shared memory in the order (row, image, column).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelTile {
    pub columns: usize,
    pub images: usize,
    pub rows: usize,
}

impl PixelTile {
    pub fn pixels(&self) -> usize {
        self.rows * self.line()
    }

    /// Pixels from a tap to the next below it.
    pub fn line(&self) -> usize {
        self.images * self.columns
    }

    /// Tiles that cover `grid`.
    fn count(&self, grid: Grid) -> usize {
        grid.n.div_ceil(self.images) * grid.h.div_ceil(self.rows) * grid.w.div_ceil(self.columns)
    }

    /// Tiles of at most `pixels` pixels that a box can hold when its pixels lie `stride` apart; with `aligned`, the
    /// swizzle's pattern divides their lines.
    fn candidates(grid: Grid, pixels: usize, stride: usize, aligned: bool) -> impl Iterator<Item = PixelTile> {
        let longest = MAX_BOX / stride;
        let widths = [8, 16, 32, 64, 128, 256].into_iter().filter(move |&w| w < grid.w).chain([grid.w]);
        widths.filter(move |&w| w <= pixels.min(longest)).flat_map(move |columns| {
            let images = (0..=8).map(|i| 1 << i).filter(move |&i| i * columns <= pixels);
            images.filter(move |i| !aligned || i * columns % 8 == 0).map(move |images| {
                let rows = (pixels / (images * columns)).min(grid.h).min(longest - MAX_KERNEL);
                PixelTile { columns, images, rows }
            })
        })
    }

    /// Boxes of `n` images `[h, w, c]`, each of 64 channels of so many rows of the tile, every `stride`-th pixel. The
    /// images come before the rows: shared memory holds the boxes so.
    fn boxes(&self, [n, h, w, c]: [usize; 4], rows: usize, stride: usize) -> TensorMap {
        let extents = [CHANNEL_BLOCK, self.columns * stride, self.images, rows * stride];
        TensorMap::new(DType::Bf16, &[c, w, n, h], &extents)
            .strides(&[c, h * w * c, w * c])
            .element_strides(&[1, stride, 1, stride])
            .swizzle_128()
    }
}

/// `x` as the kernels take it: the boxes of its first tensor and of its second, for which the first stands in where there is
/// none, and the channel with which the second begins. `boxes(c)` are those of a tensor with so many channels.
fn input_args(x: Joined, boxes: impl Fn(usize) -> TensorMap) -> ([Arg; 2], Arg) {
    let map = |tensor: Tensor| Arg::TensorMap(tensor, boxes(tensor.last_dim()));
    match x.is_pair() {
        true => ([map(x.first), map(x.second)], x.split().into()),
        false => ([(); 2].map(|()| map(x.first)), i32::MAX.into()),
    }
}

/// Output pixels as a kernel counts them: those of one phase, or for a pointwise kernel all in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub n: usize,
    pub h: usize,
    pub w: usize,
}

/// Returns true if the kernels can compute the shape at all: 16-byte strides, which TMA needs, and boxes that are not
/// mostly padding.
fn takes(s: &Conv2dShape, dtype: DType) -> bool {
    let channels = [s.c_in, s.c_out].iter().all(|c| c % 8 == 0 && *c > 32);
    dtype == DType::Bf16 && channels && s.stride <= 2 && s.kh.max(s.kw) <= MAX_KERNEL
}

/// A 1x1 convolution is a matrix product: its images may be seen as one row of pixels.
fn is_pointwise(s: &Conv2dShape) -> bool {
    s.kh * s.kw * s.stride == 1 && s.pad_top + s.pad_left + s.pad_bottom + s.pad_right == 0
}

/// The same pixels as one row.
fn flattened(s: &Conv2dShape) -> Conv2dShape {
    Conv2dShape { n: 1, h: 1, w: s.n * s.h * s.w, ..*s }
}

#[cfg(test)]
mod tests;
