//! Self-attention (Vaswani et al. 2017, equation 1) of the tokens of each image, in one or more heads.
//!
//! Per image and head, with `q [l, dk]`, `k [l, dk]`, `v [l, dv]` and `scale = 1 / sqrt(dk)`:
//!
//! ```text
//! s = scale q k^T        p = softmax(s) over keys = exp(s - lse)        out = p v
//! dv = p^T dout          dp = dout v^T          ds = p (dp - delta)     delta = sum over dv of dout out
//! dq = scale ds k        dk = scale ds^T q
//! ```
//!
//! Saved for backward is `lse`, the logarithm of the sum of `exp(s)` over a row: `p` is computed again from it.
//! On a GPU `p` never leaves the processor (see `kernels/attention.cu`); on the CPU a task holds a block of its rows
//! going forward, and that of one image and head going backward. Hopper has kernels of its own for bf16
//! (`kernels/attention/`), which `hopper` chooses.

mod cpu;
mod hopper;
mod shape;
mod tiles;

use crate::Result;
use crate::engine::device::{Capability, Memory};
use crate::engine::tape::geometry::flat;
use crate::engine::tape::{Declaration, Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};
use hopper::{BackwardPlan, Plans};
use shape::Shape;
use tiles::{Tiles, check_tiles};

/// Self-attention in `heads` heads with `dk` dimensions for queries and keys and `dv` for values.
///
/// # Shapes
/// `qkv [n, l, heads * (dk + dk + dv)]`: the queries of all heads, then all keys, then all values; the result
/// `[n, l, heads * dv]`. Saved for backward: `qkv`, the result, and `[n, heads, l]` log-sum-exps. On a GPU `dk + dv`,
/// each rounded up to a multiple of 128, is at most 1024 in f32 and 2304 in bf16.
pub fn attention(tape: &mut Tape, qkv: Tensor, heads: usize, dk: usize, dv: usize) -> Tensor {
    assert!(qkv.rank() == 3 && heads > 0 && dk > 0 && dv > 0, "attention: {qkv:?} in {heads} heads of {dk} and {dv}");
    let shape = Shape { n: qkv.dim(0), l: qkv.dim(1), heads, dk, dv };
    assert_eq!(qkv.dim(2), shape.width(), "attention: {qkv:?} in {heads} heads of {dk} and {dv}");
    let plans = match tape.capability() {
        Capability::Hopper => Plans::new(&shape, qkv.dtype()),
        _ => Plans::default(),
    };
    record(tape, qkv, shape, plans).0
}

/// Records it as planned; the result and its log-sum-exps.
fn record(tape: &mut Tape, qkv: Tensor, shape: Shape, hopper: Plans) -> (Tensor, Tensor) {
    let out = tape.tensor(&[shape.n, shape.l, shape.heads * shape.dv], qkv.dtype());
    let lse = tape.tensor(&[shape.n, shape.heads, shape.l], DType::F32);
    tape.push(AttentionFwd { out, lse, qkv, shape, hopper });
    (out, lse)
}

op! {
    struct AttentionFwd = "attention_fwd" {
        out out,  // [n, l, heads dv]
        out lse,  // [n, heads, l] f32
        in qkv,   // [n, l, heads (2 dk + dv)]
        shape: Shape,
        hopper: Plans,
    }
}

impl Op for AttentionFwd {
    fn backward(&self, tape: &mut Tape) {
        let &AttentionFwd { out, lse, qkv, shape, hopper: Plans { bwd: hopper, .. } } = self;
        let dout = tape.grad(out);
        let dqkv = tape.grad_slot(qkv);
        let scratch = match &hopper {
            Some(plan) => plan.ds(tape),
            None => tape.scratch(&[shape.n, shape.heads, shape.l], DType::F32),
        };
        tape.push(AttentionBwd { dqkv, scratch, dout, qkv, out, lse, shape, hopper });
        tape.accumulate(qkv, dqkv);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([out, lse], [qkv]) = mem.views([self.out, self.lse], [self.qkv]);
        cpu::forward(out, lse, qkv, self.shape);
    }
    fn launch(&self, q: &mut Launches) {
        if let Some(plan) = &self.hopper.fwd {
            return plan.launch(q, self.out, self.lse, self.qkv);
        }
        let Shape { l, heads, dk, dv, .. } = self.shape;
        let tiles = Tiles::forward(&self.shape, self.qkv.dtype());
        q.kernel(&format!("attention_fwd_d{}", tiles.width), self.qkv.dtype())
            .grid([self.shape.n * heads * tiles.per_head, dv.div_ceil(tiles.width), 1])
            .block(32 * tiles.warps)
            .smem(tiles.shared_bytes)
            .operands(self)
            .with([l, heads, dk, dv]);
    }
    fn check_launch(&self) -> Result<()> {
        match self.hopper.fwd {
            Some(_) => Ok(()),
            None => check_tiles(self.name(), Tiles::forward, &self.shape, self.qkv.dtype()),
        }
    }
    fn flops(&self) -> u64 {
        self.shape.product_flops(self.shape.dk + self.shape.dv)
    }
}

op! {
    struct AttentionBwd = "attention_bwd" {
        out dqkv,     // as qkv
        /// `ds` for Hopper's kernels, if they keep it; `delta`, `[n, heads, l]`, for the others.
        out scratch,
        in dout,      // as out
        in qkv,       // [n, l, heads (2 dk + dv)]
        in out,       // [n, l, heads dv]
        in lse,       // [n, heads, l] f32
        shape: Shape,
        hopper: Option<BackwardPlan>,
    }
}

impl Op for AttentionBwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([dqkv], [dout, qkv, out, lse]) = mem.views([self.dqkv], [self.dout, self.qkv, self.out, self.lse]);
        cpu::backward(dqkv, dout, qkv, out, lse, self.shape);
    }
    fn launch(&self, q: &mut Launches) {
        if let Some(plan) = &self.hopper {
            return plan.launch(q, [self.dqkv, self.scratch], [self.dout, self.qkv, self.out, self.lse]);
        }
        let Shape { n, l, heads, dk, dv } = self.shape;
        let dtype = self.qkv.dtype();
        q.kernel("attention_bwd_delta", dtype)
            .grid(flat(32 * n * l * heads, 1))
            .with([self.scratch, self.dout, self.out])
            .with([n, l, heads, dv]);
        let tiles = Tiles::backward(&self.shape, dtype);
        let (dk_slabs, dv_slabs) = (dk.div_ceil(tiles.width), dv.div_ceil(tiles.width));
        for (kernel, slabs) in [("attention_bwd_dq", dk_slabs), ("attention_bwd_dkv", dk_slabs + dv_slabs)] {
            q.kernel(&format!("{kernel}_d{}", tiles.width), dtype)
                .grid([n * heads * tiles.per_head, slabs, 1])
                .block(32 * tiles.warps)
                .smem(tiles.shared_bytes)
                .with([self.dqkv, self.dout, self.qkv, self.lse, self.scratch])
                .with([l, heads, dk, dv]);
        }
    }
    fn check_launch(&self) -> Result<()> {
        match self.hopper {
            Some(_) => Ok(()),
            None => check_tiles(self.name(), Tiles::backward, &self.shape, self.qkv.dtype()),
        }
    }
    fn flops(&self) -> u64 {
        self.shape.product_flops(3 * self.shape.dk + 2 * self.shape.dv)
    }
    /// The two products that both large kernels of `attention.cu` compute, scores and dp, count half in each.
    fn launch_flops(&self) -> Vec<u64> {
        if let Some(plan) = &self.hopper {
            return plan.flops().into();
        }
        let Shape { dk, dv, .. } = self.shape;
        let shared = self.shape.product_flops(dk + dv) / 2;
        vec![0, shared + self.shape.product_flops(dk), shared + self.shape.product_flops(dk + dv)]
    }
}

#[cfg(test)]
mod tests;
