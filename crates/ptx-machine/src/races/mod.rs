//! Races: accesses whose order nothing in the program fixes, though this machine always runs them in the same one.
//!
//! Every warp of a cluster has a vector clock, and so has what runs beside it: `cp.async`, tensor copies, products. A
//! release (barriers, arrivals, fences followed by atomics) hands the clock on, an acquire (barriers, waits) joins it to one's
//! own. Two accesses of the same byte, one of them a write, must be ordered by these clocks, whatever the order in which
//! they happened to run. A second clock of each warp holds what proxy fences have made visible to tensor copies and
//! products.

mod barriers;
mod beside;
mod clock;
mod registers;
mod report;
mod shadow;

pub use report::{Party, Race};
pub(crate) use shadow::{Access, Means};

use barriers::Transaction;
use clock::Clock;
use registers::Registers;
use shadow::{Conflict, Shadow, View};
use std::collections::BTreeMap;

/// Knowledge of global memory: it outlives the clusters that run one after the other.
#[derive(Debug, Default)]
pub(crate) struct Global {
    shadow: Shadow,
    /// Everything released through each word that atomics, and strong loads and stores, access.
    places: BTreeMap<u64, Place>,
}

/// Everything released through a word: to the same cluster, and to the others.
#[derive(Debug, Default)]
struct Place {
    cluster: u32,
    clock: Clock,
}

/// Two accesses that are at odds, and how; the first is missing where there was none.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub reason: String,
    pub first: Option<Access>,
    pub second: Access,
}

pub(crate) type Checked = Result<(), Box<Pair>>;

/// Who does something: a warp of the cluster, lanes of it, and a statement.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    pub warp: usize,
    /// Above 31: all lanes.
    pub lane: usize,
    pub statement: u32,
}

/// A byte of memory.
#[derive(Clone, Copy)]
pub(crate) enum Spot {
    /// The block of the cluster, and the address in its shared memory.
    Shared(usize, u64),
    Global(u64),
}

/// A fence, as far as the order of memory is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// Orders memory, for the block alone or for all.
    Block,
    All,
    /// Makes ordinary stores visible to tensor copies and products.
    Proxy,
    /// Makes transaction barriers visible to tensor copies.
    BarrierInit,
}

/// The order of an atomic, or of a strong load or store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    pub strong: bool,
    pub acquire: bool,
    pub release: bool,
}

/// The order of what a cluster has done so far.
#[derive(Debug)]
pub(crate) struct Races<'g> {
    /// The number of the cluster in the grid.
    cluster: u32,
    clocks: Vec<Clock>,
    warps: Vec<Beside>,
    /// Actors that have been numbered.
    actors: u32,
    shared: Vec<Shadow>,
    global: &'g mut Global,
    /// Barriers of the blocks, by block and number.
    named: BTreeMap<(usize, u32), Clock>,
    transactions: BTreeMap<(usize, u32), Transaction>,
    /// Released by those that arrived at the cluster's barrier, and at its last phase.
    arriving: Clock,
    arrived: Clock,
    /// A fault that was found while something completed.
    found: Option<Box<Pair>>,
    /// The first read of shared memory that nobody had written by then.
    unwritten: Option<Box<Pair>>,
}

/// Work that runs beside a warp, or is under way in it.
#[derive(Debug, Default)]
struct Beside {
    /// Groups that have been closed.
    copies: u32,
    products: u32,
    /// Actors of the lanes that store tensors: for what they read, and for what they write.
    stores: BTreeMap<usize, [u32; 2]>,
    registers: Option<Registers>,
    /// The warp's clock at its last fence: for the block, and for all.
    fenced: [Clock; 2],
    /// Released through the words that atomics have read since the last fence.
    acquired: Clock,
}

impl<'g> Races<'g> {
    /// `slots`: the registers' slots, if the kernel has products of warpgroups.
    pub fn new(
        cluster: u32,
        blocks: usize,
        warps: usize,
        slots: Option<u32>,
        global: &'g mut Global,
    ) -> Box<Races<'g>> {
        let n = blocks * warps;
        let clocks = (0..n).map(|warp| {
            let mut clock = Clock::default();
            clock.raise(warp as u32, 1);
            clock
        });
        let beside = || Beside { registers: slots.map(|slots| Registers::new(slots as usize)), ..Beside::default() };
        Box::new(Races {
            cluster,
            clocks: clocks.collect(),
            warps: (0..n).map(|_| beside()).collect(),
            actors: 3 * n as u32,
            shared: (0..blocks).map(|_| Shadow::default()).collect(),
            global,
            named: BTreeMap::new(),
            transactions: BTreeMap::new(),
            arriving: Clock::default(),
            arrived: Clock::default(),
            found: None,
            unwritten: None,
        })
    }

    fn actor(&mut self) -> u32 {
        self.actors += 1;
        self.actors - 1
    }

    fn access(&self, who: Who, actor: u32, time: u32, means: Means) -> Access {
        let (warp, lane) = (who.warp as u16, who.lane.min(255) as u8);
        Access { cluster: self.cluster, actor, time, statement: who.statement, warp, lane, means }
    }

    /// An access of the warp itself.
    fn own(&self, who: Who, means: Means) -> Access {
        let actor = who.warp as u32;
        self.access(who, actor, self.clocks[who.warp].time(actor), means)
    }

    /// Sets off all that the warp does from now on from what it has released.
    fn tick(&mut self, warp: usize) {
        let next = self.clocks[warp].time(warp as u32) + 1;
        self.clocks[warp].raise(warp as u32, next);
    }

    /// Loads and stores, atomics, matrices.
    #[inline]
    pub fn ordinary(&mut self, who: Who, spot: Spot, bytes: u64, writes: bool, strong: bool) -> Checked {
        let access = self.own(who, if strong { Means::Strong } else { Means::Ordinary });
        self.touch(access, spot, bytes, writes)
    }

    #[inline]
    fn touch(&mut self, access: Access, spot: Spot, bytes: u64, writes: bool) -> Checked {
        let clock = &self.clocks[usize::from(access.warp)];
        let shared = matches!(spot, Spot::Shared(..));
        let view = View { access, clock, writes, shared };
        let result = match spot {
            Spot::Shared(rank, address) => self.shared[rank].touch(address, bytes, &view),
            Spot::Global(address) => self.global.shadow.touch(address, bytes, &view),
        };
        let unwritten = result.map_err(|(address, conflict)| explain(access, writes, shared, address, conflict))?;
        if shared && let Some(address) = unwritten {
            // Perhaps it is written later, and that is a race, which says more.
            self.unwritten.get_or_insert_with(|| {
                let reason = format!("shared memory at {address:#x} is read, which nobody wrote");
                Box::new(Pair { reason, first: None, second: access })
            });
        }
        Ok(())
    }

    pub fn fence(&mut self, warp: usize, fence: Fence) {
        match fence {
            Fence::Proxy => {
                self.clocks[warp].fence();
                self.fence_inits(warp);
            }
            Fence::BarrierInit => self.fence_inits(warp),
            Fence::Block | Fence::All => {
                let acquired = std::mem::take(&mut self.warps[warp].acquired);
                self.clocks[warp].join(&acquired);
                let clock = &self.clocks[warp];
                self.warps[warp].fenced[0] = clock.clone();
                if fence == Fence::All {
                    self.warps[warp].fenced[1] = clock.clone();
                }
            }
        }
        self.tick(warp);
    }

    /// An atomic, or a strong load or store, after its access: acquires what was released through the word, and releases
    /// through it.
    pub fn through(&mut self, warp: usize, spot: Spot, order: Order, (reads, writes): (bool, bool)) {
        let (key, scope) = match spot {
            // Global addresses have their highest bit clear.
            Spot::Shared(rank, address) => (1 << 63 | (rank as u64) << 32 | address, 0),
            Spot::Global(address) => (address, 1),
        };
        // The shared memory of other clusters has the same addresses, but nothing of it is kept.
        let place = self.global.places.entry(key).or_default();
        if place.cluster != self.cluster {
            place.cluster = self.cluster;
            let blocks = place.clock.blocks.take().filter(|_| scope == 1);
            place.clock = Clock::default();
            place.clock.blocks = blocks;
        }
        if reads {
            let into = if order.acquire { &mut self.clocks[warp] } else { &mut self.warps[warp].acquired };
            into.join(&place.clock);
        }
        if writes {
            let released = if order.release { &self.clocks[warp] } else { &self.warps[warp].fenced[scope] };
            // A store ends what atomics had released before.
            if !reads {
                place.clock = Clock::default();
            }
            place.clock.join(released);
            place.clock.publish(self.cluster, released);
        }
        if order.release {
            self.tick(warp);
        }
    }

    /// A read of shared memory that nobody had written by then, once the cluster has ended or failed otherwise.
    pub fn unwritten(&mut self) -> Option<Box<Pair>> {
        self.found.take().or(self.unwritten.take())
    }

    /// A fault that was found while something completed.
    pub fn found(&mut self) -> Checked {
        self.found.take().map_or(Ok(()), Err)
    }
}

fn explain(access: Access, writes: bool, shared: bool, address: u64, conflict: Conflict) -> Box<Pair> {
    let space = if shared { "shared" } else { "global" };
    let verb = if writes { "written" } else { "read" };
    let (what, earlier) = match conflict {
        Conflict::Unordered { earlier, wrote } => {
            let before = match (earlier.means, wrote) {
                (Means::Copy, true) => "while cp.async writes it",
                (Means::TensorLoad, true) => "while a tensor load writes it",
                (Means::TensorStore, false) => "while a tensor store reads it",
                (Means::Product, false) => "while a product reads it",
                (_, true) => "without being ordered after a write",
                (_, false) => "without being ordered after a read",
            };
            (format!("is {verb} {before}"), earlier)
        }
        Conflict::Unfenced { earlier } => {
            let by = if access.means == Means::Product { "a product" } else { "a tensor copy" };
            (format!("is {verb} by {by} without fence.proxy.async after a store"), earlier)
        }
    };
    Box::new(Pair { reason: format!("{space} memory at {address:#x} {what}"), first: Some(earlier), second: access })
}
