//! Tells `crate::races` what happens, where races are looked for.

use super::cluster::{Cluster, Wrong};
use super::warp::{State, Warp, WideLanes, lanes_of};
use crate::error::Error;
use crate::program::{Hopper, Instruction, Product, ProductA, Where, slots_of};
use crate::races::{Access, Fence, Order, Pair, Party, Race, Spot, Who};
use crate::tensor::{self, TensorMap};

impl Cluster<'_> {
    /// The number of the running warp in the cluster.
    pub(super) fn watched(&self, warp: &Warp) -> usize {
        self.rank * self.blocks[self.rank].warps.len() + warp.number as usize
    }

    fn spot(&self, lane: usize, space: Where, address: u64) -> Result<Option<Spot>, Wrong> {
        Ok(match space {
            Where::Global => Some(Spot::Global(address)),
            Where::Shared => {
                let (rank, at) = self.owner(address).map_err(|reason| Wrong::in_lane(lane, reason))?;
                Some(Spot::Shared(rank, at))
            }
            _ => None,
        })
    }

    /// Loads, stores and matrices of the lanes of a mask, all in one space.
    pub(super) fn watch(
        &mut self,
        warp: &Warp,
        mask: u32,
        space: Where,
        addresses: &WideLanes,
        (bytes, writes, order): (u64, bool, Order),
        statement: u32,
    ) -> Result<(), Wrong> {
        if !matches!(space, Where::Global | Where::Shared) {
            return Ok(());
        }
        let number = self.watched(warp);
        for lane in lanes_of(mask) {
            let Some(spot) = self.spot(lane, space, addresses[lane])? else { continue };
            let Some(races) = &mut self.races else { return Ok(()) };
            races.ordinary(Who { warp: number, lane, statement }, spot, bytes, writes, order.strong)?;
            if order.strong {
                races.through(number, spot, order, (!writes, writes));
            }
        }
        Ok(())
    }

    pub(super) fn watch_atomic(
        &mut self,
        warp: &Warp,
        mask: u32,
        addresses: &WideLanes,
        (space, bytes, order): (Where, u64, Order),
        reads: bool,
        statement: u32,
    ) -> Result<(), Wrong> {
        let (parts, addresses) = Self::parts(space, *addresses, mask, bytes)?;
        let number = self.watched(warp);
        for (space, mask) in parts {
            for lane in lanes_of(mask) {
                let Some(spot) = self.spot(lane, space, addresses[lane])? else { continue };
                let Some(races) = &mut self.races else { return Ok(()) };
                let who = Who { warp: number, lane, statement };
                races.ordinary(who, spot, bytes, false, true)?;
                races.ordinary(who, spot, bytes, true, true)?;
                // Also one whose result is not wanted carries on what others have released.
                races.through(number, spot, Order { acquire: order.acquire && reads, ..order }, (true, true));
            }
        }
        Ok(())
    }

    pub(super) fn watch_registers(&mut self, warp: &Warp, mask: u32, instruction: &Instruction) -> Result<(), Wrong> {
        let number = self.watched(warp);
        let Some(races) = self.races.as_mut().filter(|races| races.watches_registers()) else { return Ok(()) };
        let who = Who { warp: number, lane: mask.trailing_zeros() as usize, statement: instruction.statement };
        slots_of(&instruction.op, |slot, slots, writes| races.registers(who, slot, slots, writes))?;
        Ok(())
    }

    pub(super) fn watch_fence(&mut self, warp: &Warp, fence: Fence) {
        let number = self.watched(warp);
        if let Some(races) = &mut self.races {
            races.fence(number, fence);
        }
    }

    pub(super) fn watch_barrier(&mut self, warp: &Warp, id: u32, first: bool) {
        let (number, rank) = (self.watched(warp), self.rank);
        if let Some(races) = &mut self.races {
            races.arrive_block(number, rank, id, first);
        }
    }

    /// Lets those that wait at a block's barriers go on.
    pub(super) fn release_block(&mut self, rank: usize) {
        let warps = self.blocks[rank].warps.len();
        let races = &mut self.races;
        self.blocks[rank].release(|id, warp| {
            if let Some(races) = races {
                races.pass_block(rank * warps + warp as usize, rank, id);
            }
        });
    }

    pub(super) fn watch_cluster(&mut self, warp: &Warp) {
        let number = self.watched(warp);
        if let Some(races) = &mut self.races {
            races.pass_cluster(number);
        }
    }

    pub(super) fn watch_arrival(&mut self, who: Who, rank: usize, address: u32, releases: bool) -> Result<(), Wrong> {
        if let Some(races) = &mut self.races {
            races.arrive(who, rank, address, releases)?;
        }
        Ok(())
    }

    /// A phase of a transaction barrier has completed.
    pub(super) fn watch_phase(&mut self, rank: usize, address: u32) -> Result<(), Wrong> {
        if let Some(races) = &mut self.races {
            races.complete(rank, address);
            races.found()?;
        }
        Ok(())
    }

    pub(super) fn watch_try(
        &mut self,
        warp: &Warp,
        lane: usize,
        (rank, address, parity): (usize, u32, u32),
        passes: bool,
        statement: u32,
    ) -> Result<(), Wrong> {
        let who = Who { warp: self.watched(warp), lane, statement };
        if let Some(races) = &mut self.races {
            races.found()?;
            races.ask(who, rank, address, parity)?;
            if passes {
                races.pass(who, rank, address)?;
            }
        }
        Ok(())
    }

    /// A race that is the reason for a deadlock: a warp waits for a phase that went by without it.
    pub(super) fn watch_deadlock(&mut self) -> Option<Error> {
        let races = self.races.as_ref()?;
        for (rank, block) in self.blocks.iter().enumerate() {
            for warp in block.warps.iter().flatten() {
                let State::Transaction { rank: of, address, parity } = warp.state else { continue };
                let number = rank * block.warps.len() + warp.number as usize;
                let statement = self.run.program.instructions[warp.at as usize].statement;
                if let Err(pair) = races.ask(Who { warp: number, lane: 0, statement }, of, address, parity) {
                    return Some(self.race(*pair));
                }
            }
        }
        None
    }

    /// Closes the group of copies, or waits for all but some.
    pub(super) fn watch_copies(&mut self, warp: &Warp, pending: Option<u32>) {
        let number = self.watched(warp);
        if let Some(races) = &mut self.races {
            match pending {
                None => races.commit_copies(number),
                Some(pending) => races.wait_copies(number, pending),
            }
        }
    }

    pub(super) fn watch_copy(
        &mut self,
        warp: &Warp,
        lane: usize,
        from: Option<u64>,
        to: u64,
        bytes: u64,
        statement: u32,
    ) -> Result<(), Wrong> {
        let place = self.owner(to).map_err(|reason| Wrong::in_lane(lane, reason))?;
        let who = Who { warp: self.watched(warp), lane, statement };
        if let Some(races) = &mut self.races {
            races.copy(who, from, place, bytes)?;
        }
        Ok(())
    }

    pub(super) fn watch_store(
        &mut self,
        warp: &Warp,
        lane: usize,
        (map, corner): (&TensorMap, &[i32]),
        (rank, address): (usize, u32),
        statement: u32,
    ) -> Result<(), Wrong> {
        let who = Who { warp: self.watched(warp), lane, statement };
        let closed = warp.store_groups[lane];
        let Some(races) = &mut self.races else { return Ok(()) };
        let mut race = Ok(());
        let walked = map.chunks(corner, address, |from, to, begin, end| {
            if begin < end && race.is_ok() {
                let (to, bytes) = (to + begin as u64, (end - begin) as u64);
                race = races.tensor_store(who, closed, (rank, from.into()), to, bytes);
            }
            Ok(())
        });
        walked.map_err(|reason| Wrong::in_lane(lane, reason))?;
        Ok(race?)
    }

    pub(super) fn watch_product(&mut self, warp: &Warp, product: &Product, statement: u32) -> Result<(), Wrong> {
        let who = Who { warp: self.watched(warp), lane: usize::MAX, statement };
        let rank = self.rank;
        let Some(races) = &mut self.races else { return Ok(()) };
        let mut race = Ok(());
        let walked = tensor::product_reads(warp, &self.blocks[rank].shared, product, |address| {
            if race.is_ok() {
                race = races.product_reads(who, rank, address.into());
            }
        });
        walked.map_err(Wrong::new)?;
        race?;
        let a = if let ProductA::Registers(a) = &product.a { &a[..] } else { &[] };
        races.product(who, product.n, &product.d, a)?;
        Ok(())
    }

    pub(super) fn watch_product_order(&mut self, warp: &Warp, op: &Hopper) {
        let number = self.watched(warp);
        let Some(races) = &mut self.races else { return };
        match op {
            Hopper::ProductFence => races.fence_products(number),
            Hopper::ProductCommit => races.commit_products(number),
            Hopper::ProductWait { pending } => races.wait_products(number, *pending),
            _ => {}
        }
    }

    /// The cluster has ended.
    pub(super) fn end_watch(&mut self) -> Result<(), Error> {
        match self.races.as_mut().and_then(|races| races.unwritten()) {
            Some(pair) => Err(self.race(*pair)),
            None => Ok(()),
        }
    }

    /// Names the accesses of a race.
    pub(super) fn race(&self, pair: Pair) -> Error {
        let Pair { reason, first, second } = pair;
        let (first, second) = (first.map(|access| self.party(access)), self.party(second));
        Error::Race(Box::new(Race { kernel: self.run.program.name.clone(), reason, first, second }))
    }

    fn party(&self, access: Access) -> Party {
        let (launch, program) = (self.run.launch, self.run.program);
        let clusters: [u32; 3] = std::array::from_fn(|axis| launch.grid[axis] / launch.cluster[axis]);
        let warps = self.blocks[0].warps.len() as u32;
        let (rank, warp) = (u32::from(access.warp) / warps, u32::from(access.warp) % warps);
        let place = |index: u32, [x, y, _]: [u32; 3]| [index % x, index / x % y, index / (x * y)];
        let (first, inside) = (place(access.cluster, clusters), place(rank, launch.cluster));
        let origin = &program.statements[access.statement as usize];
        Party {
            block: std::array::from_fn(|axis| first[axis] * launch.cluster[axis] + inside[axis]),
            warp,
            lane: (access.lane < 32).then_some(access.lane.into()),
            source: self.run.module.place(origin.source),
            caller: self.run.module.place(program.caller(origin)),
            ptx_line: origin.ptx_line,
            opcode: origin.opcode.clone(),
        }
    }
}
