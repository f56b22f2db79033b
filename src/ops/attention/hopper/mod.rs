//! Attention on Hopper: which shapes the kernels `kernels/attention/*_sm90.cu` take, with how much shared memory and how
//! many blocks. Pure functions of the shape; docs/kernels/attention.md has the reasons.

use super::Shape;
use crate::device::TensorMap;
use crate::ops::conv2d::hopper::{MULTIPROCESSORS, SHARED_BYTES, THREADS};
use crate::tape::{Arg, Launches};
use crate::tensor::{DType, Tensor};

/// Tokens and dimensions of a box that the kernels load, and the bytes of its rows.
const BOX: usize = 64;
const BOX_BYTES: usize = BOX * 2 * 64;
/// Stages that are of use.
const MOST_STAGES: usize = 4;
/// Tokens that the gradients' kernels have room for, as every width of a head does.
const MOST_TOKENS: usize = 1024;

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
            .args(&[
                Arg::TensorMap(out, out_boxes(s)),
                lse.into(),
                Arg::TensorMap(qkv, qkv_boxes(s)),
                s.n.into(),
                s.l.into(),
                s.heads.into(),
                self.stages.into(),
            ]);
    }
}

/// `attention_bwd_dkv_sm90`, which leaves `ds` to `attention_bwd_dq_sm90`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackwardPlan {
    pub dkv_kernel: &'static str,
    pub dq_kernel: &'static str,
    shape: Shape,
    groups: Groups,
    /// Blocks that share the keys of a group.
    pub splits: usize,
    /// Of the rings of queries and of their gradients.
    pub dkv_stages: usize,
    pub dkv_smem_bytes: usize,
    pub dq_stages: usize,
    pub dq_smem_bytes: usize,
    pub dq_tiles: usize,
    pub dq_blocks: usize,
}

impl BackwardPlan {
    pub fn new(s: &Shape, dtype: DType) -> Option<BackwardPlan> {
        let groups = Groups::new(s, dtype)?;
        // `ds` is to take about as much memory as the gradients.
        if s.l > MOST_TOKENS.min(8 * s.dk) {
            return None;
        }
        let (dkv_kernel, dq_kernel) = match s.dk {
            32 => ("attention_bwd_dkv_sm90_32", "attention_bwd_dq_sm90_32"),
            64 => ("attention_bwd_dkv_sm90_64", "attention_bwd_dq_sm90_64"),
            128 => ("attention_bwd_dkv_sm90_128", "attention_bwd_dq_sm90_128"),
            _ => ("attention_bwd_dkv_sm90_256", "attention_bwd_dq_sm90_256"),
        };
        let tiles = s.l.div_ceil(BOX);
        // `KeysShared` of the kernel: a tile of ds, one of p, the barriers. Then keys and values, and at the end lse and
        // delta.
        let fixed_bytes = BOX_BYTES + 4 * BOX * BOX + 1024 + 2 * groups.tile_bytes() + 8 * groups.heads * tiles * BOX;
        let stage_bytes = 2 * groups.tile_bytes();
        let dkv_stages = ((SHARED_BYTES - fixed_bytes) / stage_bytes).min(MOST_STAGES);
        let time = |splits: usize| {
            let waves = (groups.count * splits).div_ceil(MULTIPROCESSORS);
            // In tiles of scores. Each block sums up delta of all queries, and fills its pipeline.
            waves * (tiles.div_ceil(splits) * tiles + tiles + 1)
        };
        let dq_fixed_bytes = 1024 + groups.queries() / BOX * groups.tile_bytes();
        let dq_stage_bytes = 2 * BOX_BYTES + groups.tile_bytes();
        let dq_stages = ((SHARED_BYTES - dq_fixed_bytes) / dq_stage_bytes).min(MOST_STAGES);
        let dq_tiles = groups.count * s.l.div_ceil(groups.queries());
        Some(BackwardPlan {
            dkv_kernel,
            dq_kernel,
            shape: *s,
            groups,
            splits: (1..=tiles).min_by_key(|&splits| time(splits))?,
            dkv_stages,
            dkv_smem_bytes: fixed_bytes + dkv_stages * stage_bytes,
            dq_stages,
            dq_smem_bytes: dq_fixed_bytes + dq_stages * dq_stage_bytes,
            dq_tiles,
            dq_blocks: dq_tiles.min(MULTIPROCESSORS),
        })
    }

    /// `ds [n, heads, l keys, l queries]`, in bf16; rows are multiples of 16 bytes long.
    pub fn ds_dims(&self) -> [usize; 4] {
        let s = &self.shape;
        [s.n, s.heads, s.l, s.l.next_multiple_of(8)]
    }

    #[expect(clippy::too_many_arguments, reason = "in the order of the kernels' arguments")]
    pub fn launch(
        &self,
        q: &mut Launches,
        dqkv: Tensor,
        ds: Tensor,
        dout: Tensor,
        qkv: Tensor,
        out: Tensor,
        lse: Tensor,
    ) {
        let s = &self.shape;
        let [n, heads, keys, queries] = self.ds_dims();
        let ds_boxes = TensorMap::new(DType::Bf16, &[queries, keys, n * heads], &[BOX, BOX, 1]).swizzle_128();
        q.kernel_named(self.dkv_kernel)
            .grid([self.groups.count * self.splits, 1, 1])
            .block(THREADS)
            .smem(self.dkv_smem_bytes)
            .wanted(self.groups.wanted(s, BOX, BOX))
            .args(&[
                Arg::TensorMap(dqkv, qkv_boxes(s)),
                Arg::TensorMap(ds, ds_boxes),
                Arg::TensorMap(dout, out_boxes(s)),
                Arg::TensorMap(qkv, qkv_boxes(s)),
                dout.into(),
                out.into(),
                lse.into(),
                s.l.into(),
                s.heads.into(),
                self.splits.into(),
                self.dkv_stages.into(),
            ]);
        q.kernel_named(self.dq_kernel)
            .grid([self.dq_blocks, 1, 1])
            .block(THREADS)
            .smem(self.dq_smem_bytes)
            .wanted(self.groups.wanted(s, self.groups.queries(), BOX) * wave_efficiency(self.dq_tiles))
            .args(&[
                Arg::TensorMap(dqkv, qkv_boxes(s)),
                Arg::TensorMap(ds, ds_boxes),
                Arg::TensorMap(qkv, qkv_boxes(s)),
                s.n.into(),
                s.l.into(),
                s.heads.into(),
                self.dq_stages.into(),
            ]);
    }
}

#[cfg(test)]
mod tests;
