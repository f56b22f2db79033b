use super::*;
use crate::engine::device::{AsyncCopies, Device, EmuOptions, Schedule};
use crate::engine::ops::add::add;
use crate::engine::ops::channel_bias::{ImageBias, channel_bias};
use crate::engine::ops::check::{Check, Input, compare, emulated, few, targets};
use crate::engine::ops::dropout::dropout;
use crate::engine::ops::dropout::layer_stream;
use crate::engine::ops::philox;
use crate::engine::ops::silu::silu;
use crate::engine::random::{Philox, RngState};
use crate::engine::tape::{Backend, Session};
use crate::engine::tensor::Store;

mod joined;

const STATE: RngState = RngState { seed: 0x0012_3456_0078_9abc, step: 3, first_image: 11 };

/// `x [n, pixels, c]`, gamma and beta `[c]`, and as often as wanted `[n, c]` biases.
fn oracle(x: &[Vec<f64>], bias: &[f64], c: usize, n: usize, norm: Norm) -> Vec<f64> {
    let (values, gamma, beta) = (&x[0], &x[1], &x[2]);
    let (pixels, width) = (values.len() / (n * c), c / norm.groups);
    let mut y = vec![0.0; values.len()];
    for image in 0..n {
        for g in 0..norm.groups {
            let channel = |i: usize| g * width + i % width;
            let at = |i: usize| (image * pixels + i / width) * c + channel(i);
            let value = |i: usize| values[at(i)] + bias.get(image * c + channel(i)).unwrap_or(&0.0);
            let count = (pixels * width) as f64;
            let mean = (0..pixels * width).map(value).sum::<f64>() / count;
            let variance = (0..pixels * width).map(|i| (value(i) - mean).powi(2)).sum::<f64>() / count;
            for i in 0..pixels * width {
                let z = (value(i) - mean) / (variance + norm.eps as f64).sqrt() * gamma[channel(i)] + beta[channel(i)];
                y[at(i)] = if norm.silu { z / (1.0 + (-z).exp()) } else { z };
            }
        }
    }
    y
}

fn dropped(y: Vec<f64>, n: usize, p: f32, layer: u32) -> Vec<f64> {
    let d = y.len() / n;
    let philox = Philox::new(STATE, layer_stream(layer));
    let keeps = |i: usize| philox.word((i / d) as u32, i % d) as f64 >= p as f64 * 2f64.powi(32);
    y.iter().enumerate().map(|(i, y)| if keeps(i) { y / (1.0 - p as f64) } else { 0.0 }).collect()
}

fn plain(dims: [usize; 4], groups: usize, silu: bool) {
    let (n, c, norm) = (dims[0], dims[3], Norm { groups, eps: 1e-5, silu });
    let inputs = [Input::activation(&dims), Input::parameter(&[c]), Input::parameter(&[c])];
    Check::default().run(
        &inputs,
        |tape, x| group_norm(tape, x[0], x[1], x[2], groups, 1e-5, silu),
        |x| oracle(x, &[], c, n, norm),
    );
}

#[test]
fn alone_matches_the_oracle() {
    plain([1, 5, 7, 3], 1, false);
    plain([3, 5, 7, 64], 32, false);
    plain([2, 3, 5, 35], 5, false);
}

#[test]
fn with_silu_matches_the_oracle() {
    plain([3, 5, 7, 32], 32, true);
    plain([1, 7, 5, 33], 3, true);
    plain([2, 4, 4, 128], 32, true);
    plain([3, 2, 3, 40], 1, true);
    plain([1, 16, 16, 16], 2, true);
    plain([2, 1, 1, 512], 4, true);
}

/// Shapes and groups: channels in whole vectors and not, more than a chunk of the CPU, one pixel, one group, a group that
/// is a channel, several slabs, more channels than threads.
const SHAPES: [([usize; 4], usize); 8] = [
    ([3, 5, 7, 64], 16),
    ([2, 3, 5, 35], 5),
    ([1, 20, 21, 40], 5),
    ([1, 5, 7, 3], 1),
    ([2, 1, 1, 64], 4),
    ([3, 3, 5, 8], 8),
    ([2, 4, 4, 36], 9),
    ([1, 2, 1, 1056], 1),
];

/// Compares fewer elements of the gradients with differences where the shape is large.
fn checked(dims: [usize; 4]) -> Check {
    Check { samples: if dims.iter().product::<usize>() > 10_000 { 6 } else { 48 }, ..Check::default() }
}

/// Biases `[n, columns]`. With a channel a group the norm takes any bias away again: their gradient is rounding alone.
fn biases(n: usize, columns: usize, c: usize, groups: usize) -> Input {
    let values = Input::activation(&[n, columns]);
    if groups == c { values.detached() } else { values }
}

/// Two norms, one after the other, read one tensor of biases.
#[test]
fn with_a_bias_matches_the_oracle() {
    for (dims @ [n, _, _, c], groups) in few(SHAPES) {
        let norm = Norm { groups, eps: 1e-5, silu: true };
        let inputs =
            [Input::activation(&dims), Input::parameter(&[c]), Input::parameter(&[c]), biases(n, 2 * c, c, groups)];
        let columns = |x: &[Vec<f64>], first: usize| -> Vec<f64> {
            x[3].chunks(2 * c).flat_map(|row| row[first..first + c].to_vec()).collect()
        };
        checked(dims).run(
            &inputs,
            |tape, x| {
                let bias = |first| Some(ImageBias { values: x[3], first });
                let h = group_norm_with(tape, x[0], x[1], x[2], norm, bias(c), None);
                group_norm_with(tape, h, x[1], x[2], norm, bias(0), None)
            },
            |x| {
                let h = oracle(x, &columns(x, c), c, n, norm);
                oracle(&[h, x[1].clone(), x[2].clone()], &columns(x, 0), c, n, norm)
            },
        );
    }
}

#[test]
fn with_dropout_matches_the_oracle() {
    for (dims @ [n, _, _, c], groups) in few(SHAPES) {
        let (norm, p) = (Norm { groups, eps: 1e-5, silu: true }, 0.3);
        let inputs = [
            Input::activation(&dims),
            Input::parameter(&[c]),
            Input::parameter(&[c]),
            biases(n, c, c, groups),
            Input::labels(&STATE.words()),
        ];
        checked(dims).run(
            &inputs,
            |tape, x| {
                let bias = Some(ImageBias { values: x[3], first: 0 });
                group_norm_with(tape, x[0], x[1], x[2], norm, bias, Some(DropoutLayer { p, rng: x[4], layer: 2 }))
            },
            |x| dropped(oracle(x, &x[3], c, n, norm), n, p, 2),
        );
    }
}

/// `oracle` with a scale and a shift of every image and channel, `[n, columns]` of which those of the layer begin at `first`.
fn scaled_oracle(x: &[Vec<f64>], (values, first): (&[f64], usize), c: usize, n: usize, norm: Norm) -> Vec<f64> {
    let (d, columns) = (x[0].len() / n, values.len() / n);
    let plain = oracle(x, &[], c, n, Norm { silu: false, ..norm });
    let scaled = plain.iter().enumerate().map(|(i, y)| {
        let own = &values[i / d * columns + first..];
        let z = y * (1.0 + own[i % c]) + own[c + i % c];
        if norm.silu { z / (1.0 + (-z).exp()) } else { z }
    });
    scaled.collect()
}

/// Two norms, one after the other, read their scales and shifts from one tensor.
#[test]
fn with_scale_and_shift_matches_the_oracle() {
    for (dims @ [n, _, _, c], groups) in few(SHAPES) {
        let norm = |silu| Norm { groups, eps: 1e-5, silu };
        let inputs = [
            Input::activation(&dims),
            Input::parameter(&[c]),
            Input::parameter(&[c]),
            Input::activation(&[n, 4 * c]).scaled(0.5),
        ];
        checked(dims).hopper(&["group_norm_scale_shift_fwd_bf16", "group_norm_scale_shift_bwd_bf16"]).run(
            &inputs,
            |tape, x| {
                let scales = |first| PerImage::ScaleShift(ImageBias { values: x[3], first });
                let h = group_norm_with(tape, x[0], x[1], x[2], norm(true), scales(2 * c), None);
                group_norm_with(tape, h, x[1], x[2], norm(false), scales(0), None)
            },
            |x| {
                let h = scaled_oracle(x, (&x[3], 2 * c), c, n, norm(true));
                scaled_oracle(&[h, x[1].clone(), x[2].clone()], (&x[3], 0), c, n, norm(false))
            },
        );
    }
}

#[test]
fn with_scale_shift_and_dropout_matches_the_oracle() {
    for (dims @ [n, _, _, c], groups) in few(SHAPES) {
        let (norm, p) = (Norm { groups, eps: 1e-5, silu: true }, 0.3);
        let inputs = [
            Input::activation(&dims),
            Input::parameter(&[c]),
            Input::parameter(&[c]),
            Input::activation(&[n, 2 * c]),
            Input::labels(&STATE.words()),
        ];
        checked(dims).run(
            &inputs,
            |tape, x| {
                let scales = PerImage::ScaleShift(x[3].into());
                group_norm_with(tape, x[0], x[1], x[2], norm, scales, Some(DropoutLayer { p, rng: x[4], layer: 2 }))
            },
            |x| dropped(scaled_oracle(x, (&x[3], 0), c, n, norm), n, p, 2),
        );
    }
}

/// Bytes of both launches: beside what a plain norm moves, the layer's columns of scales and shifts, and their gradients.
#[test]
fn scales_and_shifts_are_counted() {
    let (n, c, dims) = (4, 64, [4, 8, 8, 64]);
    let mut store = Store::new();
    let [x, dy] = [(); 2].map(|()| store.tensor(&dims, DType::Bf16));
    let [gamma, beta, dgamma, dbeta] = [(); 4].map(|()| store.tensor(&[c], DType::F32));
    let values = store.tensor(&[n, 6 * c], DType::Bf16);
    let mut tape = Tape::new(Backend::Gpu(crate::engine::device::Capability::Hopper), DType::Bf16);
    tape.parameter(gamma, dgamma);
    tape.parameter(beta, dbeta);
    tape.watch(x);
    tape.watch(values);
    let norm = Norm { groups: 16, eps: 1e-5, silu: true };
    let scales = PerImage::ScaleShift(ImageBias { values, first: 2 * c });
    let y = group_norm_with(&mut tape, x, gamma, beta, norm, scales, None);
    tape.seed_grad(y, dy);
    tape.backward();
    let work: Vec<_> = tape.work().into_iter().filter(|w| w.op.starts_with("group_norm")).collect();
    let kernels: Vec<_> = work.iter().map(|w| w.launch.as_ref().unwrap().kernel.as_str()).collect();
    assert_eq!(kernels, ["group_norm_scale_shift_fwd_bf16", "group_norm_scale_shift_bwd_bf16"]);
    let (image, channels, own, stats) = (n * 8 * 8 * c * 2, c * 4, n * 2 * c * 2, n * 2 * 16 * 4);
    let slabs = work[1].launch.as_ref().unwrap().grid[0] as usize / n;
    let backward = 3 * image + 4 * channels + 2 * own + stats + 2 * (n * c * 2 * 4 + slabs * 4);
    assert_eq!([work[0].bytes, work[1].bytes], [2 * image + 2 * channels + own + stats, backward].map(|b| b as u64));
}

/// The norm's kernel adds the gradients that arrived before its own, from none, one or two other consumers of x.
#[test]
fn earlier_gradients_are_added_on_the_way() {
    let others = |tape: &mut Tape, x: Tensor, count: usize| {
        let mut y = x;
        for _ in 0..count {
            let activated = silu(tape, y);
            y = add(tape, activated, x);
        }
        y
    };
    for (dims @ [n, _, _, c], groups) in few(SHAPES).take(4) {
        let norm = Norm { groups, eps: 1e-5, silu: true };
        for count in 0..3 {
            let inputs = [Input::activation(&dims), Input::parameter(&[c]), Input::parameter(&[c])];
            checked(dims).run(
                &inputs,
                |tape, x| {
                    // An intermediate: of a watched input the tape would add the contributions up by itself.
                    let h = silu(tape, x[0]);
                    let y = group_norm(tape, h, x[1], x[2], groups, 1e-5, true);
                    if count == 0 {
                        return y;
                    }
                    let rest = others(tape, h, count - 1);
                    add(tape, y, rest)
                },
                |x| {
                    let logistic = |v: f64| v / (1.0 + (-v).exp());
                    let h: Vec<f64> = x[0].iter().map(|&v| logistic(v)).collect();
                    let y = oracle(&[h.clone(), x[1].clone(), x[2].clone()], &[], c, n, norm);
                    let rest = |h: f64| (1..count).fold(h, |y, _| logistic(y) + h);
                    y.iter().zip(h).map(|(y, h)| if count == 0 { *y } else { y + rest(h) }).collect()
                },
            );
        }
    }
}

/// Records a norm of `x [n, h, w, c]` with bias and dropout, fused or as three ops.
#[derive(Clone, Copy)]
struct Chain {
    dims: [usize; 4],
    groups: usize,
    fused: bool,
}

impl Chain {
    fn record(self, tape: &mut Tape, [x, gamma, beta, values, rng]: [Tensor; 5]) -> Tensor {
        let (norm, layer) =
            (Norm { groups: self.groups, eps: 1e-5, silu: true }, DropoutLayer { p: 0.25, rng, layer: 1 });
        if self.fused {
            return group_norm_with(tape, x, gamma, beta, norm, Some(ImageBias { values, first: 0 }), Some(layer));
        }
        let h = channel_bias(tape, x, values);
        let h = group_norm(tape, h, gamma, beta, norm.groups, norm.eps, norm.silu);
        dropout(tape, h, layer.p, rng, layer.layer)
    }

    /// y, dx, dgamma, dbeta and the gradient of the bias.
    fn run(self, device: Device, dtype: DType) -> [Vec<f32>; 5] {
        let [n, _, _, c] = self.dims;
        let mut store = Store::new();
        let [x, dy] = [(); 2].map(|()| store.tensor(&self.dims, dtype));
        let [gamma, beta, dgamma, dbeta] = [(); 4].map(|()| store.tensor(&[c], DType::F32));
        let (values, rng) = (store.tensor(&[n, c], dtype), philox::state_tensor(&mut store));
        let mut tape = Tape::new(device.backend(), dtype);
        tape.parameter(gamma, dgamma);
        tape.parameter(beta, dbeta);
        tape.watch(x);
        tape.watch(values);
        let y = self.record(&mut tape, [x, gamma, beta, values, rng]);
        tape.seed_grad(y, dy);
        tape.backward();
        let results = [y, tape.grad(x), dgamma, dbeta, tape.grad(values)];
        results.iter().for_each(|&t| tape.keep(t));

        let mut session = Session::new(device, &store).unwrap();
        for (salt, t) in [x, dy, gamma, beta, values].into_iter().enumerate() {
            let value = |i: usize| (((i + 97 * salt) * 2654435761) % 1009) as f32 / 504.5 - 1.0;
            session.write(t, &(0..t.numel()).map(value).collect::<Vec<_>>()).unwrap();
        }
        session.write_i32(rng, &STATE.words()).unwrap();
        let mut program = session.load(tape).unwrap();
        // Twice: the counters that the first run leaves are those of the second.
        for _ in 0..2 {
            session.write(dgamma, &vec![f32::NAN; c]).unwrap();
            session.write(dbeta, &vec![f32::NAN; c]).unwrap();
            session.run(&mut program).unwrap();
        }
        results.map(|t| session.read_in(&program, t).unwrap())
    }
}

#[test]
fn the_fused_op_is_the_chain() {
    for (dims, groups) in few(SHAPES) {
        for target in targets() {
            let [fused, chain] =
                [true, false].map(|fused| Chain { dims, groups, fused }.run(target.open(), target.dtype));
            let kept = |y: &[f32]| y.iter().map(|&y| y != 0.0).collect::<Vec<_>>();
            assert!(kept(&fused[0]) == kept(&chain[0]), "{dims:?} on {}: another mask", target.name);
            let tolerance = if target.dtype == DType::Bf16 { 3e-2 } else { 2e-5 };
            for (what, (fused, chain)) in ["y", "dx", "dgamma", "dbeta", "db"].iter().zip(fused.iter().zip(&chain)) {
                if *what == "db" && groups == dims[3] {
                    continue; // as in `biases`
                }
                let chain: Vec<f64> = chain.iter().map(|&v| v as f64).collect();
                compare(&format!("{what} of {dims:?} on {}", target.name), fused, &chain, tolerance);
            }
        }
    }
}

#[test]
fn every_schedule_gives_the_same_bits() {
    let skewed = |seed: u32| EmuOptions {
        schedule: Schedule::Skew,
        async_copies: AsyncCopies::Coin,
        seed: seed.into(),
        os_threads: 1 + seed % 2,
        ..EmuOptions::default()
    };
    if let Err(reason) = emulated(EmuOptions::default()) {
        crate::skip!("{reason}");
    }
    for (dims, groups) in few([([5, 4, 4, 32], 16), ([3, 3, 5, 35], 7)]) {
        let run = |options| {
            Chain { dims, groups, fused: true }
                .run(emulated(options).unwrap(), DType::Bf16)
                .map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>())
        };
        let first = run(EmuOptions::default());
        for seed in 0..6 {
            assert!(run(skewed(seed)) == first, "{dims:?} in schedule {seed}");
        }
    }
}

#[test]
fn the_chain_is_one_launch_a_pass_and_moves_what_it_must() {
    let (n, c, dims) = (4, 64, [4, 8, 8, 64]);
    let mut store = Store::new();
    let [x, dy] = [(); 2].map(|()| store.tensor(&dims, DType::Bf16));
    let [gamma, beta, dgamma, dbeta] = [(); 4].map(|()| store.tensor(&[c], DType::F32));
    let (values, rng) = (store.tensor(&[n, 2 * c], DType::Bf16), philox::state_tensor(&mut store));
    let mut tape = Tape::new(Backend::Gpu(crate::engine::device::Capability::Ampere), DType::Bf16);
    tape.parameter(gamma, dgamma);
    tape.parameter(beta, dbeta);
    tape.watch(x);
    tape.watch(values);
    let norm = Norm { groups: 16, eps: 1e-5, silu: true };
    let bias = Some(ImageBias { values, first: c });
    let y = group_norm_with(&mut tape, x, gamma, beta, norm, bias, Some(DropoutLayer { p: 0.1, rng, layer: 0 }));
    tape.seed_grad(y, dy);
    tape.grad_columns(values, 0..c);
    tape.backward();
    let work = tape.work();
    let kernels: Vec<_> = work.iter().map(|w| w.launch.as_ref().unwrap().kernel.as_str()).collect();
    assert_eq!(kernels, ["group_norm_dropout_fwd_bf16", "group_norm_dropout_bwd_bf16"]);
    let (image, channels, bias, stats) = (n * 8 * 8 * c * 2, c * 4, n * c * 2, n * (2 * 16 + c) * 4);
    let slabs = work[1].launch.as_ref().unwrap().grid[0] as usize / n;
    // The sums of the images and the counters are written and read.
    let backward = 3 * image + 4 * channels + 2 * bias + stats + 16 + 2 * (n * c * 2 * 4 + slabs * 4);
    assert_eq!(work[0].bytes, (2 * image + 2 * channels + bias + stats + 16) as u64);
    assert_eq!(work[1].bytes, backward as u64);
}

#[test]
fn no_launch_adds_what_the_norm_can() {
    let (mut store, dims) = (Store::new(), [2, 4, 4, 32]);
    let [x, dy] = [(); 2].map(|()| store.tensor(&dims, DType::Bf16));
    let [gamma, beta] = [(); 2].map(|()| store.tensor(&[32], DType::F32));
    let mut tape = Tape::new(Backend::Gpu(crate::engine::device::Capability::Ampere), DType::Bf16);
    tape.watch(x);
    let h = silu(&mut tape, x);
    let y = group_norm(&mut tape, h, gamma, beta, 8, 1e-5, true);
    let activated = silu(&mut tape, h);
    let rest = add(&mut tape, activated, h);
    let y = add(&mut tape, y, rest);
    tape.seed_grad(y, dy);
    tape.backward();
    let names: Vec<_> = tape.nodes()[tape.forward_nodes()..].iter().map(|node| node.name()).collect();
    assert_eq!(names, ["silu_bwd", "group_norm_bwd", "silu_bwd"]);
    // dx, x, what came from the second SiLU, and dy, which is also what came from the sum. Of parameters without gradients
    // no sums are taken.
    let work = &tape.work()[tape.forward_nodes() + 1];
    assert_eq!(work.bytes, (4 * 2 * 4 * 4 * 32 * 2 + 2 * 32 * 4 + 2 * 8 * 2 * 4) as u64);
}

#[test]
fn a_large_mean_or_bias_does_not_cancel_the_variance() {
    let norm = Norm { groups: 2, eps: 1e-6, silu: false };
    let (n, c, pixels) = (1, 8, 1024);
    let shape = Shape { n, pixels, c, groups: 2, silu: false };
    let x: Vec<f32> = (0..shape.image()).map(|i| 1000.0 + ((i * 37) % 101) as f32 / 101.0).collect();
    let exact = [x.iter().map(|&v| v as f64).collect(), vec![1.0; c], vec![0.0; c]];
    let (ones, zeros, bias) = ([1.0; 8], [0.0; 8], [-1000.0; 8]);
    let of_bias = PerImage::Bias(Store::new().tensor(&[n, c], DType::F32).into());
    for (per_image, bias) in [(PerImage::Nothing, &[][..]), (of_bias, &bias)] {
        let inputs = cpu::Inputs { x: &x, per_image, values: bias, gamma: &ones, beta: &zeros, mask: None };
        let (mut y, mut stats) = (vec![0.0; x.len()], vec![0.0; shape.stats_width(!bias.is_empty())]);
        cpu::forward(&mut y, &mut stats, inputs, shape, 1e-6);
        let bias: Vec<f64> = bias.iter().map(|&b| b as f64).collect();
        compare("normalised", &y, &oracle(&exact, &bias, c, n, norm), 2e-4);
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let chain = Chain { dims: [3, 35, 35, 33], groups: 3, fused: true };
        pool.install(|| chain.run(Device::Cpu, DType::F32)).map(|v| v.into_iter().map(f32::to_bits).collect::<Vec<_>>())
    };
    assert!(run(1) == run(2) && run(1) == run(3));
}

#[test]
fn slabs_are_wide_enough_and_fill_the_gpu() {
    let slabs = |n, pixels, c, groups, dtype| Slabs::new(Shape { n, pixels, c, groups, silu: true }, dtype);
    let wide = slabs(128, 1024, 128, 32, DType::Bf16);
    assert_eq!((wide.groups, wide.count, wide.threads), (8, 4, 256)); // 64 bytes, 512 blocks
    assert_eq!(slabs(1, 1024, 128, 32, DType::Bf16), wide, "the batch does not count");
    let few = slabs(1, 1024, 128, 4, DType::Bf16);
    assert_eq!((few.groups, few.count), (1, 4)); // as many blocks as there are groups
    assert_eq!(slabs(2, 15, 33, 3, DType::F32).count, 3);
    assert!(slabs(1, 64, 4096, 1, DType::Bf16).shared_bytes <= 99 * 1024);
}
