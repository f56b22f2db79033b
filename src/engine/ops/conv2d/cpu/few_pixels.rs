//! The product of [`gather`](super::gather) for few pixels, with the sides exchanged: output channels are the rows and
//! pixels the columns.
//!
//! The right operand of a register tile has to be transposed on its way there. Of few pixels that is less work than of the
//! weights, which are read once, from front to back, as they are. Every sum is the same chain of multiply-adds as there, so
//! the result has the same bits.
//!
//! 1. Pixels are packed transposed, in panels as wide as a vector.
//! 2. Each task takes a strip of output channels, whose weights pass through the first-level cache in pieces of [`DEPTH`]
//!    numbers a channel.
//! 3. Its sums, transposed back, are pieces of pixels: they are put together at the end.

use pulp::Simd;
use rayon::prelude::*;

use super::gather::Patches;
use super::tile::{self, KB, Sums, TileSize, Tiled};
use crate::engine::simd::{scratch, vectorize};

/// Steps of the reduction that a strip of weights passes through at a time: 16 kB of it, and as much of a panel.
const DEPTH: usize = 256;

/// Returns true if this is the faster way to multiply so many pixels with so many output channels.
pub fn suits(pixels: usize, cols: usize) -> bool {
    pixels <= 128 && pixels <= cols
}

/// `y [rows, cols] = patches * w^T + bias`, `w [cols, depth]` as it is, `bias` empty or `[cols]`.
pub fn product(y: &mut [f32], patches: &Patches, w: &[f32], bias: &[f32], cols: usize) {
    let TileSize { rows: mr, cols: lanes } = TileSize::slim();
    let depth = patches.packed_depth();
    let pixels = patches.rows().next_multiple_of(lanes);
    let strips = cols.div_ceil(mr);
    scratch(pixels * depth + strips * pixels * mr, |memory| {
        let (right, pieces) = memory.split_at_mut(pixels * depth);
        pack(right, patches, lanes);
        let right = &*right;
        pieces.par_chunks_mut(pixels * mr).enumerate().for_each(|(strip, pieces)| {
            scratch(mr * DEPTH + pixels * mr, |memory| {
                let (left, sums) = memory.split_at_mut(mr * DEPTH);
                StripTask { pieces, left, sums, right, w, bias, depth: patches.depth(), first: strip * mr }.slim();
            });
        });
        let pieces = &*pieces;
        y.par_chunks_mut(lanes * cols).enumerate().for_each(|(panel, y)| {
            for (i, y) in y.chunks_exact_mut(cols).enumerate() {
                let pixel = panel * lanes + i;
                for (y, strip) in y.chunks_mut(mr).zip(pieces.chunks_exact(pixels * mr)) {
                    y.copy_from_slice(&strip[pixel * mr..][..y.len()]);
                }
            }
        });
    });
}

/// Packs all patches as `right [panel][packed depth][lanes]`.
fn pack(right: &mut [f32], patches: &Patches, lanes: usize) {
    let (c, rows, depth) = (patches.c, patches.rows(), patches.packed_depth());
    // Taps are packed one by one where blocks do not straddle them.
    let taps = if c.is_multiple_of(KB) { patches.taps.len() } else { 1 };
    right.par_chunks_mut((depth / taps * lanes).max(1)).enumerate().for_each(|(task, right)| {
        let (panel, tap) = (task / taps, task % taps);
        let at = |lane: usize| {
            let row = panel * lanes + lane;
            (row < rows).then(|| [row / (patches.h * patches.w), row / patches.w % patches.h, row % patches.w])
        };
        vectorize(
            #[inline(always)]
            || {
                if c.is_multiple_of(KB) {
                    let mut square = [[0.0; KB]; KB];
                    for (block, right) in right.chunks_exact_mut(KB * lanes).enumerate() {
                        for (lane, row) in square.iter_mut().enumerate().take(lanes) {
                            match at(lane).and_then(|at| patches.source(at, tap)) {
                                Some(pixel) => row.copy_from_slice(&pixel[block * KB..][..KB]),
                                None => *row = [0.0; KB],
                            }
                        }
                        tile::transpose(right, square.as_flattened(), lanes, KB);
                    }
                    return;
                }
                right.fill(0.0);
                for tap in 0..patches.taps.len() {
                    let right = &mut right[tap * c * lanes..][..c * lanes];
                    for lane in 0..lanes {
                        let Some(pixel) = at(lane).and_then(|at| patches.source(at, tap)) else { continue };
                        for (right, x) in right.chunks_exact_mut(lanes).zip(pixel) {
                            right[lane] = *x;
                        }
                    }
                }
            },
        );
    });
}

/// Multiplies a strip of output channels, those from `first` on, with all panels.
struct StripTask<'a> {
    pieces: &'a mut [f32], // [pixels][MR]
    left: &'a mut [f32],   // [DEPTH / 16][MR][16]
    sums: &'a mut [f32],   // [panel][MR][lanes]
    right: &'a [f32],
    w: &'a [f32],
    bias: &'a [f32],
    depth: usize,
    first: usize,
}

impl Tiled for StripTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { pieces, left, sums, right, w, bias, depth, first } = self;
        let nr = NV * S::F32_LANES;
        let padded = depth.next_multiple_of(KB);
        let cols = w.len() / depth.max(1);
        for k0 in (0..padded).step_by(DEPTH) {
            let k1 = padded.min(k0 + DEPTH);
            let left = &mut left[..(k1 - k0) * MR];
            tile::pack_rows(
                left,
                MR,
                k0,
                #[inline(always)]
                |r| if first + r < cols { &w[(first + r) * depth..][..depth] } else { &[] },
            );
            for (sums, right) in sums.chunks_exact_mut(MR * nr).zip(right.chunks_exact(padded * nr)) {
                let tile = if k0 == 0 { first_sums(simd, bias, first) } else { tile::load::<S, MR, NV>(simd, sums) };
                tile::store::<S, MR, NV>(sums, tile::rows(simd, tile, left, &right[k0 * nr..k1 * nr]));
            }
        }
        for (pieces, sums) in pieces.chunks_exact_mut(MR * nr).zip(sums.chunks_exact(MR * nr)) {
            tile::transpose(pieces, sums, MR, nr);
        }
    }
}

/// Where the sums of the channels from `first` on begin: at the bias, or at zero where that is empty.
#[inline(always)]
fn first_sums<S: Simd, const MR: usize, const NV: usize>(simd: S, bias: &[f32], first: usize) -> Sums<S, MR, NV> {
    let mut sums = [[simd.splat_f32s(0.0); NV]; MR];
    for (sums, &bias) in sums.iter_mut().zip(&bias[bias.len().min(first)..]) {
        *sums = [simd.splat_f32s(bias); NV];
    }
    sums
}
