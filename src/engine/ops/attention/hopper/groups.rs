//! Groups of heads and the boxes that hold them: common to the kernels of both passes.

use crate::engine::device::TensorMap;
use crate::engine::ops::attention::shape::Shape;
use crate::engine::tensor::DType;

/// Tokens and dimensions of a box that the kernels load, and the bytes of its rows.
pub(super) const BOX: usize = 64;
pub(super) const BOX_BYTES: usize = BOX * 2 * 64;
/// Stages that are of use.
pub(super) const MOST_STAGES: usize = 4;

/// A group of heads, which a block works on: one, or two of 32 dimensions, which share the rows of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    /// Heads of each.
    pub heads: usize,
    /// Groups of all images.
    pub count: usize,
    /// Dimensions of a group's matrices in shared memory.
    pub width: usize,
}

impl Groups {
    pub fn new(s: &Shape, dtype: DType) -> Option<Groups> {
        if dtype != DType::Bf16 || s.dk != s.dv || ![32, 64, 128, 256].contains(&s.dk) {
            return None;
        }
        let heads = if s.dk == 32 { 2 } else { 1 };
        Some(Groups { heads, count: s.n * s.heads.div_ceil(heads), width: heads * s.dk })
    }

    /// Bytes of 64 tokens of one matrix.
    pub fn tile_bytes(&self) -> usize {
        BOX * 2 * self.width
    }

    /// Queries of a block whose two warpgroups take 64 of each head.
    pub fn queries(&self) -> usize {
        2 * BOX / self.heads
    }

    /// Fraction of the scores in tiles of so many queries and keys that is useful work.
    pub fn useful(&self, s: &Shape, queries: usize, keys: usize) -> f64 {
        let spanned = self.count * self.heads * s.l.next_multiple_of(queries) * s.l.next_multiple_of(keys);
        (s.n * s.heads * s.l * s.l) as f64 / spanned as f64
    }
}

/// Boxes of `qkv` or its gradient as [column of one of the three matrices, which of them, token, image].
pub(super) fn qkv_boxes(s: &Shape) -> TensorMap {
    let columns = s.heads * s.dk;
    TensorMap::new(DType::Bf16, &[columns, 3, s.l, s.n], &[64, 1, BOX, 1]).swizzle_128()
}

/// Boxes of the result or its gradient.
pub(super) fn out_boxes(s: &Shape) -> TensorMap {
    TensorMap::new(DType::Bf16, &[s.heads * s.dv, s.l, s.n], &[64, BOX, 1]).swizzle_128()
}
