//! Kernels of the tree, as nvcc compiles them, against float64.

mod support;

use ptx_machine::{Argument, Launch, Options};
use support::bench::{Bench, Type, close, random};

fn args<const N: usize>(arguments: [Argument; N]) -> Vec<Argument> {
    arguments.into()
}

#[test]
fn silu_forward_and_backward() {
    let mut bench = bench!("silu.cu");
    let n = 4099;
    for kind in [Type::F32, Type::Bf16] {
        let (x, dy) = (random(1, n).iter().map(|x| 6.0 * x).collect::<Vec<_>>(), random(2, n));
        let (x, dy) = (kind.stored(&x), kind.stored(&dy));
        let (x_at, dy_at, y_at) = (bench.upload(kind, &x), bench.upload(kind, &dy), bench.empty(kind, n));
        let blocks = n.div_ceil(2048) as u32;
        let launch = Launch::new(blocks, 256, args([y_at.into(), x_at.into(), (n as u64).into()]));
        let counters = bench.launch(&format!("silu_fwdI{}E", kind.mangled()), &launch);
        let s = |x: f64| 1.0 / (1.0 + (-x).exp());
        let exact: Vec<f64> = x.iter().map(|&x| x * s(x)).collect();
        close("y", &bench.read(kind, y_at, n), &exact, 4e-7 + kind.rounding(), 1e-7);
        // Every byte once: whole sectors but at the end.
        let bytes = (n * kind.bytes()) as u64;
        let (loads, stores) = (counters.total.global_loads, counters.total.global_stores);
        assert_eq!((loads.bytes, stores.bytes), (bytes, bytes));
        let at_least = bytes.div_ceil(32);
        assert!(loads.sectors >= at_least && stores.sectors >= at_least, "{loads:?} {stores:?}");
        let launch = Launch::new(blocks, 256, args([y_at.into(), dy_at.into(), x_at.into(), (n as u64).into()]));
        bench.launch(&format!("silu_bwdI{}E", kind.mangled()), &launch);
        let exact: Vec<f64> = x.iter().zip(&dy).map(|(&x, dy)| dy * s(x) * (1.0 + x * (1.0 - s(x)))).collect();
        close("dx", &bench.read(kind, y_at, n), &exact, 1e-6 + kind.rounding(), 1e-6);
    }
}

#[test]
fn adam_updates_weights_moments_averages_and_copy() {
    let mut bench = bench!("adam.cu");
    let n = 1027;
    for decoupled in [0i32, 1] {
        let all: Vec<Vec<f64>> = (0..6).map(|i| Type::F32.stored(&random(10 + i, n))).collect();
        let [p, m, v, ema, further, g] = &all[..] else { unreachable!() };
        let v: Vec<f64> = v.iter().map(|v| v.abs()).collect();
        let upload = |bench: &mut Bench, values: &[f64]| bench.upload(Type::F32, values);
        let (p_at, m_at, v_at) = (upload(&mut bench, p), upload(&mut bench, m), upload(&mut bench, &v));
        let (ema_at, further_at, g_at) = (upload(&mut bench, ema), upload(&mut bench, further), upload(&mut bench, g));
        let copy_at = bench.empty(Type::Bf16, n);
        let record = Type::F32.stored(&[1e-2, 0.9, 0.99, 1e-8, 1e-2, 1.3, 1.7, 0.995]);
        let [lr, beta1, beta2, eps, decay, c1, c2, ema_decay] = record[..] else { unreachable!() };
        let step_at = upload(&mut bench, &record);
        let (norm, max_norm) = (7.0f32, 2.0f32);
        let outcome_at = upload(&mut bench, &[norm.into(), 0.5, 0.0]);
        let decays_at = upload(&mut bench, &[0.75]);
        let pointers = [p_at, m_at, v_at, ema_at, further_at, copy_at, g_at, step_at, outcome_at, decays_at, n as u64];
        let mut arguments: Vec<Argument> = pointers.into_iter().map(Argument::from).collect();
        arguments.extend([Argument::from(max_norm), decoupled.into(), 1i32.into()]);
        bench.launch("adam", &Launch::new(n.div_ceil(1024) as u32, 256, arguments));
        let clip = f64::from((max_norm / (norm + 1e-6)).min(1.0));
        let mut expected = [vec![], vec![], vec![], vec![], vec![]];
        for i in 0..n {
            let mut d = g[i] * clip;
            let mut weight = p[i];
            if decoupled == 1 {
                weight -= lr * decay * weight
            } else {
                d += decay * weight
            }
            let first = beta1 * m[i] + (1.0 - beta1) * d;
            let second = beta2 * v[i] + (1.0 - beta2) * d * d;
            weight -= lr * (first * c1) / ((second * c2).sqrt() + eps);
            let average = ema[i] + (1.0 - ema_decay) * (weight - ema[i]);
            let other = further[i] + 0.25 * (weight - further[i]);
            for (list, value) in expected.iter_mut().zip([weight, first, second, average, other]) {
                list.push(value);
            }
        }
        for (at, expected) in [p_at, m_at, v_at, ema_at, further_at].into_iter().zip(&expected) {
            close("adam", &bench.read(Type::F32, at, n), expected, 1e-6, 3e-7);
        }
        close("copy", &bench.read(Type::Bf16, copy_at, n), &expected[0], Type::Bf16.rounding(), 1e-6);
    }
}

#[test]
fn group_norm_forward_with_silu() {
    let mut bench = bench!("group_norm.cu");
    // Channels in whole vectors, and not.
    for (kind, c, groups) in [(Type::F32, 24, 4), (Type::Bf16, 32, 4), (Type::Bf16, 12, 4)] {
        let (n, pixels) = (2, 37);
        let x = kind.stored(&random(20, n * pixels * c));
        let (gamma, beta) = (Type::F32.stored(&random(21, c)), Type::F32.stored(&random(22, c)));
        let (x_at, y_at) = (bench.upload(kind, &x), bench.empty(kind, x.len()));
        let (gamma_at, beta_at) = (bench.upload(Type::F32, &gamma), bench.upload(Type::F32, &beta));
        let stats_at = bench.empty(Type::F32, n * 2 * groups);
        let (slab_groups, eps) = (2, 1e-5f32);
        let mut arguments: Vec<Argument> =
            [y_at, stats_at, x_at, 0, 0, gamma_at, beta_at, 0].into_iter().map(Argument::from).collect();
        for dim in [pixels, c, c, groups, slab_groups, 0, 0] {
            arguments.push((dim as i32).into());
        }
        arguments.extend([eps.into(), 1i32.into(), Argument(vec![0; 12])]);
        let launch = Launch {
            dynamic_shared_bytes: 8 * (256 * 8 + c + groups) as u32,
            ..Launch::new((n * groups / slab_groups) as u32, 256, arguments)
        };
        bench.launch(&format!("group_norm_fwdI{}Lb0ELb0ELb0E", kind.mangled()), &launch);
        let width = c / groups;
        let mut exact = vec![0.0; x.len()];
        let mut stats = vec![];
        for image in 0..n {
            for group in 0..groups {
                let index = |pixel: usize, channel: usize| (image * pixels + pixel) * c + group * width + channel;
                let all: Vec<usize> = (0..pixels).flat_map(|p| (0..width).map(move |k| index(p, k))).collect();
                let count = all.len() as f64;
                let mean = all.iter().map(|&i| x[i]).sum::<f64>() / count;
                let variance = all.iter().map(|&i| (x[i] - mean).powi(2)).sum::<f64>() / count;
                let rstd = 1.0 / (variance + f64::from(eps)).sqrt();
                stats.extend([mean, rstd]);
                for i in all {
                    let z = gamma[i % c] * (x[i] - mean) * rstd + beta[i % c];
                    exact[i] = z / (1.0 + (-z).exp());
                }
            }
        }
        close("stats", &bench.read(Type::F32, stats_at, n * 2 * groups), &stats, 1e-5, 1e-6);
        close("y", &bench.read(kind, y_at, x.len()), &exact, kind.rounding() + 1e-5, 1e-5);
    }
}

/// A convolution's extents.
#[derive(Clone, Copy)]
struct Conv {
    n: usize,
    h: usize,
    w: usize,
    c_in: usize,
    c_out: usize,
    k: usize,
    stride: usize,
    pad: usize,
}

impl Conv {
    fn out(self) -> (usize, usize) {
        let of = |extent: usize| (extent + 2 * self.pad - self.k) / self.stride + 1;
        (of(self.h), of(self.w))
    }

    fn arguments(self, pointers: [u64; 5]) -> Vec<Argument> {
        let (out_h, out_w) = self.out();
        let dims = [
            self.n,
            self.h,
            self.w,
            self.c_in,
            self.c_out,
            self.k,
            self.k,
            self.stride,
            self.pad,
            self.pad,
            out_h,
            out_w,
        ];
        let dims = dims.into_iter().map(|dim| Argument::from(dim as i32));
        pointers.into_iter().map(Argument::from).chain(dims).collect()
    }

    /// Calls `f(index of y, of x, of w)` for every product.
    fn products(self, mut f: impl FnMut(usize, usize, usize)) {
        let (out_h, out_w) = self.out();
        for image in 0..self.n {
            for (i, j) in (0..out_h).flat_map(|i| (0..out_w).map(move |j| (i, j))) {
                for (r, q) in (0..self.k).flat_map(|r| (0..self.k).map(move |q| (r, q))) {
                    let (row, column) = (i * self.stride + r, j * self.stride + q);
                    let inside = |at: usize, extent: usize| at >= self.pad && at - self.pad < extent;
                    if !inside(row, self.h) || !inside(column, self.w) {
                        continue;
                    }
                    let x = ((image * self.h + row - self.pad) * self.w + column - self.pad) * self.c_in;
                    let y = ((image * out_h + i) * out_w + j) * self.c_out;
                    for o in 0..self.c_out {
                        for c in 0..self.c_in {
                            f(y + o, x + c, ((o * self.k + r) * self.k + q) * self.c_in + c);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn convolutions_forward_and_their_gradients() {
    let mut bench = bench!("conv2d.cu");
    for (kind, c_in, c_out, stride) in
        [(Type::F32, 5, 7, 1), (Type::F32, 8, 72, 2), (Type::Bf16, 16, 24, 1), (Type::Bf16, 3, 66, 2)]
    {
        let conv = Conv { n: 2, h: 9, w: 7, c_in, c_out, k: 3, stride, pad: 1 };
        let (out_h, out_w) = conv.out();
        let pixels = conv.n * out_h * out_w;
        let x = kind.stored(&random(30, conv.n * conv.h * conv.w * c_in));
        let (w, dy) = (kind.stored(&random(31, c_out * 9 * c_in)), kind.stored(&random(32, pixels * c_out)));
        let bias = Type::F32.stored(&random(33, c_out));
        let (x_at, w_at, dy_at) = (bench.upload(kind, &x), bench.upload(kind, &w), bench.upload(kind, &dy));
        let bias_at = bench.upload(Type::F32, &bias);
        let (y_at, dx_at) = (bench.empty(kind, dy.len()), bench.empty(kind, x.len()));
        let dw_at = bench.empty(Type::F32, w.len());
        let tiles = |extent: usize| extent.div_ceil(64) as u32;
        let launch = |grid: [u32; 3], arguments: Vec<Argument>| Launch {
            grid,
            dynamic_shared_bytes: 96 << 10,
            ..Launch::new(1, 128, arguments)
        };
        let name = |kernel: &str| format!("{kernel}I{}Li64E", kind.mangled());
        let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
        for (i, y) in y.iter_mut().enumerate() {
            *y = bias[i % c_out];
        }
        conv.products(|i, j, k| {
            y[i] += x[j] * w[k];
            dx[j] += dy[i] * w[k];
            dw[k] += dy[i] * x[j];
        });
        let grid = [tiles(pixels), tiles(c_out), 1];
        let counters = bench.launch(&name("conv2d_fwd"), &launch(grid, conv.arguments([y_at, x_at, w_at, bias_at, 0])));
        close("y", &bench.read(kind, y_at, y.len()), &y, kind.rounding(), 2e-5);
        assert_eq!(counters.total.tensor_flops > 0, kind == Type::Bf16);
        let phase = conv.n * conv.h.div_ceil(stride) * conv.w.div_ceil(stride);
        let grid = [tiles(phase), tiles(c_in), (stride * stride) as u32];
        bench.launch(&name("conv2d_bwd_dx"), &launch(grid, conv.arguments([dx_at, dy_at, w_at, 0, 0])));
        close("dx", &bench.read(kind, dx_at, x.len()), &dx, kind.rounding(), 2e-5);
        let chunk = 16 / kind.bytes();
        let grid = [tiles(c_out), tiles(9 * c_in.next_multiple_of(chunk)), 1];
        let mut arguments = conv.arguments([dw_at, 0, dy_at, x_at, 0]);
        arguments.remove(4);
        arguments.push((pixels as i32).into());
        bench.launch(&name("conv2d_bwd_dw"), &launch(grid, arguments));
        close("dw", &bench.read(Type::F32, dw_at, w.len()), &dw, 1e-6, 3e-5);
    }
}

#[test]
fn counters_are_the_same_on_any_number_of_threads() {
    let mut bench = bench!("silu.cu");
    let n = 20_000;
    let x_at = bench.upload(Type::F32, &random(40, n));
    let y_at = bench.empty(Type::F32, n);
    let launch = Launch::new(10, 256, args([y_at.into(), x_at.into(), (n as u64).into()]));
    let name = bench.module.kernels().find(|name| name.contains("silu_fwdIf")).unwrap().to_owned();
    let mut run = |threads| {
        let options = Options { threads, counters: true, ..Options::default() };
        bench.machine.launch(&bench.module, &name, &launch, &options).unwrap()
    };
    let first = run(1);
    assert_eq!(first, run(3));
    assert!(first.lines.keys().any(|(file, line)| file.ends_with("silu.cu") && *line == 9), "{:?}", first.lines.keys());
}
