//! The five convolutions of the chapter: each gives the bits of the definition, in every schedule.

use super::emulated::{Operand::*, hopper_schedules, launch_with_shared};
use ddpm::engine::device::TensorMap;
use ddpm::engine::tensor::DType;

struct Shape {
    n: usize,
    h: usize,
    w: usize,
    c_in: usize,
    c_out: usize,
}

/// Small whole numbers, so that all sums are exact.
fn numbers(len: usize, range: usize) -> Vec<f32> {
    (0..len).map(|i| (((i * 2_654_435_761) >> 7) % range) as f32 - (range / 2) as f32).collect()
}

/// The definition, rounded to bf16 at its end.
fn definition(x: &[f32], w: &[f32], s: &Shape) -> Vec<f32> {
    let mut y = Vec::new();
    for (image, row, column) in (0..s.n * s.h * s.w).map(|p| (p / s.w / s.h, p / s.w % s.h, p % s.w)) {
        for o in 0..s.c_out {
            let mut sum = 0f32;
            for (r, q) in (0..9).map(|tap| (tap / 3, tap % 3)) {
                let (i, j) = (row + r, column + q); // one more than the pixel's
                if !(1..=s.h).contains(&i) || !(1..=s.w).contains(&j) {
                    continue;
                }
                let pixel = &x[((image * s.h + i - 1) * s.w + j - 1) * s.c_in..][..s.c_in];
                let taps = &w[(o * 9 + 3 * r + q) * s.c_in..][..s.c_in];
                sum += pixel.iter().zip(taps).map(|(a, b)| a * b).sum::<f32>();
            }
            y.push(half::bf16::from_f32(sum).to_f32());
        }
    }
    y
}

fn check(kernel: &str, s: &Shape, [rows, channels, weight_rows]: [usize; 3], grid: usize, [block, shared]: [usize; 2]) {
    let (x, w) = (numbers(s.n * s.h * s.w * s.c_in, 5), numbers(s.c_out * 9 * s.c_in, 7));
    let want = definition(&x, &w, s);
    let boxes = |dims: &[usize], extent: &[usize]| TensorMap::new(DType::Bf16, dims, extent).swizzle_128();
    let images = boxes(&[s.c_in, s.w, s.h, s.n], &[64, 8, rows, 1]);
    let weights = boxes(&[s.c_in, 9, s.c_out], &[64, 1, weight_rows]);
    let operands = if kernel == "ch12_conv1" {
        [OutBf16(want.len()), InBf16(&x), InBf16(&w)]
    } else {
        [OutBf16(want.len()), Boxes(&x, images), Boxes(&w, weights)]
    };
    let sizes = [s.n, s.h, s.w, s.c_in, s.c_out].map(|size| Int(size as i32));
    let operands: Vec<_> = operands.into_iter().chain(sizes).collect();
    assert!(s.c_out.is_multiple_of(channels));
    for options in hopper_schedules() {
        let y = launch_with_shared(kernel, [grid, block, shared], &operands, options).unwrap();
        let wrong = (0..y.len()).find(|&i| y[i].to_bits() != want[i].to_bits());
        assert!(
            wrong.is_none(),
            "{kernel}, {options:?}: {wrong:?} is {} not {}",
            y[wrong.unwrap()],
            want[wrong.unwrap()]
        );
    }
}

/// Three tiles of 32 rows and 8 columns, so that a pair of blocks has one that is none; or several of 128 channels.
const SHAPES: [Shape; 2] =
    [Shape { n: 1, h: 20, w: 20, c_in: 128, c_out: 128 }, Shape { n: 2, h: 33, w: 8, c_in: 64, c_out: 256 }];

const BARRIERS: usize = 2 * 8 * 8;

/// Tiles of so many rows of 8 pixels and so many channels.
fn tiles(s: &Shape, rows: usize, channels: usize) -> usize {
    s.n * s.h.div_ceil(rows) * s.w.div_ceil(8) * s.c_out / channels
}

#[test]
fn version_1_is_the_definition() {
    for s in &SHAPES {
        check("ch12_conv1", s, [8, 64, 64], tiles(s, 8, 64), [128, 2 * 64 * 128]);
    }
}

#[test]
fn version_2_is_the_definition() {
    for s in &SHAPES {
        check("ch12_conv2", s, [8, 64, 64], tiles(s, 8, 64), [128, 2 * 64 * 128 + 1024]);
    }
}

#[test]
fn version_3_is_the_definition() {
    for s in &SHAPES {
        check("ch12_conv3", s, [16, 128, 128], tiles(s, 16, 128), [384, 4 * 256 * 128 + 1024]);
    }
}

/// Of copies of 34 rows and stages of weights, and two rings' barriers.
const LARGE: usize = (3 * 34 * 8 + 6 * 128) * 128 + (2 * BARRIERS).next_multiple_of(1024);

#[test]
fn version_4_is_the_definition() {
    for s in &SHAPES {
        check("ch12_conv4", s, [34, 128, 128], 2, [384, LARGE]);
    }
}

#[test]
fn version_5_is_the_definition() {
    for s in &SHAPES {
        check("ch12_conv5", s, [34, 128, 64], 4, [384, LARGE]);
    }
}
