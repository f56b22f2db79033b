//! Convolution on the CPU, in f32: gathered matrix products on all cores.
//!
//! Results do not depend on the number of threads. A sum runs in the order of its reduction index, wherever the task
//! borders lie, so an image's result does not depend on the batch that it is part of either.

mod few_pixels;
mod gather;
mod narrow;
pub mod tile;
mod weights;
mod winograd;

use rayon::prelude::*;

use super::Conv2dShape;
use crate::engine::simd::{for_chunks, scratch};
use gather::Patches;
pub use weights::backward_bias;
use winograd::{Conv, Filters, Input, Tiling};

/// `y = conv(x, w) + bias`.
///
/// # Shapes
/// `y [n, out_h, out_w, c_out]`, `x [n, h, w, c_in]`, `w [c_out, kh, kw, c_in]`, `bias [c_out]` or empty.
pub fn forward(y: &mut [f32], x: &[f32], w: &[f32], bias: &[f32], s: &Conv2dShape) {
    check(s, y.len(), x.len(), w.len());
    assert!(bias.is_empty() || bias.len() == s.c_out, "bias of {s:?}: {} numbers", bias.len());
    let (pad_y, pad_x) = (s.pad_top as isize, s.pad_left as isize);
    if winograd::suits(s) {
        let tiling = Tiling::new(s.n, s.out_h(), s.out_w());
        let input = Input { src: x, h: s.h, w: s.w, c: s.c_in, pad_y, pad_x, tiling };
        return winograd::conv(y, &Conv { input, cols: s.c_out, filters: Filters::Forward(w), bias });
    }
    let patches = Patches {
        src: x,
        n: s.n,
        h: s.out_h(),
        w: s.out_w(),
        src_h: s.h,
        src_w: s.w,
        c: s.c_in,
        step: s.stride,
        taps: taps(s).map(|(ky, kx)| (ky as isize - pad_y, kx as isize - pad_x)).collect(),
    };
    if s.c_out <= narrow::MAX_COLS && s.c_in >= 16 {
        return narrow::product(y, &patches, w, bias, s.c_out);
    }
    if few_pixels::suits(patches.rows(), s.c_out) {
        return few_pixels::product(y, &patches, w, bias, s.c_out);
    }
    scratch(gather::packed_len(patches.depth(), s.c_out), |packed| {
        gather::pack_transposed(packed, w, patches.depth(), s.c_out);
        gather::product(y, &patches, packed, bias, s.c_out);
    });
}

/// `y += addend`, unless that is empty.
pub fn add(y: &mut [f32], addend: &[f32]) {
    if addend.is_empty() {
        return;
    }
    for_chunks(
        [y],
        [addend],
        #[inline(always)]
        |[y], [addend]| y.iter_mut().zip(addend).for_each(|(y, addend)| *y += addend),
    );
}

/// `dx`, the gradient of the input, plus `bias`: what a transposed convolution adds.
///
/// # Shapes
/// `dx [n, h, w, c_in]`, `dy [n, out_h, out_w, c_out]`, `w [c_out, kh, kw, c_in]`, `bias [c_in]` or empty.
pub fn backward_data(dx: &mut [f32], dy: &[f32], w: &[f32], bias: &[f32], s: &Conv2dShape) {
    check(s, dy.len(), dx.len(), w.len());
    assert!(bias.is_empty() || bias.len() == s.c_in, "bias of {s:?}: {} numbers", bias.len());
    if winograd::suits(s) {
        let tiling = Tiling::new(s.n, s.h, s.w);
        let (pad_y, pad_x) = (2 - s.pad_top as isize, 2 - s.pad_left as isize);
        let input = Input { src: dy, h: s.out_h(), w: s.out_w(), c: s.c_out, pad_y, pad_x, tiling };
        return winograd::conv(dx, &Conv { input, cols: s.c_in, filters: Filters::Turned(w), bias });
    }
    if s.stride == 1 {
        let (patches, met) = phase(dy, s, 0, 0);
        scratch(gather::packed_len(patches.depth(), s.c_in), |packed| {
            pack_phase(packed, w, s, &met);
            gather::product(dx, &patches, packed, bias, s.c_in);
        });
        return;
    }
    let phases: Vec<_> = (0..s.stride * s.stride).map(|i| phase(dy, s, i / s.stride, i % s.stride)).collect();
    let tiles_len = phases.iter().map(|(p, _)| gather::tiles_len(p.rows(), s.c_in)).max().unwrap_or(0);
    scratch(phases.len() * tiles_len, |tiles| {
        for ((patches, met), tiles) in phases.iter().zip(tiles.chunks_exact_mut(tiles_len)) {
            scratch(gather::packed_len(patches.depth(), s.c_in), |packed| {
                pack_phase(packed, w, s, met);
                let tiles = &mut tiles[..gather::tiles_len(patches.rows(), s.c_in)];
                gather::product_in_tiles(tiles, patches, packed, bias, s.c_in);
            });
        }
        dx.par_chunks_mut(s.w * s.c_in).enumerate().for_each(|(row, dx)| {
            let (n, y) = (row / s.h, row % s.h);
            for (x, dx) in dx.chunks_exact_mut(s.c_in).enumerate() {
                let i = y % s.stride * s.stride + x % s.stride;
                let patches = &phases[i].0;
                let row = (n * patches.h + y / s.stride) * patches.w + x / s.stride;
                gather::copy_row_of_tiles(dx, &tiles[i * tiles_len..], patches.rows(), row);
            }
        });
    });
}

/// `dw`, the gradient of the weights.
///
/// # Shapes
/// `dw [c_out, kh, kw, c_in]`, `dy [n, out_h, out_w, c_out]`, `x [n, h, w, c_in]`.
pub fn backward_weights(dw: &mut [f32], dy: &[f32], x: &[f32], s: &Conv2dShape) {
    check(s, dy.len(), x.len(), dw.len());
    if winograd::suits(s) && winograd::suits_weights() {
        winograd::backward_weights(dw, dy, x, s);
    } else {
        weights::backward_weights(dw, dy, x, s);
    }
}

/// The product that gives `dx` at the input pixels `(y, x)` with `y % stride = phase_y`, `x % stride = phase_x`, and
/// the taps of the filter that these pixels meet.
fn phase<'a>(dy: &'a [f32], s: &Conv2dShape, phase_y: usize, phase_x: usize) -> (Patches<'a>, Vec<(usize, usize)>) {
    let reaches = |phase: usize, pad: usize, k: usize| (phase + pad + k * (s.stride - 1)).is_multiple_of(s.stride);
    let met: Vec<_> =
        taps(s).filter(|&(ky, kx)| reaches(phase_y, s.pad_top, ky) && reaches(phase_x, s.pad_left, kx)).collect();
    let offset = |phase: usize, pad: usize, k: usize| ((phase + pad) as isize - k as isize) / s.stride as isize;
    let patches = Patches {
        src: dy,
        n: s.n,
        h: (s.h + s.stride - 1 - phase_y) / s.stride,
        w: (s.w + s.stride - 1 - phase_x) / s.stride,
        src_h: s.out_h(),
        src_w: s.out_w(),
        c: s.c_out,
        step: 1,
        taps: met.iter().map(|&(ky, kx)| (offset(phase_y, s.pad_top, ky), offset(phase_x, s.pad_left, kx))).collect(),
    };
    (patches, met)
}

/// Packs the weights of the taps `met`: the reduction runs over tap and output channel.
fn pack_phase(packed: &mut [f32], w: &[f32], s: &Conv2dShape, met: &[(usize, usize)]) {
    gather::pack_rows(packed, met.len() * s.c_out, s.c_in, |k| {
        let (ky, kx) = met[k / s.c_out];
        &w[((k % s.c_out * s.kh + ky) * s.kw + kx) * s.c_in..][..s.c_in]
    });
}

fn taps(s: &Conv2dShape) -> impl Iterator<Item = (usize, usize)> + use<> {
    let (kh, kw) = (s.kh, s.kw);
    (0..kh * kw).map(move |i| (i / kw, i % kw))
}

fn check(s: &Conv2dShape, y: usize, x: usize, w: usize) {
    assert_eq!(y, s.out_pixels() * s.c_out, "output of {s:?}");
    assert_eq!(x, s.n * s.h * s.w * s.c_in, "input of {s:?}");
    assert_eq!(w, s.c_out * s.kh * s.kw * s.c_in, "weights of {s:?}");
}

#[cfg(test)]
mod tests;
