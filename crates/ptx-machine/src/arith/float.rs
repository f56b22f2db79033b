//! Floats: formats, rounding in the four directions, and approximations.

use crate::program::{Mode, Round};

/// Rounds a number that is exact, or rounded to odd in the last bit of its 53, to f32.
#[inline(always)]
pub(crate) fn narrow(x: f64, round: Round) -> f32 {
    let nearest = x as f32;
    match round {
        Round::Nearest => nearest,
        Round::Down if f64::from(nearest) > x => nearest.next_down(),
        Round::Up if f64::from(nearest) < x => nearest.next_up(),
        Round::Zero if f64::from(nearest).abs() > x.abs() => {
            if x > 0.0 {
                nearest.next_down()
            } else {
                nearest.next_up()
            }
        }
        _ => nearest,
    }
}

/// a + b rounded to odd: the last bit tells that something was lost, so that rounding again, to 51 bits or fewer, gives
/// what rounding the exact sum would.
#[inline(always)]
pub(crate) fn add_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    if !sum.is_finite() {
        return sum;
    }
    let of_b = sum - a;
    let lost = (a - (sum - of_b)) + (b - of_b);
    if lost == 0.0 || sum.to_bits() & 1 == 1 {
        return sum;
    }
    let away = (lost > 0.0) == (sum > 0.0);
    f64::from_bits(if away { sum.to_bits() + 1 } else { sum.to_bits() - 1 })
}

/// a * b + c, rounded once.
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32, round: Round) -> f32 {
    if round == Round::Nearest {
        return a.mul_add(b, c);
    }
    // 48 bits of the product fit into f64.
    let product = f64::from(a) * f64::from(b);
    narrow(signed_zero(add_to_odd(product, f64::from(c)), product, f64::from(c), round), round)
}

/// An exact zero as the sum of two numbers: negative when rounding down, unless both are zeros of one sign.
#[inline(always)]
pub(crate) fn signed_zero(sum: f64, a: f64, b: f64, round: Round) -> f64 {
    if round == Round::Down && sum == 0.0 && !(a == 0.0 && b == 0.0 && a.is_sign_positive() && b.is_sign_positive()) {
        return -0.0;
    }
    sum
}

#[inline(always)]
pub(crate) fn flush(x: f32, ftz: bool) -> f32 {
    if ftz && x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

/// The result of an instruction: its subnormals and its clamp.
#[inline(always)]
pub(crate) fn finish(x: f32, mode: Mode) -> f32 {
    let x = flush(x, mode.ftz);
    match mode.sat {
        true if x > 1.0 => 1.0,
        // NaN becomes 0 as well.
        true if x > 0.0 => x,
        true => 0.0,
        false => x,
    }
}

/// div.approx: within 2 units in the last place while |b| <= 2^126; beyond, 0, and NaN for an infinite a.
#[inline(always)]
pub(crate) fn div_approx(a: f32, b: f32) -> f32 {
    const LARGE: f32 = 8.507_059e37; // 2^126
    if b.abs() > LARGE && b.is_finite() {
        return if a.is_finite() { 0.0f32.copysign(a * b.signum()) } else { f32::NAN };
    }
    a / b
}

/// Any NaN becomes the one that arithmetic gives.
///
/// The test is one of integers: which NaN an operation gives is open in Rust, so the compiler may take `is_nan() ? NAN : x` for x.
#[inline(always)]
pub(crate) fn canonical(x: f32) -> u32 {
    let bits = x.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff_ffff } else { bits }
}

#[inline(always)]
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[inline(always)]
pub(crate) fn f32_to_bf16(x: f32, round: Round) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return 0x7fff;
    }
    let added = match round {
        Round::Nearest => 0x7fff + (bits >> 16 & 1),
        Round::Zero => 0,
        Round::Down => 0xffff * (bits >> 31),
        Round::Up => 0xffff * (1 - (bits >> 31)),
    };
    ((bits + if x.is_infinite() { 0 } else { added }) >> 16) as u16
}

#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10 & 31);
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        // 2^-24, the smallest step.
        0 => f32::from_bits((fraction as f32 * 5.960_464_5e-8).to_bits() | sign),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// Rounds to f16, subnormals included.
#[inline(always)]
pub(crate) fn f64_to_f16(x: f64, round: Round) -> u16 {
    if x.is_nan() {
        return 0x7fff;
    }
    let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = x.abs();
    if magnitude.is_infinite() {
        return sign | 0x7c00;
    }
    // Steps of the format at this size: 2^(e - 10), of subnormals 2^-24.
    let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(-14);
    let steps = magnitude * f64::from_bits(((10 - exponent + 1023) as u64) << 52);
    let toward_zero = match round {
        Round::Zero => true,
        Round::Down => sign == 0,
        Round::Up => sign != 0,
        Round::Nearest => false,
    };
    let rounded = match round {
        Round::Nearest => steps.round_ties_even(),
        _ if toward_zero => steps.floor(),
        _ => steps.ceil(),
    } as u32;
    // The leading bit counts as one of the exponent: a carry out of the fraction moves on to the next.
    let bits = ((exponent + 14) as u32) * 1024 + rounded;
    if bits >= 0x7c00 { sign | if toward_zero { 0x7bff } else { 0x7c00 } } else { sign | bits as u16 }
}
