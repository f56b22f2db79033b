//! GFLOP/s of the CPU convolutions, forward and both gradients, at the shapes of two U-Nets.
//!
//! `cargo bench --bench cpu_conv [-- NAME...]`; `benches/cpu_conv.py` prints the same table for PyTorch.

use std::time::{Duration, Instant};

use ddpm::ops::conv2d::{Conv2dShape, cpu};

/// A name, then n, h = w, c_in, c_out, kernel size, stride.
const SHAPES: &[(&str, [usize; 6])] = &[
    ("quick 16x16 32->32", [64, 16, 32, 32, 3, 1]),
    ("quick 16x16 64->32", [64, 16, 64, 32, 3, 1]),
    ("quick 8x8 64->64", [64, 8, 64, 64, 3, 1]),
    ("quick 8x8 64->128", [64, 8, 64, 128, 3, 1]),
    ("quick 8x8 128->128", [16, 8, 128, 128, 3, 1]),
    ("quick 16x16 1x1 64->32", [64, 16, 64, 32, 1, 1]),
    ("quick 16x16 32->32 s2", [64, 16, 32, 32, 3, 2]),
    ("cifar 32x32 3->128", [4, 32, 3, 128, 3, 1]),
    ("cifar 32x32 128->128", [4, 32, 128, 128, 3, 1]),
    ("cifar 32x32 384->128", [4, 32, 384, 128, 3, 1]),
    ("cifar 16x16 256->256", [4, 16, 256, 256, 3, 1]),
    ("cifar 16x16 512->256", [4, 16, 512, 256, 3, 1]),
    ("cifar 8x8 256->256", [4, 8, 256, 256, 3, 1]),
    ("cifar 8x8 512->256", [4, 8, 512, 256, 3, 1]),
    ("cifar 4x4 256->256", [4, 4, 256, 256, 3, 1]),
    ("cifar 16x16 1x1 256->256", [4, 16, 256, 256, 1, 1]),
    ("cifar 16x16 1x1 512->256", [4, 16, 512, 256, 1, 1]),
    ("cifar 32x32 128->128 s2", [4, 32, 128, 128, 3, 2]),
    ("cifar 32x32 128->3", [4, 32, 128, 3, 3, 1]),
    ("cifar 8x8 256->256 b1", [1, 8, 256, 256, 3, 1]),
    ("linear 64x512->256", [64, 1, 512, 256, 1, 1]),
];

fn main() {
    let names: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    println!("{:26} {:>8} {:>8} {:>8}   GFLOP/s", "shape", "forward", "dx", "dw");
    for (name, [n, size, c_in, c_out, k, stride]) in SHAPES {
        if !names.is_empty() && !names.iter().any(|wanted| name.contains(wanted)) {
            continue;
        }
        let (n, h, w, c_in, c_out, stride, pad) = (*n, *size, *size, *c_in, *c_out, *stride, k / 2);
        let s = Conv2dShape {
            n,
            h,
            w,
            c_in,
            c_out,
            kh: *k,
            kw: *k,
            stride,
            pad_top: pad,
            pad_left: pad,
            pad_bottom: pad,
            pad_right: pad,
        };
        let numbers = |len: usize| (0..len).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect::<Vec<_>>();
        let (x, weights, bias) = (numbers(n * h * w * c_in), numbers(c_out * k * k * c_in), numbers(c_out));
        let (mut y, mut dx) = (vec![0.0; s.out_pixels() * c_out], vec![0.0; x.len()]);
        let (mut dw, mut dbias) = (vec![0.0; weights.len()], vec![0.0; c_out]);
        let forward = rate(&s, || cpu::forward(&mut y, &x, &weights, &bias, &s));
        let data = rate(&s, || cpu::backward_data(&mut dx, &y, &weights, &s));
        let weights = rate(&s, || cpu::backward_weights(&mut dw, &mut dbias, &y, &x, &s));
        println!("{name:26} {forward:8.1} {data:8.1} {weights:8.1}");
    }
}

/// GFLOP/s of the fastest of many calls.
fn rate(s: &Conv2dShape, mut call: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut best = Duration::MAX;
    let mut calls = 0;
    while calls < 5 || begin.elapsed() < Duration::from_millis(250) {
        let start = Instant::now();
        call();
        best = best.min(start.elapsed());
        calls += 1;
    }
    s.flops() as f64 / best.as_secs_f64() / 1e9
}
