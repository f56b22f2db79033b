//! Races: accesses whose order nothing in the program fixes, though this machine always runs them in the same one.
//!
//! Every warp of a cluster has a vector clock, and so has what runs beside it: `cp.async`, tensor copies, products. A
//! release (barriers, arrivals, fences followed by atomics) hands the clock on, an acquire (barriers, waits) joins it to one's
//! own. Two accesses of the same byte, one of them a write, must be ordered by these clocks, whatever the order in which
//! they happened to run. A second clock of each warp holds what proxy fences have made visible to tensor copies and
//! products.

mod barriers;
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

/// What is known of global memory: it outlives the clusters that run one after the other.
#[derive(Debug, Default)]
pub(crate) struct Global {
    shadow: Shadow,
    /// What has been released through each word that atomics, and strong loads and stores, access.
    places: BTreeMap<u64, Place>,
}

/// What has been released through a word: to the same cluster, and to the others.
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
    /// Of memory, for the block alone or for all.
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
    /// What those have released that arrived at the cluster's barrier, and at its last phase.
    arriving: Clock,
    arrived: Clock,
    /// A fault that was found while something completed.
    found: Option<Box<Pair>>,
    /// The first read of shared memory that nobody had written by then.
    unwritten: Option<Box<Pair>>,
}

/// What runs beside a warp, or is under way in it.
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
    /// What atomics have read since the last fence.
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

    /// What the warp does from now on comes after what it has released.
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

    /// A copy by `cp.async`, of the group that is open.
    pub fn copy(&mut self, who: Who, from: Option<u64>, (rank, to): (usize, u64), bytes: u64) -> Checked {
        let time = self.warps[who.warp].copies + 1;
        let access = self.access(who, (self.clocks.len() + who.warp) as u32, time, Means::Copy);
        if let Some(from) = from {
            self.touch(access, Spot::Global(from), bytes, false)?;
        }
        self.touch(access, Spot::Shared(rank, to), bytes, true)
    }

    pub fn commit_copies(&mut self, warp: usize) {
        self.warps[warp].copies += 1;
    }

    pub fn wait_copies(&mut self, warp: usize, pending: u32) {
        let actor = (self.clocks.len() + warp) as u32;
        let complete = self.warps[warp].copies.saturating_sub(pending);
        self.clocks[warp].raise(actor, complete);
    }

    fn product_actor(&self, warp: usize) -> u32 {
        (2 * self.clocks.len() + warp) as u32
    }

    /// A product reads 16 bytes of shared memory.
    pub fn product_reads(&mut self, who: Who, rank: usize, address: u64) -> Checked {
        let time = self.warps[who.warp].products + 1;
        let access = self.access(who, self.product_actor(who.warp), time, Means::Product);
        self.touch(access, Spot::Shared(rank, address), 16, false)
    }

    /// A product of n columns into registers d, with fragments of a in others.
    pub fn product(&mut self, who: Who, n: u32, d: &[u32], a: &[u32]) -> Checked {
        let beside = &mut self.warps[who.warp];
        let group = beside.products + 1;
        let registers = beside.registers.as_mut().expect("the kernel has products");
        let result = registers.product(group, n, d, a, who.statement);
        self.misused(who, Means::Product, result)
    }

    /// False while registers need not be watched.
    pub fn watches_registers(&self) -> bool {
        self.warps[0].registers.is_some()
    }

    /// An ordinary instruction reads or writes slots.
    pub fn registers(&mut self, who: Who, slot: u32, slots: u32, writes: bool) -> Checked {
        for slot in slot..slot + slots {
            if let Some(registers) = &mut self.warps[who.warp].registers {
                let result = registers.use_slot(slot, writes, who.statement);
                self.misused(who, Means::Ordinary, result)?;
            }
        }
        Ok(())
    }

    fn misused(&self, who: Who, means: Means, result: Result<(), registers::Misuse>) -> Checked {
        result.map_err(|(reason, statement)| {
            let second = self.own(who, means);
            let first = (statement != who.statement).then_some(Access { statement, lane: u8::MAX, ..second });
            Box::new(Pair { reason: reason.to_owned(), first, second })
        })
    }

    pub fn fence_products(&mut self, warp: usize) {
        if let Some(registers) = &mut self.warps[warp].registers {
            registers.fence();
        }
    }

    pub fn commit_products(&mut self, warp: usize) {
        self.warps[warp].products += 1;
    }

    pub fn wait_products(&mut self, warp: usize, pending: u32) {
        let complete = self.warps[warp].products.saturating_sub(pending);
        let actor = self.product_actor(warp);
        self.clocks[warp].raise(actor, complete);
        if let Some(registers) = &mut self.warps[warp].registers {
            registers.wait(complete);
        }
    }

    fn store_actors(&mut self, warp: usize, lane: usize) -> [u32; 2] {
        if let Some(actors) = self.warps[warp].stores.get(&lane) {
            return *actors;
        }
        let actors = [self.actor(), self.actor()];
        self.warps[warp].stores.insert(lane, actors);
        actors
    }

    /// A tensor store, of the group after those that its lane has closed, reads 16 bytes and writes some of them.
    pub fn tensor_store(&mut self, who: Who, closed: u32, (rank, from): (usize, u64), to: u64, bytes: u64) -> Checked {
        let [reads, writes] = self.store_actors(who.warp, who.lane);
        let access = self.access(who, reads, closed + 1, Means::TensorStore);
        self.touch(access, Spot::Shared(rank, from), 16, false)?;
        self.touch(Access { actor: writes, ..access }, Spot::Global(to), bytes, true)
    }

    /// A lane waits until all but the last `pending` of the groups that it has closed have read shared memory, or, unless
    /// it is for that alone, have written global memory.
    pub fn wait_stores(&mut self, warp: usize, lane: usize, closed: u32, pending: u32, read: bool) {
        let [reads, writes] = self.store_actors(warp, lane);
        let complete = closed.saturating_sub(pending);
        self.clocks[warp].raise(reads, complete);
        if !read {
            self.clocks[warp].raise(writes, complete);
        }
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
