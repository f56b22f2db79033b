//! Matrix products of a warp and of a warpgroup.

use super::Lowering;
use super::opcode::Opcode;
use crate::error::Result;
use crate::parse::Operand;
use crate::program::{Class, Fragment, Hopper, Kind, Op, Product, ProductA};

impl Lowering<'_> {
    pub(super) fn tensor(&mut self, opcode: &Opcode, operands: &[Operand]) -> Result<()> {
        let op = match (&opcode.parts[1..], operands) {
            (["sync", "aligned", shape, "row", "col", "f32", a, b, "f32"], [_, _, _, _]) if a == b => {
                self.warp_product(shape, a, operands)?
            }
            (["fence", "sync", "aligned"], []) => Op::Hopper(Box::new(Hopper::ProductFence)),
            (["commit_group", "sync", "aligned"], []) => Op::Hopper(Box::new(Hopper::ProductCommit)),
            (["wait_group", "sync", "aligned"], [Operand::Integer(pending)]) => {
                Op::Hopper(Box::new(Hopper::ProductWait { pending: *pending as u32 }))
            }
            (["mma_async", "sync", "aligned", shape, "f32", a, b], _) if a == b => {
                self.warpgroup_product(shape, a, operands)?
            }
            _ => return Err(self.unknown()),
        };
        let class = if matches!(&op, Op::Hopper(hopper) if !matches!(**hopper, Hopper::Product(_))) {
            Class::Barrier
        } else {
            Class::Tensor
        };
        self.emit(class, op);
        Ok(())
    }

    fn fragment(&self, part: &str) -> Result<Fragment> {
        match part {
            "bf16" => Ok(Fragment::Bf16),
            "f16" => Ok(Fragment::F16),
            _ => Err(self.unknown()),
        }
    }

    fn slots<const N: usize>(&mut self, operand: &Operand, kind: Kind) -> Result<[u32; N]> {
        let Operand::List(list) = operand else { return Err(self.unknown()) };
        if list.len() != N {
            return Err(self.unknown());
        }
        let mut slots = [0; N];
        for (slot, operand) in slots.iter_mut().zip(list) {
            *slot = self.source(operand, kind)?;
        }
        Ok(slots)
    }

    fn warp_product(&mut self, shape: &str, part: &str, operands: &[Operand]) -> Result<Op> {
        let fragment = self.fragment(part)?;
        let [d, a, b, c] = operands else { return Err(self.unknown()) };
        let (d, c) = (self.slots(d, Kind::F32)?, self.slots(c, Kind::F32)?);
        let (k, a, b) = match shape {
            "m16n8k16" => (16, self.slots(a, Kind::U32)?, self.slots(b, Kind::U32)?),
            "m16n8k8" => {
                let ([a0, a1], [b0]) = (self.slots(a, Kind::U32)?, self.slots(b, Kind::U32)?);
                (8, [a0, a1, 0, 0], [b0, 0])
            }
            _ => return Err(self.unknown()),
        };
        Ok(Op::Mma { fragment, k, d, a, b, c })
    }

    fn warpgroup_product(&mut self, shape: &str, part: &str, operands: &[Operand]) -> Result<Op> {
        let fragment = self.fragment(part)?;
        let n = shape.strip_prefix("m64n").and_then(|rest| rest.strip_suffix("k16")?.parse::<u32>().ok());
        let n = n.filter(|n| n % 8 == 0 && (8..=256).contains(n)).ok_or_else(|| self.unknown())?;
        let [Operand::List(d), a, b, accumulate, Operand::Integer(scale_a), Operand::Integer(scale_b), majors @ ..] =
            operands
        else {
            return Err(self.unknown());
        };
        if d.len() as u32 != n / 2 || !self.is_predicate(accumulate) {
            return Err(self.unknown());
        }
        let d = d.iter().map(|operand| self.destination(operand, 1)).collect::<Result<_>>()?;
        let flags: Vec<i64> = majors
            .iter()
            .filter_map(|operand| if let Operand::Integer(n) = operand { Some(*n) } else { None })
            .collect();
        let (a, a_mn_major, b_mn_major) = match (a, &flags[..]) {
            (Operand::List(_), [b]) => (ProductA::Registers(self.slots(a, Kind::U32)?), false, *b != 0),
            (a, [major_a, major_b]) => (ProductA::Descriptor(self.source(a, Kind::U64)?), *major_a != 0, *major_b != 0),
            _ => return Err(self.unknown()),
        };
        let product = Product {
            fragment,
            n,
            d,
            a,
            b: self.source(b, Kind::U64)?,
            accumulate: self.predicate(accumulate)?,
            negate_a: *scale_a < 0,
            negate_b: *scale_b < 0,
            a_mn_major,
            b_mn_major,
        };
        Ok(Op::Hopper(Box::new(Hopper::Product(product))))
    }
}
