//! Moves, predicates, conversions and arithmetic.

use super::Lowering;
use super::opcode::Opcode;
use super::operands::{LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW};
use crate::error::Result;
use crate::parse::Operand;
use crate::program::{
    BinaryOp, Class, Comparison, Kind, Logic, Mode, Op, Predicate, Round, Special, TernaryOp, UnaryOp,
};

impl Lowering<'_> {
    /// `mov`, `cvta`, `selp`, `setp`, `not.pred`; false if it is none of these.
    pub(super) fn moves(&mut self, opcode: &Opcode, operands: &[Operand]) -> Result<bool> {
        match (opcode.name(), operands) {
            ("mov" | "not", [d, a]) if opcode.has("pred") => {
                let (d, a) = (self.predicate_out(d)?, self.predicate(a)?);
                let a = Predicate { negated: a.negated != (opcode.name() == "not"), ..a };
                self.emit(Class::Predicate, Op::Logic { op: Logic::And, d, a, b: Predicate::TRUE });
            }
            ("mov", [d, a]) => self.move_one(opcode, d, a)?,
            ("cvta", [d, a]) => self.convert_address(opcode, d, a)?,
            ("selp", [d, a, b, p]) => {
                let kind = self.only_kind(opcode)?;
                let (d, a, b) = (self.destination(d, kind.slots())?, self.source(a, kind)?, self.source(b, kind)?);
                let p = self.predicate(p)?;
                self.emit(Class::Move, Op::Select { wide: kind.slots() == 2, d, a, b, p });
            }
            ("setp", [d, a, b, rest @ ..]) => self.compare(opcode, d, a, b, rest)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn only_kind(&self, opcode: &Opcode) -> Result<Kind> {
        let kinds = opcode.kinds();
        if let [kind] = kinds[..] { Ok(kind) } else { Err(self.unknown()) }
    }

    fn move_one(&mut self, opcode: &Opcode, d: &Operand, a: &Operand) -> Result<()> {
        let kind = self.only_kind(opcode)?;
        match (d, a) {
            (Operand::List(to), a) => {
                let to = to.clone();
                match (&to[..], kind.bits()) {
                    ([low, high], 64) => {
                        let a = self.source(a, Kind::U64)?;
                        let (low, high) = (self.destination(low, 1)?, self.destination(high, 1)?);
                        self.emit(Class::Move, Op::MoveMany([(low, a), (high, a + 1)].into()));
                    }
                    ([low, high], 32) => {
                        let a = self.source(a, Kind::U32)?;
                        let (low, high) = (self.destination(low, 1)?, self.destination(high, 1)?);
                        self.emit(Class::Move, Op::Unpack16 { low, high, a });
                    }
                    ([h0, h1, h2, h3], 64) => {
                        let a = self.source(a, Kind::U64)?;
                        for (low, high, a) in [(h0, h1, a), (h2, h3, a + 1)] {
                            let (low, high) = (self.destination(low, 1)?, self.destination(high, 1)?);
                            self.emit(Class::Move, Op::Unpack16 { low, high, a });
                        }
                    }
                    _ => return Err(self.unknown()),
                }
            }
            (d, Operand::List(from)) => {
                let d = self.destination(d, kind.slots())?;
                match (&from[..], kind.bits()) {
                    ([low, high], 64) => {
                        let (low, high) = (self.source(low, Kind::U32)?, self.source(high, Kind::U32)?);
                        self.emit(Class::Move, Op::MoveMany([(d, low), (d + 1, high)].into()));
                    }
                    ([low, high], 32) => {
                        let (low, high) = (self.source(low, Kind::U16)?, self.source(high, Kind::U16)?);
                        self.emit(Class::Move, Op::Pack16 { d, low, high });
                    }
                    ([h0, h1, h2, h3], 64) => {
                        for (d, low, high) in [(d, h0, h1), (d + 1, h2, h3)] {
                            let (low, high) = (self.source(low, Kind::U16)?, self.source(high, Kind::U16)?);
                            self.emit(Class::Move, Op::Pack16 { d, low, high });
                        }
                    }
                    _ => return Err(self.unknown()),
                }
            }
            (d, Operand::Name(name)) if name.starts_with('%') => {
                let d = self.destination(d, kind.slots())?;
                let which = special(name).ok_or_else(|| self.error(format!("`{name}` is not known")))?;
                self.emit(Class::Move, Op::Special { d, which, wide: kind.slots() == 2 });
            }
            (d, a) => {
                let (d, a) = (self.destination(d, kind.slots())?, self.source(a, kind)?);
                self.emit(Class::Move, if kind.slots() == 2 { Op::Move64 { d, a } } else { Op::Move32 { d, a } });
            }
        }
        Ok(())
    }

    /// `cvta`: between addresses of a space and generic ones.
    fn convert_address(&mut self, opcode: &Opcode, d: &Operand, a: &Operand) -> Result<()> {
        let kind = self.only_kind(opcode)?;
        if kind != Kind::U64 {
            return Err(self.unknown());
        }
        let window = match opcode.parts[..] {
            ["cvta", "to", space, _] | ["cvta", space, _] => match space {
                "global" | "const" => 0,
                "shared" | "shared::cta" | "shared::cluster" => SHARED_WINDOW,
                "local" => LOCAL_WINDOW,
                "param" => PARAMETER_WINDOW,
                _ => return Err(self.unknown()),
            },
            _ => return Err(self.unknown()),
        };
        let (d, a) = (self.destination(d, 2)?, self.source(a, Kind::U64)?);
        if window == 0 {
            self.emit(Class::Move, Op::Move64 { d, a });
            return Ok(());
        }
        let b = self.constant(window, 2);
        let op = if opcode.has("to") { BinaryOp::Sub } else { BinaryOp::Add };
        self.emit(Class::Integer, Op::Binary { op, kind: Kind::U64, mode: Mode::default(), d, a, b });
        Ok(())
    }

    fn compare(&mut self, opcode: &Opcode, d: &Operand, a: &Operand, b: &Operand, rest: &[Operand]) -> Result<()> {
        let kind = self.only_kind(opcode)?;
        let comparison = comparison(opcode.parts.get(1).copied().unwrap_or(""), kind);
        let comparison = comparison.ok_or_else(|| self.unknown())?;
        let logic = opcode.parts[2..].iter().find_map(|part| logic(part));
        let (d, opposite) = match d {
            Operand::Pair(d, opposite) => (self.predicate_out(d)?, Some(self.predicate_out(opposite)?)),
            d => (self.predicate_out(d)?, None),
        };
        let (a, b) = (self.source(a, kind)?, self.source(b, kind)?);
        let with = match (logic, rest) {
            (None, []) => None,
            (Some(logic), [p]) => Some((logic, self.predicate(p)?)),
            _ => return Err(self.unknown()),
        };
        let ftz = opcode.has("ftz");
        self.emit(Class::Predicate, Op::Compare { comparison, kind, ftz, d, opposite, a, b, with });
        Ok(())
    }

    /// `and.pred` and its relatives.
    pub(super) fn logic(&mut self, opcode: &Opcode, operands: &[Operand]) -> Result<()> {
        let (Some(op), [d, a, b]) = (logic(opcode.name()), operands) else { return Err(self.unknown()) };
        let (d, a, b) = (self.predicate_out(d)?, self.predicate(a)?, self.predicate(b)?);
        self.emit(Class::Predicate, Op::Logic { op, d, a, b });
        Ok(())
    }

    pub(super) fn convert(&mut self, opcode: &Opcode, operands: &[Operand]) -> Result<()> {
        let (kinds, Some(mode)) = (opcode.kinds(), opcode.mode(&[])) else { return Err(self.unknown()) };
        let ([to, from], [d, sources @ ..]) = (&kinds[..], operands) else { return Err(self.unknown()) };
        let (to, from) = (*to, *from);
        let Operand::Register(register) = d else { return Err(self.unknown()) };
        let Some(d_slots) = self.slots_of(*register) else { return Err(self.unknown()) };
        let d = self.destination(d, d_slots)?;
        let convert = |this: &mut Self, to, a: &Operand, low: Option<&Operand>| {
            // The source may lie in a wider register.
            let slots = match a {
                Operand::Register(register) => this.slots_of(*register).unwrap_or(1).max(from.slots()),
                _ => from.slots(),
            };
            let a = this.source_of(a, slots, from)?;
            let low = low.map(|low| this.source(low, from)).transpose()?;
            let class = if to == from && to == Kind::F32 { Class::Single } else { Class::Convert };
            this.emit(class, Op::Convert { to, from, mode, d, d_slots: d_slots as u8, a, low });
            Ok(())
        };
        match (to, sources) {
            (Kind::Bf16x2, [high, low]) => convert(self, Kind::Bf16, high, Some(low)),
            (Kind::F16x2, [high, low]) => convert(self, Kind::F16, high, Some(low)),
            (Kind::Bf16x2 | Kind::F16x2, _) => Err(self.unknown()),
            (to, [a]) => convert(self, to, a, None),
            _ => Err(self.unknown()),
        }
    }

    pub(super) fn arithmetic(&mut self, opcode: &Opcode, operands: &[Operand]) -> Result<()> {
        let known = ["lo", "hi", "wide", "l", "r", "wrap", "clamp", "to"];
        let Some(mode) = opcode.mode(&known) else { return Err(self.unknown()) };
        let kind = self.only_kind(opcode)?;
        let class = class(kind, opcode.name());
        // Rounding in other directions is for sums and products of f32, and halves round to nearest.
        let rounds = matches!(opcode.name(), "add" | "sub" | "mul" | "fma") && kind == Kind::F32;
        if mode.round != Round::Nearest && !rounds {
            return Err(self.unknown());
        }
        if let [d, a] = operands
            && let Some((op, result)) = unary_op(opcode, kind)
        {
            let (d, a) = (self.destination(d, result)?, self.source(a, kind)?);
            self.emit(class, Op::Unary { op, kind, mode, d, a });
            return Ok(());
        }
        if let [d, a, b] = operands
            && let Some(op) = binary_op(opcode, kind)
        {
            let wide = op == BinaryOp::MulWide && kind.bits() == 32;
            let d = self.destination(d, if wide { 2 } else { kind.slots() })?;
            let shift = matches!(op, BinaryOp::Shl | BinaryOp::Shr);
            let (a, b) = (self.source(a, kind)?, if shift { self.shift(b, kind)? } else { self.source(b, kind)? });
            self.emit(class, Op::Binary { op, kind, mode, d, a, b });
            return Ok(());
        }
        if let [d, a, b, c, rest @ ..] = operands
            && let Some(op) = ternary_op(opcode, kind, rest)
        {
            let wide = op == TernaryOp::MadWide && kind.bits() == 32;
            let d = self.destination(d, if wide { 2 } else { kind.slots() })?;
            let (a, b, c) = match op {
                TernaryOp::MadWide if wide => {
                    (self.source(a, kind)?, self.source(b, kind)?, self.source(c, Kind::U64)?)
                }
                TernaryOp::Bfe => (self.source(a, kind)?, self.shift(b, kind)?, self.shift(c, kind)?),
                _ => (self.source(a, kind)?, self.source(b, kind)?, self.source(c, kind)?),
            };
            let mode = Mode { sat: mode.sat || opcode.has("clamp"), ..mode };
            self.emit(class, Op::Ternary { op, kind, mode, d, a, b, c });
            return Ok(());
        }
        if let ("bfi", [d, a, b, start, length]) = (opcode.name(), operands) {
            let (d, a, b) = (self.destination(d, kind.slots())?, self.source(a, kind)?, self.source(b, kind)?);
            let (start, length) = (self.source(start, Kind::U32)?, self.source(length, Kind::U32)?);
            self.emit(class, Op::Bfi { wide: kind.slots() == 2, d, a, b, start, length });
            return Ok(());
        }
        Err(self.unknown())
    }

    /// The distance of a shift: 32 bits for every type. It is extended where the value has 64.
    fn shift(&mut self, operand: &Operand, kind: Kind) -> Result<u32> {
        let by = self.source(operand, Kind::U32)?;
        if kind.slots() == 1 {
            return Ok(by);
        }
        let d = self.slots;
        self.slots += 2;
        let zero = self.constant(0, 1);
        // No instruction of its own: a 64-bit operand whose high half is zero.
        self.emit(Class::Move, Op::MoveMany([(d, by), (d + 1, zero)].into()));
        Ok(d)
    }
}

fn class(kind: Kind, name: &str) -> Class {
    match (name, kind) {
        ("rcp" | "rsqrt" | "sqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh", _) => Class::SpecialFunction,
        (_, Kind::F32) => Class::Single,
        (_, Kind::F64) => Class::Double,
        (_, kind) if kind.is_float() => Class::Half,
        _ => Class::Integer,
    }
}

/// The operation, and the slots of its result.
fn unary_op(opcode: &Opcode, kind: Kind) -> Option<(UnaryOp, u32)> {
    let float = kind.is_float();
    let f32_only = kind == Kind::F32;
    let wide = matches!(kind, Kind::F32 | Kind::F64);
    Some(match opcode.name() {
        "neg" => (UnaryOp::Neg, kind.slots()),
        "abs" => (UnaryOp::Abs, kind.slots()),
        "not" | "cnot" if !float && opcode.name() == "not" => (UnaryOp::Not, kind.slots()),
        "rcp" if wide => (UnaryOp::Rcp, kind.slots()),
        "rsqrt" if wide => (UnaryOp::Rsqrt, kind.slots()),
        "sqrt" if wide => (UnaryOp::Sqrt, kind.slots()),
        "ex2" if kind != Kind::F64 && float => (UnaryOp::Ex2, 1),
        "tanh" if kind != Kind::F64 && float => (UnaryOp::Tanh, 1),
        "lg2" if f32_only => (UnaryOp::Lg2, 1),
        "sin" if f32_only => (UnaryOp::Sin, 1),
        "cos" if f32_only => (UnaryOp::Cos, 1),
        "popc" if !float => (UnaryOp::Popc, 1),
        "clz" if !float => (UnaryOp::Clz, 1),
        "bfind" if !float => (UnaryOp::Bfind, 1),
        "brev" if !float => (UnaryOp::Brev, kind.slots()),
        _ => return None,
    })
}

fn binary_op(opcode: &Opcode, kind: Kind) -> Option<BinaryOp> {
    let float = kind.is_float();
    let op = match opcode.name() {
        "add" => BinaryOp::Add,
        "sub" => BinaryOp::Sub,
        "mul" if float || opcode.has("lo") => BinaryOp::Mul,
        "mul" if opcode.has("hi") => BinaryOp::MulHi,
        "mul" if opcode.has("wide") => BinaryOp::MulWide,
        "div" if !float || matches!(kind, Kind::F32 | Kind::F64) => BinaryOp::Div,
        "rem" if !float => BinaryOp::Rem,
        "min" => BinaryOp::Min,
        "max" => BinaryOp::Max,
        "and" if !float => BinaryOp::And,
        "or" if !float => BinaryOp::Or,
        "xor" if !float => BinaryOp::Xor,
        "shl" if !float => BinaryOp::Shl,
        "shr" if !float => BinaryOp::Shr,
        "copysign" if float => BinaryOp::CopySign,
        _ => return None,
    };
    // Saturating integer sums are not executed.
    (float || !opcode.has("sat")).then_some(op)
}

fn ternary_op(opcode: &Opcode, kind: Kind, rest: &[Operand]) -> Option<TernaryOp> {
    let float = kind.is_float();
    if let ("lop3", [Operand::Integer(table)]) = (opcode.name(), rest) {
        return Some(TernaryOp::Lop3(*table as u8));
    }
    if !rest.is_empty() || (!float && opcode.has("sat")) {
        return None;
    }
    Some(match opcode.name() {
        "fma" if float => TernaryOp::Fma,
        "mad" if float || opcode.has("lo") => TernaryOp::Fma,
        "mad" if opcode.has("hi") => TernaryOp::MadHi,
        "mad" if opcode.has("wide") => TernaryOp::MadWide,
        "prmt" if opcode.parts.len() == 2 => TernaryOp::Prmt,
        "shf" if opcode.has("l") => TernaryOp::ShfLeft,
        "shf" if opcode.has("r") => TernaryOp::ShfRight,
        "bfe" if !float => TernaryOp::Bfe,
        "sad" if !float => TernaryOp::Sad,
        _ => return None,
    })
}

fn logic(part: &str) -> Option<Logic> {
    Some(match part {
        "and" => Logic::And,
        "or" => Logic::Or,
        "xor" => Logic::Xor,
        _ => return None,
    })
}

fn comparison(part: &str, kind: Kind) -> Option<Comparison> {
    let float = kind.is_float();
    Some(match part {
        "eq" => Comparison::Eq,
        "ne" => Comparison::Ne,
        "lt" | "lo" => Comparison::Lt,
        "le" | "ls" => Comparison::Le,
        "gt" | "hi" => Comparison::Gt,
        "ge" | "hs" => Comparison::Ge,
        "equ" if float => Comparison::Equ,
        "neu" if float => Comparison::Neu,
        "ltu" if float => Comparison::Ltu,
        "leu" if float => Comparison::Leu,
        "gtu" if float => Comparison::Gtu,
        "geu" if float => Comparison::Geu,
        "num" if float => Comparison::Num,
        "nan" if float => Comparison::Nan,
        _ => return None,
    })
}

fn special(name: &str) -> Option<Special> {
    let (base, axis) = match name.rsplit_once('.') {
        Some((base, "x")) => (base, 0),
        Some((base, "y")) => (base, 1),
        Some((base, "z")) => (base, 2),
        _ => (name, 3),
    };
    Some(match (base, axis) {
        ("%tid", 0..3) => Special::Tid(axis),
        ("%ntid", 0..3) => Special::Ntid(axis),
        ("%ctaid", 0..3) => Special::Ctaid(axis),
        ("%nctaid", 0..3) => Special::Nctaid(axis),
        ("%cluster_ctaid", 0..3) => Special::ClusterCtaid(axis),
        ("%cluster_nctaid", 0..3) => Special::ClusterNctaid(axis),
        ("%clusterid", 0..3) => Special::Clusterid(axis),
        ("%laneid", _) => Special::Laneid,
        ("%warpid", _) => Special::Warpid,
        ("%cluster_ctarank", _) => Special::ClusterCtarank,
        ("%cluster_nctarank", _) => Special::ClusterNctarank,
        ("%lanemask_lt", _) => Special::LanemaskLt,
        ("%lanemask_le", _) => Special::LanemaskLe,
        ("%lanemask_eq", _) => Special::LanemaskEq,
        ("%dynamic_smem_size", _) => Special::DynamicSharedBytes,
        ("%clock" | "%clock64" | "%globaltimer", _) => Special::Clock,
        _ => return None,
    })
}
