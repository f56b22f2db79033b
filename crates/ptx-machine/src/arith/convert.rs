//! Conversions between types (`cvt`).

use super::float::{bf16_to_f32, canonical, f16_to_f32, f32_to_bf16, f64_to_f16, finish, flush, narrow};
use super::scalar::{odd_f32, signed, unsigned};
use crate::program::{Kind, Mode, Round};

/// Converts the bits of a number of one kind to those of another. An integer result is extended to 64 bits by its sign.
#[inline(always)]
pub(crate) fn convert(to: Kind, from: Kind, mode: Mode, a: u64) -> u64 {
    if !from.is_float() {
        return if to.is_float() { integer_to_float(to, from, mode, a) } else { integer_to_integer(to, from, mode, a) };
    }
    if from == Kind::F32 && to == Kind::Bf16 {
        let x = f32::from_bits(a as u32);
        let x = if mode.relu && x <= 0.0 { 0.0 } else { x };
        return f32_to_bf16(x, mode.round).into();
    }
    let x = match from {
        Kind::F16 => f16_to_f32(a as u16).into(),
        Kind::Bf16 => bf16_to_f32(a as u16).into(),
        Kind::F32 => flush(f32::from_bits(a as u32), mode.ftz).into(),
        _ => f64::from_bits(a),
    };
    let x = if mode.integral { integral(x, mode.round) } else { x };
    match to {
        Kind::F32 => canonical(finish(narrow(x, mode.round), mode)).into(),
        Kind::F64 => (if mode.sat { if x > 0.0 { x.min(1.0) } else { 0.0 } } else { x }).to_bits(),
        Kind::F16 | Kind::Bf16 => {
            let x = if mode.sat { if x > 0.0 { x.min(1.0) } else { 0.0 } } else { x };
            let x = if mode.relu && x <= 0.0 { 0.0 } else { x };
            if to == Kind::F16 { f64_to_f16(x, mode.round).into() } else { f32_to_bf16(odd_f32(x), mode.round).into() }
        }
        // Too large numbers give the largest, NaN gives 0 (of 64 bits, the number with the sign bit alone).
        Kind::S8 => (x as i8) as i64 as u64,
        Kind::S16 => (x as i16) as i64 as u64,
        Kind::S32 => (x as i32) as i64 as u64,
        Kind::S64 if x.is_nan() => 1 << 63,
        Kind::S64 => (x as i64) as u64,
        Kind::U8 => (x as u8).into(),
        Kind::U16 => (x as u16).into(),
        Kind::U64 if x.is_nan() => 1 << 63,
        Kind::U64 => x as u64,
        _ => (x as u32).into(),
    }
}

#[inline(always)]
fn integral(x: f64, round: Round) -> f64 {
    match round {
        Round::Nearest => x.round_ties_even(),
        Round::Zero => x.trunc(),
        Round::Down => x.floor(),
        Round::Up => x.ceil(),
    }
}

#[inline(always)]
fn integer_to_integer(to: Kind, from: Kind, mode: Mode, a: u64) -> u64 {
    if mode.sat {
        let value = if from.is_signed() { signed(from, a) as i128 } else { unsigned(from, a) as i128 };
        let bits = to.bits();
        let (low, high) =
            if to.is_signed() { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
        return value.clamp(low, high) as u64;
    }
    // What is wider than the source is extended by the source's sign.
    let value = if from.is_signed() { signed(from, a) as u64 } else { unsigned(from, a) };
    if to.is_signed() { signed(to, value) as u64 } else { unsigned(to, value) }
}

#[inline(always)]
fn integer_to_float(to: Kind, from: Kind, mode: Mode, a: u64) -> u64 {
    let (s, u) = (signed(from, a), unsigned(from, a));
    let negative = from.is_signed() && s < 0;
    match (to, mode.round) {
        (Kind::F32, Round::Nearest) if from.is_signed() => (s as f32).to_bits().into(),
        (Kind::F32, Round::Nearest) => (u as f32).to_bits().into(),
        (Kind::F64, _) if from.is_signed() => (s as f64).to_bits(),
        (Kind::F64, _) => (u as f64).to_bits(),
        _ => {
            // Rounded to odd where 64 bits do not fit into 53.
            let magnitude = if negative { s.unsigned_abs() } else { u };
            let lost = 64u32.saturating_sub(53 + magnitude.leading_zeros());
            let kept = magnitude >> lost << lost;
            let odd = kept | if kept != magnitude { 1 << lost } else { 0 };
            let x = if negative { -(odd as f64) } else { odd as f64 };
            match to {
                Kind::F32 => narrow(x, mode.round).to_bits().into(),
                Kind::F16 => f64_to_f16(x, mode.round).into(),
                _ => f32_to_bf16(odd_f32(x), mode.round).into(),
            }
        }
    }
}
