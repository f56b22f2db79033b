//! Arithmetic of a warp. What kernels spend their time on has loops of its own, in which operation and type are
//! constants; all else goes through one loop that asks in every lane.

use super::warp::{Lanes, Warp, WideLanes, lanes_of};
use crate::arith;
use crate::program::{BinaryOp, Comparison, Kind, Mode, Slot, TernaryOp, UnaryOp};

const PLAIN: Mode = Mode {
    round: crate::program::Round::Nearest,
    ftz: false,
    sat: false,
    approx: false,
    nan: false,
    integral: false,
    relu: false,
};

#[inline(always)]
fn map2(a: &Lanes, b: &Lanes, f: impl Fn(u64, u64) -> u64) -> Lanes {
    std::array::from_fn(|lane| f(a[lane].into(), b[lane].into()) as u32)
}

#[inline(always)]
fn map2_wide(a: &WideLanes, b: &WideLanes, f: impl Fn(u64, u64) -> u64) -> WideLanes {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

pub(super) fn unary(warp: &mut Warp, mask: u32, op: UnaryOp, kind: Kind, mode: Mode, d: Slot, a: Slot) {
    let a = warp.get_any(a, kind.slots());
    let mut out = [0; 32];
    for lane in lanes_of(mask) {
        out[lane] = arith::unary(op, kind, mode, a[lane]);
    }
    let counts = matches!(op, UnaryOp::Popc | UnaryOp::Clz | UnaryOp::Bfind);
    warp.set_any(d, if counts { 1 } else { kind.slots() }, mask, &out);
}

#[expect(clippy::too_many_arguments, reason = "an instruction's fields")]
pub(super) fn binary(warp: &mut Warp, mask: u32, op: BinaryOp, kind: Kind, mode: Mode, d: Slot, a: Slot, b: Slot) {
    macro_rules! narrow {
        ($op:ident, $kind:ident) => {{
            let out = map2(warp.get(a), warp.get(b), |a, b| arith::binary(BinaryOp::$op, Kind::$kind, PLAIN, a, b));
            return warp.set(d, mask, &out);
        }};
    }
    macro_rules! wide {
        ($op:ident, $kind:ident) => {{
            let out = map2_wide(&warp.get_wide(a), &warp.get_wide(b), |a, b| {
                arith::binary(BinaryOp::$op, Kind::$kind, PLAIN, a, b)
            });
            return warp.set_wide(d, mask, &out);
        }};
    }
    if mode == PLAIN {
        match (op, kind) {
            (BinaryOp::Add, Kind::F32) => narrow!(Add, F32),
            (BinaryOp::Sub, Kind::F32) => narrow!(Sub, F32),
            (BinaryOp::Mul, Kind::F32) => narrow!(Mul, F32),
            (BinaryOp::Min, Kind::F32) => narrow!(Min, F32),
            (BinaryOp::Max, Kind::F32) => narrow!(Max, F32),
            (BinaryOp::Add, Kind::U32 | Kind::S32) => narrow!(Add, U32),
            (BinaryOp::Sub, Kind::U32 | Kind::S32) => narrow!(Sub, U32),
            (BinaryOp::Mul, Kind::U32 | Kind::S32) => narrow!(Mul, U32),
            (BinaryOp::And, Kind::U32 | Kind::U16) => narrow!(And, U32),
            (BinaryOp::Or, Kind::U32 | Kind::U16) => narrow!(Or, U32),
            (BinaryOp::Xor, Kind::U32 | Kind::U16) => narrow!(Xor, U32),
            (BinaryOp::Shl, Kind::U32) => narrow!(Shl, U32),
            (BinaryOp::Shr, Kind::U32) => narrow!(Shr, U32),
            (BinaryOp::Shr, Kind::S32) => narrow!(Shr, S32),
            (BinaryOp::Min, Kind::S32) => narrow!(Min, S32),
            (BinaryOp::Max, Kind::S32) => narrow!(Max, S32),
            (BinaryOp::Add, Kind::U64 | Kind::S64) => wide!(Add, U64),
            (BinaryOp::Sub, Kind::U64 | Kind::S64) => wide!(Sub, U64),
            (BinaryOp::Mul, Kind::U64 | Kind::S64) => wide!(Mul, U64),
            (BinaryOp::And, Kind::U64) => wide!(And, U64),
            (BinaryOp::Or, Kind::U64) => wide!(Or, U64),
            (BinaryOp::Xor, Kind::U64) => wide!(Xor, U64),
            (BinaryOp::Shl, Kind::U64) => wide!(Shl, U64),
            (BinaryOp::Shr, Kind::U64) => wide!(Shr, U64),
            _ => {}
        }
    }
    let (a, b) = (warp.get_any(a, kind.slots()), warp.get_any(b, kind.slots()));
    let d_slots = if op == BinaryOp::MulWide && kind.bits() == 32 { 2 } else { kind.slots() };
    let out = match (op, kind) {
        (BinaryOp::MulWide, Kind::U32) => {
            map2_wide(&a, &b, |a, b| arith::binary(BinaryOp::MulWide, Kind::U32, PLAIN, a, b))
        }
        (BinaryOp::MulWide, Kind::S32) => {
            map2_wide(&a, &b, |a, b| arith::binary(BinaryOp::MulWide, Kind::S32, PLAIN, a, b))
        }
        _ => {
            let mut out = [0; 32];
            for lane in lanes_of(mask) {
                out[lane] = arith::binary(op, kind, mode, a[lane], b[lane]);
            }
            out
        }
    };
    warp.set_any(d, d_slots, mask, &out);
}

pub(super) fn ternary(warp: &mut Warp, mask: u32, op: TernaryOp, kind: Kind, mode: Mode, d: Slot, from: [Slot; 3]) {
    let [a, b, c] = from;
    macro_rules! narrow {
        ($kind:ident) => {{
            let (a, b, c) = (warp.get(a), warp.get(b), warp.get(c));
            let out = std::array::from_fn(|lane| {
                arith::ternary(TernaryOp::Fma, Kind::$kind, PLAIN, a[lane].into(), b[lane].into(), c[lane].into())
                    as u32
            });
            return warp.set(d, mask, &out);
        }};
    }
    if mode == PLAIN && op == TernaryOp::Fma {
        match kind {
            Kind::F32 => narrow!(F32),
            Kind::U32 | Kind::S32 => narrow!(U32),
            _ => {}
        }
    }
    let wide = op == TernaryOp::MadWide && kind.bits() == 32;
    let (a, b) = (warp.get_any(a, kind.slots()), warp.get_any(b, kind.slots()));
    let c = warp.get_any(c, if wide { 2 } else { kind.slots() });
    let mut out = [0; 32];
    for lane in lanes_of(mask) {
        out[lane] = arith::ternary(op, kind, mode, a[lane], b[lane], c[lane]);
    }
    warp.set_any(d, if wide { 2 } else { kind.slots() }, mask, &out);
}

pub(super) fn bfi(warp: &mut Warp, mask: u32, wide: bool, d: Slot, from: [Slot; 4]) {
    let slots = if wide { 2 } else { 1 };
    let [a, b, start, length] = from;
    let (a, b) = (warp.get_any(a, slots), warp.get_any(b, slots));
    let (start, length) = (warp.get(start), warp.get(length));
    let out = std::array::from_fn(|lane| arith::bits_replaced(32 * slots, a[lane], b[lane], start[lane], length[lane]));
    warp.set_any(d, slots, mask, &out);
}

/// The lanes in which a comparison holds.
pub(super) fn compare(warp: &Warp, comparison: Comparison, kind: Kind, ftz: bool, a: Slot, b: Slot) -> u32 {
    macro_rules! lanes {
        ($f:expr) => {{
            let (a, b) = (warp.get(a), warp.get(b));
            let mut holds = 0;
            for lane in 0..32 {
                holds |= u32::from($f(a[lane], b[lane])) << lane;
            }
            holds
        }};
    }
    match (comparison, kind) {
        (Comparison::Eq, Kind::U32 | Kind::S32) => lanes!(|a, b| a == b),
        (Comparison::Ne, Kind::U32 | Kind::S32) => lanes!(|a, b| a != b),
        (Comparison::Lt, Kind::S32) => lanes!(|a, b| (a as i32) < b as i32),
        (Comparison::Gt, Kind::S32) => lanes!(|a, b| a as i32 > b as i32),
        (Comparison::Ge, Kind::S32) => lanes!(|a, b| a as i32 >= b as i32),
        (Comparison::Lt, Kind::U32) => lanes!(|a, b| a < b),
        (Comparison::Gt, Kind::U32) => lanes!(|a, b| a > b),
        _ => {
            let (a, b) = (warp.get_any(a, kind.slots()), warp.get_any(b, kind.slots()));
            let mut holds = 0;
            for lane in 0..32 {
                holds |= u32::from(arith::compare(comparison, kind, ftz, a[lane], b[lane])) << lane;
            }
            holds
        }
    }
}

pub(super) fn convert(
    warp: &mut Warp,
    mask: u32,
    (to, from, mode): (Kind, Kind, Mode),
    (d, d_slots): (Slot, u32),
    a: Slot,
    low: Option<Slot>,
) {
    macro_rules! lanes {
        ($to:ident, $from:ident) => {{
            let a = warp.get_any(a, Kind::$from.slots());
            let out = std::array::from_fn(|lane| arith::convert(Kind::$to, Kind::$from, PLAIN, a[lane]));
            return warp.set_any(d, d_slots, mask, &out);
        }};
    }
    if mode == PLAIN && low.is_none() {
        match (to, from) {
            (Kind::F32, Kind::Bf16) => lanes!(F32, Bf16),
            (Kind::Bf16, Kind::F32) => lanes!(Bf16, F32),
            (Kind::S64, Kind::S32) => lanes!(S64, S32),
            (Kind::U64, Kind::U32) => lanes!(U64, U32),
            (Kind::U32, Kind::U64) => lanes!(U32, U64),
            (Kind::F32, Kind::S32) => lanes!(F32, S32),
            _ => {}
        }
    }
    let a = warp.get_any(a, from.slots());
    let low = low.map(|low| *warp.get(low));
    let mut out = [0; 32];
    for lane in lanes_of(mask) {
        out[lane] = arith::convert(to, from, mode, a[lane]);
        if let Some(low) = low {
            let low = arith::convert(to, from, mode, low[lane].into());
            out[lane] = out[lane] << 16 | low & 0xffff;
        }
    }
    warp.set_any(d, d_slots, mask, &out);
}
