//! Tiles of pixels, and the boxes of images that fill them.

use super::limits::{CHANNEL_BLOCK, MAX_BOX, MAX_KERNEL};
use crate::engine::device::TensorMap;
use crate::engine::ops::concat::Joined;
use crate::engine::tape::Arg;
use crate::engine::tensor::{DType, Tensor};

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
    pub fn count(&self, grid: Grid) -> usize {
        grid.n.div_ceil(self.images) * grid.h.div_ceil(self.rows) * grid.w.div_ceil(self.columns)
    }

    /// Tiles of at most `pixels` pixels that a box can hold when its pixels lie `stride` apart; with `aligned`, the
    /// swizzle's pattern divides their lines.
    pub fn candidates(grid: Grid, pixels: usize, stride: usize, aligned: bool) -> impl Iterator<Item = PixelTile> {
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
    pub fn boxes(&self, [n, h, w, c]: [usize; 4], rows: usize, stride: usize) -> TensorMap {
        let extents = [CHANNEL_BLOCK, self.columns * stride, self.images, rows * stride];
        TensorMap::new(DType::Bf16, &[c, w, n, h], &extents)
            .strides(&[c, h * w * c, w * c])
            .element_strides(&[1, stride, 1, stride])
            .swizzle_128()
    }
}

/// `x` as the kernels take it: the boxes of its first tensor and of its second, for which the first stands in where there is
/// none, and the channel with which the second begins. `boxes(c)` are those of a tensor with so many channels.
pub(super) fn input_args(x: Joined, boxes: impl Fn(usize) -> TensorMap) -> ([Arg; 2], Arg) {
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
