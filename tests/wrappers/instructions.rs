//! Instructions and functions that every GPU has.

use super::case::{Case, bits, pair, words_of};
use super::launch::Operand::{In, Int, Out, Words};
use super::launch::{Launch, bf16_pairs};
use ddpm::engine::device::Driver;
use ddpm::engine::random::philox4x32;
use half::bf16;
use std::f64::consts::PI;

/// Random words, other ones for each `stream`.
fn random_words(stream: u32, n: usize) -> Vec<u32> {
    let block = |i: u32| philox4x32([i, 0, 0, stream], [0x5eed, 0]);
    (0..n.div_ceil(4) as u32).flat_map(block).take(n).collect()
}

/// Random numbers in [low, high).
fn random_floats(stream: u32, n: usize, low: f32, high: f32) -> Vec<f32> {
    random_words(stream, n).into_iter().map(|w| low + (high - low) * (w >> 8) as f32 / (1 << 24) as f32).collect()
}

/// A random product that rounds at every step.
fn mma() -> Case {
    let round = |v: f32| bf16::from_f32(v).to_f32();
    let a: Vec<f32> = random_floats(1, 256, -2.0, 2.0).into_iter().map(round).collect(); // [16, 16]
    let b: Vec<f32> = random_floats(2, 128, -2.0, 2.0).into_iter().map(round).collect(); // [16, 8]
    let c = random_floats(3, 128, -4.0, 4.0); // [16, 8]
    let lanes = || (0..32).map(|lane| (lane / 4, lane % 4));
    let at_a = |(g, t): (usize, usize), i: usize| (g + 8 * (i % 2)) * 16 + 2 * t + 8 * (i / 2);
    let at_b = |(g, t): (usize, usize), i: usize| (2 * t + 8 * i) * 8 + g;
    let at_d = |(g, t): (usize, usize), i: usize| (g + 8 * (i / 2)) * 8 + 2 * t + i % 2;
    let a_fragments: Vec<u32> =
        lanes().flat_map(|l| (0..4).map(move |i| at_a(l, i))).map(|p| pair(a[p], a[p + 1])).collect();
    let b_fragments: Vec<u32> =
        lanes().flat_map(|l| (0..2).map(move |i| at_b(l, i))).map(|p| pair(b[p], b[p + 8])).collect();
    let places: Vec<usize> = lanes().flat_map(|l| (0..4).map(move |i| at_d(l, i))).collect();
    // Products are exact in f32. A tensor core aligns the terms of a sum to the largest and cuts off what lies below its
    // last place; 17 terms cannot lose more than this.
    let want = |&place: &usize| {
        let terms = (0..16).map(|k| f64::from(a[place / 8 * 16 + k]) * f64::from(b[k * 8 + place % 8]));
        let terms: Vec<f64> = terms.chain([f64::from(c[place])]).collect();
        (terms.iter().sum(), 2f64.powi(-20) * terms.iter().map(|t| t.abs()).sum::<f64>())
    };
    let want = places.iter().map(want).collect();
    let c_fragments: Vec<f32> = places.iter().map(|&p| c[p]).collect();
    Case::near("mma", want, move |driver| {
        let operands = [Out(128), Words(&a_fragments), Words(&b_fragments), In(&c_fragments)];
        words_of(driver, Launch { kernel: "wrapper_mma", grid: 1, block: 32, smem_bytes: 0, operands: &operands })
    })
}

/// Copies, fragments and products together, on numbers whose sums are exact.
fn products() -> [Case; 2] {
    // Multiples of 1/8 below 64 are exact in bf16, and so are their products and sums in f32.
    let a: Vec<f32> = (0..256).map(|i| ((i * 29) % 97) as f32 / 8.0 - 6.0).collect();
    let b: Vec<f32> = (0..128).map(|i| ((i * 53) % 89) as f32 / 8.0 - 5.0).collect(); // [16, 8]
    let b_columns: Vec<f32> = (0..128).map(|i| b[i % 16 * 8 + i / 16]).collect();
    let product = |i: usize| (0..16).map(|k| a[i / 8 * 16 + k] * b[k * 8 + i % 8]).sum::<f32>().to_bits();
    let want: Vec<u32> = (0..128).map(product).collect();
    [("product", "wrapper_product", bf16_pairs(&b_columns)), ("product_trans", "wrapper_product_trans", bf16_pairs(&b))]
        .map(|(name, kernel, b)| {
            let a = bf16_pairs(&a);
            Case::bits(name, want.clone(), move |driver| {
                let operands = [Out(128), Words(&a), Words(&b)];
                words_of(driver, Launch { kernel, grid: 1, block: 32, smem_bytes: 1024, operands: &operands })
            })
        })
}

fn matrix_loads() -> [Case; 2] {
    let rows = random_words(4, 128); // [32, 4]: 32 rows of 8 elements of 16 bits
    let element = |row: usize, column: usize| rows[row * 4 + column / 2] >> (16 * (column % 2)) & 0xffff;
    let received = |f: &dyn Fn(usize, usize, usize) -> u32| -> Vec<u32> {
        (0..128).map(|i| f(i % 4 * 8, i / 16, i / 4 % 4)).collect() // first row of matrix i % 4; g, t of lane i / 4
    };
    let plain = received(&|first, g, t| rows[(first + g) * 4 + t]);
    let transposed = received(&|first, g, t| element(first + 2 * t, g) | element(first + 2 * t + 1, g) << 16);
    [("ldmatrix", "wrapper_ldmatrix", plain), ("ldmatrix_trans", "wrapper_ldmatrix_trans", transposed)].map(
        |(name, kernel, want)| {
            let rows = rows.clone();
            Case::bits(name, want, move |driver| {
                let operands = [Out(128), Words(&rows)];
                words_of(driver, Launch { kernel, grid: 1, block: 32, smem_bytes: 1024, operands: &operands })
            })
        },
    )
}

fn copies() -> [Case; 2] {
    [("cp_async_16", "wrapper_cp_async_16", 4), ("cp_async_4", "wrapper_cp_async_4", 1)].map(|(name, kernel, words)| {
        let x = random_words(5, 2 * 64 * words);
        let copied = |i: usize| {
            let (group, thread, word) = (i / (64 * words), 63 - i / words % 64, i % words);
            if thread % 3 == 0 { 0 } else { x[(group * 64 + thread) * words + word] }
        };
        Case::bits(name, (0..x.len()).map(copied).collect(), move |driver| {
            let (operands, smem_bytes) = ([Out(x.len()), Words(&x)], 4 * x.len() as u32);
            words_of(driver, Launch { kernel, grid: 1, block: 64, smem_bytes, operands: &operands })
        })
    })
}

fn warps() -> [Case; 2] {
    let barrier = |driver: &dyn Driver| {
        let operands = [Out(1), Int(9)];
        words_of(
            driver,
            Launch { kernel: "wrapper_named_barrier", grid: 1, block: 64, smem_bytes: 4, operands: &operands },
        )
    };
    let warp = |driver: &dyn Driver| {
        words_of(driver, Launch { kernel: "wrapper_warp", grid: 2, block: 64, smem_bytes: 0, operands: &[Out(128)] })
    };
    [Case::bits("named_barrier", bits(&[36.0]), barrier), Case::bits("warp", vec![0; 128], warp)]
}

fn philox() -> Case {
    // Known answers of Random123, the authors' implementation; then random counters.
    let ones = 0xffff_ffff;
    let published: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([ones; 4], [ones; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    let random =
        random_words(6, 6 * 37).chunks(6).map(|w| ([w[0], w[1], w[2], w[3]], [w[4], w[5]])).collect::<Vec<_>>();
    let random = random.into_iter().map(|(counter, key)| (counter, key, philox4x32(counter, key)));
    let rows: Vec<_> = published.into_iter().chain(random).collect();
    let counters: Vec<u32> = rows.iter().flat_map(|row| row.0).collect();
    let keys: Vec<u32> = rows.iter().flat_map(|row| row.1).collect();
    let n = rows.len();
    Case::bits("philox", rows.iter().flat_map(|row| row.2).collect(), move |driver| {
        let operands = [Out(4 * n), Words(&counters), Words(&keys), Int(n as i32)];
        words_of(driver, Launch { kernel: "wrapper_philox", grid: 2, block: 32, smem_bytes: 0, operands: &operands })
    })
}

/// Seed (low, high), step and first image of the normals.
const RNG: [u32; 4] = [7, 9, 2, 0];

/// Box-Muller in f64, from the words that the kernel draws.
pub fn exact_normals(n: usize) -> Vec<f64> {
    let words = (0..n as u32 / 4).flat_map(|quad| philox4x32([quad, RNG[3], RNG[2], 0], [RNG[0], RNG[1]]));
    let uniform = |word: u32| f64::from((((word >> 8) as f32 + 0.5) / (1 << 24) as f32).min(1.0 - f32::EPSILON / 2.0));
    let words: Vec<u32> = words.collect();
    let normals = words.chunks(2).flat_map(|pair| {
        let (radius, angle) = ((-2.0 * uniform(pair[0]).ln()).sqrt(), 2.0 * PI * uniform(pair[1]));
        [radius * angle.cos(), radius * angle.sin()]
    });
    normals.collect()
}

pub fn normals(driver: &dyn Driver, n: usize) -> ddpm::Result<Vec<u32>> {
    let (grid, operands) = ((n / 1024) as u32, [Out(n), Words(&RNG)]);
    words_of(driver, Launch { kernel: "wrapper_normal", grid, block: 256, smem_bytes: 0, operands: &operands })
}

/// Cases with the same bits on every device, since they are built from correctly rounded operations alone.
fn polynomials() -> [Case; 3] {
    const N: usize = 256;
    // Half of them between 0 and 1, half anywhere among the normal numbers.
    let near = random_floats(7, N / 2, 1e-6, 1.0).into_iter();
    let anywhere =
        random_words(8, N / 2).into_iter().map(|w| f32::from_bits((w & 0x7fff_ffff).clamp(1 << 23, 0x7f7f_ffff)));
    let x: Vec<f32> = near.chain(anywhere).collect();
    let log = x.iter().map(|&x| f64::from(x).ln()).map(|y| (y, ulps(2.0, y))).collect();
    let turns = random_floats(9, N, 0.0, 1.0);
    let angles = turns.iter().map(|&u| 2.0 * PI * f64::from(u));
    let sin_cos = angles.flat_map(|angle| [angle.sin(), angle.cos()]).map(|y| (y, 1.5e-7)).collect();
    let unary = |kernel: &'static str, x: Vec<f32>, outputs: usize| {
        move |driver: &dyn Driver| {
            let operands = [Out(outputs * x.len()), In(&x), Int(x.len() as i32)];
            let grid = x.len().div_ceil(32) as u32;
            words_of(driver, Launch { kernel, grid, block: 32, smem_bytes: 0, operands: &operands })
        }
    };
    let normal = exact_normals(1024).into_iter().map(|z| (z, 1e-6 * (1.0 + z.abs()))).collect();
    [
        Case::near("log", log, unary("wrapper_log", x, 1)).exact(),
        Case::near("sin_cos", sin_cos, unary("wrapper_sin_cos", turns, 2)).exact(),
        Case::near("normal", normal, |driver| normals(driver, 1024)).exact(),
    ]
}

/// So many units in the last place of an f32.
fn ulps(count: f64, y: f64) -> f64 {
    count * f64::from(f32::EPSILON) * y.abs()
}

/// The bounds are those of the CUDA C++ programming guide, and for the logistic function what follows from them.
fn exponentials() -> Case {
    let x = random_floats(10, 256, -20.0, 20.0);
    let fast = |x: f64| 2.0 + (1.173 * x).abs().floor();
    let functions: [&dyn Fn(f64) -> (f64, f64); 5] = [
        &|x| (x.exp(), ulps(fast(x), x.exp())),
        &|x| (x.exp(), ulps(2.0, x.exp())),
        &|x| (x.exp2(), ulps(2.0, x.exp2())),
        &|x| (1.0 / (1.0 + (-x).exp()), ulps(4.0 + fast(x), 1.0 / (1.0 + (-x).exp()))),
        &|x| (x.exp2(), ulps(2.0, x.exp2())),
    ];
    let want = functions.iter().flat_map(|f| x.iter().map(|&x| f(f64::from(x)))).collect();
    Case::near("exp", want, move |driver| {
        let operands = [Out(5 * x.len()), In(&x), Int(x.len() as i32)];
        words_of(driver, Launch { kernel: "wrapper_exp", grid: 8, block: 32, smem_bytes: 0, operands: &operands })
    })
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![mma(), philox(), exponentials()];
    cases.extend(products());
    cases.extend(matrix_loads());
    cases.extend(copies());
    cases.extend(warps());
    cases.extend(polynomials());
    cases
}
