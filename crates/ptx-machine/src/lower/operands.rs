//! Operands become slots: registers have theirs, and every constant gets one.

use super::Lowering;
use crate::error::Result;
use crate::parse::{Operand, Space, Width};
use crate::program::{Address, Kind, Predicate, Slot};

/// Addresses of generic kind: a window for each space but global memory, far above it.
pub(crate) const SHARED_WINDOW: u64 = 0x7e00_0000_0000;
pub(crate) const LOCAL_WINDOW: u64 = 0x7d00_0000_0000;
pub(crate) const PARAMETER_WINDOW: u64 = 0x7c00_0000_0000;
pub(crate) const WINDOW_BYTES: u64 = 1 << 40;

/// True if an operand mentions a name.
pub(super) fn names(operand: &Operand, name: &str) -> bool {
    match operand {
        Operand::Name(found) => found == name,
        Operand::Address { base, .. } => names(base, name),
        Operand::List(list) => list.iter().any(|operand| names(operand, name)),
        _ => false,
    }
}

impl Lowering<'_> {
    /// The slot of a constant of one or two slots.
    pub fn constant(&mut self, bits: u64, slots: u32) -> Slot {
        let bits = if slots == 1 { bits & 0xffff_ffff } else { bits };
        if let Some(&slot) = self.constants.get(&(bits, slots)) {
            return slot;
        }
        let slot = self.slots;
        self.slots += slots;
        self.constant_values.push((slot, bits as u32));
        if slots == 2 {
            self.constant_values.push((slot + 1, (bits >> 32) as u32));
        }
        self.constants.insert((bits, slots), slot);
        slot
    }

    pub fn width(&self, register: u32) -> Width {
        self.kernel.registers[register as usize]
    }

    /// A register that is written, of such a width.
    pub fn destination(&mut self, operand: &Operand, slots: u32) -> Result<Slot> {
        match operand {
            Operand::Register(register) if self.slots_of(*register) == Some(slots) => {
                Ok(self.registers[*register as usize])
            }
            Operand::Sink => {
                let slot = self.slots;
                self.slots += slots;
                Ok(slot)
            }
            _ => Err(self.error("an operand is no register of the instruction's type")),
        }
    }

    pub fn slots_of(&self, register: u32) -> Option<u32> {
        match self.width(register) {
            Width::Predicate => None,
            Width::Bits16 | Width::Bits32 => Some(1),
            Width::Bits64 => Some(2),
        }
    }

    /// A value that is read, of such a kind.
    pub fn source(&mut self, operand: &Operand, kind: Kind) -> Result<Slot> {
        self.source_of(operand, kind.slots(), kind)
    }

    pub fn source_of(&mut self, operand: &Operand, slots: u32, kind: Kind) -> Result<Slot> {
        let bits = match operand {
            Operand::Register(register) if self.slots_of(*register) == Some(slots) => {
                return Ok(self.registers[*register as usize]);
            }
            Operand::Integer(value) => match kind {
                Kind::F32 => (*value as f32).to_bits().into(),
                Kind::F64 => (*value as f64).to_bits(),
                _ => *value as u64,
            },
            Operand::Single(bits) if kind == Kind::F64 => f64::from(f32::from_bits(*bits)).to_bits(),
            Operand::Single(bits) => (*bits).into(),
            Operand::Double(bits) if kind == Kind::F32 => (f64::from_bits(*bits) as f32).to_bits().into(),
            Operand::Double(bits) => *bits,
            Operand::Name(name) if name == "WARP_SZ" => 32,
            Operand::Name(name) => match self.symbols.get(name.as_str()) {
                Some(symbol) => symbol.address,
                None => return Err(self.error(format!("`{name}` is not declared"))),
            },
            _ => return Err(self.error("an operand is no value of the instruction's type")),
        };
        // 16-bit registers hold their value without a sign.
        let bits = if kind.bits() == 16 { bits & 0xffff } else { bits };
        Ok(self.constant(bits, slots))
    }

    pub fn predicate(&mut self, operand: &Operand) -> Result<Predicate> {
        match operand {
            Operand::Register(register) if self.width(*register) == Width::Predicate => {
                Ok(Predicate { slot: self.registers[*register as usize], negated: false })
            }
            Operand::Not(inner) => {
                let inner = self.predicate(inner)?;
                Ok(Predicate { negated: !inner.negated, ..inner })
            }
            Operand::Integer(value) => Ok(Predicate { slot: (*value != 0).into(), negated: false }),
            _ => Err(self.error("an operand is no predicate")),
        }
    }

    /// A predicate that is written.
    pub fn predicate_out(&mut self, operand: &Operand) -> Result<u32> {
        if *operand == Operand::Sink {
            self.predicates += 1;
            return Ok(self.predicates - 1);
        }
        Ok(self.predicate(operand)?.slot)
    }

    /// `[register + offset]`, or `[variable + offset]`.
    pub fn address(&mut self, operand: &Operand) -> Result<Address> {
        let Operand::Address { base, offset, .. } = operand else {
            return Err(self.error("an operand is no address"));
        };
        let wide = match &**base {
            Operand::Register(register) => self.slots_of(*register) == Some(2),
            _ => true,
        };
        let slots = if wide { 2 } else { 1 };
        let base = self.source_of(base, slots, if wide { Kind::U64 } else { Kind::U32 })?;
        Ok(Address { base, wide, offset: *offset })
    }

    /// The space of the variable that an operand names.
    pub fn space_of(&self, operand: &Operand) -> Option<Space> {
        match operand {
            Operand::Name(name) => Some(self.symbols.get(name.as_str())?.space),
            Operand::Address { base, .. } => self.space_of(base),
            _ => None,
        }
    }
}
