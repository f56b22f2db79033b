//! Loads, stores, atomics, matrices and asynchronous copies.

use super::Lowering;
use super::opcode::Opcode;
use crate::error::Result;
use crate::parse::{Operand, Space, Width};
use crate::program::{Access, AtomicOp, Class, Hopper, Kind, Op, Slot, Where};
use crate::races::Order;

impl Lowering<'_> {
    pub(super) fn memory(&mut self, opcode: &Opcode, operands: &[Operand]) -> Result<()> {
        match (opcode.name(), operands) {
            ("ld" | "ldu", [d, address]) => self.access(opcode, d, address, false),
            ("st", [address, a]) => self.access(opcode, a, address, true),
            ("atom", [d, address, a, rest @ ..]) => self.atomic(opcode, Some(d), address, a, rest),
            ("red", [address, a]) => self.atomic(opcode, None, address, a, &[]),
            ("prefetch", _) => {
                self.emit(Class::Load, Op::Nothing);
                Ok(())
            }
            ("ldmatrix", [registers, address]) => self.matrices(opcode, registers, address, false),
            ("stmatrix", [address, registers]) => self.matrices(opcode, registers, address, true),
            ("cp", _) => self.copy(opcode, operands),
            _ => Err(self.unknown()),
        }
    }

    /// The state space that an opcode names, or that of the variable an address names.
    fn space(&self, opcode: &Opcode, address: &Operand) -> Where {
        for part in &opcode.parts[1..] {
            match *part {
                "global" | "const" => return Where::Global,
                "shared" | "shared::cta" | "shared::cluster" => return Where::Shared,
                "local" => return Where::Local,
                "param" | "param::entry" => return Where::Parameter,
                _ => {}
            }
        }
        match self.space_of(address) {
            Some(Space::Shared) => Where::Shared,
            Some(Space::Local) => Where::Local,
            Some(Space::Parameter) => Where::Parameter,
            Some(Space::Global | Space::Constant) => Where::Global,
            None => Where::Generic,
        }
    }

    fn access(&mut self, opcode: &Opcode, registers: &Operand, address: &Operand, store: bool) -> Result<()> {
        let kind = *opcode.kinds().last().ok_or_else(|| self.unknown())?;
        let known = [
            "global",
            "const",
            "shared",
            "shared::cta",
            "shared::cluster",
            "local",
            "param",
            "param::entry",
            "nc",
            "cg",
            "ca",
            "cs",
            "lu",
            "cv",
            "wb",
            "wt",
            "v2",
            "v4",
            "v8",
            "volatile",
            "relaxed",
            "acquire",
            "release",
            "weak",
            "cta",
            "gpu",
            "sys",
            "cluster",
            "L1::no_allocate",
            "L1::evict_last",
            "L1::evict_first",
            "L2::128B",
            "L2::256B",
            "L2::64B",
            "L1::evict_normal",
            "L1::evict_unchanged",
        ];
        if opcode.mode(&known).is_none() {
            return Err(self.unknown());
        }
        let single = std::slice::from_ref(registers);
        let list = if let Operand::List(list) = registers { list } else { single };
        let wanted = if opcode.has("v8") {
            8
        } else if opcode.has("v4") {
            4
        } else if opcode.has("v2") {
            2
        } else {
            1
        };
        if list.len() != wanted || wanted * kind.bits() as usize > 256 {
            return Err(self.unknown());
        }
        let mut slots = [u32::MAX; 8];
        let mut register_slots = kind.slots();
        for operand in list {
            if let Operand::Register(register) = operand {
                register_slots = self.slots_of(*register).unwrap_or(0);
            }
        }
        if register_slots < kind.slots() {
            return Err(self.error("a register is narrower than what is moved"));
        }
        for (slot, operand) in slots.iter_mut().zip(list) {
            *slot = match operand {
                Operand::Sink if !store => u32::MAX,
                operand if store => self.source_of(operand, register_slots, kind)?,
                operand => self.destination(operand, register_slots)?,
            };
        }
        let space = self.space(opcode, address);
        let access = Access {
            space,
            kind,
            count: wanted as u8,
            registers: slots,
            register_slots: register_slots as u8,
            order: order(opcode, false),
            address: self.address(address)?,
        };
        if store {
            self.emit(Class::Store, Op::Store(Box::new(access)));
        } else {
            self.emit(Class::Load, Op::Load(Box::new(access)));
        }
        Ok(())
    }

    fn atomic(
        &mut self,
        opcode: &Opcode,
        d: Option<&Operand>,
        address: &Operand,
        a: &Operand,
        rest: &[Operand],
    ) -> Result<()> {
        let kind = self.only_kind(opcode)?;
        let ops = [
            ("add", AtomicOp::Add),
            ("min", AtomicOp::Min),
            ("max", AtomicOp::Max),
            ("and", AtomicOp::And),
            ("or", AtomicOp::Or),
            ("xor", AtomicOp::Xor),
            ("exch", AtomicOp::Exch),
            ("cas", AtomicOp::Cas),
            ("inc", AtomicOp::Inc),
            ("dec", AtomicOp::Dec),
        ];
        let op = ops.iter().find(|(name, _)| opcode.has(name)).map(|(_, op)| *op).ok_or_else(|| self.unknown())?;
        let kinds = [Kind::U32, Kind::S32, Kind::U64, Kind::S64, Kind::F32, Kind::F64];
        if !kinds.contains(&kind) || (kind.is_float() && op != AtomicOp::Add) {
            return Err(self.unknown());
        }
        let d = d.map(|d| self.destination(d, kind.slots())).transpose()?;
        let a = self.source(a, kind)?;
        let b = match (rest, op) {
            ([b], AtomicOp::Cas) => self.source(b, kind)?,
            ([], op) if op != AtomicOp::Cas => a,
            _ => return Err(self.unknown()),
        };
        let (space, address) = (self.space(opcode, address), self.address(address)?);
        let order = order(opcode, true);
        self.emit(Class::Atomic, Op::Atomic { op, kind, space, order, d, address, a, b });
        Ok(())
    }

    fn matrices(&mut self, opcode: &Opcode, registers: &Operand, address: &Operand, store: bool) -> Result<()> {
        if !opcode.has("m8n8") || !opcode.has("b16") {
            return Err(self.unknown());
        }
        let single = std::slice::from_ref(registers);
        let list = if let Operand::List(list) = registers { list } else { single };
        let wanted = if opcode.has("x4") {
            4
        } else if opcode.has("x2") {
            2
        } else {
            1
        };
        if list.len() != wanted {
            return Err(self.unknown());
        }
        let mut slots = [0; 4];
        for (slot, operand) in slots.iter_mut().zip(list) {
            *slot = if store { self.source(operand, Kind::U32)? } else { self.destination(operand, 1)? };
        }
        let address = self.address(address)?;
        let class = if store { Class::Store } else { Class::Load };
        let transposed = opcode.has("trans");
        self.emit(class, Op::Matrices { store, count: wanted as u8, transposed, registers: slots, address });
        Ok(())
    }

    fn copy(&mut self, opcode: &Opcode, operands: &[Operand]) -> Result<()> {
        let pending = |operand: &Operand| if let Operand::Integer(n) = operand { Some(*n as u32) } else { None };
        let op = match (&opcode.parts[1..], operands) {
            (["async", "bulk", "commit_group"], []) => Op::Hopper(Box::new(Hopper::StoreCommit)),
            (["async", "bulk", "wait_group"] | ["async", "bulk", "wait_group", "read"], [n]) => {
                let pending = pending(n).ok_or_else(|| self.unknown())?;
                Op::Hopper(Box::new(Hopper::StoreWait { pending, read: opcode.has("read") }))
            }
            (["async", "commit_group"], []) => Op::CopyAsyncCommit,
            (["async", "wait_group"], [n]) => Op::CopyAsyncWait { pending: pending(n).ok_or_else(|| self.unknown())? },
            (["async", "wait_all"], []) => {
                self.emit(Class::AsyncCopy, Op::CopyAsyncCommit);
                Op::CopyAsyncWait { pending: 0 }
            }
            (["async", "ca" | "cg", "shared" | "shared::cta", "global", ..], [to, from, bytes, rest @ ..]) => {
                let bytes = pending(bytes).filter(|n| [4, 8, 16].contains(n)).ok_or_else(|| self.unknown())?;
                let read = rest.first().map(|read| self.source(read, Kind::U32)).transpose()?;
                Op::CopyAsync { destination: self.address(to)?, source: self.address(from)?, bytes, read }
            }
            (["async", "bulk", "tensor", ..], _) => self.tensor_copy(opcode, operands)?,
            _ => return Err(self.unknown()),
        };
        self.emit(Class::AsyncCopy, op);
        Ok(())
    }

    fn tensor_copy(&mut self, opcode: &Opcode, operands: &[Operand]) -> Result<Op> {
        let known = [
            "async",
            "bulk",
            "tensor",
            "1d",
            "2d",
            "3d",
            "4d",
            "5d",
            "shared::cluster",
            "shared::cta",
            "global",
            "tile",
            "mbarrier::complete_tx::bytes",
            "multicast::cluster",
            "bulk_group",
        ];
        if opcode.parts[1..].iter().any(|part| !known.contains(part)) {
            return Err(self.unknown());
        }
        let copy = match operands {
            [to, map, barrier, rest @ ..] if opcode.parts.get(5).is_some_and(|part| part.starts_with("shared")) => {
                Hopper::TensorLoad {
                    destination: self.address(to)?,
                    map: self.address(map)?,
                    coordinates: self.coordinates(map)?,
                    barrier: self.address(barrier)?,
                    ranks: rest.first().map(|ranks| self.source(ranks, Kind::U16)).transpose()?,
                }
            }
            [map, source] => Hopper::TensorStore {
                map: self.address(map)?,
                coordinates: self.coordinates(map)?,
                source: self.address(source)?,
            },
            _ => return Err(self.unknown()),
        };
        Ok(Op::Hopper(Box::new(copy)))
    }

    fn coordinates(&mut self, map: &Operand) -> Result<Vec<Slot>> {
        let Operand::Address { coordinates, .. } = map else { return Err(self.unknown()) };
        coordinates.clone().iter().map(|coordinate| self.source(coordinate, Kind::S32)).collect()
    }

    /// True for a register that is a predicate.
    pub(super) fn is_predicate(&self, operand: &Operand) -> bool {
        matches!(operand, Operand::Register(register) if self.width(*register) == Width::Predicate)
    }
}

fn order(opcode: &Opcode, atomic: bool) -> Order {
    let both = opcode.has("acq_rel");
    let (acquire, release) = (both || opcode.has("acquire"), both || opcode.has("release"));
    let strong = atomic || acquire || release || opcode.has("relaxed") || opcode.has("volatile");
    Order { strong, acquire, release }
}
