//! The form to which a kernel is lowered: one flat list of instructions over numbered slots.
//!
//! A slot holds 32 bits for each of a warp's 32 lanes. Registers of 64 bits take two slots that follow each other, low half
//! first; constants have slots as well. Predicates are masks of lanes, with slots of their own: 0 is false, 1 is true.

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

/// One instruction.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Has no effect here: fences, prefetches, requests for registers.
    Nothing,
    /// As `Nothing`, and all lanes of the warp must run it.
    Aligned,
    Move32 {
        d: Slot,
        a: Slot,
    },
    Move64 {
        d: Slot,
        a: Slot,
    },
    /// Moves of slots, all of which are read before one is written.
    MoveMany(Box<[(Slot, Slot)]>),
    Pack16 {
        d: Slot,
        low: Slot,
        high: Slot,
    },
    Unpack16 {
        low: Slot,
        high: Slot,
        a: Slot,
    },
    Special {
        d: Slot,
        which: Special,
        wide: bool,
    },
    Unary {
        op: UnaryOp,
        kind: Kind,
        mode: Mode,
        d: Slot,
        a: Slot,
    },
    Binary {
        op: BinaryOp,
        kind: Kind,
        mode: Mode,
        d: Slot,
        a: Slot,
        b: Slot,
    },
    Ternary {
        op: TernaryOp,
        kind: Kind,
        mode: Mode,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    /// d = b with `length` bits from `start` on replaced by those of a.
    Bfi {
        wide: bool,
        d: Slot,
        a: Slot,
        b: Slot,
        start: Slot,
        length: Slot,
    },
    Compare {
        comparison: Comparison,
        kind: Kind,
        ftz: bool,
        d: u32,
        opposite: Option<u32>,
        a: Slot,
        b: Slot,
        with: Option<(Logic, Predicate)>,
    },
    Select {
        wide: bool,
        d: Slot,
        a: Slot,
        b: Slot,
        p: Predicate,
    },
    Logic {
        op: Logic,
        d: u32,
        a: Predicate,
        b: Predicate,
    },
    Convert {
        to: Kind,
        from: Kind,
        mode: Mode,
        d: Slot,
        /// Slots of the destination register.
        d_slots: u8,
        a: Slot,
        /// The low half of a pair, where two are converted.
        low: Option<Slot>,
    },
    Load(Box<Access>),
    Store(Box<Access>),
    Atomic {
        op: AtomicOp,
        kind: Kind,
        space: Where,
        /// `None` for `red`, which has no result.
        d: Option<Slot>,
        address: Address,
        a: Slot,
        b: Slot,
    },
    Branch {
        target: u32,
        reconverge: u32,
        uniform: bool,
    },
    Return,
    Trap,
    Barrier {
        id: Slot,
        threads: Option<Slot>,
        waits: bool,
        aligned: bool,
    },
    WarpBarrier {
        members: Slot,
    },
    Shuffle {
        op: ShuffleOp,
        d: Slot,
        valid: Option<u32>,
        a: Slot,
        b: Slot,
        c: Slot,
        members: Slot,
    },
    Vote {
        op: VoteOp,
        d: Slot,
        p: Predicate,
        members: Slot,
    },
    ActiveMask {
        d: Slot,
    },
    Elect {
        d: Option<Slot>,
        p: u32,
        members: Slot,
    },
    /// Matrices of 8 x 8 elements of 16 bits, from or to shared memory.
    Matrices {
        store: bool,
        count: u8,
        transposed: bool,
        registers: [Slot; 4],
        address: Address,
    },
    CopyAsync {
        destination: Address,
        source: Address,
        bytes: u32,
        /// Bytes that are read; the others are zero.
        read: Option<Slot>,
    },
    CopyAsyncCommit,
    CopyAsyncWait {
        pending: u32,
    },
    Mma {
        fragment: Fragment,
        k: u8,
        d: [Slot; 4],
        a: [Slot; 4],
        b: [Slot; 2],
        c: [Slot; 4],
    },
    Hopper(Box<Hopper>),
}

/// Instructions of sm_90.
#[derive(Clone, Debug)]
pub(crate) enum Hopper {
    BarrierInit {
        address: Address,
        arrivals: Slot,
    },
    BarrierArrive {
        address: Address,
        count: Option<Slot>,
        bytes: Option<Slot>,
        arrives: bool,
    },
    BarrierTry {
        address: Address,
        parity: Slot,
        d: u32,
        waits: bool,
    },
    Map {
        d: Slot,
        a: Slot,
        rank: Slot,
        wide: bool,
    },
    TensorLoad {
        destination: Address,
        map: Address,
        coordinates: Vec<Slot>,
        barrier: Address,
        ranks: Option<Slot>,
    },
    TensorStore {
        map: Address,
        coordinates: Vec<Slot>,
        source: Address,
    },
    /// Closes the group of each lane's tensor stores.
    StoreCommit,
    StoreWait {
        pending: u32,
    },
    ClusterArrive,
    ClusterWait,
    Product(Product),
    /// Fence, commit or wait: products are complete when they are issued.
    ProductOrder,
}

/// A product of a warpgroup: d [64, n] += a [64, 16] b [16, n] of bf16 or f16.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub fragment: Fragment,
    pub n: u32,
    pub d: Box<[Slot]>,
    /// Registers, or a descriptor of shared memory.
    pub a: ProductA,
    pub b: Slot,
    pub accumulate: Predicate,
    pub negate_a: bool,
    pub negate_b: bool,
    pub a_mn_major: bool,
    pub b_mn_major: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum ProductA {
    Registers([Slot; 4]),
    Descriptor(Slot),
}

/// Classes of instructions that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    Integer,
    Single,
    Double,
    Half,
    /// Approximations: ex2, lg2, rcp, rsqrt, sqrt, sin, cos, tanh.
    SpecialFunction,
    Convert,
    Move,
    Predicate,
    Control,
    Load,
    Store,
    Atomic,
    /// Shuffles, votes, elections.
    Exchange,
    Barrier,
    Tensor,
    AsyncCopy,
    Fence,
}

impl Class {
    pub const ALL: [Class; 17] = [
        Class::Integer,
        Class::Single,
        Class::Double,
        Class::Half,
        Class::SpecialFunction,
        Class::Convert,
        Class::Move,
        Class::Predicate,
        Class::Control,
        Class::Load,
        Class::Store,
        Class::Atomic,
        Class::Exchange,
        Class::Barrier,
        Class::Tensor,
        Class::AsyncCopy,
        Class::Fence,
    ];
}

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

/// Where an instruction comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub opcode: String,
    pub ptx_line: u32,
    pub source: Option<(u32, u32)>,
}

/// A parameter of a kernel: where it lies among the bytes of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub offset: u32,
    pub bytes: u32,
}
