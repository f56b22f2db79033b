//! Barriers hand clocks on: those of a block, of a cluster, and transaction barriers with their phases.

use super::clock::Clock;
use super::{Access, Checked, Means, Pair, Races, Spot, Who};

/// A transaction barrier.
#[derive(Debug)]
pub(super) struct Transaction {
    /// Made by whom, and fenced by whom for tensor copies.
    init: Access,
    fenced: Option<(u32, u32)>,
    /// The actor that its tensor loads are; its time is the phase, from 1 on.
    actor: u32,
    phase: u32,
    /// Released by the arrivals of this phase.
    arriving: Clock,
    /// Everything without which this phase would not be complete.
    cause: Clock,
    /// Known to those who have seen the last phase complete.
    complete: Clock,
    /// The last access that this phase needs.
    last: Option<Access>,
    /// The last access that the phase before needed.
    last_before: Option<Access>,
    /// Who has seen the last phase complete, by warp.
    passed: Vec<Access>,
}

impl Races<'_> {
    /// A warp arrives at a barrier of its block; the first one of a phase forgets the phase before.
    pub fn arrive_block(&mut self, warp: usize, rank: usize, id: u32, first: bool) {
        let clock = self.named.entry((rank, id)).or_default();
        if first {
            *clock = Clock::default();
        }
        clock.join(&self.clocks[warp]);
        self.tick(warp);
    }

    pub fn pass_block(&mut self, warp: usize, rank: usize, id: u32) {
        if let Some(clock) = self.named.get(&(rank, id)) {
            self.clocks[warp].join(clock);
        }
    }

    pub fn arrive_cluster(&mut self, warp: usize, releases: bool) {
        if releases {
            self.arriving.join(&self.clocks[warp]);
            self.tick(warp);
        }
    }

    /// All have arrived at the cluster's barrier.
    pub fn complete_cluster(&mut self) {
        self.arrived = std::mem::take(&mut self.arriving);
    }

    pub fn pass_cluster(&mut self, warp: usize) {
        self.clocks[warp].join(&self.arrived);
    }

    /// A transaction barrier is made.
    pub fn init(&mut self, who: Who, rank: usize, address: u32) -> Checked {
        self.ordinary(who, Spot::Shared(rank, address.into()), 8, true, false)?;
        let (init, actor) = (self.own(who, Means::Ordinary), self.actor());
        let transaction = Transaction {
            init,
            fenced: None,
            actor,
            phase: 0,
            arriving: Clock::default(),
            cause: Clock::default(),
            complete: Clock::default(),
            last: None,
            last_before: None,
            passed: Vec::new(),
        };
        self.transactions.insert((rank, address), transaction);
        Ok(())
    }

    /// A fence makes the barriers that the warp knows of visible to tensor copies.
    pub(super) fn fence_inits(&mut self, warp: usize) {
        let clock = &self.clocks[warp];
        let now = (warp as u32, clock.time(warp as u32));
        for transaction in self.transactions.values_mut() {
            if transaction.fenced.is_none() && clock.knows(transaction.init.actor, transaction.init.time) {
                transaction.fenced = Some(now);
            }
        }
    }

    /// A barrier may be used once it is known that it was made.
    fn use_transaction(&self, who: Who, rank: usize, address: u32, means: Means) -> Checked {
        let Some(transaction) = self.transactions.get(&(rank, address)) else { return Ok(()) };
        let (clock, init) = (&self.clocks[who.warp], transaction.init);
        let what = if !clock.knows(init.actor, init.time) {
            "is used without being ordered after it was made"
        } else if means == Means::TensorLoad
            && !clock.knows_fenced(init.actor, init.time)
            && !transaction.fenced.is_some_and(|(actor, time)| clock.knows(actor, time))
        {
            "is used by a tensor copy without fence.mbarrier_init or fence.proxy.async after it was made"
        } else {
            return Ok(());
        };
        let reason = format!("the transaction barrier at {address:#x} {what}");
        Err(Box::new(Pair { reason, first: Some(init), second: self.own(who, means) }))
    }

    /// A warp arrives, or announces bytes.
    pub fn arrive(&mut self, who: Who, rank: usize, address: u32, releases: bool) -> Checked {
        self.use_transaction(who, rank, address, Means::Ordinary)?;
        let access = self.own(who, Means::Ordinary);
        let Some(transaction) = self.transactions.get_mut(&(rank, address)) else { return Ok(()) };
        let clock = &self.clocks[who.warp];
        if releases {
            transaction.arriving.join(clock);
        }
        transaction.cause.join(clock);
        transaction.last = Some(access);
        self.tick(who.warp);
        Ok(())
    }

    /// A tensor load is issued: it writes shared memory of a block, and then tells the barrier there.
    pub fn tensor_load(
        &mut self,
        who: Who,
        (rank, address): (usize, u32),
        chunks: impl Iterator<Item = (u64, Option<(u64, u64)>)>,
    ) -> Checked {
        self.use_transaction(who, rank, address, Means::TensorLoad)?;
        let Some(transaction) = self.transactions.get(&(rank, address)) else { return Ok(()) };
        let access = self.access(who, transaction.actor, transaction.phase + 1, Means::TensorLoad);
        for (to, from) in chunks {
            if let Some((from, bytes)) = from {
                self.touch(access, Spot::Global(from), bytes, false)?;
            }
            self.touch(access, Spot::Shared(rank, to), 16, true)?;
        }
        if let Some(transaction) = self.transactions.get_mut(&(rank, address)) {
            transaction.cause.join(&self.clocks[who.warp]);
            transaction.last = Some(access);
        }
        self.tick(who.warp);
        Ok(())
    }

    /// A phase is complete. Whoever waits for the phase before must have seen it by now, whatever the order in which warps
    /// run: later, the parity would tell of a phase that is to come.
    pub fn complete(&mut self, rank: usize, address: u32) {
        let cluster = self.cluster;
        let Some(transaction) = self.transactions.get_mut(&(rank, address)) else { return };
        let cause = std::mem::take(&mut transaction.cause);
        let passed = std::mem::take(&mut transaction.passed);
        transaction.complete.join(&std::mem::take(&mut transaction.arriving));
        transaction.phase += 1;
        transaction.complete.raise(transaction.actor, transaction.phase);
        let last = transaction.last.take();
        transaction.last_before = last;
        if let Some(late) = passed.into_iter().find(|late| !late.is_before(cluster, &cause))
            && let Some(second) = last
        {
            let reason = late_reason(address);
            self.found.get_or_insert(Box::new(Pair { reason, first: Some(late), second }));
        }
    }

    /// A warp asks for a phase of such a parity. Going by what it knows of the barrier, that is one certain phase; the next
    /// one must not be complete.
    pub fn ask(&self, who: Who, rank: usize, address: u32, parity: u32) -> Checked {
        let Some(transaction) = self.transactions.get(&(rank, address)) else { return Ok(()) };
        let known = self.clocks[who.warp].time(transaction.actor);
        let is_known = known & 1 != parity & 1;
        let complete_after = if is_known { known } else { known + 1 };
        if transaction.phase <= complete_after {
            return Ok(());
        }
        let (first, second) = (transaction.last_before, self.own(who, Means::Ordinary));
        Err(Box::new(Pair { reason: late_reason(address), first, second }))
    }

    /// A warp sees that a phase is complete.
    pub fn pass(&mut self, who: Who, rank: usize, address: u32) -> Checked {
        self.use_transaction(who, rank, address, Means::Ordinary)?;
        let access = self.own(who, Means::Ordinary);
        let Some(transaction) = self.transactions.get_mut(&(rank, address)) else { return Ok(()) };
        self.clocks[who.warp].join(&transaction.complete);
        transaction.passed.retain(|other| other.warp != access.warp);
        transaction.passed.push(access);
        Ok(())
    }
}

fn late_reason(address: u32) -> String {
    format!(
        "a phase of the transaction barrier at {address:#x} may complete before a warp that waits for the phase before has seen that"
    )
}
