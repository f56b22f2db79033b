//! The convolution itself: forward pass and gradient of the input.
//!
//! The plain algorithm, with `U = G g G^T`, `V = B^T d B` and the 36 points `p` of a transformed square:
//!
//! ```text
//! for each filter (channel i to channel j):     U[p][i, j]    = transform of the 3x3 filter
//! for each tile t, each input channel i:        V[p][t, i]    = transform of the 6x6 patch
//! for each point p:                             M[p][t, j]    = sum over i of V[p][t, i] U[p][i, j]
//! for each tile t, each output channel j:       y[4x4 pixels] = A^T M[.][t, j] A + bias[j]
//! ```
//!
//! Departures from that:
//!
//! 1. Tiles pass through the three steps in groups of [`TILES`] = 128, so that `V` and `M` stay in the caches, and each filter
//!    is transformed for many.
//! 2. Input channels are taken in blocks of [`DEPTH`] = 128: with panels of 16 output channels, 36 points of `U` are 295 kB,
//!    which a second-level cache holds. The sums over a block are added to those of the blocks before, in order.
//! 3. The matrices of two points lie [`SKEW`] numbers further apart than a power of two, which would put all 36 into the
//!    same few sets of the caches.
//! 4. Small filters (all of `U` up to [`SMALL_FILTERS`] numbers, 640 kB) are transformed once and every task takes a few
//!    bands of tiles through all steps alone. Large ones are transformed panel by panel while many tiles wait for them, and
//!    every step is divided among the tasks.
//!
//! None of these choices changes the order of a sum.

use pulp::Simd;
use rayon::prelude::*;

use super::input::{Input, InputTask};
use super::{IN, Math, OUT, POINTS, TAPS};
use crate::engine::ops::conv2d::cpu::tile::{self, TileSize, Tiled};
use crate::engine::simd::scratch;

/// A 3x3 convolution of stride 1 into images of `cols` channels.
pub struct Conv<'a> {
    pub input: Input<'a>,
    pub cols: usize,
    pub filters: Filters<'a>,
    pub bias: &'a [f32], // [cols] or empty
}

/// Filters that are read from the weights `w [c_out, 3, 3, c_in]`.
#[derive(Clone, Copy)]
pub enum Filters<'a> {
    /// As they are.
    Forward(&'a [f32]),
    /// Turned by half, from output channels to input channels: those of the gradient of the input.
    Turned(&'a [f32]),
}

/// Channels of input whose filters are transformed together: `[POINTS][filter_stride]`, a point's `[DEPTH][NR]`.
const DEPTH: usize = 128;

/// Numbers that keep the points' matrices from lying a power of two apart, in the same few sets of the caches.
const SKEW: usize = 32;

fn filter_stride() -> usize {
    DEPTH * TileSize::short().cols + SKEW
}

/// Numbers of transformed filters up to which these stay in a core's second-level cache.
const SMALL_FILTERS: usize = 160 << 10;

/// Tiles that pass through the three steps together.
const TILES: usize = 128;

/// Tiles at most that one task takes through all steps alone.
const TASK_TILES: usize = 64;

impl Conv<'_> {
    fn depth(&self) -> usize {
        self.input.padded()
    }

    fn panels(&self) -> usize {
        self.cols.div_ceil(TileSize::short().cols)
    }

    /// Blocks of `DEPTH` channels of input.
    fn blocks(&self) -> usize {
        self.depth().div_ceil(DEPTH)
    }
}

/// `y = conv(input) + bias`, `y [n, out_h, out_w, cols]`.
pub fn conv(y: &mut [f32], conv: &Conv) {
    let mut bands = split_bands(y, conv);
    if POINTS * conv.depth() * conv.panels() * TileSize::short().cols <= SMALL_FILTERS {
        conv_by_tasks(&mut bands, conv);
    } else {
        conv_by_steps(&mut bands, conv);
    }
}

/// Small filters: they are transformed once, then every task takes a few bands through all three steps.
fn conv_by_tasks(bands: &mut [&mut [f32]], conv: &Conv) {
    let size = TileSize::short();
    let tiling = conv.input.tiling;
    let filters_len = POINTS * filter_stride();
    scratch(conv.panels() * conv.blocks() * filters_len, |filters| {
        filters.par_chunks_mut(filters_len).enumerate().for_each(|(i, filters)| {
            FiltersTask { filters, conv, panel: i / conv.blocks(), block: i % conv.blocks() }.run_with_scratch();
        });
        let filters = &*filters;
        let tiles = TASK_TILES.min(tiling.tiles().div_ceil(8).next_multiple_of(size.rows));
        let count = (tiles / tiling.per_band).max(1);
        bands.par_chunks_mut(count).enumerate().for_each(|(i, bands)| {
            let input_len = conv.input.strip_len();
            let products = Products::new(1, conv.panels());
            scratch(input_len + products.len() + conv.input.patch_len(), |memory| {
                let (input, memory) = memory.split_at_mut(input_len);
                let (sums, patch) = memory.split_at_mut(products.len());
                BandsTask { bands, first_band: i * count, filters, input, sums, patch, conv, products }.short();
            });
        });
    });
}

/// Large filters: every step is shared out, so that each filter is read and transformed once for many tiles.
fn conv_by_steps(bands: &mut [&mut [f32]], conv: &Conv) {
    let size = TileSize::short();
    let tiling = conv.input.tiling;
    let blocks = tiling.tiles().div_ceil(TILES);
    let count = tiling.bands.div_ceil(blocks);
    for (i, bands) in bands.chunks_mut(count).enumerate() {
        let first_band = i * count;
        let (first, tiles) = (first_band * tiling.per_band, bands.len() * tiling.per_band);
        let strips = tiles.div_ceil(size.rows);
        let products = Products::new(strips, conv.panels());
        scratch(strips * conv.input.strip_len() + products.len(), |memory| {
            let (input, sums) = memory.split_at_mut(strips * conv.input.strip_len());
            input.par_chunks_mut(conv.input.strip_len()).enumerate().for_each(|(strip, out)| {
                let done = strip * size.rows;
                scratch(conv.input.patch_len(), |patch| {
                    let count = size.rows.min(tiles - done);
                    InputTask { out, patch, input: &conv.input, first: first + done, count }.short();
                });
            });
            let input = &*input;
            sums.par_chunks_mut(products.panel_stride()).enumerate().for_each(|(panel, sums)| {
                scratch(POINTS * filter_stride(), |filters| {
                    for block in 0..conv.blocks() {
                        FiltersTask { filters, conv, panel, block }.run_with_scratch();
                        ProductTask { sums, input, filters, conv, products, block }.short();
                    }
                });
            });
            let sums = &*sums;
            bands.par_iter_mut().enumerate().for_each(|(i, y)| {
                let tile = i * tiling.per_band;
                OutputTask { y, sums, conv, products, tile, x: 0, count: tiling.per_band }.short();
            });
        });
    }
}

/// The rows of output pixels that belong to each band.
fn split_bands<'a>(mut y: &'a mut [f32], conv: &Conv) -> Vec<&'a mut [f32]> {
    let tiling = conv.input.tiling;
    (0..tiling.bands)
        .map(|band| {
            let rows = OUT.min(tiling.out_h - band % tiling.per_image * OUT);
            let (head, tail) = std::mem::take(&mut y).split_at_mut(rows * tiling.out_w * conv.cols);
            y = tail;
            head
        })
        .collect()
}

/// Transforms the filters of one block of input channels and one panel of output channels.
struct FiltersTask<'a> {
    filters: &'a mut [f32],
    conv: &'a Conv<'a>,
    panel: usize,
    block: usize,
}

impl FiltersTask<'_> {
    fn run_with_scratch(self) {
        scratch(TAPS * TAPS * DEPTH * TileSize::short().cols, |packed| FiltersTaskIn { task: self, packed }.short());
    }
}

struct FiltersTaskIn<'a> {
    task: FiltersTask<'a>,
    packed: &'a mut [f32], // [9][DEPTH][NR]
}

impl Tiled for FiltersTaskIn<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { task: FiltersTask { filters, conv, panel, block }, packed } = self;
        let nr = NV * S::F32_LANES;
        let first = block * DEPTH;
        let count = DEPTH.min(conv.depth() - first);
        for (tap, packed) in packed.chunks_exact_mut(DEPTH * nr).enumerate() {
            let packed = &mut packed[..count * nr];
            match conv.filters {
                Filters::Forward(w) => pack_forward(packed, w, tap, conv, panel * nr, first, nr),
                Filters::Turned(w) => pack_turned(packed, w, tap, conv, panel * nr, first, nr),
            }
        }
        let math = Math(simd);
        let packed = S::as_simd_f32s(packed).0;
        let filters = S::as_mut_simd_f32s(filters).0;
        let stride = (DEPTH * nr + SKEW) / S::F32_LANES;
        for i in 0..count * NV {
            math.square(
                #[inline(always)]
                |g| math.filter(g),
                #[inline(always)]
                |x| {
                    let tap = |y: usize| packed[(y * TAPS + x) * DEPTH * NV + i];
                    [tap(0), tap(1), tap(2)]
                },
                #[inline(always)]
                |y, row| {
                    for x in 0..IN {
                        filters[(y * IN + x) * stride + i] = row[x];
                    }
                },
            );
        }
    }
}

/// Packs `w[.., tap, ..]` transposed: rows are input channels from `first` on, columns output channels from `col` on.
#[inline(always)]
fn pack_forward(packed: &mut [f32], w: &[f32], tap: usize, conv: &Conv, col: usize, first: usize, nr: usize) {
    let c = conv.input.c;
    tile::pack_columns(
        packed,
        nr,
        #[inline(always)]
        |j| {
            let co = col + j;
            if co < conv.cols { &w[(co * TAPS * TAPS + tap) * c..][first..c] } else { &[] }
        },
    );
}

/// Packs `w[.., 8 - tap, ..]`: rows are output channels of `w` from `first` on, columns input channels from `col` on.
#[inline(always)]
fn pack_turned(packed: &mut [f32], w: &[f32], tap: usize, conv: &Conv, col: usize, first: usize, nr: usize) {
    let width = nr.min(conv.cols - col);
    for (i, packed) in packed.chunks_exact_mut(nr).enumerate() {
        let co = first + i;
        if co < conv.input.c {
            let row = &w[((co + 1) * TAPS * TAPS - 1 - tap) * conv.cols + col..][..width];
            packed[..width].copy_from_slice(row);
            packed[width..].fill(0.0);
        } else {
            packed.fill(0.0);
        }
    }
}

/// Where the products of a few strips of tiles lie: `[panel][POINTS][strip][MR][NR]`, points skewed.
#[derive(Clone, Copy)]
struct Products {
    strips: usize,
    panels: usize,
}

impl Products {
    fn new(strips: usize, panels: usize) -> Self {
        Self { strips, panels }
    }

    fn point_stride(&self) -> usize {
        let size = TileSize::short();
        self.strips * size.rows * size.cols + SKEW
    }

    fn panel_stride(&self) -> usize {
        POINTS * self.point_stride()
    }

    fn len(&self) -> usize {
        self.panels * self.panel_stride()
    }
}

/// Takes a few bands through all three steps, strip by strip.
struct BandsTask<'a, 'y> {
    bands: &'a mut [&'y mut [f32]],
    first_band: usize,
    filters: &'a [f32],
    input: &'a mut [f32],
    sums: &'a mut [f32],
    patch: &'a mut [f32],
    conv: &'a Conv<'a>,
    products: Products,
}

impl Tiled for BandsTask<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { bands, first_band, filters, input, sums, patch, conv, products } = self;
        let nr = NV * S::F32_LANES;
        let tiling = conv.input.tiling;
        let begin = first_band * tiling.per_band;
        let end = begin + bands.len() * tiling.per_band;
        let filter_stride = DEPTH * nr + SKEW;
        let point_len = conv.input.point_stride::<MR>();
        for first in (begin..end).step_by(MR) {
            let count = MR.min(end - first);
            InputTask { out: input, patch, input: &conv.input, first, count }.run::<S, MR, NV>(simd);
            for panel in 0..products.panels {
                for point in 0..POINTS {
                    let mut tile = [[simd.splat_f32s(0.0); NV]; MR];
                    for block in 0..conv.blocks() {
                        let depth = DEPTH.min(conv.depth() - block * DEPTH);
                        let left = &input[point * point_len + block * DEPTH * MR..][..depth * MR];
                        let right = ((panel * conv.blocks() + block) * POINTS + point) * filter_stride;
                        tile = tile::rows(simd, tile, left, &filters[right..right + depth * nr]);
                    }
                    let at = (panel * POINTS + point) * (MR * nr + SKEW);
                    tile::store::<S, MR, NV>(&mut sums[at..at + MR * nr], tile);
                }
            }
            let mut done = 0;
            while done < count {
                let run = tiling.next_run(first + done, count - done);
                let y = &mut *bands[run.band - first_band];
                OutputTask { y, sums, conv, products, tile: done, x: run.x, count: run.count }.run::<S, MR, NV>(simd);
                done += run.count;
            }
        }
    }
}

/// Multiplies all strips by one panel of the filters, over one block of input channels.
struct ProductTask<'a> {
    sums: &'a mut [f32],
    input: &'a [f32],
    filters: &'a [f32],
    conv: &'a Conv<'a>,
    products: Products,
    block: usize,
}

impl Tiled for ProductTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { sums, input, filters, conv, products, block } = self;
        let nr = NV * S::F32_LANES;
        let depth = DEPTH.min(conv.depth() - block * DEPTH);
        let point_len = conv.input.point_stride::<MR>();
        for (point, filters) in filters.chunks_exact(DEPTH * nr + SKEW).enumerate() {
            let filters = &filters[..depth * nr];
            let sums = &mut sums[point * products.point_stride()..][..products.strips * MR * nr];
            for (strip, sums) in sums.chunks_exact_mut(MR * nr).enumerate() {
                let left = &input[(strip * POINTS + point) * point_len + block * DEPTH * MR..][..depth * MR];
                let tile =
                    if block == 0 { [[simd.splat_f32s(0.0); NV]; MR] } else { tile::load::<S, MR, NV>(simd, sums) };
                tile::store::<S, MR, NV>(sums, tile::rows(simd, tile, left, filters));
            }
        }
    }
}

/// Transforms the products of `count` tiles from `tile` on into output pixels, from tile column `x` of a band on.
struct OutputTask<'a> {
    y: &'a mut [f32],
    sums: &'a [f32],
    conv: &'a Conv<'a>,
    products: Products,
    tile: usize,
    x: usize,
    count: usize,
}

impl Tiled for OutputTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { y, sums, conv, products, tile, x, count } = self;
        let math = Math(simd);
        let lanes = S::F32_LANES;
        let nr = NV * lanes;
        let out_w = conv.input.tiling.out_w;
        let rows = y.len() / (out_w * conv.cols);
        let stride = products.strips * MR * nr + SKEW;
        for i in 0..count {
            let x = (x + i) * OUT;
            let width = OUT.min(out_w - x);
            for from in (0..conv.cols).step_by(lanes) {
                let at = from / nr * POINTS * stride + (tile + i) * nr + from % nr;
                let sums = &sums[at..at + (POINTS - 1) * stride + lanes];
                let bias = tile::load_vector(simd, &conv.bias[from.min(conv.bias.len())..]);
                math.square(
                    #[inline(always)]
                    |m| math.output(m),
                    #[inline(always)]
                    |j| {
                        let mut column = [bias; IN];
                        for i in 0..IN {
                            column[i] = S::as_simd_f32s(&sums[(i * IN + j) * stride..][..lanes]).0[0];
                        }
                        column
                    },
                    #[inline(always)]
                    |i, values| {
                        if i < rows {
                            let first = (i * out_w + x) * conv.cols;
                            let pixels = y[first..first + width * conv.cols].chunks_exact_mut(conv.cols);
                            for (pixel, value) in pixels.zip(values) {
                                tile::store_vector::<S>(&mut pixel[from..], math.add(value, bias));
                            }
                        }
                    },
                );
            }
        }
    }
}
