//! Transaction barriers, clusters, fences and the rest of sm_90's control.

use super::Lowering;
use super::opcode::Opcode;
use crate::error::Result;
use crate::parse::Operand;
use crate::program::{Class, Hopper, Kind, Op};
use crate::races::Fence;

impl Lowering<'_> {
    pub(super) fn hopper(&mut self, opcode: &Opcode, operands: &[Operand]) -> Result<()> {
        let (class, op) = match (opcode.name(), operands) {
            ("fence", _) => (Class::Fence, fence(opcode)),
            ("griddepcontrol", _) => (Class::Control, Op::Nothing),
            ("setmaxnreg", _) => (Class::Control, Op::Aligned),
            ("elect", [d, members]) => {
                let Operand::Pair(d, p) = d else { return Err(self.unknown()) };
                let d = if **d == Operand::Sink { None } else { Some(self.destination(d, 1)?) };
                let (p, members) = (self.predicate_out(p)?, self.source(members, Kind::U32)?);
                (Class::Exchange, Op::Elect { d, p, members })
            }
            ("mapa", [d, a, rank]) => {
                let kind = self.only_kind(opcode)?;
                if !opcode.has("shared::cluster") {
                    return Err(self.unknown());
                }
                let (d, a) = (self.destination(d, kind.slots())?, self.source(a, kind)?);
                let map = Hopper::Map { d, a, rank: self.source(rank, Kind::U32)?, wide: kind.slots() == 2 };
                (Class::Integer, Op::Hopper(Box::new(map)))
            }
            ("mbarrier", operands) => (Class::Barrier, Op::Hopper(Box::new(self.transaction(opcode, operands)?))),
            _ => return Err(self.unknown()),
        };
        self.emit(class, op);
        Ok(())
    }

    fn transaction(&mut self, opcode: &Opcode, operands: &[Operand]) -> Result<Hopper> {
        let modifiers =
            ["shared", "shared::cta", "shared::cluster", "b64", "release", "acquire", "cta", "cluster", "relaxed"];
        let parts: Vec<&str> = opcode.parts[1..].iter().copied().filter(|part| !modifiers.contains(part)).collect();
        if !opcode.parts.iter().any(|part| part.starts_with("shared")) {
            return Err(self.unknown());
        }
        let releases = !opcode.has("relaxed");
        Ok(match (&parts[..], operands) {
            (["init"], [address, arrivals]) => {
                Hopper::BarrierInit { address: self.address(address)?, arrivals: self.source(arrivals, Kind::U32)? }
            }
            (["arrive"], [Operand::Sink, address, count @ ..]) if count.len() < 2 => Hopper::BarrierArrive {
                address: self.address(address)?,
                count: count.first().map(|count| self.source(count, Kind::U32)).transpose()?,
                bytes: None,
                arrives: true,
                releases,
            },
            (["arrive", "expect_tx"], [Operand::Sink, address, bytes]) => Hopper::BarrierArrive {
                address: self.address(address)?,
                count: None,
                bytes: Some(self.source(bytes, Kind::U32)?),
                arrives: true,
                releases,
            },
            (["expect_tx"], [address, bytes]) => Hopper::BarrierArrive {
                address: self.address(address)?,
                count: None,
                bytes: Some(self.source(bytes, Kind::U32)?),
                arrives: false,
                releases: false,
            },
            (["try_wait" | "test_wait", "parity"], [d, address, parity, ..]) => Hopper::BarrierTry {
                address: self.address(address)?,
                parity: self.source(parity, Kind::U32)?,
                d: self.predicate_out(d)?,
                waits: parts[0] == "try_wait",
            },
            _ => return Err(self.unknown()),
        })
    }
}

fn fence(opcode: &Opcode) -> Op {
    Op::Fence(match opcode.parts[1..] {
        ["mbarrier_init", ..] => Fence::BarrierInit,
        ["proxy", "async"] | ["proxy", "async", "shared::cta" | "shared::cluster"] => Fence::Proxy,
        // Of global memory, or of addresses: proxies are told apart in shared memory alone.
        ["proxy", ..] => return Op::Nothing,
        _ if opcode.has("cta") => Fence::Block,
        _ => Fence::All,
    })
}
