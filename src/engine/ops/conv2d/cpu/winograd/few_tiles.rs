//! The convolution of few tiles with many filters, with the sides of the products exchanged: output channels are the rows
//! and tiles the columns.
//!
//! The right operand of a register tile has to be transposed on its way there. Of few tiles that is less work than of the
//! filters, which are read once, from front to back, as they are, and transformed by vectors of input channels. Every number
//! comes about by the same operations in the same order as in [`conv`](super::conv), so the result has the same bits.
//!
//! 1. Tiles are transformed and packed transposed, in panels as wide as a vector.
//! 2. Each task takes a strip of output channels: it transforms their filters for [`DEPTH`] input channels, multiplies them
//!    with all tiles, and goes on with the next; then it transforms the sums to pixels.
//! 3. Its pixels are pieces of a few channels, which are put together at the end.

use pulp::Simd;
use rayon::prelude::*;

use super::conv::{Conv, Filters};
use super::input::InputTask;
use super::{IN, Math, OUT, POINTS, TAPS};
use crate::engine::ops::conv2d::cpu::tile::{self, KB, TileSize, Tiled};
use crate::engine::simd::{scratch, vectorize};

/// Input channels whose filters are transformed together: 295 kB of a strip of 16 output channels, which a second-level
/// cache holds.
const DEPTH: usize = 128;

/// Numbers that keep the points' matrices from lying a power of two apart, in the same few sets of the caches.
const SKEW: usize = 16;

/// Numbers of a pixel square.
const PIXELS: usize = OUT * OUT;

/// Returns true if this is the faster way.
pub fn suits(conv: &Conv) -> bool {
    matches!(conv.filters, Filters::Forward(_)) && conv.input.tiling.tiles() <= conv.cols / 4
}

/// `y = conv(input) + bias`, of filters as they are.
pub fn conv(y: &mut [f32], conv: &Conv, w: &[f32]) {
    let TileSize { rows: mr, cols: lanes } = TileSize::slim();
    let (tiling, depth) = (conv.input.tiling, conv.input.padded());
    let tiles = tiling.tiles();
    let panels = tiles.div_ceil(lanes);
    let right_len = POINTS * depth * lanes;
    let pieces_len = panels * lanes * PIXELS * mr;
    scratch(panels * right_len + conv.cols.div_ceil(mr) * pieces_len, |memory| {
        let (right, pieces) = memory.split_at_mut(panels * right_len);
        right.par_chunks_mut(right_len).enumerate().for_each(|(panel, right)| {
            let first = panel * lanes;
            pack(right, conv, first, lanes.min(tiles - first));
        });
        let right = &*right;
        pieces.par_chunks_mut(pieces_len).enumerate().for_each(|(strip, pieces)| {
            let (filters_len, sums_len) = (POINTS * (DEPTH * mr + SKEW), POINTS * panels * (mr * lanes + SKEW));
            scratch(filters_len + sums_len + PIXELS * mr * lanes, |memory| {
                let (filters, memory) = memory.split_at_mut(filters_len);
                let (sums, pixels) = memory.split_at_mut(sums_len);
                StripTask { pieces, filters, sums, pixels, right, w, conv, first: strip * mr }.slim();
            });
        });
        let pieces = &*pieces;
        y.par_chunks_mut(tiling.out_w * conv.cols).enumerate().for_each(|(row, y)| {
            let (image, row) = (row / tiling.out_h, row % tiling.out_h);
            let band = image * tiling.per_image + row / OUT;
            for (x, y) in y.chunks_exact_mut(conv.cols).enumerate() {
                let at = ((band * tiling.per_band + x / OUT) * PIXELS + row % OUT * OUT + x % OUT) * mr;
                for (y, strip) in y.chunks_mut(mr).zip(pieces.chunks_exact(pieces_len)) {
                    y.copy_from_slice(&strip[at..][..y.len()]);
                }
            }
        });
    });
}

/// Transforms `count` tiles from `first` on to `right [POINTS][padded c][lanes]`; beyond them lie zeros.
fn pack(right: &mut [f32], conv: &Conv, first: usize, count: usize) {
    let input = &conv.input;
    let (depth, strip) = (input.padded(), TileSize::short().rows);
    let lanes = right.len() / (POINTS * depth);
    scratch(lanes.div_ceil(strip) * input.strip_len() + input.patch_len(), |memory| {
        let (patch, strips) = memory.split_at_mut(input.patch_len());
        for (i, out) in strips.chunks_exact_mut(input.strip_len()).enumerate() {
            let count = strip.min(count.saturating_sub(i * strip));
            out.fill(0.0);
            InputTask { out, patch, input, first: first + i * strip, count }.short();
        }
        let strips = &*strips;
        let point_len = input.strip_len() / POINTS;
        vectorize(
            #[inline(always)]
            || {
                for (point, right) in right.chunks_exact_mut(depth * lanes).enumerate() {
                    for (block, right) in right.chunks_exact_mut(KB * lanes).enumerate() {
                        let mut square = [[0.0; KB]; KB];
                        for (lane, row) in square.iter_mut().enumerate().take(lanes) {
                            let at = lane / strip * input.strip_len() + point * point_len;
                            row.copy_from_slice(&strips[at + (block * strip + lane % strip) * KB..][..KB]);
                        }
                        tile::transpose(right, square.as_flattened(), lanes, KB);
                    }
                }
            },
        );
    });
}

/// Takes a strip of output channels, those from `first` on, through all steps.
struct StripTask<'a> {
    pieces: &'a mut [f32],  // [tile][PIXELS][MR]
    filters: &'a mut [f32], // [POINTS][DEPTH / 16][MR][16], points skewed
    sums: &'a mut [f32],    // [panel][POINTS][MR][lanes], points skewed
    pixels: &'a mut [f32],  // [PIXELS][MR][lanes]
    right: &'a [f32],
    w: &'a [f32],
    conv: &'a Conv<'a>,
    first: usize,
}

impl Tiled for StripTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { pieces, filters, sums, pixels, right, w, conv, first } = self;
        let math = Math(simd);
        let (nr, depth) = (NV * S::F32_LANES, conv.input.padded());
        let (filter_stride, sum_stride) = (DEPTH * MR + SKEW, MR * nr + SKEW);
        for from in (0..depth).step_by(DEPTH) {
            let count = DEPTH.min(depth - from);
            for r in 0..MR {
                transform_filter::<S, MR>(math, filters, w, conv, first + r, r, from..from + count);
            }
            for (sums, right) in sums.chunks_exact_mut(POINTS * sum_stride).zip(right.chunks_exact(POINTS * depth * nr))
            {
                let points = sums.chunks_exact_mut(sum_stride).zip(right.chunks_exact(depth * nr));
                for ((sums, right), filters) in points.zip(filters.chunks_exact(filter_stride)) {
                    let sums = &mut sums[..MR * nr];
                    let tile = match from {
                        0 => [[simd.splat_f32s(0.0); NV]; MR],
                        _ => tile::load::<S, MR, NV>(simd, sums),
                    };
                    let right = &right[from * nr..][..count * nr];
                    tile::store::<S, MR, NV>(sums, tile::rows(simd, tile, &filters[..count * MR], right));
                }
            }
        }
        let lanes = S::F32_LANES;
        for (sums, pieces) in sums.chunks_exact(POINTS * sum_stride).zip(pieces.chunks_exact_mut(nr * PIXELS * MR)) {
            for r in 0..MR {
                let bias = simd.splat_f32s(conv.bias.get(first + r).copied().unwrap_or(0.0));
                let sums = &sums[r * nr..][..(POINTS - 1) * sum_stride + lanes];
                math.square(
                    #[inline(always)]
                    |m| math.output(m),
                    #[inline(always)]
                    |j| {
                        let mut column = [bias; IN];
                        for i in 0..IN {
                            column[i] = S::as_simd_f32s(&sums[(i * IN + j) * sum_stride..][..lanes]).0[0];
                        }
                        column
                    },
                    #[inline(always)]
                    |i, values| {
                        for (j, value) in values.into_iter().enumerate() {
                            let at = ((i * OUT + j) * MR + r) * lanes;
                            S::as_mut_simd_f32s(&mut pixels[at..][..lanes]).0[0] = math.add(value, bias);
                        }
                    },
                );
            }
            for (pixel, values) in pixels.chunks_exact(MR * lanes).enumerate() {
                for (lane, piece) in pieces.chunks_exact_mut(PIXELS * MR).enumerate() {
                    let piece = &mut piece[pixel * MR..][..MR];
                    for (r, piece) in piece.iter_mut().enumerate() {
                        *piece = values[r * lanes + lane];
                    }
                }
            }
        }
    }
}

/// Transforms the filters from some input channels to output channel `co`, which is row `r` of its strip.
#[inline(always)]
fn transform_filter<S: Simd, const MR: usize>(
    math: Math<S>,
    filters: &mut [f32],
    w: &[f32],
    conv: &Conv,
    co: usize,
    r: usize,
    channels: std::ops::Range<usize>,
) {
    let (simd, c, lanes) = (math.0, conv.input.c, S::F32_LANES);
    let stride = DEPTH * MR + SKEW;
    let taps = if co < conv.cols { &w[co * TAPS * TAPS * c..][..TAPS * TAPS * c] } else { &[] };
    for channel in channels.clone().step_by(lanes) {
        let i = channel - channels.start;
        let at = (i / KB * MR + r) * KB + i % KB;
        let out = &mut filters[at..at + (POINTS - 1) * stride + lanes];
        math.square(
            #[inline(always)]
            |g| math.filter(g),
            #[inline(always)]
            |x| {
                let tap = |y: usize| {
                    let tap = y * TAPS + x;
                    let numbers = taps.get(tap * c + channel.min(c)..(tap + 1) * c).unwrap_or_default();
                    tile::load_vector(simd, numbers)
                };
                [tap(0), tap(1), tap(2)]
            },
            #[inline(always)]
            |y, row| {
                for x in 0..IN {
                    S::as_mut_simd_f32s(&mut out[(y * IN + x) * stride..][..lanes]).0[0] = row[x];
                }
            },
        );
    }
}
