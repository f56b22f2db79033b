//! Transaction barriers, tensor copies, clusters and products of warpgroups.

use super::access::RANK_SHIFT;
use super::block::Transaction;
use super::cluster::{Cluster, PendingLoad, Wrong};
use super::step::aligned;
use super::warp::{PendingStore, State, Warp, lanes_of};
use crate::lower::{PARAMETER_WINDOW, RESERVED_SHARED_BYTES};
use crate::program::{Address, Hopper, Slot};
use crate::races::Who;
use crate::tensor::{self, TensorMap};

impl Cluster<'_> {
    pub(super) fn hopper(&mut self, warp: &mut Warp, mask: u32, op: &Hopper, statement: u32) -> Result<(), Wrong> {
        let watched = self.watched(warp);
        if let Some(races) = &mut self.races {
            races.found()?;
        }
        match op {
            Hopper::BarrierInit { address, arrivals } => {
                let (addresses, arrivals) = (warp.addresses(address), *warp.get(*arrivals));
                for lane in lanes_of(mask) {
                    let (rank, at) = self.barrier_address(lane, addresses[lane])?;
                    let n = arrivals[lane];
                    if n == 0 || n >= 1 << 20 {
                        return Err(Wrong::in_lane(lane, format!("a transaction barrier of {n} arrivals")));
                    }
                    let barrier = Transaction { arrivals: n, missing: n.into(), bytes: 0, phase: 0 };
                    self.blocks[rank].transactions.insert(at, barrier);
                    if let Some(races) = &mut self.races {
                        races.init(Who { warp: watched, lane, statement }, rank, at)?;
                    }
                }
            }
            Hopper::BarrierArrive { address, count, bytes, arrives, releases } => {
                let addresses = warp.addresses(address);
                let count = count.map(|count| *warp.get(count));
                let bytes = bytes.map(|bytes| *warp.get(bytes));
                for lane in lanes_of(mask) {
                    if self.races.is_some() {
                        let (rank, at) = self.barrier_address(lane, addresses[lane])?;
                        self.watch_arrival(Who { warp: watched, lane, statement }, rank, at, *releases)?;
                    }
                    let barrier = self.transaction(lane, addresses[lane])?;
                    let phase = barrier.phase;
                    barrier.bytes += bytes.map_or(0, |bytes| i64::from(bytes[lane]));
                    if *arrives {
                        barrier.missing -= count.map_or(1, |count| i64::from(count[lane]));
                        if barrier.missing < 0 {
                            let n = barrier.arrivals;
                            return Err(Wrong::in_lane(lane, format!("more than {n} arrivals in a phase")));
                        }
                        barrier.settle();
                    }
                    if self.races.is_some() && self.transaction(lane, addresses[lane])?.phase != phase {
                        let (rank, at) = self.barrier_address(lane, addresses[lane])?;
                        self.watch_phase(rank, at)?;
                    }
                }
            }
            Hopper::BarrierTry { address, parity, d, waits } => {
                self.try_barrier(warp, mask, address, *parity, *d, *waits, statement)?;
            }
            Hopper::Map { d, a, rank, wide } => {
                let slots = if *wide { 2 } else { 1 };
                let (a, rank) = (warp.get_any(*a, slots), *warp.get(*rank));
                let mut out = [0; 32];
                for lane in lanes_of(mask) {
                    if rank[lane] as usize >= self.blocks.len() {
                        return Err(Wrong::in_lane(lane, format!("the cluster has no block {}", rank[lane])));
                    }
                    out[lane] = a[lane] & ((1 << RANK_SHIFT) - 1) | u64::from(rank[lane] + 1) << RANK_SHIFT;
                }
                warp.set_any(*d, slots, mask, &out);
            }
            Hopper::TensorLoad { destination, map, coordinates, barrier, ranks } => {
                for lane in lanes_of(mask) {
                    let loaded =
                        self.tensor_load(warp, lane, (destination, map, barrier), coordinates, *ranks, statement)?;
                    self.count(statement, |counts| counts.tensor_copy_bytes += loaded);
                }
            }
            Hopper::TensorStore { map, coordinates, source } => {
                for lane in lanes_of(mask) {
                    let stored = self.tensor_store(warp, lane, map, coordinates, source, statement)?;
                    self.count(statement, |counts| counts.tensor_copy_bytes += stored);
                }
            }
            Hopper::StoreCommit => {
                for lane in lanes_of(mask) {
                    warp.store_groups[lane] += 1;
                }
            }
            Hopper::StoreWait { pending, read } => {
                self.wait_stores(warp, mask, *pending)?;
                if let Some(races) = &mut self.races {
                    for lane in lanes_of(mask) {
                        races.wait_stores(watched, lane, warp.store_groups[lane], *pending, *read);
                    }
                }
            }
            Hopper::ClusterArrive { releases } => {
                if let Some(races) = &mut self.races {
                    races.arrive_cluster(watched, *releases);
                }
                warp.cluster_phase = self.phase;
                self.arrived += mask.count_ones();
            }
            Hopper::ClusterWait => {
                if self.phase == warp.cluster_phase {
                    warp.state = State::Cluster { phase: warp.cluster_phase };
                    self.count(statement, |counts| counts.cluster_waits += 1);
                } else {
                    self.watch_cluster(warp);
                }
            }
            Hopper::Product(product) => {
                aligned(warp, mask)?;
                if mask != u32::MAX {
                    return Err(Wrong::new("a warpgroup's product by a warp that lacks lanes"));
                }
                if self.races.is_some() {
                    self.watch_product(warp, product, statement)?;
                }
                let shared = &self.blocks[self.rank].shared;
                tensor::product(warp, shared, product).map_err(Wrong::new)?;
                // A warp's quarter of the 64 rows.
                self.count(statement, |counts| counts.tensor_flops += 2 * 16 * 16 * u64::from(product.n));
            }
            Hopper::ProductFence | Hopper::ProductCommit | Hopper::ProductWait { .. } => {
                aligned(warp, mask)?;
                self.watch_product_order(warp, op);
            }
        }
        Ok(())
    }

    /// The block and the place of a transaction barrier.
    fn barrier_address(&self, lane: usize, address: u64) -> Result<(usize, u32), Wrong> {
        let (rank, at) = self.owner(address).map_err(|reason| Wrong::in_lane(lane, reason))?;
        let size = self.blocks[rank].shared.len() as u64;
        if !at.is_multiple_of(8) || at < RESERVED_SHARED_BYTES.into() || at + 8 > size {
            return Err(Wrong::in_lane(lane, format!("there is no room for a transaction barrier at {at:#x}")));
        }
        Ok((rank, at as u32))
    }

    fn transaction(&mut self, lane: usize, address: u64) -> Result<&mut Transaction, Wrong> {
        let (rank, at) = self.barrier_address(lane, address)?;
        let barrier = self.blocks[rank].transactions.get_mut(&at);
        barrier.ok_or_else(|| Wrong::in_lane(lane, format!("the transaction barrier at {at:#x} was not initialised")))
    }

    #[expect(clippy::too_many_arguments, reason = "an instruction's fields")]
    fn try_barrier(
        &mut self,
        warp: &mut Warp,
        mask: u32,
        address: &Address,
        parity: Slot,
        d: u32,
        waits: bool,
        statement: u32,
    ) -> Result<(), Wrong> {
        let (addresses, parity) = (warp.addresses(address), *warp.get(parity));
        let mut passed = 0;
        for lane in lanes_of(mask) {
            self.transaction(lane, addresses[lane])?;
            let (rank, at) = self.barrier_address(lane, addresses[lane])?;
            let passes = self.passes_transaction(rank, at, parity[lane]);
            passed |= u32::from(passes) << lane;
            if self.races.is_some() {
                self.watch_try(warp, lane, (rank, at, parity[lane]), passes, statement)?;
            }
        }
        if passed == 0 && waits {
            // The warp sleeps until the first lane's barrier is passed, and then tries again.
            let lane = mask.trailing_zeros() as usize;
            let (rank, at) = self.barrier_address(lane, addresses[lane])?;
            warp.state = State::Transaction { rank, address: at, parity: parity[lane] };
            warp.retry();
            self.count(statement, |counts| {
                counts.transaction_waits += 1;
                // Counted once it has passed.
                counts.instructions[crate::program::Class::Barrier as usize] -= 1;
                counts.lanes -= u64::from(mask.count_ones());
            });
            return Ok(());
        }
        warp.set_predicate(d, mask, passed);
        Ok(())
    }

    fn tensor_map(&mut self, warp: &Warp, lane: usize, map: &Address) -> Result<TensorMap, Wrong> {
        let address = warp.addresses(map)[lane];
        let wrong = || Wrong::in_lane(lane, format!("there is no tensor map at {address:#x}"));
        let bytes = match address.checked_sub(PARAMETER_WINDOW) {
            Some(at) => self.run.parameters.get(at as usize..).unwrap_or(&[]).to_vec(),
            None => self.run.memory.read(address, 128).map_err(|_| wrong())?,
        };
        if !address.is_multiple_of(64) {
            return Err(Wrong::in_lane(lane, format!("the tensor map at {address:#x} is not aligned to 64 bytes")));
        }
        TensorMap::decode(&bytes).ok_or_else(wrong)
    }

    fn tensor_load(
        &mut self,
        warp: &Warp,
        lane: usize,
        (destination, map, barrier): (&Address, &Address, &Address),
        coordinates: &[Slot],
        ranks: Option<Slot>,
        statement: u32,
    ) -> Result<u64, Wrong> {
        let map = self.tensor_map(warp, lane, map)?;
        let corner: Vec<i32> = coordinates.iter().map(|&c| warp.get(c)[lane] as i32).collect();
        let in_lane = |reason: String| Wrong::in_lane(lane, reason);
        let (own, at) = self.owner(warp.addresses(destination)[lane]).map_err(in_lane)?;
        let (_, barrier) = self.barrier_address(lane, warp.addresses(barrier)[lane])?;
        map.check(corner.len(), at as u32).map_err(in_lane)?;
        let ranks = match ranks {
            Some(ranks) => warp.get(ranks)[lane] & 0xffff,
            None => 1 << own,
        };
        let bytes = map.box_bytes();
        let (memory, mut hint) = (self.run.memory, self.hint);
        let mut chunks = Vec::with_capacity(bytes as usize / 16);
        let (watches, mut sources) = (self.races.is_some(), Vec::new());
        let read = map.chunks(&corner, at as u32, |to, from, begin, end| {
            let mut chunk = [0; 16];
            if watches {
                sources.push((begin < end).then(|| (from + begin as u64, (end - begin) as u64)));
            }
            if begin < end {
                memory.read_bytes(from + begin as u64, &mut chunk[begin..end], &mut hint)?;
            }
            chunks.push((to, chunk));
            Ok(())
        });
        read.map_err(in_lane)?;
        for rank in lanes_of(ranks) {
            let of_rank = (rank as u64 + 1) << RANK_SHIFT;
            self.shared(lane, at | of_rank, bytes.into())?;
            self.transaction(lane, u64::from(barrier) | of_rank)?;
            let who = Who { warp: self.watched(warp), lane, statement };
            if let Some(races) = &mut self.races {
                let places = chunks.iter().map(|(to, _)| u64::from(*to));
                races.tensor_load(who, (rank, barrier), places.zip(sources.iter().copied()))?;
            }
            self.loads.push(PendingLoad { rank, barrier, chunks: chunks.clone() });
        }
        Ok(u64::from(bytes) * u64::from(ranks.count_ones()))
    }

    /// True once a phase has completed. If it has not, what is under way to this barrier arrives now.
    pub(super) fn passes_transaction(&mut self, rank: usize, address: u32, parity: u32) -> bool {
        let passes =
            |this: &Self| this.blocks[rank].transactions.get(&address).is_none_or(|barrier| barrier.passes(parity));
        let mut i = 0;
        while !passes(self) && i < self.loads.len() {
            if (self.loads[i].rank, self.loads[i].barrier) != (rank, address) {
                i += 1;
                continue;
            }
            let load = self.loads.remove(i);
            let block = &mut self.blocks[rank];
            for (to, chunk) in &load.chunks {
                block.shared[*to as usize..*to as usize + 16].copy_from_slice(chunk);
            }
            if let Some(barrier) = block.transactions.get_mut(&address) {
                let phase = barrier.phase;
                barrier.bytes -= 16 * load.chunks.len() as i64;
                barrier.settle();
                if barrier.phase != phase
                    && let Some(races) = &mut self.races
                {
                    races.complete(rank, address);
                }
            }
        }
        passes(self)
    }

    fn tensor_store(
        &mut self,
        warp: &mut Warp,
        lane: usize,
        map: &Address,
        coordinates: &[Slot],
        source: &Address,
        statement: u32,
    ) -> Result<u64, Wrong> {
        let map = self.tensor_map(warp, lane, map)?;
        let corner: Vec<i32> = coordinates.iter().map(|&c| warp.get(c)[lane] as i32).collect();
        let in_lane = |reason: String| Wrong::in_lane(lane, reason);
        let (rank, at) = self.owner(warp.addresses(source)[lane]).map_err(in_lane)?;
        map.check(corner.len(), at as u32).map_err(in_lane)?;
        self.shared(lane, at, map.box_bytes().into())?;
        let (memory, mut hint) = (self.run.memory, self.hint);
        let inside = map.chunks(&corner, at as u32, |_, to, begin, end| match begin < end {
            true => memory.read_bytes(to + begin as u64, &mut [0; 16][begin..end], &mut hint),
            false => Ok(()),
        });
        inside.map_err(in_lane)?;
        if self.races.is_some() {
            self.watch_store(warp, lane, (&map, &corner), (rank, at as u32), statement)?;
        }
        let bytes = map.box_bytes().into();
        let group = warp.store_groups[lane];
        warp.stores.push(PendingStore { lane, group, map, corner, rank, address: at as u32 });
        Ok(bytes)
    }

    /// Performs all but the last `pending` groups of the lanes' stores.
    fn wait_stores(&mut self, warp: &mut Warp, mask: u32, pending: u32) -> Result<(), Wrong> {
        let (memory, mut hint) = (self.run.memory, self.hint);
        let groups = warp.store_groups;
        let waited = |store: &PendingStore| mask >> store.lane & 1 == 1 && store.group + pending < groups[store.lane];
        for store in warp.stores.iter().filter(|store| waited(store)) {
            let shared = &self.blocks[store.rank].shared;
            let copied = store.map.chunks(&store.corner, store.address, |from, to, begin, end| {
                if begin < end {
                    let chunk = &shared[from as usize..from as usize + 16];
                    memory.write_bytes(to + begin as u64, &chunk[begin..end], &mut hint)?;
                }
                Ok(())
            });
            copied.map_err(|reason| Wrong::in_lane(store.lane, reason))?;
        }
        warp.stores.retain(|store| !waited(store));
        Ok(())
    }
}
