//! Parts of instructions: slots, predicates, types of operands, modifiers, operations.

use crate::races::Order;

/// A slot of registers: of 64 bits it names the first of two.
pub(crate) type Slot = u32;

/// A predicate, or its opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Predicate {
    pub slot: u32,
    pub negated: bool,
}

impl Predicate {
    pub const TRUE: Predicate = Predicate { slot: 1, negated: false };
}

/// Types of operands. Untyped bits count as unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
    F16,
    Bf16,
    F32,
    F64,
    F16x2,
    Bf16x2,
}

impl Kind {
    pub fn bits(self) -> u32 {
        match self {
            Kind::U8 | Kind::S8 => 8,
            Kind::U16 | Kind::S16 | Kind::F16 | Kind::Bf16 => 16,
            Kind::U64 | Kind::S64 | Kind::F64 => 64,
            _ => 32,
        }
    }

    /// Slots of a register that holds it.
    pub fn slots(self) -> u32 {
        self.bits().div_ceil(32)
    }

    pub fn is_signed(self) -> bool {
        matches!(self, Kind::S8 | Kind::S16 | Kind::S32 | Kind::S64)
    }

    pub fn is_float(self) -> bool {
        matches!(self, Kind::F16 | Kind::Bf16 | Kind::F32 | Kind::F64 | Kind::F16x2 | Kind::Bf16x2)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Round {
    #[default]
    Nearest,
    Zero,
    Down,
    Up,
}

/// Modifiers of arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mode {
    pub round: Round,
    /// Subnormal operands and results count as zero.
    pub ftz: bool,
    /// Floats are clamped to [0, 1].
    pub sat: bool,
    pub approx: bool,
    /// `max.NaN`, `min.NaN`: NaN if one operand is.
    pub nan: bool,
    /// Conversions only: to an integral value. It is `round` that says which.
    pub integral: bool,
    /// Conversions only: negative values become 0.
    pub relu: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnaryOp {
    Neg,
    Abs,
    Not,
    Rcp,
    Rsqrt,
    Sqrt,
    Ex2,
    Lg2,
    Sin,
    Cos,
    Tanh,
    Popc,
    Clz,
    Brev,
    /// The position of the highest bit that is set (of signed numbers, that differs from the sign).
    Bfind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    MulHi,
    /// The product in twice the bits.
    MulWide,
    Div,
    Rem,
    Min,
    Max,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    CopySign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TernaryOp {
    /// a * b + c, rounded once if they are floats.
    Fma,
    MadHi,
    MadWide,
    /// Bits of b, in bytes that c selects from (b, a).
    Prmt,
    /// The high word of (b, a) shifted left by c.
    ShfLeft,
    /// The low word of (b, a) shifted right by c.
    ShfRight,
    /// c bits of a from bit b on.
    Bfe,
    /// |a - b| + c
    Sad,
    /// a[15:0] * b[15:0] + c and its relatives are not executed; this is lop3 with its table.
    Lop3(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Unordered: true if one operand is NaN.
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    Nan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    Laneid,
    Warpid,
    ClusterCtarank,
    ClusterNctarank,
    ClusterCtaid(usize),
    ClusterNctaid(usize),
    Clusterid(usize),
    LanemaskLt,
    LanemaskLe,
    LanemaskEq,
    DynamicSharedBytes,
    Clock,
}

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Global,
    /// Shared memory of this block, or, with a rank in its high bits, of another block of the cluster.
    Shared,
    Local,
    Parameter,
    /// The address itself says.
    Generic,
}

/// An address: a register of 32 or 64 bits, and an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub base: Slot,
    pub wide: bool,
    pub offset: i64,
}

/// A load or store of `count` elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub space: Where,
    pub kind: Kind,
    pub count: u8,
    /// Slots of the registers; `u32::MAX` for `_`.
    pub registers: [Slot; 8],
    /// Slots of one register: wider than the element where a load extends it.
    pub register_slots: u8,
    pub order: Order,
    pub address: Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomicOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exch,
    Cas,
    Inc,
    Dec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShuffleOp {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteOp {
    All,
    Any,
    Uni,
    Ballot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    /// m16n8k8 or m16n8k16 of bf16.
    Bf16,
    /// The same of f16.
    F16,
}
