use super::tiles::SHARED_BYTES;
use super::*;
use crate::engine::ops::check::{Check, Input, few};

fn oracle(qkv: &[f64], s: Shape) -> Vec<f64> {
    let (l, width) = (s.l, s.width());
    let mut out = vec![0.0; s.n * l * s.heads * s.dv];
    for image in 0..s.n {
        for head in 0..s.heads {
            let [q, k, v] = s.columns(head).map(|c| image * l * width + c);
            for row in 0..l {
                let score = |column: usize| -> f64 {
                    let products = (0..s.dk).map(|d| qkv[q + row * width + d] * qkv[k + column * width + d]);
                    products.sum::<f64>() / (s.dk as f64).sqrt()
                };
                let scores: Vec<f64> = (0..l).map(score).collect();
                let highest = scores.iter().copied().fold(f64::MIN, f64::max);
                let p: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
                let sum: f64 = p.iter().sum();
                for d in 0..s.dv {
                    out[((image * l + row) * s.heads + head) * s.dv + d] =
                        (0..l).map(|column| p[column] / sum * qkv[v + column * width + d]).sum();
                }
            }
        }
    }
    out
}

fn check(n: usize, l: usize, heads: usize, dk: usize, dv: usize) {
    let s = Shape { n, l, heads, dk, dv };
    let samples = if l * dk.max(dv) > 4096 { 6 } else { 24 };
    Check { samples, ..Check::default() }.run(
        &[Input::activation(&[n, l, s.width()])],
        |tape, x| attention(tape, x[0], heads, dk, dv),
        |x| oracle(&x[0], s),
    );
}

#[test]
fn small_heads_match_the_oracle() {
    let shapes = [(1, 100, 1, 33, 35), (3, 35, 2, 16, 16), (1, 1, 1, 4, 4), (1, 64, 3, 4, 33), (1, 140, 2, 32, 8)];
    few(shapes).for_each(|(n, l, heads, dk, dv)| check(n, l, heads, dk, dv));
}

#[test]
fn wide_heads_match_the_oracle() {
    let shapes = [(1, 20, 1, 33, 257), (3, 20, 1, 128, 64), (1, 35, 1, 256, 256), (1, 16, 1, 512, 512)];
    few(shapes).for_each(|(n, l, heads, dk, dv)| check(n, l, heads, dk, dv));
}

/// On Hopper too, by its own kernels.
fn check_hopper(n: usize, l: usize, heads: usize, d: usize, kernels: &'static [&'static str]) {
    let s = Shape { n, l, heads, dk: d, dv: d };
    Check { samples: 6, ..Check::default() }.hopper(kernels).run(
        &[Input::activation(&[n, l, s.width()])],
        |tape, x| attention(tape, x[0], heads, d, d),
        |x| oracle(&x[0], s),
    );
}

#[test]
fn heads_of_hopper_match_the_oracle() {
    check_hopper(1, 70, 3, 32, &["attention_fwd_sm90_32", "attention_bwd_dkv_sm90_32", "attention_bwd_dq_sm90_32"]);
    check_hopper(1, 65, 1, 64, &["attention_fwd_sm90_64", "attention_bwd_dkv_sm90_64", "attention_bwd_dq_sm90_64"]);
    check_hopper(1, 40, 1, 128, &["attention_fwd_sm90_128", "attention_bwd_dkv_sm90_128", "attention_bwd_dq_sm90_128"]);
    check_hopper(1, 66, 1, 256, &["attention_fwd_sm90_256", "attention_bwd_dkv_sm90_256", "attention_bwd_dq_sm90_256"]);
}

/// Heads that `attention.cu` alone computes, and narrow heads of many tokens.
#[test]
fn other_heads_match_the_oracle_on_hopper() {
    let check_kernels = |l: usize, dk: usize, dv: usize, kernels| {
        let s = Shape { n: 1, l, heads: 1, dk, dv };
        Check { samples: 4, ..Check::default() }.hopper(kernels).run(
            &[Input::activation(&[1, l, s.width()])],
            |tape, x| attention(tape, x[0], 1, dk, dv),
            |x| oracle(&x[0], s),
        );
    };
    check_kernels(20, 32, 64, &["attention_fwd_d64_bf16", "attention_bwd_dq_d64_bf16", "attention_bwd_dkv_d64_bf16"]);
    check_kernels(
        260,
        32,
        32,
        &["attention_fwd_sm90_32", "attention_bwd_dkv_sm90_32", "attention_bwd_dq_long_sm90_32"],
    );
}

#[test]
fn large_scores_do_not_overflow() {
    let s = Shape { n: 1, l: 40, heads: 1, dk: 8, dv: 8 };
    Check { samples: 24, f32_tolerance: 2e-4, bf16_tolerance: 1e-1, ..Check::default() }.run(
        &[Input::activation(&[1, 40, s.width()]).scaled(8.0)],
        |tape, x| attention(tape, x[0], 1, 8, 8),
        |x| oracle(&x[0], s),
    );
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let s = Shape { n: 2, l: 300, heads: 2, dk: 12, dv: 20 };
    let value = |i: usize| ((i * 2654435761) % 1000) as f32 / 250.0 - 2.0;
    let qkv: Vec<f32> = (0..s.n * s.l * s.width()).map(value).collect();
    let dout: Vec<f32> = (0..s.n * s.l * s.heads * s.dv).map(|i| value(i + 7)).collect();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (mut out, mut lse) = (vec![0.0; dout.len()], vec![0.0; s.n * s.heads * s.l]);
            let mut dqkv = vec![f32::NAN; qkv.len()];
            cpu::forward(&mut out, &mut lse, &qkv, s);
            cpu::backward(&mut dqkv, &dout, &qkv, &out, &lse, s);
            [out, lse, dqkv].concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        })
    };
    assert!(run(1) == run(2) && run(1) == run(3));
}

#[test]
fn blocks_fit_shared_memory() {
    for dtype in [DType::F32, DType::Bf16] {
        for (dk, dv) in [(1, 1), (32, 32), (64, 64), (128, 128), (256, 256), (512, 512), (512, 1), (33, 300)] {
            let s = Shape { n: 1, l: 1024, heads: 1, dk, dv };
            for tiles in [Tiles::forward(&s, dtype), Tiles::backward(&s, dtype)] {
                assert!(tiles.shared_bytes <= SHARED_BYTES && tiles.per_head * tiles.warps * 16 >= 1024);
            }
        }
    }
    let c3 = Shape { n: 128, l: 4, heads: 1, dk: 192, dv: 1536 };
    let refusal = check_tiles("attention_bwd", Tiles::backward, &c3, DType::F32).unwrap_err().to_string();
    assert!(refusal.starts_with("attention_bwd: heads of 192") && refusal.ends_with("they fit in bf16"), "{refusal}");
    let huge = Shape { dv: 4000, ..c3 };
    let refusal = check_tiles("attention_bwd", Tiles::backward, &huge, DType::Bf16).unwrap_err().to_string();
    assert!(refusal.ends_with("more heads of fewer dimensions would fit"), "{refusal}");
    let widest = Shape { n: 128, l: 4, heads: 1, dk: 192, dv: 1536 };
    assert!(Tiles::backward(&widest, DType::Bf16).shared_bytes <= SHARED_BYTES);
    let s = Shape { n: 128, l: 256, heads: 1, dk: 256, dv: 256 };
    assert_eq!(Tiles::forward(&s, DType::Bf16).warps, 4);
    assert_eq!(Tiles::backward(&s, DType::Bf16).warps, 4);
}
