//! Barriers of a block.

use super::cluster::{Cluster, Wrong};
use super::warp::{State, Warp};
use crate::program::Slot;

impl Cluster<'_> {
    /// Arrives at a barrier of the block, and waits there.
    pub(super) fn barrier(
        &mut self,
        warp: &mut Warp,
        mask: u32,
        id: Slot,
        threads: Option<Slot>,
        (waits, is_aligned): (bool, bool),
        statement: u32,
    ) -> Result<(), Wrong> {
        if is_aligned {
            super::step::aligned(warp, mask)?;
        } else if mask != warp.live {
            return Err(Wrong::new("a barrier of some lanes of a warp is not executed"));
        }
        let lane = mask.trailing_zeros() as usize;
        let id = warp.get(id)[lane];
        let threads = threads.map(|threads| warp.get(threads)[lane]);
        if let Some(n) = threads
            && (n == 0 || n % 32 != 0)
        {
            return Err(Wrong::new(format!("a barrier of {n} threads, which is no multiple of 32")));
        }
        let Some(barrier) = self.block().barriers.get_mut(id as usize) else {
            return Err(Wrong::new(format!("there is no barrier {id}")));
        };
        if barrier.arrived > 0 && barrier.expected != threads {
            let (a, b) = (barrier.expected, threads);
            return Err(Wrong::new(format!("barrier {id} is waited for with {a:?} and {b:?} threads")));
        }
        let first = barrier.arrived == 0;
        barrier.expected = threads;
        barrier.arrived += 32;
        if let Some(n) = threads
            && barrier.arrived > n
        {
            return Err(Wrong::new(format!("{} threads arrive at barrier {id} of {n}", barrier.arrived)));
        }
        self.watch_barrier(warp, id, first);
        if waits {
            warp.state = State::Barrier { id };
            self.count(statement, |counts| counts.barrier_waits += 1);
        }
        Ok(())
    }
}
