//! The convolution itself: forward pass and gradient of the input.

use pulp::Simd;
use rayon::prelude::*;

use super::{IN, Math, OUT, POINTS, TAPS, Tiling};
use crate::ops::conv2d::cpu::tile::{self, KB, TileSize, Tiled};
use crate::ops::simd::scratch;

/// A 3x3 convolution of stride 1 of `src [n, h, w, c]`; the output has `cols` channels.
pub struct Conv<'a> {
    pub src: &'a [f32],
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub pad_y: isize,
    pub pad_x: isize,
    pub out_h: usize,
    pub out_w: usize,
    pub cols: usize,
    pub filters: &'a [f32], // [panel][POINTS][padded c][NR], by `transform_filters`
    pub bias: &'a [f32],    // [cols] or empty
}

/// Length of the transformed filters of `c` by `cols` channels.
pub fn filters_len(c: usize, cols: usize) -> usize {
    POINTS * c.next_multiple_of(KB) * cols.next_multiple_of(TileSize::short().cols)
}

/// Transforms filters from `packed [panel][9 c, padded][NR]`, taps before channels, to `[panel][POINTS][c, padded][NR]`.
pub fn transform_filters(filters: &mut [f32], packed: &[f32], c: usize) {
    let nr = TileSize::short().cols;
    let packed_len = (TAPS * TAPS * c).next_multiple_of(KB) * nr;
    let filters_len = POINTS * c.next_multiple_of(KB) * nr;
    filters.par_chunks_mut(filters_len).zip(packed.par_chunks(packed_len)).for_each(|(filters, packed)| {
        FiltersTask { filters, packed, c }.short();
    });
}

struct FiltersTask<'a> {
    filters: &'a mut [f32],
    packed: &'a [f32],
    c: usize,
}

impl Tiled for FiltersTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { filters, packed, c } = self;
        let math = Math(simd);
        let padded = c.next_multiple_of(KB);
        let packed = S::as_simd_f32s(packed).0.as_chunks::<NV>().0;
        let filters = S::as_mut_simd_f32s(filters).0.as_chunks_mut::<NV>().0;
        for channel in 0..padded {
            for v in 0..NV {
                if channel < c {
                    math.square(
                        #[inline(always)]
                        |g| math.filter(g),
                        #[inline(always)]
                        |j| {
                            let row = |i: usize| (i * TAPS + j) * c + channel;
                            [packed[row(0)][v], packed[row(1)][v], packed[row(2)][v]]
                        },
                        #[inline(always)]
                        |i, row| {
                            for (j, value) in row.into_iter().enumerate() {
                                filters[(i * IN + j) * padded + channel][v] = value;
                            }
                        },
                    );
                } else {
                    for point in 0..POINTS {
                        filters[point * padded + channel][v] = simd.splat_f32s(0.0);
                    }
                }
            }
        }
    }
}

/// Transformed input and products of a run of bands of tiles:
/// `input [strip][POINTS][c / 16][MR][16]`, `products [POINTS][panel][strip][MR][NR]`.
#[derive(Clone, Copy)]
struct Block {
    first_tile: usize,
    tiles: usize,
    strips: usize,
    panels: usize,
    padded: usize,
}

impl Block {
    fn new(conv: &Conv, first_tile: usize, tiles: usize) -> Self {
        let size = TileSize::short();
        Self {
            first_tile,
            tiles,
            strips: tiles.div_ceil(size.rows),
            panels: conv.cols.div_ceil(size.cols),
            padded: conv.c.next_multiple_of(KB),
        }
    }

    fn strip_len(&self) -> usize {
        POINTS * self.padded * TileSize::short().rows
    }

    fn input_len(&self) -> usize {
        self.strips * self.strip_len()
    }

    /// Products of one point and panel.
    fn product_len(&self) -> usize {
        let size = TileSize::short();
        self.strips * size.rows * size.cols
    }

    fn products_len(&self) -> usize {
        POINTS * self.panels * self.product_len()
    }
}

/// Scratch memory, in floats, up to which a task keeps a block to itself: a part of the second-level cache.
const OWN_BLOCK: usize = 160 << 10;

/// Scratch memory, in floats, of the blocks that all tasks work on together: a part of the last-level cache.
const SHARED_BLOCK: usize = 2 << 20;

/// Tiles that make a block worthwhile for one task.
const OWN_TILES: usize = 32;

/// `y = conv(src) + bias`, `y [n, out_h, out_w, cols]`.
pub fn conv(y: &mut [f32], conv: &Conv) {
    let tiling = Tiling::new(conv.n, conv.out_h, conv.out_w);
    let mut bands = split_bands(y, conv, &tiling);
    let size = TileSize::short();
    let tile_len = POINTS * (conv.c.next_multiple_of(KB) + conv.cols.next_multiple_of(size.cols));
    if tile_len * OWN_TILES <= OWN_BLOCK {
        // The filters are small: every task takes a few bands through all three steps.
        let tiles = OWN_TILES.min(tiling.tiles().div_ceil(8).next_multiple_of(size.rows));
        let count = (tiles / tiling.per_band).max(1);
        bands.par_chunks_mut(count).enumerate().for_each(|(i, bands)| {
            let first_band = i * count;
            let block = Block::new(conv, first_band * tiling.per_band, bands.len() * tiling.per_band);
            scratch(block.input_len() + block.products_len(), |memory| {
                let (input, products) = memory.split_at_mut(block.input_len());
                OwnTask { bands, first_band, input, products, conv, block, tiling }.short();
            });
        });
        return;
    }
    // The filters are large: every step is shared out, so that each filter is read once for many tiles.
    let blocks = (tiling.tiles() * tile_len).div_ceil(SHARED_BLOCK);
    let count = tiling.bands.div_ceil(blocks);
    for (i, bands) in bands.chunks_mut(count).enumerate() {
        let first_band = i * count;
        let block = Block::new(conv, first_band * tiling.per_band, bands.len() * tiling.per_band);
        scratch(block.input_len() + block.products_len(), |memory| {
            let (input, products) = memory.split_at_mut(block.input_len());
            input.par_chunks_mut(block.strip_len()).enumerate().for_each(|(strip, input)| {
                InputTask { input, strip, conv, block, tiling }.short();
            });
            let input = &*input;
            products.par_chunks_mut(block.product_len()).enumerate().for_each(|(i, products)| {
                ProductTask { products, point: i / block.panels, panel: i % block.panels, input, conv, block }.short();
            });
            let products = &*products;
            bands.par_iter_mut().enumerate().for_each(|(i, y)| {
                OutputTask { y, band: first_band + i, products, conv, block, tiling }.short();
            });
        });
    }
}

/// The rows of output pixels that belong to each band.
fn split_bands<'a>(mut y: &'a mut [f32], conv: &Conv, tiling: &Tiling) -> Vec<&'a mut [f32]> {
    let row_len = conv.out_w * conv.cols;
    (0..tiling.bands)
        .map(|band| {
            let rows = OUT.min(conv.out_h - band % tiling.per_image * OUT);
            let (head, tail) = std::mem::take(&mut y).split_at_mut(rows * row_len);
            y = tail;
            head
        })
        .collect()
}

struct OwnTask<'a, 'y> {
    bands: &'a mut [&'y mut [f32]],
    first_band: usize,
    input: &'a mut [f32],
    products: &'a mut [f32],
    conv: &'a Conv<'a>,
    block: Block,
    tiling: Tiling,
}

impl Tiled for OwnTask<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { bands, first_band, input, products, conv, block, tiling } = self;
        for (strip, input) in input.chunks_exact_mut(block.strip_len()).enumerate() {
            InputTask { input, strip, conv, block, tiling }.run::<S, MR, NV>(simd);
        }
        for (i, products) in products.chunks_exact_mut(block.product_len()).enumerate() {
            let (point, panel) = (i / block.panels, i % block.panels);
            ProductTask { products, point, panel, input, conv, block }.run::<S, MR, NV>(simd);
        }
        for (i, y) in bands.iter_mut().enumerate() {
            OutputTask { y, band: first_band + i, products, conv, block, tiling }.run::<S, MR, NV>(simd);
        }
    }
}

/// Transforms the patches of one strip of tiles.
struct InputTask<'a> {
    input: &'a mut [f32],
    strip: usize,
    conv: &'a Conv<'a>,
    block: Block,
    tiling: Tiling,
}

impl Tiled for InputTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { input, strip, conv, block, tiling } = self;
        let math = Math(simd);
        let zero = simd.splat_f32s(0.0);
        let count = MR.min(block.tiles - strip * MR);
        let lanes = S::F32_LANES;
        for r in 0..count {
            let [n, y, x] = tiling.at(block.first_tile + strip * MR + r);
            let pixels = patch(conv, n, y, x);
            for from in (0..block.padded).step_by(lanes) {
                let at = (from / KB * MR + r) * KB + from % KB;
                math.square(
                    #[inline(always)]
                    |d| math.input(d),
                    #[inline(always)]
                    |j| {
                        let mut column = [zero; IN];
                        for i in 0..IN {
                            if let Some(pixel) = pixels[i][j] {
                                column[i] = tile::load_vector(simd, &pixel[from.min(pixel.len())..]);
                            }
                        }
                        column
                    },
                    #[inline(always)]
                    |i, row| {
                        for (j, value) in row.into_iter().enumerate() {
                            let at = (i * IN + j) * block.padded * MR + at;
                            S::as_mut_simd_f32s(&mut input[at..at + lanes]).0[0] = value;
                        }
                    },
                );
            }
        }
    }
}

/// The pixels of the patch that gives the tile of output at `(y, x)`; none where it overhangs the image.
#[inline(always)]
fn patch<'a>(conv: &Conv<'a>, n: usize, y: usize, x: usize) -> [[Option<&'a [f32]>; IN]; IN] {
    let mut pixels = [[None; IN]; IN];
    for (i, pixels) in pixels.iter_mut().enumerate() {
        let y = (y + i).wrapping_add_signed(-conv.pad_y);
        for (j, pixel) in pixels.iter_mut().enumerate() {
            let x = (x + j).wrapping_add_signed(-conv.pad_x);
            if y < conv.h && x < conv.w {
                *pixel = Some(&conv.src[((n * conv.h + y) * conv.w + x) * conv.c..][..conv.c]);
            }
        }
    }
    pixels
}

/// Multiplies all strips by one panel of the filters, at one point.
struct ProductTask<'a> {
    products: &'a mut [f32],
    point: usize,
    panel: usize,
    input: &'a [f32],
    conv: &'a Conv<'a>,
    block: Block,
}

impl Tiled for ProductTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { products, point, panel, input, conv, block } = self;
        let nr = NV * S::F32_LANES;
        let filters = &conv.filters[(panel * POINTS + point) * block.padded * nr..][..block.padded * nr];
        for (strip, products) in products.chunks_exact_mut(MR * nr).enumerate() {
            let input = &input[(strip * POINTS + point) * block.padded * MR..][..block.padded * MR];
            let sums = [[simd.splat_f32s(0.0); NV]; MR];
            tile::store::<S, MR, NV>(products, tile::rows(simd, sums, input, filters));
        }
    }
}

/// Transforms the products of one band of tiles into rows of output pixels.
struct OutputTask<'a> {
    y: &'a mut [f32],
    band: usize,
    products: &'a [f32],
    conv: &'a Conv<'a>,
    block: Block,
    tiling: Tiling,
}

impl Tiled for OutputTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { y, band, products, conv, block, tiling } = self;
        let math = Math(simd);
        let lanes = S::F32_LANES;
        let nr = NV * lanes;
        let point_len = block.panels * block.strips * MR * nr;
        for tile in 0..tiling.per_band {
            let x = tile * OUT;
            let width = OUT.min(conv.out_w - x);
            let tile = band * tiling.per_band + tile - block.first_tile;
            for from in (0..conv.cols).step_by(lanes) {
                let at = (from / nr * block.strips * MR + tile) * nr + from % nr;
                let bias = tile::load_vector(simd, &conv.bias[from.min(conv.bias.len())..]);
                math.square(
                    #[inline(always)]
                    |m| math.output(m),
                    #[inline(always)]
                    |j| {
                        let mut column = [bias; IN];
                        for (i, value) in column.iter_mut().enumerate() {
                            let at = (i * IN + j) * point_len + at;
                            *value = S::as_simd_f32s(&products[at..at + lanes]).0[0];
                        }
                        column
                    },
                    #[inline(always)]
                    |i, row| {
                        let first = (i * conv.out_w + x) * conv.cols;
                        if first < y.len() {
                            let pixels = y[first..first + width * conv.cols].chunks_exact_mut(conv.cols);
                            for (pixel, value) in pixels.zip(row) {
                                tile::store_vector::<S>(&mut pixel[from..], math.add(value, bias));
                            }
                        }
                    },
                );
            }
        }
    }
}
