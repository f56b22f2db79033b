//! Winograd's convolution F(4x4, 3x3): 3x3 filters of stride 1 with a quarter of the multiplications.
//!
//! A patch `d` of 6x6 pixels and a filter `g` give 4x4 pixels of output as
//!
//! ```text
//! y = A^T [ (G g G^T) * (B^T d B) ] A        (* elementwise; the sum over input channels stands inside the brackets)
//! ```
//!
//! so that the work is 36 independent matrix products, tiles by input channels times input by output channels. The
//! gradient of the input is such a convolution itself. The gradient of the filter is the transposed map,
//! `dw = G^T [ (A dy A^T) * (B^T d B) ] G`, summed over tiles inside the brackets.
//!
//! The matrices interpolate polynomials at the points `0, ±sqrt(1/2), ±sqrt(2), infinity`. The customary points
//! `0, ±1, ±2, infinity` lose a factor of five in accuracy; with these, the rounding error is below twice that of
//! the direct sum (root mean square, 256 channels: 1.5e-6 against 0.9e-6 of the output's), and opposite points share their
//! even and odd parts, so that a transform of six numbers takes 14 operations.

mod conv;
mod input;
mod weights;

pub use conv::{Conv, Filters, conv};
pub use input::Input;
pub use weights::{backward_weights, suits_weights};

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use pulp::Simd;

use crate::engine::ops::conv2d::Conv2dShape;

/// Pixels of output along a side of a tile.
const OUT: usize = 4;

/// Pixels of input along a side of a tile.
const IN: usize = 6;

/// Taps along a side of a filter.
const TAPS: usize = 3;

/// The independent products.
const POINTS: usize = IN * IN;

/// Arithmetic on vectors, short enough to write the transforms as formulas.
#[derive(Clone, Copy)]
struct Math<S>(S);

impl<S: Simd> Math<S> {
    #[inline(always)]
    fn add(self, x: S::f32s, y: S::f32s) -> S::f32s {
        self.0.add_f32s(x, y)
    }

    #[inline(always)]
    fn sub(self, x: S::f32s, y: S::f32s) -> S::f32s {
        self.0.sub_f32s(x, y)
    }

    #[inline(always)]
    fn mul(self, a: f32, x: S::f32s) -> S::f32s {
        self.0.mul_f32s(self.0.splat_f32s(a), x)
    }

    /// `a x + y`
    #[inline(always)]
    fn mul_add(self, a: f32, x: S::f32s, y: S::f32s) -> S::f32s {
        self.0.mul_add_e_f32s(self.0.splat_f32s(a), x, y)
    }

    /// `even ± a odd`: the values at two opposite points.
    #[inline(always)]
    fn opposite(self, a: f32, even: S::f32s, odd: S::f32s) -> [S::f32s; 2] {
        [self.mul_add(a, odd, even), self.mul_add(-a, odd, even)]
    }

    /// `B^T d`
    #[inline(always)]
    fn input(self, d: [S::f32s; IN]) -> [S::f32s; IN] {
        let [d0, d1, d2, d3, d4, d5] = d;
        let [p1, p2] = self.opposite(FRAC_1_SQRT_2, self.mul_add(-2.0, d2, d4), self.mul_add(-2.0, d1, d3));
        let [p3, p4] = self.opposite(SQRT_2, self.mul_add(-0.5, d2, d4), self.mul_add(-0.5, d1, d3));
        [self.mul_add(-2.5, d2, self.add(d0, d4)), p1, p2, p3, p4, self.mul_add(-2.5, d3, self.add(d1, d5))]
    }

    /// `G g`
    #[inline(always)]
    fn filter(self, g: [S::f32s; TAPS]) -> [S::f32s; IN] {
        let [g0, g1, g2] = g;
        let (even_a, even_b) = (self.mul_add(0.5, g2, g0), self.mul_add(2.0, g2, g0));
        let [p1, p2] = self.opposite(-2.0 / 3.0 * FRAC_1_SQRT_2, self.mul(-2.0 / 3.0, even_a), g1);
        let [p3, p4] = self.opposite(SQRT_2 / 6.0, self.mul(1.0 / 6.0, even_b), g1);
        [g0, p1, p2, p3, p4, g2]
    }

    /// `A^T m`
    #[inline(always)]
    fn output(self, m: [S::f32s; IN]) -> [S::f32s; OUT] {
        let (even_a, odd_a) = (self.add(m[1], m[2]), self.sub(m[1], m[2]));
        let (even_b, odd_b) = (self.add(m[3], m[4]), self.sub(m[3], m[4]));
        [
            self.add(m[0], self.add(even_a, even_b)),
            self.mul_add(FRAC_1_SQRT_2, odd_a, self.mul(SQRT_2, odd_b)),
            self.mul_add(0.5, even_a, self.mul(2.0, even_b)),
            self.mul_add(0.5 * FRAC_1_SQRT_2, odd_a, self.mul_add(2.0 * SQRT_2, odd_b, m[5])),
        ]
    }

    /// `A dy`, the transpose of [`Self::output`]
    #[inline(always)]
    fn output_gradient(self, y: [S::f32s; OUT]) -> [S::f32s; IN] {
        let [y0, y1, y2, y3] = y;
        let [p1, p2] = self.opposite(FRAC_1_SQRT_2, self.mul_add(0.5, y2, y0), self.mul_add(0.5, y3, y1));
        let [p3, p4] = self.opposite(SQRT_2, self.mul_add(2.0, y2, y0), self.mul_add(2.0, y3, y1));
        [y0, p1, p2, p3, p4, y3]
    }

    /// `G^T m`, the transpose of [`Self::filter`]
    #[inline(always)]
    fn filter_gradient(self, m: [S::f32s; IN]) -> [S::f32s; TAPS] {
        let (even_a, odd_a) = (self.add(m[1], m[2]), self.sub(m[1], m[2]));
        let (even_b, odd_b) = (self.add(m[3], m[4]), self.sub(m[3], m[4]));
        [
            self.mul_add(-2.0 / 3.0, even_a, self.mul_add(1.0 / 6.0, even_b, m[0])),
            self.mul_add(-2.0 / 3.0 * FRAC_1_SQRT_2, odd_a, self.mul(SQRT_2 / 6.0, odd_b)),
            self.mul_add(1.0 / 3.0, self.sub(even_b, even_a), m[5]),
        ]
    }

    /// Transforms a square along both sides: reads column `j` by `column(j)`, hands row `i` of the result to `row`.
    #[inline(always)]
    fn square<const I: usize, const O: usize>(
        self,
        line: impl Fn([S::f32s; I]) -> [S::f32s; O],
        column: impl Fn(usize) -> [S::f32s; I],
        mut row: impl FnMut(usize, [S::f32s; O]),
    ) {
        // Every slot is written twice so that no memory has to be cleared first.
        let mut columns = [line(column(0)); I];
        for (j, slot) in columns.iter_mut().enumerate().skip(1) {
            *slot = line(column(j));
        }
        for i in 0..O {
            let mut values = [self.0.splat_f32s(0.0); I];
            for (value, column) in values.iter_mut().zip(&columns) {
                *value = column[i];
            }
            row(i, line(values));
        }
    }
}

/// How an image is cut into tiles. Tiles count through the rows of all images of a batch; a band is one such row.
#[derive(Clone, Copy)]
pub struct Tiling {
    bands: usize,
    per_image: usize,
    per_band: usize,
    out_h: usize,
    out_w: usize,
}

impl Tiling {
    pub fn new(n: usize, out_h: usize, out_w: usize) -> Self {
        let per_image = out_h.div_ceil(OUT);
        Self { bands: n * per_image, per_image, per_band: out_w.div_ceil(OUT), out_h, out_w }
    }

    fn tiles(&self) -> usize {
        self.bands * self.per_band
    }

    /// Cuts the tiles `first .. first + count` into runs that lie in one band each.
    #[inline(always)]
    fn next_run(&self, first: usize, count: usize) -> Run {
        let (band, x) = (first / self.per_band, first % self.per_band);
        Run { band, x, count: count.min(self.per_band - x) }
    }
}

/// Consecutive tiles of one band.
#[derive(Clone, Copy)]
struct Run {
    band: usize,
    x: usize,
    count: usize,
}

/// Returns true if images of this size gain: below four tiles the transforms of the filters outweigh the products. The
/// size of the batch does not count, so that an image's result does not depend on its batch.
pub fn suits(s: &Conv2dShape) -> bool {
    let tiles = Tiling::new(1, s.out_h(), s.out_w()).tiles();
    (s.kh, s.kw, s.stride) == (TAPS, TAPS, 1) && s.c_in >= 16 && s.c_out >= 16 && tiles >= 4
}
