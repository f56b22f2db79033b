//! Instructions themselves.

use super::types::{
    Access, Address, AtomicOp, BinaryOp, Comparison, Fragment, Kind, Logic, Mode, Predicate, ShuffleOp, Slot, Special,
    TernaryOp, UnaryOp, VoteOp, Where,
};
use crate::races::{Fence, Order};

/// One instruction.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Has no effect here: prefetches, requests for registers.
    Nothing,
    Fence(Fence),
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
        order: Order,
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
        releases: bool,
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
        /// Until shared memory has been read, no longer.
        read: bool,
    },
    ClusterArrive {
        releases: bool,
    },
    ClusterWait,
    Product(Product),
    ProductFence,
    /// Closes the group of the warp's products.
    ProductCommit,
    ProductWait {
        pending: u32,
    },
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
