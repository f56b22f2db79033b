//! Work that runs beside a warp: copies and tensor stores in groups, and products with their registers.

use super::registers::Misuse;
use super::{Access, Checked, Means, Pair, Races, Spot, Who};

impl Races<'_> {
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

    fn misused(&self, who: Who, means: Means, result: Result<(), Misuse>) -> Checked {
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
}
