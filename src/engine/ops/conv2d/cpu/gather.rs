//! A convolution as a matrix product, rows of pixels by output channels, whose left operand is gathered patch by
//! patch. The forward pass is one such product; the gradient of the input is `stride^2` of them, one for each phase
//! of an input pixel relative to the stride, because each phase meets its own subset of the filter's taps.
//!
//! The plain algorithm (implicit im2col):
//!
//! ```text
//! for each row (n, y, x) of the grid, for each output channel j:
//!     y[row, j] = bias[j] + sum over taps and channels of  src[n, y step + ty, x step + tx, channel] * w[tap, channel, j]
//! ```
//!
//! Departures from that, each for speed; the order of every sum stays that of the formula, so the result is the same
//! bits whichever way is taken:
//!
//! 1. The reduction `k = (tap, channel)` runs in blocks of [`KB`] = 16 numbers, a cache line, padded with zeros at its end.
//!    Rows are packed in strips of as many as a register tile has ([`TileSize`]), so that the inner loop reads both operands
//!    from front to back.
//! 2. Weights are packed once for all rows, in panels as wide as a register tile.
//! 3. Many rows (from [`MANY_ROWS`] on): each task packs its own rows into scratch memory of a quarter of a megabyte, half
//!    of a small second-level cache, and multiplies them with all panels; nothing is packed twice, and tasks do not wait for
//!    each other.
//! 4. Long reductions are cut at [`DEPTH_BLOCK`]; later pieces go on from the sums that the earlier ones stored.
//! 5. Few rows: tasks of whole rows would leave cores without work. All patches are packed first, then the tiles of the
//!    result are divided among the tasks: by panels where there are at least 8 of them, else each panel is cut so that there
//!    are about 16 tasks, a few for each core of a small machine.

use pulp::Simd;
use rayon::prelude::*;

use super::tile::{self, KB, Sums, TileSize, Tiled};
use crate::engine::simd::{scratch, vectorize};

/// The left operand of a product, gathered from source pixels: row `(n, y, x)` of a grid `[n, h, w]` reads, for each tap
/// `(ty, tx)`, the `c` channels of source pixel `(n, y * step + ty, x * step + tx)`, or zeros outside of the source.
pub struct Patches<'a> {
    pub src: &'a [f32], // [n, src_h, src_w, c]
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub src_h: usize,
    pub src_w: usize,
    pub c: usize,
    pub step: usize,
    pub taps: Vec<(isize, isize)>,
}

impl Patches<'_> {
    pub fn rows(&self) -> usize {
        self.n * self.h * self.w
    }

    /// Length of the reduction.
    pub fn depth(&self) -> usize {
        self.taps.len() * self.c
    }

    /// The reduction as packed: padded with zeros to whole blocks.
    pub fn packed_depth(&self) -> usize {
        self.depth().next_multiple_of(KB)
    }

    /// Writes `count` rows from `first` on into `strip [k / 16][MR][16]`, for `k` in `k0..k1` (multiples of 16).
    #[inline(always)]
    fn pack<const MR: usize>(&self, strip: &mut [f32], first: usize, count: usize, k0: usize, k1: usize) {
        let blocks = strip.as_chunks_mut::<KB>().0.as_chunks_mut::<MR>().0;
        let (mut x, y) = (first % self.w, first / self.w);
        let (mut y, mut n) = (y % self.h, y / self.h);
        for r in 0..MR {
            if r >= count {
                blocks.iter_mut().for_each(|block| block[r] = [0.0; KB]);
                continue;
            }
            if self.c.is_multiple_of(KB) {
                self.pack_row(blocks, r, [n, y, x], k0, k1);
            } else {
                self.pack_ragged_row(blocks, r, [n, y, x], k0, k1);
            }
            x += 1;
            if x == self.w {
                (x, y) = (0, y + 1);
                if y == self.h {
                    (y, n) = (0, n + 1);
                }
            }
        }
    }

    #[inline(always)]
    fn pack_row<const MR: usize>(
        &self,
        blocks: &mut [[[f32; KB]; MR]],
        r: usize,
        at: [usize; 3],
        k0: usize,
        k1: usize,
    ) {
        let (mut tap, mut channel) = (k0 / self.c, k0 % self.c);
        let mut blocks = &mut blocks[..(k1 - k0) / KB];
        while !blocks.is_empty() {
            let count = blocks.len().min((self.c - channel) / KB);
            let (head, tail) = blocks.split_at_mut(count);
            match self.source(at, tap) {
                Some(pixel) => {
                    for (block, piece) in head.iter_mut().zip(pixel[channel..].as_chunks::<KB>().0) {
                        block[r] = *piece;
                    }
                }
                None => {
                    for block in head {
                        block[r] = [0.0; KB];
                    }
                }
            }
            (tap, channel, blocks) = (tap + 1, 0, tail);
        }
    }

    /// The same for a number of channels that is not a multiple of 16: blocks straddle taps.
    #[inline(always)]
    fn pack_ragged_row<const MR: usize>(
        &self,
        blocks: &mut [[[f32; KB]; MR]],
        r: usize,
        at: [usize; 3],
        k0: usize,
        k1: usize,
    ) {
        let mut k = k0;
        while k < k1 {
            let tap = k / self.c;
            let end = k1.min((tap + 1) * self.c);
            let pixel = if tap < self.taps.len() { self.source(at, tap) } else { None };
            for k in k..end {
                let value = pixel.map_or(0.0, |pixel| pixel[k - tap * self.c]);
                blocks[(k - k0) / KB][r][(k - k0) % KB] = value;
            }
            k = end;
        }
    }

    /// The channels that tap `tap` of the patch at `[n, y, x]` reads.
    #[inline(always)]
    pub fn source(&self, [n, y, x]: [usize; 3], tap: usize) -> Option<&[f32]> {
        let (ty, tx) = self.taps[tap];
        let y = (y * self.step).wrapping_add_signed(ty);
        let x = (x * self.step).wrapping_add_signed(tx);
        if y < self.src_h && x < self.src_w {
            let at = ((n * self.src_h + y) * self.src_w + x) * self.c;
            Some(&self.src[at..at + self.c])
        } else {
            None
        }
    }
}

/// Length of the right operand when packed as `[panel][packed_depth][NR]`.
pub fn packed_len(depth: usize, cols: usize) -> usize {
    let nr = TileSize::tall().cols;
    depth.next_multiple_of(KB) * cols.next_multiple_of(nr)
}

/// Packs a right operand whose columns are contiguous, `w [cols][depth]`: the weights as they are, for the forward pass.
pub fn pack_transposed(packed: &mut [f32], w: &[f32], depth: usize, cols: usize) {
    let nr = TileSize::tall().cols;
    let padded = depth.next_multiple_of(KB);
    packed.par_chunks_mut(padded * nr).enumerate().for_each(|(panel, packed)| {
        vectorize(
            #[inline(always)]
            || {
                tile::pack_columns(
                    packed,
                    nr,
                    #[inline(always)]
                    |j| {
                        let column = panel * nr + j;
                        if column < cols { &w[column * depth..][..depth] } else { &[] }
                    },
                );
            },
        );
    });
}

/// Packs a right operand whose row `k` is the contiguous slice `row(k)`, of `cols` numbers.
pub fn pack_rows<'a>(packed: &mut [f32], depth: usize, cols: usize, row: impl Fn(usize) -> &'a [f32] + Sync) {
    let nr = TileSize::tall().cols;
    let padded = depth.next_multiple_of(KB);
    packed.par_chunks_mut((padded * nr).max(1)).enumerate().for_each(|(panel, packed)| {
        let first = panel * nr;
        let count = nr.min(cols - first);
        for (k, packed) in packed.chunks_exact_mut(nr).enumerate() {
            if k < depth {
                packed[..count].copy_from_slice(&row(k)[first..first + count]);
                packed[count..].fill(0.0);
            } else {
                packed.fill(0.0);
            }
        }
    });
}

/// Reduction steps that a task packs at once: 6 kB for each row, which every panel reads again.
const DEPTH_BLOCK: usize = 1536;

/// Rows of the product from which on each task takes a range of rows for itself: two or more strips for each of 16 tasks.
const MANY_ROWS: usize = 384;

/// `y [rows, cols] = patches * right + bias`, `right` packed, `bias` empty or `[cols]`.
pub fn product(y: &mut [f32], patches: &Patches, right: &[f32], bias: &[f32], cols: usize) {
    if patches.rows() >= MANY_ROWS {
        product_by_rows(y, patches, right, bias, cols);
    } else {
        let size = TileSize::tall();
        scratch(tiles_len(patches.rows(), cols), |tiles| {
            product_in_tiles(tiles, patches, right, bias, cols);
            y.par_chunks_mut(size.rows * cols).enumerate().for_each(|(strip, y)| {
                for (r, y) in y.chunks_exact_mut(cols).enumerate() {
                    copy_row_of_tiles(y, tiles, patches.rows(), strip * size.rows + r);
                }
            });
        });
    }
}

/// Every task gathers a range of rows into its own scratch memory and multiplies it with all of `right`.
fn product_by_rows(y: &mut [f32], patches: &Patches, right: &[f32], bias: &[f32], cols: usize) {
    let size = TileSize::tall();
    let block = DEPTH_BLOCK.min(patches.packed_depth());
    // As many rows as fill a quarter of a megabyte, but enough tasks for an even division.
    let strips = ((1 << 16) / (block * size.rows)).max(2).min(patches.rows().div_ceil(16 * size.rows));
    let rows = strips * size.rows;
    y.par_chunks_mut(rows * cols).enumerate().for_each(|(task, y)| {
        scratch(rows * block, |left| {
            RowsTask { y, first: task * rows, left, patches, right, bias, cols }.tall();
        });
    });
}

struct RowsTask<'a> {
    y: &'a mut [f32],
    first: usize,
    left: &'a mut [f32],
    patches: &'a Patches<'a>,
    right: &'a [f32],
    bias: &'a [f32],
    cols: usize,
}

impl Tiled for RowsTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { y, first, left, patches, right, bias, cols } = self;
        let nr = NV * S::F32_LANES;
        let rows = y.len() / cols;
        let depth = patches.packed_depth();
        for k0 in (0..depth).step_by(DEPTH_BLOCK) {
            let k1 = depth.min(k0 + DEPTH_BLOCK);
            let strip_len = (k1 - k0) * MR;
            for (strip, left) in left.chunks_exact_mut(strip_len).enumerate().take(rows.div_ceil(MR)) {
                let row = strip * MR;
                patches.pack::<MR>(left, first + row, rows - row, k0, k1);
            }
            for (panel, right) in right.chunks_exact(depth * nr).enumerate() {
                let right = &right[k0 * nr..k1 * nr];
                let col = panel * nr;
                let width = nr.min(cols - col);
                for (strip, left) in left.chunks_exact(strip_len).enumerate().take(rows.div_ceil(MR)) {
                    let row = strip * MR;
                    let y = &mut y[row * cols + col..];
                    let height = MR.min(rows - row);
                    let sums = if k0 == 0 {
                        first_sums::<S, MR, NV>(simd, bias, col)
                    } else {
                        load_strided::<S, MR, NV>(simd, y, cols, height, width)
                    };
                    let sums = tile::rows(simd, sums, left, right);
                    store_strided::<S, MR, NV>(y, cols, height, width, sums);
                }
            }
        }
    }
}

/// Length of a product `[rows, cols]` in tiles `[panel][strip][MR][NR]`.
pub fn tiles_len(rows: usize, cols: usize) -> usize {
    let size = TileSize::tall();
    rows.next_multiple_of(size.rows) * cols.next_multiple_of(size.cols)
}

/// Copies row `row` of a product of `rows` rows that lies in tiles.
pub fn copy_row_of_tiles(y: &mut [f32], tiles: &[f32], rows: usize, row: usize) {
    let size = TileSize::tall();
    let panel_len = rows.next_multiple_of(size.rows) * size.cols;
    for (y, panel) in y.chunks_mut(size.cols).zip(tiles.chunks_exact(panel_len)) {
        y.copy_from_slice(&panel[row * size.cols..][..y.len()]);
    }
}

/// For few rows: gathers all patches first, then shares out the tiles of the result.
pub fn product_in_tiles(tiles: &mut [f32], patches: &Patches, right: &[f32], bias: &[f32], cols: usize) {
    let size = TileSize::tall();
    let depth = patches.packed_depth();
    let rows = patches.rows();
    let strips = rows.div_ceil(size.rows);
    scratch(strips * size.rows * depth, |left| {
        if depth > 0 {
            left.par_chunks_mut(size.rows * depth).enumerate().for_each(|(strip, left)| {
                PackStrip { left, patches, row: strip * size.rows }.tall();
            });
        }
        let tile_len = size.rows * size.cols;
        let (panels, left) = (cols.div_ceil(size.cols), &*left);
        // Few panels: cut each into runs of strips; many: a task a panel.
        let run = if panels >= 8 { strips } else { strips.div_ceil(16usize.div_ceil(panels)) };
        tiles.par_chunks_mut(strips * tile_len).enumerate().for_each(|(panel, tiles)| {
            let right = &right[panel * depth * size.cols..][..depth * size.cols];
            tiles.par_chunks_mut(run * tile_len).enumerate().for_each(|(part, tiles)| {
                let left = &left[part * run * size.rows * depth..];
                TilesTask { tiles, left, right, bias, col: panel * size.cols }.tall();
            });
        });
    });
}

struct PackStrip<'a> {
    left: &'a mut [f32],
    patches: &'a Patches<'a>,
    row: usize,
}

impl Tiled for PackStrip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, _simd: S) {
        let Self { left, patches, row } = self;
        patches.pack::<MR>(left, row, patches.rows() - row, 0, patches.packed_depth());
    }
}

struct TilesTask<'a> {
    tiles: &'a mut [f32],
    left: &'a [f32],
    right: &'a [f32],
    bias: &'a [f32],
    col: usize,
}

impl Tiled for TilesTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { tiles, left, right, bias, col } = self;
        let nr = NV * S::F32_LANES;
        let strip_len = right.len() / nr * MR;
        for (strip, tile) in tiles.chunks_exact_mut(MR * nr).enumerate() {
            let sums = first_sums::<S, MR, NV>(simd, bias, col);
            let sums = tile::rows(simd, sums, &left[strip * strip_len..][..strip_len], right);
            tile::store::<S, MR, NV>(tile, sums);
        }
    }
}

/// Where the sums of the columns from `col` on begin: at the bias, or at zero where that is empty.
#[inline(always)]
fn first_sums<S: Simd, const MR: usize, const NV: usize>(simd: S, bias: &[f32], col: usize) -> Sums<S, MR, NV> {
    let mut row = [simd.splat_f32s(0.0); NV];
    for (v, row) in row.iter_mut().enumerate() {
        *row = tile::load_vector(simd, &bias[bias.len().min(col + v * S::F32_LANES)..]);
    }
    [row; MR]
}

/// Reads `height x width` sums from rows that lie `stride` apart.
#[inline(always)]
fn load_strided<S: Simd, const MR: usize, const NV: usize>(
    simd: S,
    y: &[f32],
    stride: usize,
    height: usize,
    width: usize,
) -> Sums<S, MR, NV> {
    let mut sums = [[simd.splat_f32s(0.0); NV]; MR];
    for (r, sums) in sums.iter_mut().enumerate() {
        if r < height {
            let row = &y[r * stride..][..width];
            if let Some(full) = S::as_simd_f32s(row).0.first_chunk::<NV>() {
                *sums = *full;
            } else {
                for (sum, piece) in sums.iter_mut().zip(row.chunks(S::F32_LANES)) {
                    *sum = tile::load_vector(simd, piece);
                }
            }
        }
    }
    sums
}

/// Writes `height x width` sums to rows that lie `stride` apart.
#[inline(always)]
fn store_strided<S: Simd, const MR: usize, const NV: usize>(
    y: &mut [f32],
    stride: usize,
    height: usize,
    width: usize,
    sums: Sums<S, MR, NV>,
) {
    for (r, sums) in sums.iter().enumerate() {
        if r < height {
            let row = &mut y[r * stride..][..width];
            if let Some(full) = S::as_mut_simd_f32s(row).0.first_chunk_mut::<NV>() {
                *full = *sums;
            } else {
                for (sum, piece) in sums.iter().zip(row.chunks_mut(S::F32_LANES)) {
                    tile::store_vector::<S>(piece, *sum);
                }
            }
        }
    }
}
