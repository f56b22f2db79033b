//! The first step: patches of input, transformed.

use std::ops::Range;

use pulp::Simd;

use super::{IN, Math, OUT, POINTS, Run, Tiling};
use crate::engine::ops::conv2d::cpu::tile::{KB, TileSize, Tiled};

/// Images `src [n, h, w, c]` and the tiles of output that are made of them.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub src: &'a [f32],
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub pad_y: isize,
    pub pad_x: isize,
    pub tiling: Tiling,
}

/// Channels that are transformed together.
const CHANNELS: usize = 32;

/// Numbers that keep the points' matrices from lying a power of two apart, in the same few sets of the caches.
const SKEW: usize = 16;

impl<'a> Input<'a> {
    /// Channels, padded with zeros to whole blocks.
    pub fn padded(&self) -> usize {
        self.c.next_multiple_of(KB)
    }

    /// Length of one point's matrix `[padded c / 16][MR][16]` of a strip.
    #[inline(always)]
    pub fn point_stride<const MR: usize>(&self) -> usize {
        self.padded() * MR + SKEW
    }

    /// Length of a transformed strip of `MR` tiles, `[POINTS][point_stride]`.
    pub fn strip_len(&self) -> usize {
        POINTS * (self.padded() * TileSize::short().rows + SKEW)
    }

    /// Length of the scratch memory `patch` of a strip.
    pub fn patch_len(&self) -> usize {
        IN * (TileSize::short().rows * OUT + IN - OUT) * CHANNELS
    }

    /// Copies channels `from .. from + CHANNELS` of the `SIDE` rows of pixels that the tiles of a run are made of to
    /// `patch [SIDE][width]`: zeros where these overhang the image.
    #[inline(always)]
    fn copy<const SIDE: usize>(&self, patch: &mut [[f32; CHANNELS]], run: Run, from: usize) {
        let width = run.count * OUT + SIDE - OUT;
        let n = run.band / self.tiling.per_image;
        let top = (run.band % self.tiling.per_image * OUT) as isize - self.pad_y;
        let left = (run.x * OUT) as isize - self.pad_x;
        for (i, patch) in patch.chunks_exact_mut(width).enumerate().take(SIDE) {
            let y = top + i as isize;
            if y < 0 || y >= self.h as isize {
                patch.fill([0.0; CHANNELS]);
                continue;
            }
            let row = &self.src[(n * self.h + y as usize) * self.w * self.c..][..self.w * self.c];
            for (j, to) in patch.iter_mut().enumerate() {
                let x = left + j as isize;
                if x < 0 || x >= self.w as isize {
                    *to = [0.0; CHANNELS];
                    continue;
                }
                let pixel = &row[x as usize * self.c..][from..self.c];
                match pixel.first_chunk::<CHANNELS>() {
                    Some(full) => *to = *full,
                    None => {
                        to[..pixel.len()].copy_from_slice(pixel);
                        to[pixel.len()..].fill(0.0);
                    }
                }
            }
        }
    }

    /// Transforms `channels` of the tiles `first .. first + count`, at most a strip, by `line`. Point `i` of a tile
    /// and a vector of channels goes to `out[i * stride + place(tile, channel)]`.
    #[inline(always)]
    #[expect(clippy::too_many_arguments)]
    pub fn transform<S: Simd, const SIDE: usize>(
        &self,
        simd: S,
        out: &mut [f32],
        stride: usize,
        patch: &mut [f32],
        (first, count): (usize, usize),
        channels: Range<usize>,
        line: impl Fn([S::f32s; SIDE]) -> [S::f32s; IN] + Copy,
        place: impl Fn(usize, usize) -> usize,
    ) {
        let lanes = S::F32_LANES;
        let patch = patch.as_chunks_mut::<CHANNELS>().0;
        let mut done = 0;
        while done < count {
            let run = self.tiling.next_run(first + done, count - done);
            let width = run.count * OUT + SIDE - OUT;
            for from in channels.clone().step_by(CHANNELS) {
                self.copy::<SIDE>(patch, run, from);
                for tile in 0..run.count {
                    let patch = &patch[tile * OUT..(SIDE - 1) * width + tile * OUT + SIDE];
                    for channel in (0..CHANNELS.min(channels.end - from)).step_by(lanes) {
                        let at = place(done + tile, from + channel);
                        let out = &mut out[at..at + (POINTS - 1) * stride + lanes];
                        Math(simd).square(
                            line,
                            #[inline(always)]
                            |j| {
                                let mut column = [simd.splat_f32s(0.0); SIDE];
                                for i in 0..SIDE {
                                    column[i] = S::as_simd_f32s(&patch[i * width + j]).0[channel / lanes];
                                }
                                column
                            },
                            #[inline(always)]
                            |i, row| {
                                for j in 0..IN {
                                    S::as_mut_simd_f32s(&mut out[(i * IN + j) * stride..][..lanes]).0[0] = row[j];
                                }
                            },
                        );
                    }
                }
            }
            done += run.count;
        }
    }
}

/// Transforms `count` tiles from `first` on, at most a strip, to `out [POINTS][point_stride]`.
pub struct InputTask<'a> {
    pub out: &'a mut [f32],
    pub patch: &'a mut [f32],
    pub input: &'a Input<'a>,
    pub first: usize,
    pub count: usize,
}

impl Tiled for InputTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(self, simd: S) {
        let Self { out, patch, input, first, count } = self;
        let math = Math(simd);
        input.transform(
            simd,
            out,
            input.point_stride::<MR>(),
            patch,
            (first, count),
            0..input.padded(),
            #[inline(always)]
            |d| math.input(d),
            #[inline(always)]
            |tile, channel| (channel / KB * MR + tile) * KB + channel % KB,
        );
    }
}
