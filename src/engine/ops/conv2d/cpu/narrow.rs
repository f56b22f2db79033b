//! Convolutions into very few channels, such as the last one of a U-Net: a register tile would compute mostly padding.
//! Every output is the dot product of a patch and a filter instead.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::gather::Patches;
use super::tile;

/// Output channels up to which this is the faster way.
pub const MAX_COLS: usize = 4;

/// Output pixels of a task.
const ROWS: usize = 64;

/// `y [rows, cols] = patches * w^T + bias`, `w [cols, depth]` as it is, `bias` empty or `[cols]`.
pub fn product(y: &mut [f32], patches: &Patches, w: &[f32], bias: &[f32], cols: usize) {
    y.par_chunks_mut(ROWS * cols).enumerate().for_each(|(task, y)| {
        let first = task * ROWS;
        let arch = Arch::new();
        match cols {
            1 => arch.dispatch(DotsTask::<1> { y, first, patches, w, bias }),
            2 => arch.dispatch(DotsTask::<2> { y, first, patches, w, bias }),
            3 => arch.dispatch(DotsTask::<3> { y, first, patches, w, bias }),
            _ => arch.dispatch(DotsTask::<MAX_COLS> { y, first, patches, w, bias }),
        }
    });
}

struct DotsTask<'a, const COLS: usize> {
    y: &'a mut [f32],
    first: usize,
    patches: &'a Patches<'a>,
    w: &'a [f32],
    bias: &'a [f32],
}

impl<const COLS: usize> WithSimd for DotsTask<'_, COLS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { y, first, patches, w, bias } = self;
        let (c, depth) = (patches.c, patches.depth());
        for (i, y) in y.chunks_exact_mut(COLS).enumerate() {
            let row = first + i;
            let at = [row / (patches.h * patches.w), row / patches.w % patches.h, row % patches.w];
            let mut sums = [simd.splat_f32s(0.0); COLS];
            for tap in 0..patches.taps.len() {
                let Some(pixel) = patches.source(at, tap) else { continue };
                let (vectors, tail) = S::as_simd_f32s(pixel);
                for col in 0..COLS {
                    let filter = &w[col * depth + tap * c..][..c];
                    let (filter, filter_tail) = S::as_simd_f32s(filter);
                    for (&x, &w) in vectors.iter().zip(filter) {
                        sums[col] = simd.mul_add_e_f32s(x, w, sums[col]);
                    }
                    if !tail.is_empty() {
                        let (x, w) = (tile::load_vector(simd, tail), tile::load_vector(simd, filter_tail));
                        sums[col] = simd.mul_add_e_f32s(x, w, sums[col]);
                    }
                }
            }
            for col in 0..COLS {
                y[col] = simd.reduce_sum_f32s(sums[col]) + bias.get(col).copied().unwrap_or(0.0);
            }
        }
    }
}
