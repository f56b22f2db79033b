//! A PTX text once it is read.

use std::collections::BTreeMap;

/// A PTX text: its variables and kernels.
#[derive(Debug, Default)]
pub struct Module {
    /// The file's name, for messages.
    pub file: String,
    /// `sm_80`, `sm_90a`.
    pub target: String,
    /// CUDA source files by their number in `.loc`.
    pub files: BTreeMap<u32, String>,
    pub variables: Vec<Variable>,
    pub kernels: Vec<Kernel>,
}

/// State spaces in which variables are declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Global,
    Constant,
    Shared,
    Local,
    Parameter,
}

/// A variable of a module, of a kernel, or a parameter.
#[derive(Clone, Debug)]
pub struct Variable {
    pub space: Space,
    pub name: String,
    pub align_bytes: u32,
    /// 0 for shared memory whose size the launch gives.
    pub bytes: u32,
    /// Its first bytes; the others are zero.
    pub initial: Vec<u8>,
}

/// Width of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Predicate,
    Bits16,
    Bits32,
    Bits64,
}

/// A kernel: its parameters, its registers and its statements, one after the other.
#[derive(Debug, Default)]
pub struct Kernel {
    pub name: String,
    pub parameters: Vec<Variable>,
    /// The most threads that a block may have (`.maxntid`, `.reqntid`), 0 if it is not said.
    pub max_threads: u32,
    /// Blocks of a cluster as the text requires them, in three dimensions.
    pub cluster: Option<[u32; 3]>,
    pub registers: Vec<Width>,
    pub variables: Vec<Variable>,
    pub statements: Vec<Statement>,
    pub calls: Vec<Call>,
}

/// A place of the source, and the call at which it was inlined: file, line and column of each.
pub type Call = ([u32; 3], [u32; 3]);

/// One instruction.
#[derive(Debug)]
pub struct Statement {
    /// The line of the PTX text.
    pub line: u32,
    /// File and line of the CUDA source.
    pub source: Option<(u32, u32)>,
    /// The number of the call at which the source line was inlined.
    pub call: Option<u32>,
    pub guard: Option<Guard>,
    pub opcode: String,
    pub operands: Vec<Operand>,
}

/// The predicate before an instruction: it runs in lanes where the register is not `negated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    pub register: u32,
    pub negated: bool,
}

/// An operand of an instruction.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// An index into the kernel's registers.
    Register(u32),
    Integer(i64),
    /// The bits of a literal `0f...`.
    Single(u32),
    /// The bits of a literal `0d...`.
    Double(u64),
    /// A special register (`%tid.x`), or a variable.
    Name(String),
    /// The statement that a label stands before.
    Label(usize),
    /// `_`: the result is not wanted.
    Sink,
    Not(Box<Operand>),
    /// `a|b`: two results.
    Pair(Box<Operand>, Box<Operand>),
    List(Vec<Operand>),
    /// `[base + offset]`, and the coordinates of a tensor copy.
    Address {
        base: Box<Operand>,
        offset: i64,
        coordinates: Vec<Operand>,
    },
}
