//! The gradient of the filters, `dw = G^T [ sum over tiles of (A dy A^T) * (B^T d B) ] G`.

use pulp::Simd;
use rayon::prelude::*;

use super::input::Input;
use super::{IN, Math, OUT, POINTS, TAPS, Tiling};
use crate::engine::ops::conv2d::Conv2dShape;
use crate::engine::ops::conv2d::cpu::tile::{self, TileSize, Tiled};
use crate::engine::simd::{scratch, vectorize};

/// Numbers that keep the points' matrices from lying a power of two apart, in the same few sets of the caches.
const SKEW: usize = 32;

/// Transformed numbers of a block of tiles that a task keeps to itself: they stay in its second-level cache.
const OWN_BLOCK: usize = 192 << 10;

/// Transformed numbers of a block of tiles that all tasks share: they stay in the last-level cache.
const SHARED_BLOCK: usize = 2 << 20;

/// Tiles that are worth the transform of their sum.
const ENOUGH_TILES: usize = 32;

/// Tasks into which the tiles are cut where every task takes a range of them.
const RANGES: usize = 16;

/// Both operands: transformed patches of `x` and transformed tiles of `dy`, in panels of NR channels.
#[derive(Clone, Copy)]
struct Operands<'a> {
    x: Input<'a>,
    dy: Input<'a>,
}

impl Operands<'_> {
    fn x_panels(&self) -> usize {
        self.x.c.div_ceil(TileSize::short().cols)
    }

    fn dy_panels(&self) -> usize {
        self.dy.c.div_ceil(TileSize::short().cols)
    }

    fn dw_len(&self) -> usize {
        self.dy.c * TAPS * TAPS * self.x.c
    }

    /// Transformed numbers of a tile.
    fn tile_len(&self) -> usize {
        POINTS * (self.x_panels() + self.dy_panels()) * TileSize::short().cols
    }
}

/// Length of a panel of `tiles` tiles, `[POINTS][tiles][NR]`, points skewed.
fn panel_len(tiles: usize) -> usize {
    POINTS * (tiles * TileSize::short().cols + SKEW)
}

/// Returns true if a panel consists of whole strips, as it does on every processor with vectors.
pub fn suits_weights() -> bool {
    let size = TileSize::short();
    size.cols.is_multiple_of(size.rows)
}

/// `dw [c_out, 3, 3, c_in]` of `dy [n, out_h, out_w, c_out]` and `x [n, h, w, c_in]`.
pub fn backward_weights(dw: &mut [f32], dy: &[f32], x: &[f32], s: &Conv2dShape) {
    let tiling = Tiling::new(s.n, s.out_h(), s.out_w());
    let (pad_y, pad_x) = (s.pad_top as isize, s.pad_left as isize);
    let operands = &Operands {
        x: Input { src: x, h: s.h, w: s.w, c: s.c_in, pad_y, pad_x, tiling },
        dy: Input { src: dy, h: s.out_h(), w: s.out_w(), c: s.c_out, pad_y: 0, pad_x: 0, tiling },
    };
    if operands.tile_len() * ENOUGH_TILES <= OWN_BLOCK {
        by_ranges(dw, operands);
    } else {
        by_steps(dw, operands);
    }
}

/// Few channels: every task takes a range of tiles through all steps; the results are added up in order.
fn by_ranges(dw: &mut [f32], operands: &Operands) {
    let tiles = operands.x.tiling.tiles();
    let block = (OWN_BLOCK / operands.tile_len()).min(tiles.div_ceil(2));
    let range = tiles.div_ceil(RANGES).next_multiple_of(block);
    let (dw_len, x_len) = (operands.dw_len(), operands.x_panels() * panel_len(block));
    scratch(tiles.div_ceil(range) * dw_len, |sums| {
        sums.par_chunks_mut(dw_len).enumerate().for_each(|(i, dw)| {
            let range = i * range..tiles.min((i + 1) * range);
            scratch(x_len + operands.dy_panels() * panel_len(block), |memory| {
                let (x, dy) = memory.split_at_mut(x_len);
                for first in range.clone().step_by(block) {
                    let count = block.min(range.end - first);
                    let x = &mut x[..operands.x_panels() * panel_len(count)];
                    for (panel, out) in x.chunks_exact_mut(panel_len(count)).enumerate() {
                        transform(out, &operands.x, panel, first, count, true);
                    }
                    let dy = &mut dy[..operands.dy_panels() * panel_len(count)];
                    for (panel, out) in dy.chunks_exact_mut(panel_len(count)).enumerate() {
                        transform(out, &operands.dy, panel, first, count, false);
                    }
                    let panels = dw.chunks_mut(panel_rows(operands)).zip(dy.chunks_exact(panel_len(count)));
                    for (dw, dy) in panels {
                        multiply(dw, dy, x, operands, count, first > range.start);
                    }
                }
            });
        });
        let sums = &*sums;
        dw.par_chunks_mut(TAPS * TAPS * operands.x.c).enumerate().for_each(|(co, dw)| {
            let at = co * dw.len();
            dw.copy_from_slice(&sums[at..at + dw.len()]);
            vectorize(
                #[inline(always)]
                || {
                    for sums in sums.chunks_exact(dw_len).skip(1) {
                        for (dw, sum) in dw.iter_mut().zip(&sums[at..]) {
                            *dw += sum;
                        }
                    }
                },
            );
        });
    });
}

/// Many channels: every step is shared out, a block of tiles after the other.
fn by_steps(dw: &mut [f32], operands: &Operands) {
    let tiles = operands.x.tiling.tiles();
    let blocks = (tiles * operands.tile_len()).div_ceil(SHARED_BLOCK);
    let block = tiles.div_ceil(blocks);
    for first in (0..tiles).step_by(block) {
        let count = block.min(tiles - first);
        let len = panel_len(count);
        scratch((operands.x_panels() + operands.dy_panels()) * len, |memory| {
            memory.par_chunks_mut(len).enumerate().for_each(|(panel, out)| {
                if panel < operands.x_panels() {
                    transform(out, &operands.x, panel, first, count, true);
                } else {
                    transform(out, &operands.dy, panel - operands.x_panels(), first, count, false);
                }
            });
            let (x, dy) = memory.split_at(operands.x_panels() * len);
            dw.par_chunks_mut(panel_rows(operands)).zip(dy.par_chunks(len)).for_each(|(dw, dy)| {
                multiply(dw, dy, x, operands, count, first > 0);
            });
        });
    }
}

/// Numbers of `dw` that belong to a panel of output channels.
fn panel_rows(operands: &Operands) -> usize {
    TileSize::short().cols * TAPS * TAPS * operands.x.c
}

/// Transforms one panel of channels of `count` tiles, of patches or of the gradient of the output.
fn transform(out: &mut [f32], input: &Input, panel: usize, first: usize, count: usize, patches: bool) {
    scratch(input.patch_len(), |patch| TransformTask { out, patch, input, panel, first, count, patches }.short());
}

struct TransformTask<'a> {
    out: &'a mut [f32],
    patch: &'a mut [f32],
    input: &'a Input<'a>,
    panel: usize,
    first: usize,
    count: usize,
    patches: bool,
}

impl Tiled for TransformTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { out, patch, input, panel, first, count, patches } = self;
        let math = Math(simd);
        let nr = NV * S::F32_LANES;
        let stride = count * nr + SKEW;
        let channels = panel * nr..input.c.min((panel + 1) * nr);
        for done in (0..count).step_by(MR) {
            let tiles = (first + done, MR.min(count - done));
            if patches {
                input.transform::<S, IN>(
                    simd,
                    out,
                    stride,
                    patch,
                    tiles,
                    channels.clone(),
                    #[inline(always)]
                    |line| math.input(line),
                    #[inline(always)]
                    |tile, channel| (done + tile) * nr + channel % nr,
                );
            } else {
                input.transform::<S, OUT>(
                    simd,
                    out,
                    stride,
                    patch,
                    tiles,
                    channels.clone(),
                    #[inline(always)]
                    |line| math.output_gradient(line),
                    #[inline(always)]
                    |tile, channel| (done + tile) * nr + channel % nr,
                );
            }
        }
    }
}

/// The filters of one panel of output channels: `dw [NR][9][c_in]` of `dy [POINTS][count][NR]` and
/// `x [panel][POINTS][count][NR]`; added to what is there if `add`.
fn multiply(dw: &mut [f32], dy: &[f32], x: &[f32], operands: &Operands, count: usize, add: bool) {
    let size = TileSize::short();
    scratch(POINTS * size.rows * size.cols, |sums| {
        MultiplyTask { dw, dy, x, sums, c_in: operands.x.c, count, add }.short();
    });
}

struct MultiplyTask<'a> {
    dw: &'a mut [f32],
    dy: &'a [f32],
    x: &'a [f32],
    sums: &'a mut [f32], // [POINTS][MR][NR]
    c_in: usize,
    count: usize,
    add: bool,
}

impl Tiled for MultiplyTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { dw, dy, x, sums, c_in, count, add } = self;
        let math = Math(simd);
        let (lanes, nr) = (S::F32_LANES, NV * S::F32_LANES);
        let stride = count * nr + SKEW;
        for (panel, x) in x.chunks_exact(POINTS * stride).enumerate() {
            for (strip, dw) in dw.chunks_mut(MR * TAPS * TAPS * c_in).enumerate() {
                for (point, sums) in sums.chunks_exact_mut(MR * nr).enumerate() {
                    let (dy, x) = (&dy[point * stride..][..count * nr], &x[point * stride..][..count * nr]);
                    let tile = [[simd.splat_f32s(0.0); NV]; MR];
                    tile::store::<S, MR, NV>(sums, tile::columns(simd, tile, dy, (strip, nr / MR), x));
                }
                for (r, dw) in dw.chunks_exact_mut(TAPS * TAPS * c_in).enumerate() {
                    for from in (panel * nr..c_in.min((panel + 1) * nr)).step_by(lanes) {
                        let sums = S::as_simd_f32s(&sums[r * nr + from % nr..]).0;
                        math.square(
                            #[inline(always)]
                            |m| math.filter_gradient(m),
                            #[inline(always)]
                            |x| {
                                let mut column = [sums[0]; IN];
                                for y in 0..IN {
                                    column[y] = sums[(y * IN + x) * MR * NV];
                                }
                                column
                            },
                            #[inline(always)]
                            |y, row| {
                                for x in 0..TAPS {
                                    let dw = &mut dw[(y * TAPS + x) * c_in..][from..c_in];
                                    let value =
                                        if add { math.add(row[x], tile::load_vector(simd, dw)) } else { row[x] };
                                    tile::store_vector::<S>(dw, value);
                                }
                            },
                        );
                    }
                }
            }
        }
    }
}
