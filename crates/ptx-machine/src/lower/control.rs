//! Branches, barriers, and what lanes tell each other.

use super::Lowering;
use super::flow::END;
use super::opcode::Opcode;
use crate::error::Result;
use crate::parse::Operand;
use crate::program::{Class, Hopper, Kind, Op, ShuffleOp, VoteOp};
use crate::races::Fence;

impl Lowering<'_> {
    pub(super) fn control(&mut self, opcode: &Opcode, operands: &[Operand]) -> Result<()> {
        let (class, op) = match (opcode.name(), operands) {
            ("bra", [Operand::Label(target)]) => {
                let op = Op::Branch { target: *target as u32, reconverge: END, uniform: opcode.has("uni") };
                (Class::Control, op)
            }
            ("bra", [Operand::Name(name)]) => return Err(self.error(format!("there is no label `{name}`"))),
            ("ret" | "exit", []) => (Class::Control, Op::Return),
            ("trap", []) => (Class::Control, Op::Trap),
            ("brkpt", []) | ("nanosleep", _) => (Class::Control, Op::Nothing),
            ("membar", _) => (Class::Fence, Op::Fence(if opcode.has("cta") { Fence::Block } else { Fence::All })),
            ("bar" | "barrier", operands) => (Class::Barrier, self.barrier(opcode, operands)?),
            ("shfl", [d, a, b, c, members]) => (Class::Exchange, self.shuffle(opcode, d, [a, b, c, members])?),
            ("vote", [d, p, members]) if opcode.has("sync") => (Class::Exchange, self.vote(opcode, d, p, members)?),
            ("activemask", [d]) => (Class::Exchange, Op::ActiveMask { d: self.destination(d, 1)? }),
            _ => return Err(self.unknown()),
        };
        self.emit(class, op);
        Ok(())
    }

    fn barrier(&mut self, opcode: &Opcode, operands: &[Operand]) -> Result<Op> {
        match (&opcode.parts[1..], operands) {
            (["warp", "sync"], [members]) => Ok(Op::WarpBarrier { members: self.source(members, Kind::U32)? }),
            (["cluster", "arrive", ..], []) => {
                Ok(Op::Hopper(Box::new(Hopper::ClusterArrive { releases: !opcode.has("relaxed") })))
            }
            (["cluster", "wait", ..], []) => Ok(Op::Hopper(Box::new(Hopper::ClusterWait))),
            (parts, [id, threads @ ..]) if threads.len() < 2 => {
                let parts: Vec<&str> = parts.iter().copied().filter(|part| *part != "cta").collect();
                let aligned = opcode.name() == "bar" || parts.contains(&"aligned");
                let waits = match parts[..] {
                    ["sync"] | ["sync", "aligned"] => true,
                    ["arrive"] | ["arrive", "aligned"] if threads.len() == 1 => false,
                    _ => return Err(self.unknown()),
                };
                let id = self.source(id, Kind::U32)?;
                let threads = threads.first().map(|threads| self.source(threads, Kind::U32)).transpose()?;
                Ok(Op::Barrier { id, threads, waits, aligned })
            }
            _ => Err(self.unknown()),
        }
    }

    fn shuffle(&mut self, opcode: &Opcode, d: &Operand, sources: [&Operand; 4]) -> Result<Op> {
        let op = match opcode.parts[..] {
            ["shfl", "sync", "up", "b32"] => ShuffleOp::Up,
            ["shfl", "sync", "down", "b32"] => ShuffleOp::Down,
            ["shfl", "sync", "bfly", "b32"] => ShuffleOp::Butterfly,
            ["shfl", "sync", "idx", "b32"] => ShuffleOp::Index,
            _ => return Err(self.unknown()),
        };
        let (d, valid) = match d {
            Operand::Pair(d, valid) => (self.destination(d, 1)?, Some(self.predicate_out(valid)?)),
            d => (self.destination(d, 1)?, None),
        };
        let [a, b, c, members] = sources;
        let (a, b) = (self.source(a, Kind::U32)?, self.source(b, Kind::U32)?);
        let (c, members) = (self.source(c, Kind::U32)?, self.source(members, Kind::U32)?);
        Ok(Op::Shuffle { op, d, valid, a, b, c, members })
    }

    fn vote(&mut self, opcode: &Opcode, d: &Operand, p: &Operand, members: &Operand) -> Result<Op> {
        let op = match opcode.parts[..] {
            ["vote", "sync", "all", "pred"] => VoteOp::All,
            ["vote", "sync", "any", "pred"] => VoteOp::Any,
            ["vote", "sync", "uni", "pred"] => VoteOp::Uni,
            ["vote", "sync", "ballot", "b32"] => VoteOp::Ballot,
            _ => return Err(self.unknown()),
        };
        let d = if op == VoteOp::Ballot { self.destination(d, 1)? } else { self.predicate_out(d)? };
        Ok(Op::Vote { op, d, p: self.predicate(p)?, members: self.source(members, Kind::U32)? })
    }
}
