//! Arithmetic against the host's: bit for bit where results are exactly rounded, within the manual's bounds elsewhere.

mod support;

use std::hint::black_box;

use support::program::run;

const N: usize = 1024;

/// Numbers of all kinds: random bits, subnormals, zeros, infinities, NaN, and neighbours of 1.
fn operands(seed: u64) -> Vec<u32> {
    let special = [
        0,
        0x8000_0000,
        1,
        0x8000_0001,
        0x007f_ffff,
        0x0080_0000,
        0x3f80_0000,
        0xbf80_0000,
        0x3f80_0001,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0x7f7f_ffff,
        0x4b80_0000,
        0x4f00_0000,
        0x3eff_ffff,
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as u32
    };
    (0..N)
        .map(|i| match i % 4 {
            0 => special[random() as usize % special.len()],
            // Moderate exponents, where sums do not lose everything.
            1 | 2 => random() & 0x807f_ffff | (120 + random() % 16) << 23,
            _ => random(),
        })
        .collect()
}

/// Runs an instruction over operands `%r1`, `%r2`, `%r3` (as floats `%f1` to `%f3`), with its result in `%r4`.
fn map(body: &str, operands: [&[u32]; 3]) -> Vec<u32> {
    let mut text = String::new();
    for (i, at) in [0, 4 * N, 8 * N].into_iter().enumerate() {
        text += &format!("ld.global.u32 %r{0}, [%own+{at}];\nmov.b32 %f{0}, %r{0};\n", i + 1);
    }
    text += body;
    text += &format!("\nst.global.u32 [%own+{}], %r4;", 12 * N);
    let words = run(&text, N as u32, &operands.concat(), 4 * N);
    words[3 * N..].to_vec()
}

fn float(body: &str, operands: [&[u32]; 3]) -> Vec<u32> {
    map(&format!("{body}\nmov.b32 %r4, %f4;"), operands)
}

/// Bits, with all NaN the same. Told by the bits: the compiler may take `is_nan() ? NAN : x` for x, as any NaN is as good to it.
fn bits(x: f32) -> u32 {
    let bits = black_box(x.to_bits());
    if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff_ffff } else { bits }
}

fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

#[test]
fn exactly_rounded_operations_are_the_hosts_bit_for_bit() {
    let (a, b, c) = (operands(1), operands(2), operands(3));
    let check = |body: &str, expected: &dyn Fn(f32, f32, f32) -> f32| {
        let out = float(body, [&a, &b, &c]);
        for i in 0..N {
            let [x, y, z] = [a[i], b[i], c[i]].map(f32::from_bits);
            assert_eq!(out[i], bits(expected(x, y, z)), "{body} of {x:e}, {y:e}, {z:e}");
        }
    };
    check("add.f32 %f4, %f1, %f2;", &|x, y, _| x + y);
    check("sub.rn.f32 %f4, %f1, %f2;", &|x, y, _| x - y);
    check("mul.f32 %f4, %f1, %f2;", &|x, y, _| x * y);
    check("div.rn.f32 %f4, %f1, %f2;", &|x, y, _| x / y);
    check("fma.rn.f32 %f4, %f1, %f2, %f3;", &|x, y, z| x.mul_add(y, z));
    check("sqrt.rn.f32 %f4, %f1;", &|x, _, _| x.sqrt());
    check("rcp.rn.f32 %f4, %f1;", &|x, _, _| 1.0 / x);
    check("add.ftz.f32 %f4, %f1, %f2;", &|x, y, _| flushed(flushed(x) + flushed(y)));
    check("mul.ftz.sat.f32 %f4, %f1, %f2;", &|x, y, _| {
        let product = flushed(flushed(x) * flushed(y));
        if product > 0.0 { product.min(1.0) } else { 0.0 }
    });
    check("max.f32 %f4, %f1, %f2;", &|x, y, _| {
        if x.is_nan() {
            y
        } else if y.is_nan() || x > y {
            x
        } else if x == y {
            f32::from_bits(x.to_bits() & y.to_bits())
        } else {
            y
        }
    });
}

#[test]
fn sums_and_products_round_in_the_four_directions() {
    let (a, b, c) = (operands(4), operands(5), operands(6));
    let (x, y, z): (Vec<f32>, Vec<f32>, Vec<f32>) = (
        a.iter().map(|&x| f32::from_bits(x)).collect(),
        b.iter().map(|&x| f32::from_bits(x)).collect(),
        c.iter().map(|&x| f32::from_bits(x)).collect(),
    );
    // Products are exact in f64; sums only where the exponents are near each other: those are checked.
    let mut checked = 0;
    for (mode, which) in [("rz", 0), ("rm", 1), ("rp", 2)] {
        let products = float(&format!("mul.{mode}.f32 %f4, %f1, %f2;"), [&a, &b, &c]);
        let sums = float(&format!("add.{mode}.f32 %f4, %f1, %f2;"), [&a, &b, &c]);
        let both = float(&format!("fma.{mode}.f32 %f4, %f1, %f2, %f3;"), [&a, &b, &c]);
        for i in 0..N {
            let (x, y, z) = (f64::from(x[i]), f64::from(y[i]), f64::from(z[i]));
            let product = x * y;
            let near = |a: f64, b: f64| a != 0.0 && b != 0.0 && (a.abs().log2() - b.abs().log2()).abs() < 4.0;
            let cases = [
                (products[i], Some(product)),
                (sums[i], near(x, y).then_some(x + y)),
                (both[i], near(product, z).then_some(product + z)),
            ];
            for (out, exact) in cases {
                let Some(exact) = exact.filter(|e| e.is_finite() && *e != 0.0) else { continue };
                let out = f32::from_bits(out);
                let down = which == 1 || (which == 0 && exact > 0.0);
                let holds = if down {
                    f64::from(out) <= exact && f64::from(out.next_up()) > exact
                } else {
                    f64::from(out) >= exact && f64::from(out.next_down()) < exact
                };
                assert!(holds, "{mode}: {out:e} for {exact:e}");
                checked += 1;
            }
        }
    }
    assert!(checked > 3000, "{checked}");
}

#[test]
fn approximations_keep_the_manuals_bounds() {
    let (a, b) = (operands(7), operands(8));
    let zeros = vec![0; N];
    let mut checked = 0;
    let mut check =
        |body: &str, tolerance: f64, expected: &dyn Fn(f64, f64) -> f64, applies: &dyn Fn(f64, f64) -> bool| {
            let out = float(body, [&a, &b, &zeros]);
            for i in 0..N {
                let (x, y) = (f64::from(f32::from_bits(a[i])), f64::from(f32::from_bits(b[i])));
                let exact = expected(x, y);
                if !applies(x, y) || !(1.2e-38..3.0e38).contains(&exact.abs()) {
                    continue;
                }
                let err = (f64::from(f32::from_bits(out[i])) - exact).abs() / exact.abs();
                assert!(err <= tolerance, "{body} of {x:e}, {y:e}: {err:e}");
                checked += 1;
            }
        };
    let ulp = 2.0f64.powi(-23);
    check("ex2.approx.ftz.f32 %f4, %f1;", 2.0 * ulp, &|x, _| x.exp2(), &|_, _| true);
    check("ex2.approx.f32 %f4, %f1;", 2.0 * ulp, &|x, _| x.exp2(), &|_, _| true);
    check("rsqrt.approx.f32 %f4, %f1;", 2.0f64.powf(-22.9), &|x, _| 1.0 / x.sqrt(), &|x, _| x > 0.0);
    check("rcp.approx.ftz.f32 %f4, %f1;", ulp, &|x, _| 1.0 / x, &|x, _| x.abs() > 1.2e-38);
    check("div.approx.f32 %f4, %f1, %f2;", 2.0 * ulp, &|x, y| x / y, &|_, y| y.abs() <= 2.0f64.powi(126));
    check("div.full.f32 %f4, %f1, %f2;", 2.0 * ulp, &|x, y| x / y, &|_, _| true);
    check("lg2.approx.f32 %f4, %f1;", 2.0f64.powi(-21), &|x, _| x.log2(), &|x, _| x > 2.0);
    assert!(checked > 3000, "{checked}");
    // 2^0 and 2^-126 are exact; below that, .ftz gives 0.
    let x = vec![0u32, 0xc2fc_0000, 0xc2fe_0000].into_iter().cycle().take(N).collect::<Vec<_>>();
    assert_eq!(float("ex2.approx.ftz.f32 %f4, %f1;", [&x, &zeros, &zeros])[..3], [0x3f80_0000, 0x0080_0000, 0]);
}

#[test]
fn conversions_to_bf16_round_to_nearest_even_zero_and_relu() {
    let mut a = operands(9);
    // Ties, both ways.
    a[..4].copy_from_slice(&[0x3f80_8000, 0x3f81_8000, 0x3f80_7fff, 0xbf80_8001]);
    let zeros = vec![0; N];
    let one = |mode: &str| map(&format!("cvt.{mode}.bf16.f32 %h1, %f1;\ncvt.u32.u16 %r4, %h1;"), [&a, &zeros, &zeros]);
    let (nearest, zero, relu) = (one("rn"), one("rz"), one("rn.relu"));
    let value = |bits: u32| f64::from(f32::from_bits(bits << 16));
    for i in 0..N {
        let x = f64::from(f32::from_bits(a[i]));
        if x.is_nan() {
            assert_eq!([nearest[i], zero[i]], [0x7fff; 2]);
            continue;
        }
        assert_eq!(zero[i], a[i] >> 16);
        assert_eq!(relu[i], if x > 0.0 { nearest[i] } else { 0 });
        // The two around it: toward zero, and the next one away from it.
        let (low, high) = (a[i] >> 16, (a[i] >> 16) + 1);
        if !value(high).is_finite() {
            continue;
        }
        let (below, above) = ((x - value(low)).abs(), (value(high) - x).abs());
        let expected = if below < above || (below == above && low % 2 == 0) { low } else { high };
        assert_eq!(nearest[i], expected, "{x:e}");
    }
    let pair = map(
        "cvt.rn.bf16x2.f32 %r4, %f1, %f2;",
        [&a, &a[1..].iter().chain(&a[..1]).copied().collect::<Vec<_>>(), &zeros],
    );
    assert!((0..N).all(|i| pair[i] == nearest[i] << 16 | nearest[(i + 1) % N]));
}

#[test]
fn every_half_survives_the_way_to_f32_and_ties_go_to_even() {
    for first in (0..65536).step_by(N) {
        let halves: Vec<u32> = (first..first + N as u32).collect();
        let zeros = vec![0; N];
        let body = "cvt.u16.u32 %h1, %r1;\ncvt.f32.f16 %f4, %h1;\ncvt.rn.f16.f32 %h2, %f4;\ncvt.u32.u16 %r4, %h2;";
        for (half, back) in halves.iter().zip(map(body, [&halves, &zeros, &zeros])) {
            let is_nan = half & 0x7fff > 0x7c00;
            assert_eq!(back, if is_nan { 0x7fff } else { *half });
        }
        // Halfway to the next one: to the even one of both.
        let body = "cvt.u16.u32 %h1, %r1;\nadd.s32 %r2, %r1, 1;\ncvt.u16.u32 %h2, %r2;\ncvt.f32.f16 %f1, %h1;\ncvt.f32.f16 %f2, %h2;\nadd.f32 %f3, %f1, %f2;\nmul.f32 %f3, %f3, 0f3F000000;\ncvt.rn.f16.f32 %h3, %f3;\ncvt.u32.u16 %r4, %h3;";
        for (half, out) in halves.iter().zip(map(body, [&halves, &zeros, &zeros])) {
            if half & 0x7fff < 0x7bff {
                assert_eq!(out, half + (half & 1));
            }
        }
    }
}

#[test]
fn conversions_of_integers_round_and_clamp_as_the_hosts() {
    let a = operands(10);
    let zeros = vec![0; N];
    let show = |body: &str| map(body, [&a, &zeros, &zeros]);
    let floats: Vec<f32> = a.iter().map(|&x| f32::from_bits(x)).collect();
    let each = |f: &dyn Fn(usize) -> u32| (0..N).map(f).collect::<Vec<u32>>();
    assert_eq!(show("cvt.rzi.s32.f32 %r4, %f1;"), each(&|i| floats[i] as i32 as u32));
    assert_eq!(show("cvt.rni.s32.f32 %r4, %f1;"), each(&|i| floats[i].round_ties_even() as i32 as u32));
    assert_eq!(show("cvt.rmi.u32.f32 %r4, %f1;"), each(&|i| floats[i].floor() as u32));
    assert_eq!(show("cvt.rpi.f32.f32 %f4, %f1;\nmov.b32 %r4, %f4;"), each(&|i| bits(floats[i].ceil())));
    assert_eq!(show("cvt.rn.f32.s32 %f4, %r1;\nmov.b32 %r4, %f4;"), each(&|i| (a[i] as i32 as f32).to_bits()));
    assert_eq!(show("cvt.rn.f32.u32 %f4, %r1;\nmov.b32 %r4, %f4;"), each(&|i| (a[i] as f32).to_bits()));
    assert_eq!(show("cvt.s32.s8 %r4, %r1;"), each(&|i| a[i] as i8 as i32 as u32));
    assert_eq!(show("cvt.sat.u8.s32 %r4, %r1;"), each(&|i| (a[i] as i32).clamp(0, 255) as u32));
    let wide = "cvt.s64.s32 %rd1, %r1;\nmul.lo.s64 %rd1, %rd1, 1234567;\ncvt.rn.f32.s64 %f4, %rd1;\nmov.b32 %r4, %f4;";
    assert_eq!(show(wide), each(&|i| ((i64::from(a[i] as i32) * 1_234_567) as f32).to_bits()));
}

#[test]
fn doubles_are_the_hosts_bit_for_bit() {
    let (a, b) = (operands(11), operands(12));
    let zeros = vec![0; N];
    let check = |body: &str, expected: &dyn Fn(f64, f64) -> f64| {
        let text = format!(
            "cvt.f64.f32 %fd1, %f1;\ncvt.f64.f32 %fd2, %f2;\n{body}\nmov.b64 {{%r5, %r6}}, %fd3;\nxor.b32 %r4, %r5, %r6;"
        );
        let out = map(&text, [&a, &b, &zeros]);
        for i in 0..N {
            let exact = expected(f64::from(f32::from_bits(a[i])), f64::from(f32::from_bits(b[i])));
            let bits = exact.to_bits();
            assert!(exact.is_nan() || out[i] == bits as u32 ^ (bits >> 32) as u32, "{body}");
        }
    };
    check("add.f64 %fd3, %fd1, %fd2;", &|x, y| x + y);
    check("mul.rn.f64 %fd3, %fd1, %fd2;", &|x, y| x * y);
    check("div.rn.f64 %fd3, %fd1, %fd2;", &|x, y| x / y);
    check("fma.rn.f64 %fd3, %fd1, %fd2, %fd1;", &|x, y| x.mul_add(y, x));
    check("sqrt.rn.f64 %fd3, %fd1;", &|x, _| x.sqrt());
    check("cvt.rmi.f64.f64 %fd3, %fd1;", &|x, _| x.floor());
}

#[test]
fn halves_round_once() {
    let (a, b) = (operands(13), operands(14));
    let zeros = vec![0; N];
    let out = map("fma.rn.bf16x2 %r4, %r1, %r2, %r1;", [&a, &b, &zeros]);
    for i in 0..N {
        for shift in [0, 16] {
            let value = |word: u32| f64::from(f32::from_bits((word >> shift & 0xffff) << 16));
            let (x, y) = (value(a[i]), value(b[i]));
            // 8 bits by 8 bits plus 8 bits: exact in f64 where the exponents are near each other.
            let exact = x * y + x;
            let near = y.abs() > 1e-6 && y.abs() < 1e6 && exact.abs() > 1e-30 && exact.abs() < 1e30;
            if !near {
                continue;
            }
            let out = out[i] >> shift & 0xffff;
            let [below, at, above] = [out - 1, out, out + 1].map(|bits| f64::from(f32::from_bits(bits << 16)));
            let err = (at - exact).abs();
            assert!(err <= (below - exact).abs() && err <= (above - exact).abs(), "{x:e} {y:e}");
        }
    }
}
