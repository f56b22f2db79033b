//! The operations themselves, on the bits of one lane's operands.

use super::float::{
    add_to_odd, bf16_to_f32, canonical, div_approx, f16_to_f32, f32_to_bf16, f64_to_f16, finish, flush, fma, narrow,
    signed_zero,
};
use crate::program::{BinaryOp, Comparison, Kind, Mode, Round, TernaryOp, UnaryOp};

/// The value of an integer, its sign extended.
#[inline(always)]
pub(super) fn signed(kind: Kind, a: u64) -> i64 {
    match kind.bits() {
        8 => a as i8 as i64,
        16 => a as i16 as i64,
        32 => a as i32 as i64,
        _ => a as i64,
    }
}

#[inline(always)]
pub(super) fn unsigned(kind: Kind, a: u64) -> u64 {
    match kind.bits() {
        8 => a as u8 as u64,
        16 => a as u16 as u64,
        32 => a as u32 as u64,
        _ => a,
    }
}

#[inline(always)]
fn f32_of(a: u64, ftz: bool) -> f32 {
    flush(f32::from_bits(a as u32), ftz)
}

#[inline(always)]
fn single(x: f32, mode: Mode) -> u64 {
    canonical(finish(x, mode)).into()
}

#[inline(always)]
fn double(x: f64) -> u64 {
    x.to_bits()
}

/// Halves are computed in f64, which holds their sums and products exactly, and rounded once.
#[inline(always)]
fn half(kind: Kind, a: u64) -> f64 {
    if kind == Kind::F16 { f16_to_f32(a as u16).into() } else { bf16_to_f32(a as u16).into() }
}

#[inline(always)]
fn from_half(kind: Kind, x: f64, mode: Mode) -> u64 {
    let x = if mode.sat { if x > 0.0 { x.min(1.0) } else { 0.0 } } else { x };
    let x = if mode.relu && x <= 0.0 { 0.0 } else { x };
    // Through f32 rounded to odd, so that rounding twice does no harm.
    if kind == Kind::F16 { f64_to_f16(x, mode.round).into() } else { f32_to_bf16(odd_f32(x), mode.round).into() }
}

/// Rounds to f32 so that a second rounding gives what one alone would.
#[inline(always)]
pub(super) fn odd_f32(x: f64) -> f32 {
    let cut = narrow(x, Round::Zero);
    if f64::from(cut) == x || !cut.is_finite() { cut } else { f32::from_bits(cut.to_bits() | 1) }
}

#[inline(always)]
fn each_half(kind: Kind, of: impl Fn(Kind, u32) -> u64) -> u64 {
    let part = if kind == Kind::F16x2 { Kind::F16 } else { Kind::Bf16 };
    (of(part, 0) & 0xffff) | (of(part, 16) & 0xffff) << 16
}

#[inline(always)]
pub(crate) fn unary(op: UnaryOp, kind: Kind, mode: Mode, a: u64) -> u64 {
    match kind {
        Kind::F32 => {
            let x = f32_of(a, mode.ftz);
            match op {
                UnaryOp::Neg => (x.to_bits() ^ 0x8000_0000).into(),
                UnaryOp::Abs => (x.to_bits() & 0x7fff_ffff).into(),
                UnaryOp::Rcp => single(1.0 / x, mode),
                UnaryOp::Rsqrt => single((1.0 / f64::from(x).sqrt()) as f32, mode),
                UnaryOp::Sqrt => single(x.sqrt(), mode),
                UnaryOp::Ex2 => single(x.exp2(), mode),
                UnaryOp::Lg2 => single(x.log2(), mode),
                UnaryOp::Sin => single(f64::from(x).sin() as f32, mode),
                UnaryOp::Cos => single(f64::from(x).cos() as f32, mode),
                UnaryOp::Tanh => single(f64::from(x).tanh() as f32, mode),
                _ => 0,
            }
        }
        Kind::F64 => {
            let x = f64::from_bits(a);
            match op {
                UnaryOp::Neg => double(-x),
                UnaryOp::Abs => double(x.abs()),
                // The approximation has 20 bits of the fraction; code that refines it takes any better one.
                UnaryOp::Rcp if mode.approx => double(1.0 / x) & !0xffff_ffff,
                UnaryOp::Rcp => double(1.0 / x),
                UnaryOp::Rsqrt if mode.approx => double(1.0 / x.sqrt()) & !0xffff_ffff,
                UnaryOp::Rsqrt => double(1.0 / x.sqrt()),
                UnaryOp::Sqrt => double(x.sqrt()),
                _ => 0,
            }
        }
        Kind::F16 | Kind::Bf16 => match op {
            UnaryOp::Neg => a ^ 0x8000,
            UnaryOp::Abs => a & 0x7fff,
            UnaryOp::Ex2 => from_half(kind, half(kind, a).exp2(), mode),
            UnaryOp::Tanh => from_half(kind, half(kind, a).tanh(), mode),
            _ => 0,
        },
        Kind::F16x2 | Kind::Bf16x2 => each_half(kind, |part, shift| unary(op, part, mode, a >> shift & 0xffff)),
        _ => {
            let bits = kind.bits();
            let value = unsigned(kind, a);
            match op {
                UnaryOp::Neg => unsigned(kind, value.wrapping_neg()),
                UnaryOp::Abs => unsigned(kind, signed(kind, a).unsigned_abs()),
                UnaryOp::Not => unsigned(kind, !value),
                UnaryOp::Popc => value.count_ones().into(),
                UnaryOp::Clz => (value.leading_zeros() - (64 - bits)).into(),
                UnaryOp::Brev => value.reverse_bits() >> (64 - bits),
                UnaryOp::Bfind => {
                    let negative = kind.is_signed() && signed(kind, a) < 0;
                    let value = if negative { unsigned(kind, !value) } else { value };
                    u64::from(63u32.wrapping_sub(value.leading_zeros()))
                }
                _ => 0,
            }
        }
    }
}

#[inline(always)]
pub(crate) fn binary(op: BinaryOp, kind: Kind, mode: Mode, a: u64, b: u64) -> u64 {
    match kind {
        Kind::F32 => binary_f32(op, mode, f32_of(a, mode.ftz), f32_of(b, mode.ftz)),
        Kind::F64 => {
            let (x, y) = (f64::from_bits(a), f64::from_bits(b));
            match op {
                BinaryOp::Add => double(x + y),
                BinaryOp::Sub => double(x - y),
                BinaryOp::Mul => double(x * y),
                BinaryOp::Div => double(x / y),
                BinaryOp::Min => double(x.min(y)),
                BinaryOp::Max => double(x.max(y)),
                BinaryOp::CopySign => double(y.copysign(x)),
                _ => 0,
            }
        }
        Kind::F16 | Kind::Bf16 => {
            let (x, y) = (half(kind, a), half(kind, b));
            match op {
                BinaryOp::Add => from_half(kind, add_to_odd(x, y), mode),
                BinaryOp::Sub => from_half(kind, add_to_odd(x, -y), mode),
                BinaryOp::Mul => from_half(kind, x * y, mode),
                BinaryOp::Min | BinaryOp::Max if mode.nan && (x.is_nan() || y.is_nan()) => 0x7fff,
                BinaryOp::Min => from_half(kind, x.min(y), mode),
                BinaryOp::Max => from_half(kind, x.max(y), mode),
                _ => 0,
            }
        }
        Kind::F16x2 | Kind::Bf16x2 => {
            each_half(kind, |part, shift| binary(op, part, mode, a >> shift & 0xffff, b >> shift & 0xffff))
        }
        _ => binary_integer(op, kind, a, b),
    }
}

#[inline(always)]
fn binary_f32(op: BinaryOp, mode: Mode, x: f32, y: f32) -> u64 {
    let exact = mode.round == Round::Nearest;
    match op {
        BinaryOp::Add if exact => single(x + y, mode),
        BinaryOp::Sub if exact => single(x - y, mode),
        BinaryOp::Mul if exact => single(x * y, mode),
        BinaryOp::Add | BinaryOp::Sub => {
            let (x, y) = (f64::from(x), if op == BinaryOp::Sub { -f64::from(y) } else { f64::from(y) });
            single(narrow(signed_zero(add_to_odd(x, y), x, y, mode.round), mode.round), mode)
        }
        BinaryOp::Mul => single(narrow(f64::from(x) * f64::from(y), mode.round), mode),
        BinaryOp::Div if mode.approx => single(div_approx(x, y), mode),
        BinaryOp::Div => single(x / y, mode),
        BinaryOp::Min | BinaryOp::Max if mode.nan && (x.is_nan() || y.is_nan()) => 0x7fff_ffff,
        // -0 counts as less than +0.
        BinaryOp::Min if x == y => (x.to_bits() | y.to_bits()).into(),
        BinaryOp::Max if x == y => (x.to_bits() & y.to_bits()).into(),
        BinaryOp::Min => single(x.min(y), mode),
        BinaryOp::Max => single(x.max(y), mode),
        BinaryOp::CopySign => y.copysign(x).to_bits().into(),
        _ => 0,
    }
}

#[inline(always)]
fn binary_integer(op: BinaryOp, kind: Kind, a: u64, b: u64) -> u64 {
    let bits = kind.bits();
    let is_signed = kind.is_signed();
    match op {
        BinaryOp::Add => unsigned(kind, a.wrapping_add(b)),
        BinaryOp::Sub => unsigned(kind, a.wrapping_sub(b)),
        BinaryOp::Mul => unsigned(kind, a.wrapping_mul(b)),
        BinaryOp::MulHi if bits == 64 && is_signed => ((a as i64 as i128 * b as i64 as i128) >> 64) as u64,
        BinaryOp::MulHi if bits == 64 => ((a as u128 * b as u128) >> 64) as u64,
        BinaryOp::MulHi if is_signed => unsigned(kind, (signed(kind, a) * signed(kind, b)) as u64 >> bits),
        BinaryOp::MulHi => unsigned(kind, (unsigned(kind, a) * unsigned(kind, b)) >> bits),
        BinaryOp::MulWide if is_signed => {
            let product = (signed(kind, a) * signed(kind, b)) as u64;
            if bits == 16 { product as u32 as u64 } else { product }
        }
        BinaryOp::MulWide => unsigned(kind, a) * unsigned(kind, b),
        // Division by zero gives all ones on hardware; the manual leaves it open.
        BinaryOp::Div if unsigned(kind, b) == 0 => unsigned(kind, u64::MAX),
        BinaryOp::Rem if unsigned(kind, b) == 0 => unsigned(kind, a),
        BinaryOp::Div if bits == 32 && is_signed => (a as i32).wrapping_div(b as i32) as u32 as u64,
        BinaryOp::Div if bits == 32 => (a as u32 / b as u32) as u64,
        BinaryOp::Div if is_signed => unsigned(kind, signed(kind, a).wrapping_div(signed(kind, b)) as u64),
        BinaryOp::Div => unsigned(kind, a) / unsigned(kind, b),
        BinaryOp::Rem if is_signed => unsigned(kind, signed(kind, a).wrapping_rem(signed(kind, b)) as u64),
        BinaryOp::Rem => unsigned(kind, a) % unsigned(kind, b),
        BinaryOp::Min if is_signed => unsigned(kind, signed(kind, a).min(signed(kind, b)) as u64),
        BinaryOp::Min => unsigned(kind, a).min(unsigned(kind, b)),
        BinaryOp::Max if is_signed => unsigned(kind, signed(kind, a).max(signed(kind, b)) as u64),
        BinaryOp::Max => unsigned(kind, a).max(unsigned(kind, b)),
        BinaryOp::And => a & b,
        BinaryOp::Or => a | b,
        BinaryOp::Xor => a ^ b,
        // Shifts by the width or more give zero, or the sign.
        BinaryOp::Shl => {
            let by = b as u32;
            if by < bits { unsigned(kind, a << by) } else { 0 }
        }
        BinaryOp::Shr => {
            let by = b as u32;
            if is_signed {
                unsigned(kind, (signed(kind, a) >> by.min(63)) as u64)
            } else if by < bits {
                unsigned(kind, a) >> by
            } else {
                0
            }
        }
        BinaryOp::CopySign => 0,
    }
}

#[inline(always)]
pub(crate) fn ternary(op: TernaryOp, kind: Kind, mode: Mode, a: u64, b: u64, c: u64) -> u64 {
    match (op, kind) {
        (TernaryOp::Fma, Kind::F32) => {
            single(fma(f32_of(a, mode.ftz), f32_of(b, mode.ftz), f32_of(c, mode.ftz), mode.round), mode)
        }
        (TernaryOp::Fma, Kind::F64) => double(f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c))),
        (TernaryOp::Fma, Kind::F16 | Kind::Bf16) => {
            let (x, y, z) = (half(kind, a), half(kind, b), half(kind, c));
            from_half(kind, add_to_odd(x * y, z), mode)
        }
        (TernaryOp::Fma, Kind::F16x2 | Kind::Bf16x2) => each_half(kind, |part, shift| {
            ternary(op, part, mode, a >> shift & 0xffff, b >> shift & 0xffff, c >> shift & 0xffff)
        }),
        (TernaryOp::Fma, _) => unsigned(kind, a.wrapping_mul(b).wrapping_add(c)),
        (TernaryOp::MadHi, _) => unsigned(kind, binary_integer(BinaryOp::MulHi, kind, a, b).wrapping_add(c)),
        (TernaryOp::MadWide, _) => {
            let sum = binary_integer(BinaryOp::MulWide, kind, a, b).wrapping_add(c);
            if kind.bits() == 16 { sum as u32 as u64 } else { sum }
        }
        (TernaryOp::Prmt, _) => prmt(a as u32, b as u32, c as u32).into(),
        (TernaryOp::ShfLeft, _) => {
            let by = if mode.sat { (c as u32).min(32) } else { c as u32 & 31 };
            (((b << 32 | a & 0xffff_ffff) << by) >> 32) & 0xffff_ffff
        }
        (TernaryOp::ShfRight, _) => {
            let by = if mode.sat { (c as u32).min(32) } else { c as u32 & 31 };
            ((b << 32 | a & 0xffff_ffff) >> by) & 0xffff_ffff
        }
        (TernaryOp::Bfe, _) => bits_of(kind, a, b as u32 & 255, c as u32 & 255),
        (TernaryOp::Sad, _) => {
            let distance = if kind.is_signed() {
                signed(kind, a).abs_diff(signed(kind, b))
            } else {
                unsigned(kind, a).abs_diff(unsigned(kind, b))
            };
            unsigned(kind, distance.wrapping_add(c))
        }
        (TernaryOp::Lop3(table), _) => {
            let mut out = 0;
            for row in 0..8 {
                if table >> row & 1 == 1 {
                    let pick = |bit: u32, x: u64| if row >> bit & 1 == 1 { x } else { !x };
                    out |= pick(2, a) & pick(1, b) & pick(0, c);
                }
            }
            out & 0xffff_ffff
        }
    }
}

fn prmt(a: u32, b: u32, select: u32) -> u32 {
    let bytes = u64::from(a) | u64::from(b) << 32;
    (0..4).fold(0, |out, i| {
        let which = select >> (4 * i) & 15;
        let byte = (bytes >> (8 * (which & 7))) as u8;
        // With its highest bit set, a selection spreads the byte's sign.
        let byte = if which & 8 != 0 { ((byte as i8) >> 7) as u8 } else { byte };
        out | u32::from(byte) << (8 * i)
    })
}

fn bits_of(kind: Kind, a: u64, start: u32, length: u32) -> u64 {
    let bits = kind.bits();
    let value = unsigned(kind, a);
    let msb = bits - 1;
    // Beyond the last bit, signed numbers go on with it.
    let sign = kind.is_signed() && length != 0 && value >> (start + length - 1).min(msb) & 1 == 1;
    let mut out = 0u64;
    for i in 0..bits {
        let bit = if i < length && start + i <= msb { value >> (start + i) & 1 == 1 } else { sign };
        out |= u64::from(bit) << i;
    }
    out
}

/// b with `length` bits from `start` on replaced by the low bits of a.
#[inline(always)]
pub(crate) fn bits_replaced(bits: u32, a: u64, b: u64, start: u32, length: u32) -> u64 {
    let (start, length) = (start & 255, length & 255);
    if start >= bits || length == 0 {
        return b;
    }
    let ones = if length >= 64 { u64::MAX } else { (1 << length) - 1 };
    let field = ones << start;
    let all = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    (b & !field | (a << start) & field) & all
}

#[inline(always)]
pub(crate) fn compare(comparison: Comparison, kind: Kind, ftz: bool, a: u64, b: u64) -> bool {
    match kind {
        Kind::F32 => compare_floats(comparison, f32_of(a, ftz), f32_of(b, ftz)),
        Kind::F64 => compare_floats(comparison, f64::from_bits(a), f64::from_bits(b)),
        Kind::F16 | Kind::Bf16 => compare_floats(comparison, half(kind, a), half(kind, b)),
        _ if kind.is_signed() => compare_ordered(comparison, signed(kind, a), signed(kind, b)),
        _ => compare_ordered(comparison, unsigned(kind, a), unsigned(kind, b)),
    }
}

#[inline(always)]
fn compare_ordered<T: PartialOrd>(comparison: Comparison, a: T, b: T) -> bool {
    match comparison {
        Comparison::Eq | Comparison::Equ => a == b,
        Comparison::Ne | Comparison::Neu => a != b,
        Comparison::Lt | Comparison::Ltu => a < b,
        Comparison::Le | Comparison::Leu => a <= b,
        Comparison::Gt | Comparison::Gtu => a > b,
        Comparison::Ge | Comparison::Geu => a >= b,
        Comparison::Num => true,
        Comparison::Nan => false,
    }
}

#[inline(always)]
fn compare_floats<T: PartialOrd + Copy>(comparison: Comparison, a: T, b: T) -> bool {
    let is_nan = |x: T| x.partial_cmp(&x).is_none();
    let unordered = is_nan(a) || is_nan(b);
    match comparison {
        Comparison::Eq => a == b,
        // Ordered: false if one is NaN.
        Comparison::Ne => !unordered && a != b,
        Comparison::Lt => a < b,
        Comparison::Le => a <= b,
        Comparison::Gt => a > b,
        Comparison::Ge => a >= b,
        Comparison::Num => !unordered,
        Comparison::Nan => unordered,
        _ => unordered || compare_ordered(comparison, a, b),
    }
}
