//! Classes by which instructions are counted.

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
