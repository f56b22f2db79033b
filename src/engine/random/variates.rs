//! Uniform and normal variates of random words.
//!
//! The normals are the same to the last bit on every device: they use only correctly rounded operations (multiply, add,
//! square root), in the order in which `kernels/common/philox.cuh` has them.

/// (word / 256 + 1/2) 2^-24, in (0, 1): the one value that would round up to 1 is kept below it.
#[inline(always)]
pub(super) fn uniform_open(word: u32) -> f32 {
    (((word >> 8) as i32 as f32 + 0.5) * (1.0 / 16_777_216.0)).min(1.0 - f32::EPSILON / 2.0)
}

/// `c[0] x^(N-1) + ... + c[N-1]`
#[inline(always)]
fn horner<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    c[1..].iter().fold(c[0], |y, &c| y * x + c)
}

/// ln x for normal x > 0, to 1 ulp: x = 2^e (1 + f), |f| < sqrt(2) - 1, and Cephes' polynomial for ln(1 + f).
#[inline(always)]
#[allow(clippy::excessive_precision)] // the digits of the kernel's source
fn natural_log(x: f32) -> f32 {
    const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
    const C: [f32; 9] = [
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    ];
    let bits = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let e = (bits as i32 >> 23) as f32;
    let f = f32::from_bits((bits & 0x7f_ffff) + SQRT_HALF_BITS) - 1.0;
    let f2 = f * f;
    let y = f * f2 * horner(f, C);
    let y = y + e * -2.12194440e-4; // ln 2 = 0.693359375 - 2.12194440e-4
    let y = y + f2 * -0.5;
    (f + y) + e * 0.693359375
}

/// sin and cos of 2 pi u for u in [0, 1]. The reduction to a quarter turn around 0 is exact.
#[inline(always)]
#[allow(clippy::excessive_precision)] // the digits of the kernel's source
fn sin_cos_turns(u: f32) -> [f32; 2] {
    let quarters = u * 4.0;
    let quadrant = (quarters + 0.5) as i32;
    let x = (quarters - quadrant as f32) * std::f32::consts::FRAC_PI_2;
    let x2 = x * x;
    let s = x * x2 * horner(x2, [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]) + x;
    let c = x2 * x2 * horner(x2, [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2]) + x2 * -0.5 + 1.0;
    let (sine, cosine) = if quadrant & 1 == 0 { (s, c) } else { (c, s) };
    [if quadrant & 2 == 0 { sine } else { -sine }, if (quadrant + 1) & 2 == 0 { cosine } else { -cosine }]
}

/// Box-Muller: sqrt(-2 ln u1) (cos, sin)(2 pi u2) of the word pairs (0, 1) and (2, 3).
#[inline(always)]
pub(super) fn normal4<const LANES: usize>(words: [[u32; LANES]; 4]) -> [[f32; LANES]; 4] {
    let mut z = [[0.0; LANES]; 4];
    for pair in [0, 2] {
        for lane in 0..LANES {
            let radius = (natural_log(uniform_open(words[pair][lane])) * -2.0).sqrt();
            let [sine, cosine] = sin_cos_turns(uniform_open(words[pair + 1][lane]));
            z[pair][lane] = radius * cosine;
            z[pair + 1][lane] = radius * sine;
        }
    }
    z
}
