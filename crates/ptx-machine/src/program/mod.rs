//! The form to which a kernel is lowered: one flat list of instructions over numbered slots.
//!
//! A slot holds 32 bits for each of a warp's 32 lanes. Registers of 64 bits take two slots that follow each other, low half
//! first; constants have slots as well. Predicates are masks of lanes, with slots of their own: 0 is false, 1 is true.

mod class;
mod op;
mod slots;
mod types;

pub use class::Class;
pub(crate) use op::{Hopper, Op, Product, ProductA};
pub(crate) use slots::slots_of;
pub(crate) use types::{
    Access, Address, AtomicOp, BinaryOp, Comparison, Fragment, Kind, Logic, Mode, Predicate, Round, ShuffleOp, Slot,
    Special, TernaryOp, UnaryOp, VoteOp, Where,
};

use crate::parse::Call;

#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub guard: Option<Predicate>,
    pub op: Op,
    pub class: Class,
    /// The statement it was lowered from.
    pub statement: u32,
}

/// A kernel that can be launched.
#[derive(Debug)]
pub(crate) struct Program {
    pub name: String,
    pub instructions: Vec<Instruction>,
    /// Opcode, PTX line, and file and line of the source, of each statement.
    pub statements: Vec<Origin>,
    /// Calls at which parts of the source were inlined, in the order of the text.
    pub calls: Vec<Call>,
    pub slots: u32,
    pub predicates: u32,
    /// Slots that are set before a warp starts, and their value in every lane.
    pub constants: Vec<(Slot, u32)>,
    pub parameters: Vec<Parameter>,
    pub parameter_bytes: u32,
    /// Static shared memory ends here; dynamic shared memory begins at the next multiple of `dynamic_align_bytes`.
    pub shared_end: u32,
    pub dynamic_align_bytes: u32,
    pub uses_dynamic_shared: bool,
    pub local_bytes: u32,
    pub max_threads: u32,
    pub cluster: Option<[u32; 3]>,
}

impl Program {
    /// File and line at which the kernel calls the function that a statement has been inlined from.
    pub fn caller(&self, statement: &Origin) -> Option<(u32, u32)> {
        let mut number = statement.call? as usize;
        let (_, mut call) = self.calls[number];
        // The call may have been inlined itself: where, its own line has told before.
        while let Some(before) = self.calls[..number].iter().rposition(|(at, _)| *at == call) {
            (number, call) = (before, self.calls[before].1);
        }
        Some((call[0], call[1]))
    }
}

/// Where an instruction comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub opcode: String,
    pub ptx_line: u32,
    pub source: Option<(u32, u32)>,
    /// The number of the call at which the source line was inlined.
    pub call: Option<u32>,
}

/// A parameter of a kernel: where it lies among the bytes of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub offset: u32,
    pub bytes: u32,
}
