//! Register tiles: the innermost loops of every matrix product of the convolutions.
//!
//! A tile of `MR x NR` sums lives in vector registers, `NR = NV * lanes`. Each step of the reduction broadcasts `MR`
//! numbers of the left operand and multiplies them with `NV` vectors of the right one. Every sum is one chain of
//! multiply-adds in the order of the reduction index, so a result does not depend on how the work was cut into tiles,
//! blocks and tasks.

use pulp::{Arch, Simd, WithSimd};

/// The left operand of [`rows`] is packed in blocks of this many reduction steps.
pub const KB: usize = 16;

/// Work that is written for a register tile of `MR` rows and `NV` vectors.
pub trait Tiled: Sized {
    type Output;
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) -> Self::Output;

    /// Runs with the tile that reads the least per multiply-add, for long products.
    fn tall(self) -> Self::Output {
        Arch::new().dispatch(Tall(self))
    }

    /// Runs with a tile of a single vector of columns, for products that have few.
    fn slim(self) -> Self::Output {
        Arch::new().dispatch(Slim(self))
    }

    /// Runs with a tile of fewer rows, of which most numbers of channels are a multiple.
    fn short(self) -> Self::Output {
        Arch::new().dispatch(Short(self))
    }
}

struct Tall<T>(T);

impl<T: Tiled> WithSimd for Tall<T> {
    type Output = T::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T::Output {
        if S::REGISTER_COUNT >= 32 { self.0.run::<S, 12, 2>(simd) } else { self.0.run::<S, 6, 2>(simd) }
    }
}

struct Slim<T>(T);

impl<T: Tiled> WithSimd for Slim<T> {
    type Output = T::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T::Output {
        if S::REGISTER_COUNT >= 32 { self.0.run::<S, 16, 1>(simd) } else { self.0.run::<S, 8, 1>(simd) }
    }
}

struct Short<T>(T);

impl<T: Tiled> WithSimd for Short<T> {
    type Output = T::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T::Output {
        if S::REGISTER_COUNT >= 32 { self.0.run::<S, 8, 2>(simd) } else { self.0.run::<S, 4, 2>(simd) }
    }
}

/// The size of a register tile on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileSize {
    pub rows: usize,
    pub cols: usize,
}

impl TileSize {
    pub fn tall() -> Self {
        Measure.tall()
    }

    pub fn short() -> Self {
        Measure.short()
    }

    pub fn slim() -> Self {
        Measure.slim()
    }
}

struct Measure;

impl Tiled for Measure {
    type Output = TileSize;

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, _simd: S) -> TileSize {
        TileSize { rows: MR, cols: NV * S::F32_LANES }
    }
}

/// The sums of one tile.
pub type Sums<S, const MR: usize, const NV: usize> = [[<S as Simd>::f32s; NV]; MR];

/// Adds the product of `a [k / 16][MR][16]` (rows contiguous in pieces of 16) and `b [k][NR]` to `sums`.
#[inline(always)]
pub fn rows<S: Simd, const MR: usize, const NV: usize>(
    simd: S,
    mut sums: Sums<S, MR, NV>,
    a: &[f32],
    b: &[f32],
) -> Sums<S, MR, NV> {
    let a = a.as_chunks::<KB>().0.as_chunks::<MR>().0;
    let b = S::as_simd_f32s(b).0.as_chunks::<NV>().0.as_chunks::<KB>().0;
    for (a, b) in a.iter().zip(b) {
        for k in 0..KB {
            for r in 0..MR {
                let x = simd.splat_f32s(a[r][k]);
                for v in 0..NV {
                    sums[r][v] = simd.mul_add_e_f32s(x, b[k][v], sums[r][v]);
                }
            }
        }
    }
    sums
}

/// Adds the product of `a [k][width x MR]`, transposed, of which columns `strip * MR ..` count, and `b [k][NR]` to
/// `sums`; `width` is the number of strips that lie side by side in `a`.
#[inline(always)]
pub fn columns<S: Simd, const MR: usize, const NV: usize>(
    simd: S,
    mut sums: Sums<S, MR, NV>,
    a: &[f32],
    (strip, width): (usize, usize),
    b: &[f32],
) -> Sums<S, MR, NV> {
    let a = a.as_chunks::<MR>().0;
    let b = S::as_simd_f32s(b).0.as_chunks::<NV>().0;
    for (a, b) in a.chunks_exact(width).zip(b) {
        let a = &a[strip];
        for r in 0..MR {
            let x = simd.splat_f32s(a[r]);
            for v in 0..NV {
                sums[r][v] = simd.mul_add_e_f32s(x, b[v], sums[r][v]);
            }
        }
    }
    sums
}

/// Reads a tile that lies contiguously as `[MR][NR]`.
#[inline(always)]
pub fn load<S: Simd, const MR: usize, const NV: usize>(simd: S, tile: &[f32]) -> Sums<S, MR, NV> {
    let mut sums = [[simd.splat_f32s(0.0); NV]; MR];
    for (sums, row) in sums.iter_mut().zip(S::as_simd_f32s(tile).0.as_chunks::<NV>().0) {
        *sums = *row;
    }
    sums
}

/// Writes a tile contiguously as `[MR][NR]`.
#[inline(always)]
pub fn store<S: Simd, const MR: usize, const NV: usize>(tile: &mut [f32], sums: Sums<S, MR, NV>) {
    for (sums, row) in sums.iter().zip(S::as_mut_simd_f32s(tile).0.as_chunks_mut::<NV>().0) {
        *row = *sums;
    }
}

/// The first vector of `numbers`; zeros follow where these are fewer.
#[inline(always)]
pub fn load_vector<S: Simd>(simd: S, numbers: &[f32]) -> S::f32s {
    let (vectors, rest) = S::as_simd_f32s(numbers);
    match vectors.first() {
        Some(vector) => *vector,
        None => {
            let mut vector = [simd.splat_f32s(0.0)];
            bytemuck::cast_slice_mut(&mut vector)[..rest.len()].copy_from_slice(rest);
            vector[0]
        }
    }
}

/// Writes a vector to the beginning of `numbers`, or as much of it as these have room for.
#[inline(always)]
pub fn store_vector<S: Simd>(numbers: &mut [f32], vector: S::f32s) {
    let (vectors, rest) = S::as_mut_simd_f32s(numbers);
    match vectors.first_mut() {
        Some(first) => *first = vector,
        None => rest.copy_from_slice(&bytemuck::cast_slice(&[vector])[..rest.len()]),
    }
}

/// Writes the transpose of `from [rows][cols]` to `to [cols][rows]`.
#[inline(always)]
pub fn transpose(to: &mut [f32], from: &[f32], rows: usize, cols: usize) {
    if (rows, cols) == (KB, KB) {
        // Rows of known length pass through registers.
        let (to, from) = (to.as_chunks_mut::<KB>().0, from.as_chunks::<KB>().0);
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<KB>(), from.first_chunk::<KB>()) {
            for (i, row) in from.iter().enumerate() {
                let row = *row;
                for (to, number) in to.iter_mut().zip(row) {
                    to[i] = number;
                }
            }
        }
        return;
    }
    for (j, to) in to[..rows * cols].chunks_exact_mut(rows).enumerate() {
        for (i, to) in to.iter_mut().enumerate() {
            *to = from[i * cols + j];
        }
    }
}

/// Copies rows of numbers, from number `from` on, to `blocks [k / 16][rows][16]`, as [`rows`] reads its left operand: zeros
/// follow where a row ends.
#[inline(always)]
pub fn pack_rows<'a>(blocks: &mut [f32], rows: usize, from: usize, row: impl Fn(usize) -> &'a [f32]) {
    for r in 0..rows {
        let row = row(r);
        let mut rest = &row[row.len().min(from)..];
        for block in blocks.chunks_exact_mut(rows * KB) {
            let block = &mut block[r * KB..][..KB];
            match rest.split_first_chunk::<KB>() {
                Some((full, tail)) => {
                    block.copy_from_slice(full);
                    rest = tail;
                }
                None => {
                    block[..rest.len()].copy_from_slice(rest);
                    block[rest.len()..].fill(0.0);
                    rest = &[];
                }
            }
        }
    }
}

/// Packs columns as rows of `nr` numbers: row `k`, column `j` of `packed` is `column(j)[k]`, or zero beyond its end.
#[inline(always)]
pub fn pack_columns<'a>(packed: &mut [f32], nr: usize, column: impl Fn(usize) -> &'a [f32]) {
    for (i, packed) in packed.chunks_mut(KB * nr).enumerate() {
        let rows = packed.len() / nr;
        for from in (0..nr).step_by(KB) {
            let piece = |j: usize| {
                let column = column(from + j);
                &column[column.len().min(i * KB)..]
            };
            if rows == KB && from + KB <= nr && (0..KB).all(|j| piece(j).len() >= KB) {
                // A square of 16 by 16 numbers passes through registers.
                let mut square = [[0.0; KB]; KB];
                for (j, square) in square.iter_mut().enumerate() {
                    square.copy_from_slice(&piece(j)[..KB]);
                }
                for (k, row) in packed.chunks_exact_mut(nr).enumerate() {
                    for j in 0..KB {
                        row[from + j] = square[j][k];
                    }
                }
            } else {
                for j in 0..KB.min(nr - from) {
                    let piece = piece(j);
                    for (k, row) in packed.chunks_exact_mut(nr).enumerate() {
                        row[from + j] = piece.get(k).copied().unwrap_or(0.0);
                    }
                }
            }
        }
    }
}
