//! The gradient of the weights: a matrix product that reduces over the output pixels,
//! `dw [c_out, kh*kw*c_in] = dy^T * patches(x)`.

use pulp::Simd;
use rayon::prelude::*;

use super::super::Conv2dShape;
use super::tile::{self, TileSize, Tiled};
use crate::engine::simd::{scratch, vectorize};

/// Output pixels that are packed at once.
const PIXEL_BLOCK: usize = 256;

/// How the product is shared out, a function of the shape alone. The pixels are cut into `splits` ranges whose results
/// are added up in order; the columns into `groups` of `group` panels.
struct Plan {
    size: TileSize,
    strips: usize,
    splits: usize,
    split: usize,
    groups: usize,
    group: usize,
}

impl Plan {
    fn new(s: &Conv2dShape) -> Self {
        let size = TileSize::short();
        let pixels = s.out_pixels();
        let panels = (s.kh * s.kw * s.c_in).div_ceil(size.cols);
        let split = pixels.div_ceil((pixels / (4 * PIXEL_BLOCK)).clamp(1, 16)).next_multiple_of(PIXEL_BLOCK);
        let splits = pixels.div_ceil(split);
        let group = panels.div_ceil(16usize.div_ceil(splits));
        Self { size, strips: s.c_out.div_ceil(size.rows), splits, split, groups: panels.div_ceil(group), group }
    }

    fn tile_len(&self) -> usize {
        self.size.rows * self.size.cols
    }

    /// Sums of one task: tiles `[panel][strip][MR][NR]`.
    fn task_len(&self) -> usize {
        self.group * self.strips * self.tile_len()
    }

    /// A packed block of pixels of `dy`: `[strip][pixel][MR]`.
    fn left_len(&self) -> usize {
        self.strips * self.size.rows * PIXEL_BLOCK
    }

    fn right_len(&self) -> usize {
        self.size.cols * PIXEL_BLOCK
    }
}

/// `dw [c_out, kh, kw, c_in]` of `dy [n, out_h, out_w, c_out]` and `x [n, h, w, c_in]`.
pub fn backward_weights(dw: &mut [f32], dy: &[f32], x: &[f32], s: &Conv2dShape) {
    let plan = &Plan::new(s);
    let blocks = s.out_pixels().div_ceil(PIXEL_BLOCK);
    let sums_len = plan.splits * plan.groups * plan.task_len();
    scratch(sums_len + blocks * plan.left_len(), |memory| {
        let (sums, left) = memory.split_at_mut(sums_len);
        left.par_chunks_mut(plan.left_len()).zip(dy.par_chunks(PIXEL_BLOCK * s.c_out)).for_each(|(left, dy)| {
            PackTask { left, dy, c_out: s.c_out }.short();
        });
        let left = &*left;
        sums.par_chunks_mut(plan.task_len()).enumerate().for_each(|(task, sums)| {
            let (split, group) = (task / plan.groups, task % plan.groups);
            scratch(plan.right_len(), |right| WeightsTask { sums, left, right, x, s, plan, split, group }.short());
        });
        let TileSize { rows: mr, cols: nr } = plan.size;
        let split_len = plan.groups * plan.task_len();
        dw.par_chunks_mut(s.kh * s.kw * s.c_in).enumerate().for_each(|(co, dw)| {
            vectorize(
                #[inline(always)]
                || {
                    for (panel, dw) in dw.chunks_mut(nr).enumerate() {
                        let at = (panel * plan.strips + co / mr) * plan.tile_len() + co % mr * nr;
                        dw.copy_from_slice(&sums[at..at + dw.len()]);
                        for split in 1..plan.splits {
                            let sums = &sums[split * split_len + at..][..dw.len()];
                            dw.iter_mut().zip(sums).for_each(|(dw, sum)| *dw += sum);
                        }
                    }
                },
            );
        });
    });
}

struct WeightsTask<'a> {
    sums: &'a mut [f32],
    left: &'a [f32],
    right: &'a mut [f32],
    x: &'a [f32],
    s: &'a Conv2dShape,
    plan: &'a Plan,
    split: usize,
    group: usize,
}

impl Tiled for WeightsTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { sums, left, right, x, s, plan, split, group } = self;
        let nr = NV * S::F32_LANES;
        let panels = (s.kh * s.kw * s.c_in).div_ceil(nr);
        let begin = split * plan.split;
        let end = s.out_pixels().min(begin + plan.split);
        for first in (begin..end).step_by(PIXEL_BLOCK) {
            let count = PIXEL_BLOCK.min(end - first);
            let left = &left[first / PIXEL_BLOCK * plan.left_len()..];
            for (p, sums) in sums.chunks_exact_mut(plan.strips * MR * nr).enumerate() {
                let panel = group * plan.group + p;
                if panel >= panels {
                    break;
                }
                if s.c_in.is_multiple_of(S::F32_LANES) {
                    pack_patches::<S, NV>(simd, right, x, s, first, count, panel);
                } else {
                    pack_ragged_patches(right, x, s, first, count, panel, nr);
                }
                let right = &right[..count * nr];
                for (sums, left) in sums.chunks_exact_mut(MR * nr).zip(left.chunks_exact(count * MR)) {
                    let tile = if first == begin {
                        [[simd.splat_f32s(0.0); NV]; MR]
                    } else {
                        tile::load::<S, MR, NV>(simd, sums)
                    };
                    tile::store::<S, MR, NV>(sums, tile::columns(simd, tile, left, (0, 1), right));
                }
            }
        }
    }
}

/// Packs a block of pixels `dy [count][c_out]` as `left [strip][count][MR]`, padded with zeros.
struct PackTask<'a> {
    left: &'a mut [f32],
    dy: &'a [f32],
    c_out: usize,
}

impl Tiled for PackTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, _simd: S) {
        let Self { left, dy, c_out } = self;
        let count = dy.len() / c_out;
        for (strip, left) in left.chunks_exact_mut(count * MR).enumerate().take(c_out.div_ceil(MR)) {
            let channel = strip * MR;
            for (left, dy) in left.as_chunks_mut::<MR>().0.iter_mut().zip(dy.chunks_exact(c_out)) {
                let rest = &dy[channel..];
                match rest.first_chunk::<MR>() {
                    Some(full) => *left = *full,
                    None => {
                        left[..rest.len()].copy_from_slice(rest);
                        left[rest.len()..].fill(0.0);
                    }
                }
            }
        }
    }
}

/// Output pixels in order, as coordinates.
#[derive(Clone, Copy)]
struct Pixel {
    n: usize,
    y: usize,
    x: usize,
}

impl Pixel {
    #[inline(always)]
    fn at(index: usize, h: usize, w: usize) -> Self {
        Self { n: index / (h * w), y: index / w % h, x: index % w }
    }

    #[inline(always)]
    fn advance(&mut self, h: usize, w: usize) {
        self.x += 1;
        if self.x == w {
            (self.x, self.y) = (0, self.y + 1);
            if self.y == h {
                (self.y, self.n) = (0, self.n + 1);
            }
        }
    }

    /// Where `x [n, h, w, c_in]` holds the channels that tap `(ky, kx)` of this pixel's patch reads.
    #[inline(always)]
    fn source(self, s: &Conv2dShape, ky: usize, kx: usize) -> Option<usize> {
        let y = (self.y * s.stride + ky).wrapping_sub(s.pad_top);
        let x = (self.x * s.stride + kx).wrapping_sub(s.pad_left);
        (y < s.h && x < s.w).then(|| ((self.n * s.h + y) * s.w + x) * s.c_in)
    }
}

/// Packs columns `panel * NR ..` of the patches of pixels `first .. first + count` as `right [count][NR]`; every vector
/// of columns belongs to one tap.
#[inline(always)]
fn pack_patches<S: Simd, const NV: usize>(
    simd: S,
    right: &mut [f32],
    x: &[f32],
    s: &Conv2dShape,
    first: usize,
    count: usize,
    panel: usize,
) {
    let (h, w) = (s.out_h(), s.out_w());
    let columns = s.kh * s.kw * s.c_in;
    let rows = S::as_mut_simd_f32s(right).0.as_chunks_mut::<NV>().0;
    for v in 0..NV {
        let column = (panel * NV + v) * S::F32_LANES;
        if column >= columns {
            rows[..count].iter_mut().for_each(|row| row[v] = simd.splat_f32s(0.0));
            continue;
        }
        let (tap, channel) = (column / s.c_in, column % s.c_in);
        let (ky, kx) = (tap / s.kw, tap % s.kw);
        let mut pixel = Pixel::at(first, h, w);
        for row in &mut rows[..count] {
            row[v] = match pixel.source(s, ky, kx) {
                Some(at) => S::as_simd_f32s(&x[at + channel..][..S::F32_LANES]).0[0],
                None => simd.splat_f32s(0.0),
            };
            pixel.advance(h, w);
        }
    }
}

/// The same for any number of channels.
#[inline(always)]
fn pack_ragged_patches(
    right: &mut [f32],
    x: &[f32],
    s: &Conv2dShape,
    first: usize,
    count: usize,
    panel: usize,
    nr: usize,
) {
    let (h, w) = (s.out_h(), s.out_w());
    for j in 0..nr {
        let column = panel * nr + j;
        let (tap, channel) = (column / s.c_in, column % s.c_in);
        let (ky, kx) = (tap / s.kw, tap % s.kw);
        let mut pixel = Pixel::at(first, h, w);
        for row in right.chunks_exact_mut(nr).take(count) {
            let at = if ky < s.kh { pixel.source(s, ky, kx) } else { None };
            row[j] = at.map_or(0.0, |at| x[at + channel]);
            pixel.advance(h, w);
        }
    }
}

/// `dbias [c_out]`: the sum of `dy` over all pixels, in ranges of pixels whose results are added up in order.
pub fn backward_bias(dbias: &mut [f32], dy: &[f32]) {
    const RANGES: usize = 16;
    let c = dbias.len();
    let range = (dy.len() / c).div_ceil(RANGES).max(1) * c;
    scratch(RANGES * c, |sums| {
        sums.fill(0.0);
        sums.par_chunks_mut(c).zip(dy.par_chunks(range)).for_each(|(sums, dy)| {
            vectorize(
                #[inline(always)]
                || {
                    for dy in dy.chunks_exact(c) {
                        sums.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
                    }
                },
            );
        });
        dbias.fill(0.0);
        for sums in sums.chunks_exact(c) {
            dbias.iter_mut().zip(sums).for_each(|(dbias, sum)| *dbias += sum);
        }
    });
}
