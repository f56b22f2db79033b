//! Matrix products against float64, for random operands in each layout.

mod support;

use ptx_machine::{Launch, Options};
use support::program::{run, run_text, text};

fn random(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        // Multiples of 1/64 up to 2: bf16 and f16 hold them.
        (state >> 8) as i32 % 128
    };
    (0..count).map(|_| next() as f32 / 64.0).collect()
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Half {
    Bf16,
    F16,
}

impl Half {
    fn bits(self, x: f32) -> u32 {
        match self {
            Half::Bf16 => x.to_bits() >> 16,
            Half::F16 if x == 0.0 => 0,
            // Normal numbers whose last bits are zero.
            Half::F16 => {
                x.to_bits() >> 16 & 0x8000 | ((x.to_bits() >> 23 & 255) - 112) << 10 | x.to_bits() >> 13 & 0x3ff
            }
        }
    }

    fn name(self) -> &'static str {
        if self == Half::Bf16 { "bf16" } else { "f16" }
    }

    fn pair(self, low: f32, high: f32) -> u32 {
        self.bits(low) | self.bits(high) << 16
    }
}

#[test]
fn a_warps_products_agree_with_float64_in_every_shape() {
    for (half, k) in [(Half::Bf16, 16), (Half::Bf16, 8), (Half::F16, 16), (Half::F16, 8)] {
        let (a, b, c) = (random(1, 16 * k), random(2, k * 8), random(3, 16 * 8));
        let (ra, rb) = (k / 4, k / 8);
        // Registers of a, then of b, then of c, each of 32 lanes.
        let mut input = Vec::new();
        for i in 0..ra {
            input.extend((0..32).map(|lane| {
                let (row, column) = (lane / 4 + 8 * (i % 2), 2 * (lane % 4) + 8 * (i / 2));
                half.pair(a[row * k + column], a[row * k + column + 1])
            }));
        }
        for i in 0..rb {
            input.extend((0..32).map(|lane| {
                let (row, column) = (2 * (lane % 4) + 8 * i, lane / 4);
                half.pair(b[row * 8 + column], b[(row + 1) * 8 + column])
            }));
        }
        let at = |lane: usize, i: usize| (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
        for i in 0..4 {
            input.extend((0..32).map(|lane| c[at(lane, i).0 * 8 + at(lane, i).1].to_bits()));
        }
        let mut body = String::new();
        for i in 0..ra + rb {
            body += &format!("ld.global.u32 %r{}, [%own+{}];\n", i + 1, 128 * i);
        }
        for i in 0..4 {
            body += &format!("ld.global.f32 %f{i}, [%own+{}];\n", 128 * (ra + rb + i));
        }
        let registers =
            |first: usize, n: usize| (first..first + n).map(|i| format!("%r{i}")).collect::<Vec<_>>().join(",");
        let name = half.name();
        body += &format!(
            "mma.sync.aligned.m16n8k{k}.row.col.f32.{name}.{name}.f32 {{%f4,%f5,%f6,%f7}}, {{{}}}, {{{}}}, {{%f0,%f1,%f2,%f3}};\n",
            registers(1, ra),
            registers(1 + ra, rb)
        );
        for i in 0..4 {
            body += &format!("st.global.f32 [%own+{}], %f{};\n", 128 * i, 4 + i);
        }
        let out = run(&body, 32, &input, input.len());
        for i in 0..4 {
            for lane in 0..32 {
                let (row, column) = at(lane, i);
                let exact: f64 =
                    (0..k).map(|k_| f64::from(a[row * k + k_]) * f64::from(b[k_ * 8 + column])).sum::<f64>()
                        + f64::from(c[row * 8 + column]);
                let err = (f64::from(f32::from_bits(out[32 * i + lane])) - exact).abs();
                assert!(err <= 1e-5, "{half:?} k{k} row {row} column {column}: {err}");
            }
        }
    }
}

/// Bytes of an operand [extent, 16] in shared memory, swizzled, from `base` on. K-major rows are 128 bytes apart; MN-major
/// lines of k are 128 bytes of 64 elements, and 64 elements are `leading` bytes apart.
fn operand(half: Half, values: &[f32], extent: usize, mn_major: bool, base: usize, leading: usize, words: &mut [u32]) {
    for row in 0..extent {
        for k in 0..16 {
            let byte =
                if mn_major { base + row / 64 * leading + k * 128 + row % 64 * 2 } else { base + row * 128 + k * 2 };
            let byte = byte ^ (byte >> 7 & 7) << 4;
            words[byte / 4] |= half.bits(values[row * 16 + k]) << (8 * (byte % 4));
        }
    }
}

#[test]
fn warpgroup_products_agree_with_float64_in_every_shape_and_layout() {
    for n in [8, 16, 24, 32, 64, 96, 128, 192, 256] {
        for layout in 0..6 {
            let half = if layout == 5 { Half::F16 } else { Half::Bf16 };
            // a: K-major, MN-major, or registers. b: K-major or MN-major.
            let (a_kind, b_mn) = (layout % 3, layout / 3 == 1);
            product(half, n, a_kind, b_mn, true);
        }
        product(Half::Bf16, n, 0, false, false);
    }
}

fn product(half: Half, n: usize, a_kind: usize, b_mn: bool, accumulate: bool) {
    let (a, b, c) = (random(4, 64 * 16), random(5, n * 16), random(6, 64 * n));
    // Memory: the image of shared memory (a at 0, b at 8192; each of them a multiple of 1024), fragments of a, of d.
    let b_base = 8192;
    let leading = 2048;
    let image_bytes = b_base + if b_mn { n.div_ceil(64) * leading } else { n * 128 };
    let mut input = vec![0u32; image_bytes / 4];
    operand(half, &a, 64, a_kind == 1, 0, leading, &mut input);
    operand(half, &b, n, b_mn, b_base, leading, &mut input);
    let fragments = input.len();
    for i in 0..4 {
        input.extend((0..128).map(|thread| {
            let (row, k) = (thread / 32 * 16 + thread % 32 / 4 + 8 * (i % 2), 2 * (thread % 4) + 8 * (i / 2));
            half.pair(a[row * 16 + k], a[row * 16 + k + 1])
        }));
    }
    let d_at = input.len();
    let place = |thread: usize, r: usize| {
        (thread / 32 * 16 + thread % 32 / 4 + 8 * (r % 4 / 2), 8 * (r / 4) + 2 * (thread % 4) + r % 2)
    };
    for r in 0..n / 2 {
        input.extend((0..128).map(|thread| c[place(thread, r).0 * n + place(thread, r).1].to_bits()));
    }
    let mut body = format!(".reg .f32 %d<{}>;\nmov.u32 %r10, dynamic;\n", n / 2);
    // Copy the image, a word for each thread at a time.
    body += &format!(
        "mov.u32 %r1, %r0;\nCOPY: mul.wide.u32 %rd1, %r1, 4;\nadd.s64 %rd1, %out, %rd1;\nld.global.u32 %r2, [%rd1];\nshl.b32 %r3, %r1, 2;\nadd.s32 %r3, %r3, %r10;\nst.shared.u32 [%r3], %r2;\nadd.s32 %r1, %r1, 128;\nsetp.lt.u32 %p1, %r1, {};\n@%p1 bra COPY;\n",
        image_bytes / 4
    );
    for i in 0..4 {
        body += &format!("ld.global.u32 %r{}, [%own+{}];\n", 20 + i, 4 * (fragments + 128 * i));
    }
    for r in 0..n / 2 {
        body += &format!("ld.global.f32 %d{r}, [%own+{}];\n", 4 * (d_at + 128 * r));
    }
    body += "fence.proxy.async.shared::cta;\nbar.sync 0;\nwgmma.fence.sync.aligned;\n";
    // Descriptors: start, leading and stride in units of 16 bytes, swizzle of 128 bytes.
    for (register, offset) in [(1, 0), (2, b_base)] {
        body += &format!(
            "add.s32 %r4, %r10, {offset};\nshr.u32 %r4, %r4, 4;\ncvt.u64.u32 %rd{register}, %r4;\nor.b64 %rd{register}, %rd{register}, {};\n",
            (1u64 << 62 | (1024 / 16) << 32 | (leading as u64 / 16) << 16) as i64
        );
    }
    let d: Vec<String> = (0..n / 2).map(|r| format!("%d{r}")).collect();
    let a_operand = if a_kind == 2 { "{%r20,%r21,%r22,%r23}" } else { "%rd1" };
    let majors = if a_kind == 2 { format!("{}", b_mn as u8) } else { format!("{}, {}", a_kind, b_mn as u8) };
    body += &format!(
        "setp.ne.b32 %p2, {}, 0;\nwgmma.mma_async.sync.aligned.m64n{n}k16.f32.{1}.{1} {{{2}}}, {a_operand}, %rd2, %p2, 1, 1, {majors};\nwgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n",
        u8::from(accumulate),
        half.name(),
        d.join(",")
    );
    for r in 0..n / 2 {
        body += &format!("st.global.f32 [%own+{}], %d{r};\n", 4 * (d_at + 128 * r));
    }
    let launch = Launch { dynamic_shared_bytes: image_bytes as u32, ..Launch::new(1, 128, vec![]) };
    let options = Options { counters: true, races: true, ..Options::default() };
    let (out, counters) = run_text(&text(&body), "test", &launch, &input, input.len(), options)
        .unwrap_or_else(|error| panic!("n{n} a{a_kind} b{b_mn}: {error}"));
    assert_eq!(counters.total.tensor_flops, 2 * 64 * 16 * n as u64);
    for r in 0..n / 2 {
        for thread in 0..128 {
            let (row, column) = place(thread, r);
            let exact: f64 = (0..16).map(|k| f64::from(a[row * 16 + k]) * f64::from(b[column * 16 + k])).sum::<f64>()
                + if accumulate { f64::from(c[row * n + column]) } else { 0.0 };
            let err = (f64::from(f32::from_bits(out[d_at + 128 * r + thread])) - exact).abs();
            assert!(err <= 1e-5, "{half:?} n{n} a{a_kind} b{b_mn} row {row} column {column}: {err}");
        }
    }
}
