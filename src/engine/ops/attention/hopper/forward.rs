//! The forward pass: `attention_fwd_sm90`.

use super::groups::{BOX, Groups, MOST_STAGES, out_boxes, qkv_boxes};
use crate::engine::ops::attention::shape::Shape;
use crate::engine::ops::conv2d::hopper::{MULTIPROCESSORS, SHARED_BYTES, THREADS};
use crate::engine::tape::{Arg, Launches};
use crate::engine::tensor::{DType, Tensor};

/// `attention_fwd_sm90`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardPlan {
    pub kernel: &'static str,
    pub(super) shape: Shape,
    pub(super) groups: Groups,
    /// Keys of a tile of scores.
    pub keys: usize,
    /// Stages of the rings of keys and of values.
    pub stages: usize,
    pub smem_bytes: usize,
    pub tiles: usize,
    /// Persistent blocks. A device with fewer multiprocessors is given fewer.
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
        let useful = self.groups.useful(s, self.groups.queries(), self.keys) * q.wave_efficiency(self.tiles);
        let grid = q.persistent(self.blocks, 1);
        q.kernel_named(self.kernel)
            .grid(grid)
            .block(THREADS)
            .smem(self.smem_bytes)
            .useful(useful)
            .with([Arg::TensorMap(out, out_boxes(s)), lse.into(), Arg::TensorMap(qkv, qkv_boxes(s))])
            .with([s.n, s.l, s.heads, self.stages]);
    }
}
