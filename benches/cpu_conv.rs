//! GFLOP/s of the CPU convolutions, forward and both gradients, at the shapes of two U-Nets.
//!
//! `cargo bench --bench cpu_conv [-- NAME...]`; `benches/cpu_conv.py` prints the same table for PyTorch.

use std::time::{Duration, Instant};

use ddpm::engine::ops::conv2d::{Conv2dShape, cpu};

/// A name, then n, h = w, c_in, c_out, rows and columns of the kernel, stride.
const SHAPES: &[(&str, [usize; 7])] = &[
    ("quick 16x16 32->32", [64, 16, 32, 32, 3, 3, 1]),
    ("quick 16x16 64->32", [64, 16, 64, 32, 3, 3, 1]),
    ("quick 8x8 64->64", [64, 8, 64, 64, 3, 3, 1]),
    ("quick 8x8 64->128", [64, 8, 64, 128, 3, 3, 1]),
    ("quick 8x8 128->128", [16, 8, 128, 128, 3, 3, 1]),
    ("quick 16x16 1x1 64->32", [64, 16, 64, 32, 1, 1, 1]),
    ("quick 16x16 32->32 s2", [64, 16, 32, 32, 3, 3, 2]),
    ("cifar 32x32 3->128", [4, 32, 3, 128, 3, 3, 1]),
    ("cifar 32x32 128->128", [4, 32, 128, 128, 3, 3, 1]),
    ("cifar 32x32 384->128", [4, 32, 384, 128, 3, 3, 1]),
    ("cifar 16x16 256->256", [4, 16, 256, 256, 3, 3, 1]),
    ("cifar 16x16 512->256", [4, 16, 512, 256, 3, 3, 1]),
    ("cifar 8x8 256->256", [4, 8, 256, 256, 3, 3, 1]),
    ("cifar 8x8 512->256", [4, 8, 512, 256, 3, 3, 1]),
    ("cifar 4x4 256->256", [4, 4, 256, 256, 3, 3, 1]),
    ("cifar 16x16 1x1 256->256", [4, 16, 256, 256, 1, 1, 1]),
    ("cifar 16x16 1x1 512->256", [4, 16, 512, 256, 1, 1, 1]),
    ("cifar 32x32 128->128 s2", [4, 32, 128, 128, 3, 3, 2]),
    ("cifar 32x32 128->3", [4, 32, 128, 3, 3, 3, 1]),
    ("cifar 8x8 256->256 b1", [1, 8, 256, 256, 3, 3, 1]),
    ("skip 32x32 64->128 4x4 s2", [16, 32, 64, 128, 4, 4, 2]),
    ("skip 16x16 128->256 4x4 s2", [16, 16, 128, 256, 4, 4, 2]),
    ("inception 149 32->32", [1, 149, 32, 32, 3, 3, 1]),
    ("inception 35 48->64 5x5", [4, 35, 48, 64, 5, 5, 1]),
    ("inception 35 288->384 s2", [4, 35, 288, 384, 3, 3, 2]),
    ("inception 17 192->192 1x7", [4, 17, 192, 192, 1, 7, 1]),
    ("inception 17 192->192 7x1", [4, 17, 192, 192, 7, 1, 1]),
    ("inception 8 2048->320 1x1", [4, 8, 2048, 320, 1, 1, 1]),
    ("linear 64x512->256", [64, 1, 512, 256, 1, 1, 1]),
];

fn main() {
    let names: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    println!("{:26} {:>8} {:>8} {:>8}   GFLOP/s", "shape", "forward", "dx", "dw");
    for (name, [n, size, c_in, c_out, kh, kw, stride]) in SHAPES {
        if !names.is_empty() && !names.iter().any(|wanted| name.contains(wanted)) {
            continue;
        }
        let (n, h, w, c_in, c_out, kh, kw, stride) = (*n, *size, *size, *c_in, *c_out, *kh, *kw, *stride);
        let (pad_y, pad_x) = ((kh - 1) / 2, (kw - 1) / 2);
        let s = Conv2dShape {
            n,
            h,
            w,
            c_in,
            c_out,
            kh,
            kw,
            stride,
            pad_top: pad_y,
            pad_left: pad_x,
            pad_bottom: pad_y,
            pad_right: pad_x,
        };
        let numbers = |len: usize| (0..len).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect::<Vec<_>>();
        let (x, weights, bias) = (numbers(n * h * w * c_in), numbers(c_out * kh * kw * c_in), numbers(c_out));
        let (mut y, mut dx) = (vec![0.0; s.out_pixels() * c_out], vec![0.0; x.len()]);
        let (mut dw, mut dbias) = (vec![0.0; weights.len()], vec![0.0; c_out]);
        let forward = rate(&s, || cpu::forward(&mut y, &x, &weights, &bias, &s));
        let data = rate(&s, || cpu::backward_data(&mut dx, &y, &weights, &[], &s));
        let weights = rate(&s, || {
            cpu::backward_weights(&mut dw, &y, &x, &s);
            cpu::backward_bias(&mut dbias, &y);
        });
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
