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
//! What is saved for backward is `lse`, the logarithm of the sum of `exp(s)` over a row: `p` is computed again from it.
//! On a GPU `p` never leaves the processor (see `kernels/attention.cu`); on the CPU a task holds a block of its rows
//! going forward, and that of one image and head going backward.

use crate::device::Memory;
use crate::device::host_math::{MatRef, matmul};
use crate::ops::simd;
use crate::tape::{Launches, Op, Tape};
use crate::tensor::{DType, Tensor};
use rayon::prelude::*;

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
    let out = tape.tensor(&[shape.n, shape.l, heads * dv], qkv.dtype());
    let lse = tape.tensor(&[shape.n, heads, shape.l], DType::F32);
    tape.push(AttentionFwd { out, lse, qkv, shape });
    out
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    n: usize,
    l: usize,
    heads: usize,
    dk: usize,
    dv: usize,
}

impl Shape {
    /// Columns of `qkv`.
    fn width(&self) -> usize {
        self.heads * (2 * self.dk + self.dv)
    }

    /// Where the queries, keys and values of a head begin among the columns of `qkv`.
    fn columns(&self, head: usize) -> [usize; 3] {
        [head * self.dk, (self.heads + head) * self.dk, 2 * self.heads * self.dk + head * self.dv]
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dk as f32).sqrt()
    }

    /// Operations of products over `dims` head dimensions in all.
    fn product_flops(&self, dims: usize) -> u64 {
        2 * (self.n * self.heads * self.l) as u64 * (self.l * dims) as u64
    }
}

#[derive(Debug)]
struct AttentionFwd {
    out: Tensor,
    lse: Tensor,
    qkv: Tensor,
    shape: Shape,
}

impl Op for AttentionFwd {
    fn name(&self) -> &'static str {
        "attention_fwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.out, self.lse]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.qkv]
    }
    fn backward(&self, tape: &mut Tape) {
        let &AttentionFwd { out, lse, qkv, shape } = self;
        let dout = tape.grad(out);
        let dqkv = tape.grad_slot(qkv);
        let delta = tape.scratch(&[shape.n, shape.heads, shape.l], DType::F32);
        tape.push(AttentionBwd { dqkv, delta, dout, qkv, out, lse, shape });
        tape.accumulate(qkv, dqkv);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([out, lse], [qkv]) = mem.views([self.out, self.lse], [self.qkv]);
        forward_cpu(out, lse, qkv, self.shape);
    }
    fn launch(&self, q: &mut Launches) {
        let Shape { l, heads, dk, dv, .. } = self.shape;
        let tiles = Tiles::forward(&self.shape, self.qkv.dtype());
        q.kernel(&format!("attention_fwd_d{}", tiles.width), self.qkv.dtype())
            .grid([self.shape.n * heads * tiles.per_head, dv.div_ceil(tiles.width), 1])
            .block(32 * tiles.warps)
            .smem(tiles.shared_bytes)
            .args(&[self.out.into(), self.lse.into(), self.qkv.into(), l.into(), heads.into(), dk.into(), dv.into()]);
    }
    fn flops(&self) -> u64 {
        self.shape.product_flops(self.shape.dk + self.shape.dv)
    }
}

#[derive(Debug)]
struct AttentionBwd {
    dqkv: Tensor,
    delta: Tensor,
    dout: Tensor,
    qkv: Tensor,
    out: Tensor,
    lse: Tensor,
    shape: Shape,
}

impl Op for AttentionBwd {
    fn name(&self) -> &'static str {
        "attention_bwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.dqkv, self.delta]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dout, self.qkv, self.out, self.lse]
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([dqkv], [dout, qkv, out, lse]) = mem.views([self.dqkv], [self.dout, self.qkv, self.out, self.lse]);
        backward_cpu(dqkv, dout, qkv, out, lse, self.shape);
    }
    fn launch(&self, q: &mut Launches) {
        let Shape { n, l, heads, dk, dv } = self.shape;
        let dtype = self.qkv.dtype();
        let args = [self.delta.into(), self.dout.into(), self.out.into(), n.into(), l.into(), heads.into(), dv.into()];
        q.kernel("attention_bwd_delta", dtype).grid([(n * l * heads).div_ceil(8), 1, 1]).args(&args);
        let tiles = Tiles::backward(&self.shape, dtype);
        let (dk_slabs, dv_slabs) = (dk.div_ceil(tiles.width), dv.div_ceil(tiles.width));
        for (kernel, slabs) in [("attention_bwd_dq", dk_slabs), ("attention_bwd_dkv", dk_slabs + dv_slabs)] {
            q.kernel(&format!("{kernel}_d{}", tiles.width), dtype)
                .grid([n * heads * tiles.per_head, slabs, 1])
                .block(32 * tiles.warps)
                .smem(tiles.shared_bytes)
                .args(&[
                    self.dqkv.into(),
                    self.dout.into(),
                    self.qkv.into(),
                    self.lse.into(),
                    self.delta.into(),
                    l.into(),
                    heads.into(),
                    dk.into(),
                    dv.into(),
                ]);
        }
    }
    fn flops(&self) -> u64 {
        self.shape.product_flops(3 * self.shape.dk + 2 * self.shape.dv)
    }
    /// The two products that both large kernels compute, scores and dp, count half in each.
    fn launch_flops(&self) -> Vec<u64> {
        let Shape { dk, dv, .. } = self.shape;
        let shared = self.shape.product_flops(dk + dv) / 2;
        vec![0, shared + self.shape.product_flops(dk), shared + self.shape.product_flops(dk + dv)]
    }
}

/// Tokens of one CPU task: enough for the matrix product, few enough to share out one image.
const ROWS: usize = 128;

fn forward_cpu(out: &mut [f32], lse: &mut [f32], qkv: &[f32], s: Shape) {
    let (l, width, out_width) = (s.l, s.width(), s.heads * s.dv);
    let images = out.par_chunks_mut(l * out_width).zip(lse.par_chunks_mut(s.heads * l)).zip(qkv.par_chunks(l * width));
    images.for_each(|((out, lse), qkv)| {
        for (head, lse) in lse.chunks_mut(l).enumerate() {
            let [q, k, v] = s.columns(head);
            let keys = MatRef::rows(&qkv[k..], l, s.dk, width);
            let values = MatRef::rows(&qkv[v..], l, s.dv, width);
            let blocks = out.par_chunks_mut(ROWS * out_width).zip(lse.par_chunks_mut(ROWS));
            blocks.zip(qkv.par_chunks(ROWS * width)).for_each(|((out, lse), qkv)| {
                let rows = lse.len();
                simd::scratch(rows * l, |p| {
                    matmul(p, l, MatRef::rows(&qkv[q..], rows, s.dk, width), keys.transposed());
                    softmax(p, lse, s.scale());
                    matmul(&mut out[head * s.dv..], out_width, MatRef::rows(p, rows, l, l), values);
                });
            });
        }
    });
}

fn backward_cpu(dqkv: &mut [f32], dout: &[f32], qkv: &[f32], out: &[f32], lse: &[f32], s: Shape) {
    let (l, width, out_width) = (s.l, s.width(), s.heads * s.dv);
    let images = dqkv.par_chunks_mut(l * width).zip(qkv.par_chunks(l * width));
    let saved = dout.par_chunks(l * out_width).zip(out.par_chunks(l * out_width)).zip(lse.par_chunks(s.heads * l));
    images.zip(saved).for_each(|((dqkv, qkv), ((dout, out), lse))| {
        for head in 0..s.heads {
            backward_head(dqkv, dout, qkv, out, &lse[head * l..][..l], s, head);
        }
    });
}

/// The gradients of one head of one image: dq by blocks of queries, then dk and dv by blocks of keys.
fn backward_head(dqkv: &mut [f32], dout: &[f32], qkv: &[f32], out: &[f32], lse: &[f32], s: Shape, head: usize) {
    let (l, width, out_width) = (s.l, s.width(), s.heads * s.dv);
    let [q, k, v] = s.columns(head);
    let queries = MatRef::rows(&qkv[q..], l, s.dk, width);
    let keys = MatRef::rows(&qkv[k..], l, s.dk, width);
    let values = MatRef::rows(&qkv[v..], l, s.dv, width);
    let upstream = MatRef::rows(&dout[head * s.dv..], l, s.dv, out_width);
    simd::scratch(2 * l * l, |scratch| {
        let (p, ds) = scratch.split_at_mut(l * l);
        let results =
            dqkv.par_chunks_mut(ROWS * width).zip(p.par_chunks_mut(ROWS * l)).zip(ds.par_chunks_mut(ROWS * l));
        let saved = dout.par_chunks(ROWS * out_width).zip(out.par_chunks(ROWS * out_width)).zip(lse.par_chunks(ROWS));
        let blocks = results.zip(qkv.par_chunks(ROWS * width)).zip(saved);
        blocks.for_each(|((((dqkv, p), ds), qkv), ((dout, out), lse))| {
            let rows = lse.len();
            let dout = &dout[head * s.dv..];
            matmul(p, l, MatRef::rows(&qkv[q..], rows, s.dk, width), keys.transposed());
            matmul(ds, l, MatRef::rows(dout, rows, s.dv, out_width), values.transposed());
            for (row, (p, ds)) in p.chunks_exact_mut(l).zip(ds.chunks_exact_mut(l)).enumerate() {
                let (dout, out) = (&dout[row * out_width..], &out[row * out_width + head * s.dv..]);
                softmax_gradient(p, ds, lse[row], &dout[..s.dv], &out[..s.dv], s.scale());
            }
            matmul(&mut dqkv[q..], width, MatRef::rows(ds, rows, l, l), keys);
        });
        dqkv.par_chunks_mut(ROWS * width).enumerate().for_each(|(block, dqkv)| {
            let (first, rows) = (block * ROWS, dqkv.len() / width);
            let [p, ds] = [&*p, &*ds].map(|m| MatRef::rows(&m[first..], l, rows, l).transposed());
            matmul(&mut dqkv[k..], width, ds, queries);
            matmul(&mut dqkv[v..], width, p, upstream);
        });
    });
}

/// Sixteen partial results, so that a reduction vectorises and its order is fixed.
const LANES: usize = 16;

#[inline(always)]
fn reduce(row: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let mut pieces = row.chunks_exact(LANES);
    for piece in &mut pieces {
        for (lane, &v) in lanes.iter_mut().zip(piece) {
            *lane = f(*lane, v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(pieces.remainder()) {
        *lane = f(*lane, v);
    }
    lanes.into_iter().fold(start, &f)
}

/// Turns each row of scores, before scaling, into probabilities; keeps the logarithm of the row's sum.
fn softmax(scores: &mut [f32], lse: &mut [f32], scale: f32) {
    let l = scores.len() / lse.len();
    simd::vectorize(
        #[inline(always)]
        || {
            for (row, lse) in scores.chunks_exact_mut(l).zip(lse) {
                let highest = reduce(
                    row,
                    f32::NEG_INFINITY,
                    #[inline(always)]
                    |a, b| if b > a { b } else { a },
                );
                row.iter_mut().for_each(|s| *s = simd::exp((*s - highest) * scale));
                let sum = reduce(
                    row,
                    0.0,
                    #[inline(always)]
                    |a, b| a + b,
                );
                *lse = highest * scale + sum.ln();
                let inverse = 1.0 / sum;
                row.iter_mut().for_each(|p| *p *= inverse);
            }
        },
    );
}

/// One row: `p` from the scores before scaling, and `ds`, times the scale, from `dp`.
fn softmax_gradient(p: &mut [f32], ds: &mut [f32], lse: f32, dout: &[f32], out: &[f32], scale: f32) {
    simd::vectorize(
        #[inline(always)]
        || {
            let mut lanes = [0.0; LANES];
            for (dout, out) in dout.chunks(LANES).zip(out.chunks(LANES)) {
                for ((lane, &a), &b) in lanes.iter_mut().zip(dout).zip(out) {
                    *lane += a * b;
                }
            }
            let delta: f32 = lanes.into_iter().sum();
            for (p, ds) in p.iter_mut().zip(ds) {
                *p = simd::exp(*p * scale - lse);
                *ds = *p * (*ds - delta) * scale;
            }
        },
    );
}

/// How the kernels cut a head into blocks, which must agree with `Shape` in `kernels/attention.cu`.
#[derive(Debug, PartialEq)]
struct Tiles {
    /// Columns of a result that a block holds in registers: selects the kernel.
    width: usize,
    /// Each owns 16 rows.
    warps: usize,
    /// Blocks that cover the rows of a head.
    per_head: usize,
    shared_bytes: usize,
}

/// What every supported GPU gives to a block.
const SHARED_BYTES: usize = 99 * 1024;

impl Tiles {
    fn forward(s: &Shape, dtype: DType) -> Tiles {
        Tiles::new(s, dtype, 64, &[s.dk], 0)
    }

    fn backward(s: &Shape, dtype: DType) -> Tiles {
        let columns = if width(s) == 256 { 32 } else { 64 };
        // Two floats per column: its lse and delta.
        Tiles::new(s, dtype, columns, &[s.dk, s.dv], 8 * columns)
    }

    /// `row_dims`: head dimensions of the row operands that stay in shared memory.
    fn new(s: &Shape, dtype: DType, columns: usize, row_dims: &[usize], extra_bytes: usize) -> Tiles {
        let width = width(s);
        let chunk = if width < 64 { width } else { 4096 / columns };
        let padding = 16 / dtype.bytes();
        let buffers = if dtype == DType::Bf16 { 3 } else { 2 };
        let ring_bytes = buffers * columns * (chunk + padding) * dtype.bytes();
        let row_bytes: usize = row_dims.iter().map(|d| (d.next_multiple_of(chunk) + padding) * dtype.bytes()).sum();
        let shared_bytes = |warps: usize| ring_bytes + 16 * warps * row_bytes + extra_bytes;
        let mut warps = 4;
        while warps > 1 && (shared_bytes(warps) > SHARED_BYTES || warps * 8 >= s.l) {
            warps /= 2;
        }
        assert!(shared_bytes(warps) <= SHARED_BYTES, "attention: heads of {} and {} do not fit a block", s.dk, s.dv);
        Tiles { width, warps, per_head: s.l.div_ceil(16 * warps), shared_bytes: shared_bytes(warps) }
    }
}

/// The narrowest kernel that holds a head in one block, or the widest.
fn width(s: &Shape) -> usize {
    s.dk.max(s.dv).next_power_of_two().clamp(32, 256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{Check, Input, few};

    fn oracle(qkv: &[f64], s: Shape) -> Vec<f64> {
        let (l, width) = (s.l, s.width());
        let mut out = vec![0.0; s.n * l * s.heads * s.dv];
        for image in 0..s.n {
            for head in 0..s.heads {
                let [q, k, v] = s.columns(head).map(|c| image * l * width + c);
                for row in 0..l {
                    let score = |column: usize| -> f64 {
                        let products = (0..s.dk).map(|d| qkv[q + row * width + d] * qkv[k + column * width + d]);
                        products.sum::<f64>() / (s.dk as f64).sqrt()
                    };
                    let scores: Vec<f64> = (0..l).map(score).collect();
                    let highest = scores.iter().copied().fold(f64::MIN, f64::max);
                    let p: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
                    let sum: f64 = p.iter().sum();
                    for d in 0..s.dv {
                        out[((image * l + row) * s.heads + head) * s.dv + d] =
                            (0..l).map(|column| p[column] / sum * qkv[v + column * width + d]).sum();
                    }
                }
            }
        }
        out
    }

    fn check(n: usize, l: usize, heads: usize, dk: usize, dv: usize) {
        let s = Shape { n, l, heads, dk, dv };
        let samples = if l * dk.max(dv) > 4096 { 6 } else { 24 };
        Check { samples, ..Check::default() }.run(
            &[Input::activation(&[n, l, s.width()])],
            |tape, x| attention(tape, x[0], heads, dk, dv),
            |x| oracle(&x[0], s),
        );
    }

    #[test]
    fn small_heads_match_the_oracle() {
        let shapes = [(1, 100, 1, 33, 35), (3, 35, 2, 16, 16), (1, 1, 1, 4, 4), (1, 64, 3, 4, 33), (1, 140, 2, 32, 8)];
        few(shapes).for_each(|(n, l, heads, dk, dv)| check(n, l, heads, dk, dv));
    }

    #[test]
    fn wide_heads_match_the_oracle() {
        let shapes = [(1, 20, 1, 33, 257), (3, 20, 1, 128, 64), (1, 35, 1, 256, 256), (1, 16, 1, 512, 512)];
        few(shapes).for_each(|(n, l, heads, dk, dv)| check(n, l, heads, dk, dv));
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let s = Shape { n: 1, l: 40, heads: 1, dk: 8, dv: 8 };
        Check { samples: 24, f32_tolerance: 2e-4, bf16_tolerance: 1e-1, ..Check::default() }.run(
            &[Input::activation(&[1, 40, s.width()]).scaled(8.0)],
            |tape, x| attention(tape, x[0], 1, 8, 8),
            |x| oracle(&x[0], s),
        );
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let s = Shape { n: 2, l: 300, heads: 2, dk: 12, dv: 20 };
        let value = |i: usize| ((i * 2654435761) % 1000) as f32 / 250.0 - 2.0;
        let qkv: Vec<f32> = (0..s.n * s.l * s.width()).map(value).collect();
        let dout: Vec<f32> = (0..s.n * s.l * s.heads * s.dv).map(|i| value(i + 7)).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut out, mut lse) = (vec![0.0; dout.len()], vec![0.0; s.n * s.heads * s.l]);
                let mut dqkv = vec![f32::NAN; qkv.len()];
                forward_cpu(&mut out, &mut lse, &qkv, s);
                backward_cpu(&mut dqkv, &dout, &qkv, &out, &lse, s);
                [out, lse, dqkv].concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            })
        };
        assert!(run(1) == run(2) && run(1) == run(3));
    }

    #[test]
    fn blocks_fit_shared_memory() {
        for dtype in [DType::F32, DType::Bf16] {
            for (dk, dv) in [(1, 1), (32, 32), (64, 64), (128, 128), (256, 256), (512, 512), (512, 1), (33, 300)] {
                let s = Shape { n: 1, l: 1024, heads: 1, dk, dv };
                for tiles in [Tiles::forward(&s, dtype), Tiles::backward(&s, dtype)] {
                    assert!(tiles.shared_bytes <= SHARED_BYTES && tiles.per_head * tiles.warps * 16 >= 1024);
                }
            }
        }
        let widest = Shape { n: 128, l: 4, heads: 1, dk: 192, dv: 1536 };
        assert!(Tiles::backward(&widest, DType::Bf16).shared_bytes <= SHARED_BYTES);
        let s = Shape { n: 128, l: 256, heads: 1, dk: 256, dv: 256 };
        assert_eq!(Tiles::forward(&s, DType::Bf16).warps, 4);
        assert_eq!(Tiles::backward(&s, DType::Bf16).warps, 4);
    }
}
