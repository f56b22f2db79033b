//! Attention on Hopper: which shapes the kernels `kernels/attention/*_sm90.cu` take, with how much shared memory and how
//! many blocks. Pure functions of the shape; docs/kernels/attention.md has the reasons.

mod backward;

use super::{AttentionBwd, Shape};
use crate::engine::device::TensorMap;
use crate::engine::ops::conv2d::hopper::{MULTIPROCESSORS, SHARED_BYTES, THREADS};
use crate::engine::tape::{Arg, Launches, Tape};
use crate::engine::tensor::{DType, Tensor};
pub use backward::BackwardPlan;

/// Tokens and dimensions of a box that the kernels load, and the bytes of its rows.
const BOX: usize = 64;
const BOX_BYTES: usize = BOX * 2 * 64;
/// Stages that are of use.
const MOST_STAGES: usize = 4;
/// What the kernels take of a shape: nothing where they do not take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plans {
    pub fwd: Option<ForwardPlan>,
    pub bwd: Option<BackwardPlan>,
}

impl Plans {
    /// For tokens stored as `dtype`.
    pub fn new(s: &Shape, dtype: DType) -> Plans {
        Plans { fwd: ForwardPlan::new(s, dtype), bwd: BackwardPlan::new(s, dtype) }
    }
}

/// A group of heads, which a block works on: one, or two of 32 dimensions, which share the rows of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Groups {
    /// Heads of each.
    heads: usize,
    /// Of all images.
    count: usize,
    /// Dimensions of a group's matrices in shared memory.
    width: usize,
}

impl Groups {
    fn new(s: &Shape, dtype: DType) -> Option<Groups> {
        if dtype != DType::Bf16 || s.dk != s.dv || ![32, 64, 128, 256].contains(&s.dk) {
            return None;
        }
        let heads = if s.dk == 32 { 2 } else { 1 };
        Some(Groups { heads, count: s.n * s.heads.div_ceil(heads), width: heads * s.dk })
    }

    /// Bytes of 64 tokens of one matrix.
    fn tile_bytes(&self) -> usize {
        BOX * 2 * self.width
    }

    /// Queries of a block whose two warpgroups take 64 of each head.
    fn queries(&self) -> usize {
        2 * BOX / self.heads
    }

    /// The part of the scores that tiles of so many queries and keys span which is wanted.
    fn wanted(&self, s: &Shape, queries: usize, keys: usize) -> f64 {
        let spanned = self.count * self.heads * s.l.next_multiple_of(queries) * s.l.next_multiple_of(keys);
        (s.n * s.heads * s.l * s.l) as f64 / spanned as f64
    }
}

/// The part of the multiprocessors' turns that have a tile to compute.
fn wave_efficiency(tiles: usize) -> f64 {
    tiles as f64 / tiles.next_multiple_of(MULTIPROCESSORS) as f64
}

/// Boxes of `qkv` or its gradient as [column of one of the three matrices, which of them, token, image].
fn qkv_boxes(s: &Shape) -> TensorMap {
    let columns = s.heads * s.dk;
    TensorMap::new(DType::Bf16, &[columns, 3, s.l, s.n], &[64, 1, BOX, 1]).swizzle_128()
}

/// Boxes of the result or its gradient.
fn out_boxes(s: &Shape) -> TensorMap {
    TensorMap::new(DType::Bf16, &[s.heads * s.dv, s.l, s.n], &[64, BOX, 1]).swizzle_128()
}

/// `attention_fwd_sm90`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardPlan {
    pub kernel: &'static str,
    shape: Shape,
    groups: Groups,
    /// Of a tile of scores.
    pub keys: usize,
    /// Of the rings of keys and of values.
    pub stages: usize,
    pub smem_bytes: usize,
    pub tiles: usize,
    pub blocks: usize,
}

impl ForwardPlan {
    pub fn new(s: &Shape, dtype: DType) -> Option<ForwardPlan> {
        let groups = Groups::new(s, dtype)?;
        let (kernel, keys) = match s.dk {
            32 => ("attention_fwd_sm90_32", 64),
            64 => ("attention_fwd_sm90_64", 64),
            128 => ("attention_fwd_sm90_128", 128),
            _ => ("attention_fwd_sm90_256", 64),
        };
        // `ForwardShared` of the kernel and the queries; then keys and values.
        let fixed_bytes = 1024 + groups.queries() / BOX * groups.tile_bytes();
        let stage_bytes = 2 * keys / BOX * groups.tile_bytes();
        let stages = ((SHARED_BYTES - fixed_bytes) / stage_bytes).min(MOST_STAGES);
        let tiles = groups.count * s.l.div_ceil(groups.queries());
        Some(ForwardPlan {
            kernel,
            shape: *s,
            groups,
            keys,
            stages,
            smem_bytes: fixed_bytes + stages * stage_bytes,
            tiles,
            blocks: tiles.min(MULTIPROCESSORS),
        })
    }

    pub fn launch(&self, q: &mut Launches, out: Tensor, lse: Tensor, qkv: Tensor) {
        let s = &self.shape;
        q.kernel_named(self.kernel)
            .grid([self.blocks, 1, 1])
            .block(THREADS)
            .smem(self.smem_bytes)
            .wanted(self.groups.wanted(s, self.groups.queries(), self.keys) * wave_efficiency(self.tiles))
            .with([Arg::TensorMap(out, out_boxes(s)), lse.into(), Arg::TensorMap(qkv, qkv_boxes(s))])
            .with([s.n, s.l, s.heads, self.stages]);
    }
}

#[cfg(test)]
mod tests;
