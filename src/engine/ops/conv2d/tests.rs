use super::layer::Tile;
use super::*;
use crate::engine::ops::check::{Check, Input, few};

mod few_channels;
mod fused;

/// The definition, term by term.
fn oracle(s: &Conv2dShape, x: &[f64], w: &[f64], bias: &[f64]) -> Vec<f64> {
    let mut y = Vec::new();
    for (n, i, j) in (0..s.n).flat_map(|n| (0..s.out_h()).flat_map(move |i| (0..s.out_w()).map(move |j| (n, i, j)))) {
        for o in 0..s.c_out {
            let mut sum = bias.get(o).copied().unwrap_or(0.0);
            for (r, q) in (0..s.kh).flat_map(|r| (0..s.kw).map(move |q| (r, q))) {
                let (row, column) = (i * s.stride + r, j * s.stride + q);
                let inside =
                    (s.pad_top..s.pad_top + s.h).contains(&row) && (s.pad_left..s.pad_left + s.w).contains(&column);
                if inside {
                    let x = &x[((n * s.h + row - s.pad_top) * s.w + column - s.pad_left) * s.c_in..][..s.c_in];
                    let w = &w[((o * s.kh + r) * s.kw + q) * s.c_in..][..s.c_in];
                    sum += x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
                }
            }
            y.push(sum);
        }
    }
    y
}

fn check(x: [usize; 4], c_out: usize, kernel: [usize; 2], stride: usize, padding: Padding) {
    for tile in [Tile::Small, Tile::Large] {
        check_with(x, c_out, kernel, stride, padding, tile);
    }
}

fn check_with(x: [usize; 4], c_out: usize, [kh, kw]: [usize; 2], stride: usize, padding: Padding, tile: Tile) {
    let [n, h, w, c_in] = x;
    let shape = Conv2dShape {
        n,
        h,
        w,
        c_in,
        c_out,
        kh,
        kw,
        stride,
        pad_top: padding.top,
        pad_left: padding.left,
        pad_bottom: padding.bottom,
        pad_right: padding.right,
    };
    let layer = Layer { fwd: tile, bwd_dx: tile, bwd_dw: tile, ..Layer::new(shape, &CONV2D) };
    let scale = 1.0 / ((kh * kw * c_in) as f32).sqrt();
    let weights = Input::weight(&[c_out, kh, kw, c_in]).scaled(scale);
    Check { samples: 24, ..Check::default() }.run(
        &[Input::activation(&x), weights, Input::parameter(&[c_out])],
        |tape, t| {
            let y = tape.tensor(&[n, shape.out_h(), shape.out_w(), c_out], t[0].dtype());
            Conv2dFwd { y, x: t[0].into(), w: t[1], bias: t[2], residual: Tensor::EMPTY, layer }.record(tape)
        },
        |x| oracle(&shape, &x[0], &x[1], &x[2]),
    );
}

#[test]
fn the_op_matches_the_oracle() {
    let shape = Conv2dShape {
        h: 5,
        w: 7,
        kh: 3,
        kw: 3,
        pad_bottom: 1,
        pad_right: 1,
        stride: 2,
        ..Conv2dShape::linear(2, 3, 4)
    };
    Check::default().run(
        &[Input::activation(&[2, 5, 7, 3]), Input::weight(&[4, 3, 3, 3])],
        |tape, x| conv2d(tape, x[0], x[1], Tensor::EMPTY, 2, Padding::bottom_right(1)),
        |x| oracle(&shape, &x[0], &x[1], &[]),
    );
}

#[test]
fn same_size_matches_the_oracle() {
    let image = |c_in: usize| [1, 5, 7, c_in];
    let shapes = [(image(33), 35), (image(32), 72), (image(1), 8), (image(3), 32), (image(64), 3), ([3, 4, 4, 16], 33)];
    few(shapes).for_each(|(x, c_out)| check(x, c_out, [3, 3], 1, Padding::same(1)));
}

#[test]
fn half_size_matches_the_oracle() {
    let (same, below) = (Padding::same(1), Padding::bottom_right(1));
    let (even, odd) = (([3, 6, 8, 16], 24), ([1, 7, 5, 35], 33));
    let shapes = [(even, below), (odd, same), (even, same), (odd, below)];
    few(shapes).for_each(|((x, c_out), padding)| check(x, c_out, [3, 3], 2, padding));
}

#[test]
fn pointwise_kernels_match_the_oracle() {
    let shapes = [([3, 5, 7, 33], 35, 1), ([2, 5, 5, 8], 8, 2), ([1, 4, 6, 96], 136, 1)];
    few(shapes).for_each(|(x, c_out, stride)| check(x, c_out, [1, 1], stride, Padding::default()));
}

#[test]
fn other_kernels_match_the_oracle() {
    let (rows, columns) =
        (Padding { top: 3, bottom: 3, ..Padding::default() }, Padding { left: 3, right: 3, ..Padding::default() });
    let shapes = [
        ([2, 6, 8, 16], 24, [4, 4], 2, Padding::same(1)),
        ([1, 5, 9, 16], 24, [1, 7], 1, columns),
        ([2, 9, 3, 35], 8, [7, 1], 1, rows),
        ([1, 5, 7, 3], 33, [4, 4], 2, Padding::same(1)),
        ([2, 7, 9, 16], 8, [3, 3], 2, Padding::default()),
        ([1, 7, 9, 3], 8, [5, 5], 1, Padding::same(2)),
    ];
    few(shapes).for_each(|(x, c_out, kernel, stride, padding)| check(x, c_out, kernel, stride, padding));
}

/// Each can learn while the other is frozen.
#[test]
fn weights_and_bias_learn_apart() {
    let shape = Conv2dShape { h: 3, w: 5, ..Conv2dShape::linear(2, 8, 4) };
    let (x, w, bias) = (Input::activation(&[2, 3, 5, 8]), Input::weight(&[4, 1, 1, 8]), Input::parameter(&[4]));
    for inputs in [[x.clone().detached(), w.clone().detached(), bias.clone()], [x.detached(), w, bias.detached()]] {
        Check::default().run(
            &inputs,
            |tape, x| conv2d(tape, x[0], x[1], x[2], 1, Padding::default()),
            |x| oracle(&shape, &x[0], &x[1], &x[2]),
        );
    }
}

#[test]
fn many_pixels_are_split_in_a_fixed_order() {
    let shape = Conv2dShape { c_in: 8, ..Conv2dShape::linear(700, 8, 16) };
    assert!(Layer::new(shape, &CONV2D).weight_splits().count > 1, "this test is about more than one split");
    check([1, 20, 35, 8], 16, [1, 1], 1, Padding::default());
}

#[test]
fn tiles_follow_the_shape() {
    assert_eq!(Tile::filling(128 * 32 * 32, 128, 1), Tile::Large);
    assert_eq!(Tile::filling(128 * 4 * 4, 256, 1), Tile::Small, "too few large blocks");
    assert_eq!(Tile::filling(128 * 32 * 32, 3, 1), Tile::Small, "most of a large tile would be padding");
}

/// With enough pixels and channels to fill a tile, the kernels for Hopper run where they can; they have tests of their own.
#[test]
fn large_layers_run_on_hopper_kernels() {
    let shape = Conv2dShape { h: 8, w: 16, kh: 3, kw: 3, ..Conv2dShape::linear(1, 64, 64) };
    let shape = Conv2dShape { pad_top: 1, pad_left: 1, pad_bottom: 1, pad_right: 1, ..shape };
    let kernels = &["conv2d_fwd_sm90_64x128_pair", "conv2d_bwd_dx_sm90_64x128_pair", "conv2d_bwd_dw_sm90_column_64x64"];
    let weights = Input::weight(&[64, 3, 3, 64]).scaled(1.0 / 24.0);
    Check { samples: 3, ..Check::default() }.hopper(kernels).run(
        &[Input::activation(&[1, 8, 16, 64]), weights, Input::parameter(&[64])],
        |tape, x| conv2d(tape, x[0], x[1], x[2], 1, Padding::same(1)),
        |x| oracle(&shape, &x[0], &x[1], &x[2]),
    );
}
