//! The first step: patches of input, transformed.

use pulp::Simd;

use super::{IN, Math, OUT, POINTS, Tiling};
use crate::ops::conv2d::cpu::tile::{KB, TileSize, Tiled};

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

    /// Length of the scratch memory of [`InputTask`].
    pub fn patch_len(&self) -> usize {
        IN * (TileSize::short().rows * OUT + IN - OUT) * CHANNELS
    }

    /// Copies channels `from .. from + CHANNELS` of the pixels that `count` tiles of a band are made of, from tile
    /// column `x` on, to `patch [IN][width]`: zeros where these overhang the image.
    #[inline(always)]
    fn copy(&self, patch: &mut [[f32; CHANNELS]], band: usize, x: usize, count: usize, from: usize) {
        let width = count * OUT + IN - OUT;
        let n = band / self.tiling.per_image;
        let top = (band % self.tiling.per_image * OUT) as isize - self.pad_y;
        let left = (x * OUT) as isize - self.pad_x;
        for (i, patch) in patch.chunks_exact_mut(width).enumerate().take(IN) {
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
                let pixel = &row[x as usize * self.c..][from..self.c.min((x as usize + 1) * self.c)];
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
        let lanes = S::F32_LANES;
        let stride = input.point_stride::<MR>();
        let patch = patch.as_chunks_mut::<CHANNELS>().0;
        let mut done = 0;
        while done < count {
            let run = input.tiling.next_run(first + done, count - done);
            let width = run.count * OUT + IN - OUT;
            for from in (0..input.padded()).step_by(CHANNELS) {
                input.copy(patch, run.band, run.x, run.count, from);
                for tile in 0..run.count {
                    let patch = &patch[tile * OUT..(IN - 1) * width + tile * OUT + IN];
                    for channel in (0..CHANNELS.min(input.padded() - from)).step_by(lanes) {
                        let at = ((from + channel) / KB * MR + done + tile) * KB + channel % KB;
                        let out = &mut out[at..at + (POINTS - 1) * stride + lanes];
                        math.square(
                            #[inline(always)]
                            |d| math.input(d),
                            #[inline(always)]
                            |j| {
                                let mut column = [simd.splat_f32s(0.0); IN];
                                for i in 0..IN {
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
