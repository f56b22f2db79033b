//! The gradients: `attention_bwd_dkv_sm90`, then one of two kernels for the queries.

use super::groups::{BOX, BOX_BYTES, Groups, MOST_STAGES, out_boxes, qkv_boxes};
use crate::engine::device::TensorMap;
use crate::engine::ops::attention::shape::Shape;
use crate::engine::ops::conv2d::hopper::{MULTIPROCESSORS, SHARED_BYTES, THREADS};
use crate::engine::tape::{Arg, Launches, Tape};
use crate::engine::tensor::{DType, Tensor};

/// Tokens that the kernels have room for, whatever the width of a head.
const MOST_TOKENS: usize = 1024;

/// Way in which the gradient of the queries is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queries {
    /// From `ds`, which the first kernel leaves in memory: `attention_bwd_dq_sm90`.
    FromScores,
    /// The scores are computed again: `attention_bwd_dq_long_sm90`.
    Again,
}

/// Plan of the two launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackwardPlan {
    pub dkv_kernel: &'static str,
    pub dq_kernel: &'static str,
    pub queries: Queries,
    pub(super) shape: Shape,
    pub(super) groups: Groups,
    /// Blocks that share the keys of a group.
    pub splits: usize,
    /// Stages of the rings of queries and of their gradients.
    pub dkv_stages: usize,
    pub dkv_smem_bytes: usize,
    pub dq_stages: usize,
    pub dq_smem_bytes: usize,
    pub dq_tiles: usize,
    /// A block for each tile; of [`Queries::FromScores`] persistent ones, of which a device with fewer multiprocessors is
    /// given fewer.
    pub dq_blocks: usize,
}

impl BackwardPlan {
    /// `ds` is kept unless it takes far more memory than the gradients.
    pub fn new(s: &Shape, dtype: DType) -> Option<BackwardPlan> {
        let queries = if s.l <= 8 * s.dk { Queries::FromScores } else { Queries::Again };
        BackwardPlan::by(queries, s, dtype)
    }

    /// Plans with the queries' gradient computed in this way.
    pub fn by(queries: Queries, s: &Shape, dtype: DType) -> Option<BackwardPlan> {
        let groups = Groups::new(s, dtype)?;
        if s.l > MOST_TOKENS {
            return None;
        }
        let (dkv_kernel, dq_kernel) = match (s.dk, queries) {
            (32, Queries::FromScores) => ("attention_bwd_dkv_sm90_32", "attention_bwd_dq_sm90_32"),
            (32, Queries::Again) => ("attention_bwd_dkv_sm90_32", "attention_bwd_dq_long_sm90_32"),
            (64, Queries::FromScores) => ("attention_bwd_dkv_sm90_64", "attention_bwd_dq_sm90_64"),
            (64, Queries::Again) => ("attention_bwd_dkv_sm90_64", "attention_bwd_dq_long_sm90_64"),
            (128, Queries::FromScores) => ("attention_bwd_dkv_sm90_128", "attention_bwd_dq_sm90_128"),
            (256, Queries::FromScores) => ("attention_bwd_dkv_sm90_256", "attention_bwd_dq_sm90_256"),
            _ => return None,
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
        let dq_tiles = groups.count * s.l.div_ceil(groups.queries());
        // The result's place; or, in `LongShared` of the kernel, lse and delta, then queries and dout.
        let result_bytes = groups.queries() / BOX * groups.tile_bytes();
        let (dq_fixed_bytes, dq_stage_bytes, dq_blocks) = match queries {
            Queries::FromScores => {
                (1024 + result_bytes, 2 * BOX_BYTES + groups.tile_bytes(), dq_tiles.min(MULTIPROCESSORS))
            }
            Queries::Again => (2048 + 2 * result_bytes, 2 * groups.tile_bytes(), dq_tiles),
        };
        let dq_stages = ((SHARED_BYTES - dq_fixed_bytes) / dq_stage_bytes).min(MOST_STAGES);
        Some(BackwardPlan {
            dkv_kernel,
            dq_kernel,
            queries,
            shape: *s,
            groups,
            splits: (1..=tiles).min_by_key(|&splits| time(splits))?,
            dkv_stages,
            dkv_smem_bytes: fixed_bytes + dkv_stages * stage_bytes,
            dq_stages,
            dq_smem_bytes: dq_fixed_bytes + dq_stages * dq_stage_bytes,
            dq_tiles,
            dq_blocks,
        })
    }

    /// `ds [n, heads, l keys, l queries]`, in bf16, if it is kept; rows are multiples of 16 bytes long.
    pub fn ds(&self, tape: &mut Tape) -> Tensor {
        let s = &self.shape;
        match self.queries {
            Queries::FromScores => tape.scratch(&[s.n, s.heads, s.l, s.l.next_multiple_of(8)], DType::Bf16),
            Queries::Again => Tensor::EMPTY,
        }
    }

    /// Operations of the two launches.
    pub fn flops(&self) -> [u64; 2] {
        let s = &self.shape;
        let scores = s.product_flops(s.dk + s.dv);
        // What both compute counts half in each.
        let [in_dkv, in_dq] = match self.queries {
            Queries::FromScores => [scores, 0],
            Queries::Again => [scores / 2; 2],
        };
        [in_dkv + s.product_flops(s.dk + s.dv), in_dq + s.product_flops(s.dk)]
    }

    /// Launches both kernels; `ds` is that of [`BackwardPlan::ds`].
    pub fn launch(&self, q: &mut Launches, [dqkv, ds]: [Tensor; 2], [dout, qkv, out, lse]: [Tensor; 4]) {
        let s = &self.shape;
        let keeps_ds = self.queries == Queries::FromScores;
        let ds = match self.queries {
            Queries::FromScores => {
                let dims = [s.l.next_multiple_of(8), s.l, s.n * s.heads];
                Arg::TensorMap(ds, TensorMap::new(DType::Bf16, &dims, &[BOX, BOX, 1]).swizzle_128())
            }
            Queries::Again => Arg::TensorMap(dqkv, qkv_boxes(s)),
        };
        let [dqkv, qkv] = [dqkv, qkv].map(|t| Arg::TensorMap(t, qkv_boxes(s)));
        let rows = [Arg::TensorMap(dout, out_boxes(s)), qkv.clone(), dout.into(), out.into(), lse.into()];
        q.kernel_named(self.dkv_kernel)
            .grid([self.groups.count * self.splits, 1, 1])
            .block(THREADS)
            .smem(self.dkv_smem_bytes)
            .useful(self.groups.useful(s, BOX, BOX))
            .with([dqkv.clone(), ds.clone()])
            .with(rows.clone())
            .with([s.l, s.heads, usize::from(keeps_ds), self.splits, self.dkv_stages]);
        let useful = self.groups.useful(s, self.groups.queries(), BOX);
        let (grid, useful) = match self.queries {
            Queries::FromScores => (q.persistent(self.dq_blocks, 1), useful * q.wave_efficiency(self.dq_tiles)),
            Queries::Again => ([self.dq_blocks, 1, 1], useful),
        };
        let dq = q.kernel_named(self.dq_kernel).grid(grid).block(THREADS).smem(self.dq_smem_bytes).useful(useful);
        match self.queries {
            Queries::FromScores => dq.with([dqkv, ds, qkv]).with([s.n, s.l, s.heads, self.dq_stages]),
            Queries::Again => dq.with([dqkv]).with(rows).with([s.l, s.heads, self.dq_stages]),
        };
    }
}
