//! Attention on the CPU: a task holds the probabilities of a block of rows going forward, of one head going backward.

use super::shape::Shape;
use crate::engine::device::host_math::{MatRef, matmul};
use crate::engine::simd;
use rayon::prelude::*;

/// Tokens of one CPU task: enough for the matrix product, few enough to share out one image.
const ROWS: usize = 128;

pub fn forward(out: &mut [f32], lse: &mut [f32], qkv: &[f32], s: Shape) {
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

pub fn backward(dqkv: &mut [f32], dout: &[f32], qkv: &[f32], out: &[f32], lse: &[f32], s: Shape) {
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
