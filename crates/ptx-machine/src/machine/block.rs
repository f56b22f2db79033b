//! A block: its warps, shared memory and barriers.

use super::warp::{State, Warp};
use crate::program::Program;
use std::collections::BTreeMap;

/// Named barriers of a block.
pub(super) const NAMED_BARRIERS: usize = 16;

#[derive(Debug)]
pub(crate) struct Block {
    pub index: [u32; 3],
    pub shared: Vec<u8>,
    pub barriers: [NamedBarrier; NAMED_BARRIERS],
    /// Transaction barriers, by their address.
    pub transactions: BTreeMap<u32, Transaction>,
    /// `None` while it runs.
    pub warps: Vec<Option<Warp>>,
    pub done: bool,
}

/// A barrier of the block: threads that have arrived, and how many it waits for (`None`: all that have not returned).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NamedBarrier {
    pub arrived: u32,
    pub expected: Option<u32>,
}

/// A transaction barrier (mbarrier).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub arrivals: u32,
    pub missing: i64,
    pub bytes: i64,
    /// Phases that have completed.
    pub phase: u64,
}

impl Transaction {
    /// True once the phase of such a parity has completed.
    pub fn passes(&self, parity: u32) -> bool {
        self.phase & 1 != u64::from(parity & 1)
    }

    /// Begins the next phase if this one is complete.
    pub fn settle(&mut self) {
        if self.missing == 0 && self.bytes == 0 {
            self.phase += 1;
            self.missing = self.arrivals.into();
        }
    }
}

impl Block {
    pub fn new(program: &Program, index: [u32; 3], threads: u32, shared_bytes: u32) -> Block {
        let warps = (0..threads.div_ceil(32)).map(|number| {
            let lanes = (threads - 32 * number).min(32);
            Some(Warp::new(program, number, if lanes == 32 { u32::MAX } else { (1 << lanes) - 1 }))
        });
        Block {
            index,
            shared: vec![0xff; shared_bytes as usize],
            barriers: [NamedBarrier::default(); NAMED_BARRIERS],
            transactions: BTreeMap::new(),
            warps: warps.collect(),
            done: false,
        }
    }

    /// Lets the warps on whose barrier all have arrived go on, and calls `passes(barrier, warp)` for each. Hardware counts
    /// whole warps.
    pub fn release(&mut self, mut passes: impl FnMut(u32, u32)) {
        let live = self.warps.iter().flatten().filter(|warp| warp.state != State::Done).count() as u32 * 32;
        for (id, barrier) in self.barriers.iter_mut().enumerate() {
            let expected = barrier.expected.unwrap_or(live);
            if barrier.arrived == 0 || barrier.arrived < expected {
                continue;
            }
            *barrier = NamedBarrier::default();
            for warp in self.warps.iter_mut().flatten() {
                if warp.state == (State::Barrier { id: id as u32 }) {
                    warp.state = State::Ready;
                    passes(id as u32, warp.number);
                }
            }
        }
    }
}
