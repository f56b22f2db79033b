//! The embedded data set: the digits 0 to 9, drawn as strokes by a wandering hand.
//!
//! A glyph is a few strokes through control points in the unit square. Image `i` perturbs the points a little, scales,
//! slants, rotates and shifts the strokes, and paints every pixel by its distance to the nearest one. All of it is
//! a function of (seed, i) computed with correctly rounded operations only, hence the same bytes on every machine.

use rayon::prelude::*;

use super::dataset::{Dataset, Samples, Split};
use crate::engine::random::{PhiloxRng, Stream};
use rand::Rng;

/// The side of a glyph image when no size is asked for, in pixels.
pub const DEFAULT_SIZE: usize = 16;

const CLASSES: u32 = 10;
const TRAIN_IMAGES: usize = 50_000;
const TEST_IMAGES: usize = 10_000;

/// Largest deviation of the pen from a control point; the unit is the side of the image, here and below.
const WOBBLE: f32 = 0.022;
const PEN_RADIUS: (f32, f32) = (0.048, 0.072);
const HEIGHT: (f32, f32) = (0.66, 0.80);
const ASPECT: (f32, f32) = (0.82, 1.08);
const SLANT: (f32, f32) = (-0.08, 0.28);
/// Tangent of half the angle of rotation: 0.09 is about 10 degrees.
const HALF_TURN: f32 = 0.09;
/// Free space around a glyph, pen included.
const MARGIN: f32 = 0.03;
/// Straight pieces between two control points of a curve.
const PIECES: usize = 6;

/// The shapes of the glyphs.
const SHAPES: Stream = Stream::new(8);

type Point = [f32; 2];

/// One movement of the pen: x to the right, y down, in the unit square.
#[derive(Clone, Copy)]
enum Stroke {
    /// Straight from point to point.
    Line(&'static [Point]),
    /// A smooth curve through the points.
    Curve(&'static [Point]),
    /// A smooth curve that ends where it began.
    Loop(&'static [Point]),
}
use Stroke::{Curve, Line, Loop};

/// The ways to write each digit.
#[rustfmt::skip] // A table: one stroke a line where it fits.
const DIGITS: [&[&[Stroke]]; CLASSES as usize] = [
    &[&[Loop(&[[0.50, 0.04], [0.27, 0.20], [0.22, 0.52], [0.30, 0.84], [0.50, 0.96], [0.71, 0.83], [0.78, 0.50], [0.72, 0.18]])]],
    &[
        &[Line(&[[0.30, 0.26], [0.53, 0.04], [0.53, 0.96]])],
        &[Line(&[[0.50, 0.04], [0.50, 0.96]])],
        &[Line(&[[0.30, 0.24], [0.52, 0.04], [0.52, 0.95]]), Line(&[[0.29, 0.95], [0.75, 0.95]])],
    ],
    &[
        &[
            Curve(&[[0.22, 0.28], [0.32, 0.09], [0.56, 0.05], [0.76, 0.20], [0.72, 0.43], [0.48, 0.69], [0.19, 0.95]]),
            Line(&[[0.19, 0.95], [0.82, 0.95]]),
        ],
        &[Curve(&[
            [0.22, 0.24], [0.36, 0.07], [0.62, 0.07], [0.74, 0.26], [0.62, 0.54], [0.34, 0.87], [0.20, 0.86],
            [0.28, 0.76], [0.52, 0.88], [0.84, 0.92],
        ])],
    ],
    &[&[
        Curve(&[[0.22, 0.16], [0.42, 0.04], [0.68, 0.10], [0.70, 0.32], [0.42, 0.46]]),
        Curve(&[[0.42, 0.46], [0.70, 0.54], [0.79, 0.73], [0.62, 0.93], [0.36, 0.95], [0.18, 0.82]]),
    ]],
    &[
        &[Line(&[[0.62, 0.96], [0.62, 0.04], [0.16, 0.66], [0.86, 0.66]])],
        &[Line(&[[0.26, 0.06], [0.20, 0.54], [0.80, 0.54]]), Line(&[[0.72, 0.14], [0.68, 0.96]])],
    ],
    &[&[
        Line(&[[0.77, 0.06], [0.32, 0.06], [0.27, 0.43]]),
        Curve(&[[0.27, 0.43], [0.50, 0.38], [0.73, 0.48], [0.77, 0.70], [0.62, 0.91], [0.38, 0.95], [0.18, 0.86]]),
    ]],
    &[&[Curve(&[
        [0.68, 0.05], [0.44, 0.22], [0.27, 0.48], [0.24, 0.74], [0.38, 0.94], [0.63, 0.93], [0.76, 0.74], [0.65, 0.55],
        [0.44, 0.53], [0.27, 0.68],
    ])]],
    &[
        &[Line(&[[0.18, 0.06], [0.80, 0.06], [0.42, 0.96]])],
        &[Line(&[[0.18, 0.06], [0.80, 0.06], [0.42, 0.96]]), Line(&[[0.34, 0.50], [0.78, 0.50]])],
    ],
    &[&[Loop(&[
        [0.50, 0.46], [0.30, 0.33], [0.30, 0.13], [0.50, 0.04], [0.70, 0.13], [0.70, 0.33], [0.50, 0.46], [0.26, 0.63],
        [0.25, 0.84], [0.50, 0.96], [0.75, 0.84], [0.74, 0.63],
    ])]],
    &[
        &[Curve(&[
            [0.74, 0.32], [0.58, 0.48], [0.35, 0.44], [0.26, 0.26], [0.38, 0.07], [0.61, 0.06], [0.74, 0.24], [0.73, 0.52],
            [0.63, 0.78], [0.48, 0.96],
        ])],
        &[Loop(&[[0.50, 0.05], [0.29, 0.15], [0.28, 0.37], [0.48, 0.47], [0.69, 0.37], [0.71, 0.15]]), Line(&[[0.73, 0.22], [0.68, 0.96]])],
    ],
];

/// The glyphs of a split, `size` pixels wide and high, one channel, white on black. The class of image `i` is `i % 10`.
pub(super) fn dataset(split: Split, size: usize) -> Dataset {
    let (seed, images) = match split {
        Split::Train => (0, TRAIN_IMAGES),
        Split::Test => (1, TEST_IMAGES),
    };
    let mut pixels = vec![0; images * size * size];
    pixels.par_chunks_exact_mut(size * size).enumerate().for_each(|(i, image)| draw(image, size, seed, i as u64));
    Dataset {
        name: "glyphs".into(),
        format: "drawn on the fly".into(),
        len: images,
        height: size,
        width: size,
        channels: 1,
        samples: Samples::in_memory(pixels),
        labels: Some((0..images as u32).map(|i| i % CLASSES).collect()),
        class_names: (0..CLASSES).map(|c| c.to_string()).collect(),
    }
}

/// Draws image `index` of a seed into `image`, `[size, size]`.
fn draw(image: &mut [u8], size: usize, seed: u64, index: u64) {
    let mut draws = PhiloxRng::new(seed, SHAPES, index);
    let variants = DIGITS[(index % u64::from(CLASSES)) as usize];
    let variant = variants[between(&mut draws, 0.0, variants.len() as f32) as usize % variants.len()];

    let radius = between(&mut draws, PEN_RADIUS.0, PEN_RADIUS.1);
    let mut lines: Vec<Vec<Point>> = variant.iter().map(|stroke| trace(stroke, &mut draws)).collect();
    place(&mut lines, radius, &mut draws);

    let segments = lines.iter().flat_map(|line| line.windows(2)).map(|pair| [pair[0], pair[1]]);
    let nearest = squared_distances(segments, size, radius);
    for (pixel, squared) in image.iter_mut().zip(nearest) {
        // A pixel is covered by as much of its width as the pen's edge lies beyond its centre.
        let coverage = ((radius - squared.sqrt()) * size as f32 + 0.5).clamp(0.0, 1.0);
        *pixel = (coverage * 255.0).round() as u8;
    }
}

/// The next number in (lo, hi).
fn between(draws: &mut PhiloxRng, lo: f32, hi: f32) -> f32 {
    let unit = ((draws.next_u32() >> 8) as f32 + 0.5) * (1.0 / (1 << 24) as f32);
    lo + (hi - lo) * unit
}

/// A stroke as a polyline, its control points moved a little.
fn trace(stroke: &Stroke, draws: &mut PhiloxRng) -> Vec<Point> {
    let mut wobble = |points: &[Point]| -> Vec<Point> {
        points.iter().map(|p| p.map(|x| x + between(draws, -WOBBLE, WOBBLE))).collect()
    };
    let spline = |points: &[Point], spans: usize, at: &dyn Fn(isize) -> Point| {
        let mut line: Vec<Point> = (0..spans * PIECES)
            .map(|i| {
                let (span, u) = ((i / PIECES) as isize, (i % PIECES) as f32 / PIECES as f32);
                catmull_rom([at(span - 1), at(span), at(span + 1), at(span + 2)], u)
            })
            .collect();
        line.push(at(spans as isize));
        debug_assert_eq!(line[0], points[0]);
        line
    };
    match stroke {
        Line(points) => wobble(points),
        Curve(points) => {
            let points = wobble(points);
            let last = points.len() as isize - 1;
            spline(&points, points.len() - 1, &|i| points[i.clamp(0, last) as usize])
        }
        Loop(points) => {
            let points = wobble(points);
            spline(&points, points.len(), &|i| points[i.rem_euclid(points.len() as isize) as usize])
        }
    }
}

/// The point at `u` in [0, 1] between `p[1]` and `p[2]` of a Catmull-Rom spline.
fn catmull_rom(p: [Point; 4], u: f32) -> Point {
    [0, 1].map(|k| {
        let [a, b, c, d] = p.map(|point| point[k]);
        let (slope, bend, twist) = (c - a, 2.0 * a - 5.0 * b + 4.0 * c - d, 3.0 * (b - c) + d - a);
        b + 0.5 * u * (slope + u * (bend + u * twist))
    })
}

/// A random affine map of the strokes that leaves them, and the pen's width, inside the unit square.
fn place(lines: &mut [Vec<Point>], radius: f32, draws: &mut PhiloxRng) {
    let height = between(draws, HEIGHT.0, HEIGHT.1);
    let width = height * between(draws, ASPECT.0, ASPECT.1);
    let slant = between(draws, SLANT.0, SLANT.1);
    let half = between(draws, -HALF_TURN, HALF_TURN);
    let (cos, sin) = ((1.0 - half * half) / (1.0 + half * half), 2.0 * half / (1.0 + half * half));
    let mut points: Vec<&mut Point> = lines.iter_mut().flatten().collect();
    for point in &mut points {
        let [x, y] = **point;
        let (x, y) = ((x - 0.5 - slant * (y - 0.5)) * width, (y - 0.5) * height);
        **point = [cos * x - sin * y, sin * x + cos * y];
    }

    let room = 1.0 - 2.0 * (radius + MARGIN);
    let bounds = [0, 1]
        .map(|k| points.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), p| (lo.min(p[k]), hi.max(p[k]))));
    let extent = (bounds[0].1 - bounds[0].0).max(bounds[1].1 - bounds[1].0);
    let shrink = (room / extent).min(1.0);
    for k in [0, 1] {
        let centre = 0.5 * (bounds[k].0 + bounds[k].1);
        let slack = 0.5 * (room - shrink * (bounds[k].1 - bounds[k].0));
        // Written characters sit near the middle of their box: at most half of the free space is used.
        let shift = 0.5 + 0.5 * between(draws, -slack, slack).clamp(-0.12, 0.12);
        points.iter_mut().for_each(|p| p[k] = (p[k] - centre) * shrink + shift);
    }
}

/// For every pixel centre the squared distance to the nearest segment, exact where it matters: within reach of the pen.
fn squared_distances(segments: impl Iterator<Item = [Point; 2]>, size: usize, radius: f32) -> Vec<f32> {
    let scale = size as f32;
    let reach = radius + 1.0 / scale;
    let mut nearest = vec![f32::INFINITY; size * size];
    for [a, b] in segments {
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let inverse_length2 = 1.0 / (dx * dx + dy * dy).max(1e-12);
        let pixels = |k: usize| {
            let (lo, hi) = (a[k].min(b[k]) - reach, a[k].max(b[k]) + reach);
            ((lo * scale).max(0.0) as usize)..((hi * scale).ceil().max(0.0) as usize).min(size)
        };
        for row in pixels(1) {
            let y = (row as f32 + 0.5) / scale - a[1];
            for column in pixels(0) {
                let x = (column as f32 + 0.5) / scale - a[0];
                let along = ((x * dx + y * dy) * inverse_length2).clamp(0.0, 1.0);
                let (ex, ey) = (x - along * dx, y - along * dy);
                let squared = &mut nearest[row * size + column];
                *squared = squared.min(ex * ex + ey * ey);
            }
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glyph(size: usize, seed: u64, index: u64) -> Vec<u8> {
        let mut image = vec![0; size * size];
        draw(&mut image, size, seed, index);
        image
    }

    #[test]
    fn the_same_seed_and_index_draw_the_same_glyph_and_others_differ() {
        assert_eq!(glyph(16, 0, 3), glyph(16, 0, 3));
        assert_ne!(glyph(16, 0, 3), glyph(16, 0, 13));
        assert_ne!(glyph(16, 0, 3), glyph(16, 1, 3));
    }

    #[test]
    fn glyphs_are_white_strokes_on_black_and_never_cut_off() {
        for index in 0..500 {
            let image = glyph(16, 0, index);
            let ink = image.iter().map(|&p| f32::from(p)).sum::<f32>() / 255.0;
            assert!((12.0..=110.0).contains(&ink), "glyph {index} covers {ink} pixels");
            assert!(image.iter().any(|&p| p >= 200), "glyph {index} is faint");
            let edge =
                (0..16).flat_map(|i| [image[i], image[240 + i], image[16 * i], image[16 * i + 15]]).max().unwrap();
            assert!(edge <= 140, "glyph {index} touches the edge with {edge}");
        }
    }

    #[test]
    fn a_larger_image_shows_the_same_glyph() {
        let (small, large) = (glyph(16, 0, 8), glyph(64, 0, 8));
        for row in 0..16 {
            for column in 0..16 {
                let block: u32 = (0..16).map(|i| u32::from(large[(4 * row + i / 4) * 64 + 4 * column + i % 4])).sum();
                let difference = (block as f32 / 16.0 - f32::from(small[row * 16 + column])).abs();
                assert!(difference <= 64.0, "pixel ({row}, {column}) differs by {difference}");
            }
        }
    }

    #[test]
    fn bytes_never_change() {
        let checksum = (0..10).map(|i| crc32c::crc32c(&glyph(16, 0, i))).fold(0, |a: u32, c| a.rotate_left(3) ^ c);
        assert_eq!(checksum, 1_812_589_486);
    }
}
