//! Loads and stores of all state spaces, asynchronous copies, and matrices of shared memory.

use super::cluster::{Cluster, Wrong};
use super::warp::{PendingCopy, State, Warp, WideLanes, lanes_of};
use crate::lower::{LOCAL_WINDOW, PARAMETER_WINDOW, RESERVED_SHARED_BYTES, SHARED_WINDOW, WINDOW_BYTES};
use crate::program::{Access, Address, Kind, Slot, Where};

/// Addresses of another block's shared memory carry its rank, plus one, from this bit on.
pub(super) const RANK_SHIFT: u32 = 24;

/// The space that a generic address lies in, and its address there.
fn resolve(address: u64) -> (Where, u64) {
    let windows = [(SHARED_WINDOW, Where::Shared), (LOCAL_WINDOW, Where::Local), (PARAMETER_WINDOW, Where::Parameter)];
    for (window, space) in windows {
        if (window..window + WINDOW_BYTES).contains(&address) {
            return (space, address - window);
        }
    }
    (Where::Global, address)
}

/// Addresses of lanes, by the space they lie in.
type Parts = ([(Where, u32); 4], WideLanes);

impl Cluster<'_> {
    /// Checks the alignment of an access, and sorts its lanes by state space.
    fn parts(space: Where, mut addresses: WideLanes, mask: u32, bytes: u64) -> Result<Parts, Wrong> {
        let spaces = [Where::Global, Where::Shared, Where::Local, Where::Parameter];
        let mut parts = spaces.map(|space| (space, 0));
        if space == Where::Generic {
            for lane in lanes_of(mask) {
                let (space, address) = resolve(addresses[lane]);
                addresses[lane] = address;
                parts.iter_mut().find(|(found, _)| *found == space).expect("it is one of these").1 |= 1 << lane;
            }
        } else {
            parts.iter_mut().find(|(found, _)| *found == space).expect("it is one of these").1 = mask;
        }
        let low = addresses.iter().enumerate().fold(
            0,
            |low, (lane, address)| {
                if mask >> lane & 1 == 1 { low | address } else { low }
            },
        );
        if low & (bytes - 1) != 0 {
            let wrong = lanes_of(mask).find(|&lane| addresses[lane] & (bytes - 1) != 0).unwrap_or(0);
            let reason = format!("the address {:#x} of {bytes} bytes is misaligned", addresses[wrong]);
            return Err(Wrong::in_lane(wrong, reason));
        }
        Ok((parts, addresses))
    }

    pub(super) fn load(&mut self, warp: &mut Warp, mask: u32, access: &Access, statement: u32) -> Result<(), Wrong> {
        let element = u64::from(access.kind.bits() / 8);
        let bytes = element * u64::from(access.count);
        let (parts, addresses) = Self::parts(access.space, warp.addresses(&access.address), mask, bytes)?;
        let mut words = [[0u32; 32]; 8];
        for (space, mask) in parts {
            if mask == 0 {
                continue;
            }
            self.count_access(space, &addresses, mask, bytes, statement, false);
            for lane in lanes_of(mask) {
                let mut values = [0; 8];
                self.fetch(warp, lane, space, addresses[lane], bytes, &mut values)?;
                for (word, value) in words.iter_mut().zip(&values[..bytes.div_ceil(4) as usize]) {
                    word[lane] = *value;
                }
            }
        }
        for (i, &register) in access.registers[..usize::from(access.count)].iter().enumerate() {
            if register == u32::MAX {
                continue;
            }
            let values: WideLanes = match element {
                8 => {
                    warp.set(register, mask, &words[2 * i]);
                    warp.set(register + 1, mask, &words[2 * i + 1]);
                    continue;
                }
                4 if access.register_slots == 1 => {
                    warp.set(register, mask, &words[i]);
                    continue;
                }
                4 => words[i].map(|word| extend(access.kind, word.into())),
                2 => words[i / 2].map(|word| extend(access.kind, (word >> (16 * (i % 2))).into())),
                _ => words[i / 4].map(|word| extend(access.kind, (word >> (8 * (i % 4))).into())),
            };
            warp.set_any(register, access.register_slots.into(), mask, &values);
        }
        Ok(())
    }

    pub(super) fn store(&mut self, warp: &mut Warp, mask: u32, access: &Access, statement: u32) -> Result<(), Wrong> {
        let element = u64::from(access.kind.bits() / 8);
        let bytes = element * u64::from(access.count);
        let (parts, addresses) = Self::parts(access.space, warp.addresses(&access.address), mask, bytes)?;
        for (space, mask) in parts {
            if mask == 0 {
                continue;
            }
            self.count_access(space, &addresses, mask, bytes, statement, true);
            for lane in lanes_of(mask) {
                let mut values = [0u32; 8];
                for (i, &register) in access.registers[..usize::from(access.count)].iter().enumerate() {
                    let low = warp.get(register)[lane];
                    match element {
                        8 => {
                            values[2 * i] = low;
                            values[2 * i + 1] = warp.get(register + 1)[lane];
                        }
                        4 => values[i] = low,
                        2 => values[i / 2] |= (low & 0xffff) << (16 * (i % 2)),
                        _ => values[i / 4] |= (low & 0xff) << (8 * (i % 4)),
                    }
                }
                self.put(warp, lane, space, addresses[lane], bytes, &values)?;
            }
        }
        Ok(())
    }

    fn count_access(
        &mut self,
        space: Where,
        addresses: &WideLanes,
        mask: u32,
        bytes: u64,
        statement: u32,
        store: bool,
    ) {
        self.count(statement, |counts| match (space, store) {
            (Where::Global, false) => counts.global_loads.count(addresses, mask, bytes),
            (Where::Global, true) => counts.global_stores.count(addresses, mask, bytes),
            (Where::Shared, false) => counts.shared_loads.count(addresses, mask, bytes),
            (Where::Shared, true) => counts.shared_stores.count(addresses, mask, bytes),
            _ => {}
        });
    }

    #[inline(always)]
    fn fetch(
        &mut self,
        warp: &Warp,
        lane: usize,
        space: Where,
        address: u64,
        bytes: u64,
        out: &mut [u32; 8],
    ) -> Result<(), Wrong> {
        match space {
            Where::Global => {
                let place = self.run.memory.place(address, bytes, &mut self.hint);
                place.map_err(|reason| Wrong::in_lane(lane, reason))?.load(bytes, out);
            }
            Where::Shared => words_from(self.shared(lane, address, bytes)?, out),
            Where::Local => words_from(&warp.local[self.local(lane, address, bytes)?], out),
            _ => {
                let parameters = self.run.parameters;
                let range = address as usize..(address as usize).wrapping_add(bytes as usize);
                let outside =
                    || Wrong::in_lane(lane, format!("{bytes} bytes at {address:#x} lie outside the parameters"));
                words_from(parameters.get(range).ok_or_else(outside)?, out);
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn put(
        &mut self,
        warp: &mut Warp,
        lane: usize,
        space: Where,
        address: u64,
        bytes: u64,
        values: &[u32; 8],
    ) -> Result<(), Wrong> {
        match space {
            Where::Global => {
                let place = self.run.memory.place(address, bytes, &mut self.hint);
                place.map_err(|reason| Wrong::in_lane(lane, reason))?.store(bytes, values);
            }
            Where::Shared => words_to(self.shared(lane, address, bytes)?, values),
            Where::Local => {
                let range = self.local(lane, address, bytes)?;
                words_to(&mut warp.local[range], values);
            }
            _ => return Err(Wrong::in_lane(lane, "parameters cannot be written")),
        }
        Ok(())
    }

    /// The block of the cluster and the address in its shared memory.
    pub(super) fn owner(&self, address: u64) -> Result<(usize, u64), String> {
        let rank = match address >> RANK_SHIFT {
            0 => self.rank,
            rank => rank as usize - 1,
        };
        match self.blocks.get(rank) {
            Some(block) if block.done => {
                Err(format!("the shared memory of the cluster's block {rank} is used, which has ended"))
            }
            Some(_) => Ok((rank, address & ((1 << RANK_SHIFT) - 1))),
            None => Err(format!("the cluster has no block {rank}: shared address {address:#x}")),
        }
    }

    #[inline(always)]
    pub(super) fn shared(&mut self, lane: usize, address: u64, bytes: u64) -> Result<&mut [u8], Wrong> {
        let (rank, at) = if address >> RANK_SHIFT == 0 {
            (self.rank, address)
        } else {
            self.owner(address).map_err(|reason| Wrong::in_lane(lane, reason))?
        };
        let shared = &mut self.blocks[rank].shared;
        let size = shared.len();
        if at < RESERVED_SHARED_BYTES.into() || at + bytes > size as u64 {
            let reason = format!(
                "{bytes} bytes at shared address {at:#x} lie outside the block's {RESERVED_SHARED_BYTES:#x} to {size:#x}"
            );
            return Err(Wrong::in_lane(lane, reason));
        }
        Ok(&mut shared[at as usize..(at + bytes) as usize])
    }

    fn local(&self, lane: usize, address: u64, bytes: u64) -> Result<std::ops::Range<usize>, Wrong> {
        let size = u64::from(self.run.program.local_bytes);
        if address.saturating_add(bytes) > size {
            let reason = format!("{bytes} bytes at {address:#x} lie outside the {size} bytes of local memory");
            return Err(Wrong::in_lane(lane, reason));
        }
        let first = lane * size as usize + address as usize;
        Ok(first..first + bytes as usize)
    }

    #[expect(clippy::too_many_arguments, reason = "an instruction's fields")]
    pub(super) fn copy_async(
        &mut self,
        warp: &mut Warp,
        mask: u32,
        destination: &Address,
        source: &Address,
        bytes: u32,
        read: Option<Slot>,
        statement: u32,
    ) -> Result<(), Wrong> {
        let size = u64::from(bytes);
        let (_, to) = Self::parts(Where::Shared, warp.addresses(destination), mask, size)?;
        let (_, from) = Self::parts(Where::Global, warp.addresses(source), mask, size)?;
        let read = read.map(|read| *warp.get(read));
        // Lanes that read nothing may give any address.
        let reads = read.map_or(mask, |read| lanes_of(mask).fold(0, |m, lane| m | u32::from(read[lane] > 0) << lane));
        if reads != 0 {
            self.count_access(Where::Global, &from, reads, size, statement, false);
        }
        self.count_access(Where::Shared, &to, mask, size, statement, true);
        for lane in lanes_of(mask) {
            self.shared(lane, to[lane], size)?;
            let wanted = read.map_or(bytes, |read| read[lane].min(bytes));
            let mut values = [0; 8];
            if wanted > 0 {
                self.fetch(warp, lane, Where::Global, from[lane], size, &mut values)?;
            }
            let mut words = [values[0], values[1], values[2], values[3]];
            for byte in wanted..bytes {
                words[byte as usize / 4] &= !(0xff << (8 * (byte % 4)));
            }
            warp.open_copies.push(PendingCopy { lane: lane as u32, address: to[lane] as u32, words, bytes });
        }
        Ok(())
    }

    /// Completes all but the last `pending` groups of the warp's copies.
    pub(super) fn wait_copies(&mut self, warp: &mut Warp, pending: u32) -> Result<(), Wrong> {
        let complete = warp.copies.len().saturating_sub(pending as usize);
        for copy in warp.copies.drain(..complete).flatten() {
            let mut values = [0; 8];
            values[..4].copy_from_slice(&copy.words);
            words_to(self.shared(copy.lane as usize, copy.address.into(), copy.bytes.into())?, &values);
        }
        Ok(())
    }

    pub(super) fn matrices(
        &mut self,
        warp: &mut Warp,
        (store, transposed): (bool, bool),
        registers: &[Slot],
        address: &Address,
        statement: u32,
    ) -> Result<(), Wrong> {
        let addresses = warp.addresses(address);
        let rows = if registers.len() == 4 { u32::MAX } else { (1 << (8 * registers.len())) - 1 };
        let (parts, addresses) = Self::parts(Where::Generic, addresses, rows, 16)?;
        // A plain shared address lies in no window: it is small.
        if parts.iter().any(|(space, mask)| *mask != 0 && !matches!(space, Where::Shared | Where::Global)) {
            return Err(Wrong::new("matrices lie in shared memory"));
        }
        self.count(statement, |counts| {
            let wavefronts = if store { &mut counts.shared_stores } else { &mut counts.shared_loads };
            wavefronts.requests += 1;
            for i in 0..registers.len() {
                wavefronts.count_matrix(&std::array::from_fn(|row| addresses[8 * i + row]));
            }
        });
        for (i, &register) in registers.iter().enumerate() {
            let mut values = *warp.get(register);
            for row in 0..8 {
                let lane = 8 * i + row;
                let memory = self.shared(lane, addresses[lane], 16)?;
                for column in 0..8 {
                    // Lane l holds elements 2 (l % 4) and the next of row l / 4, or of column l / 4.
                    let (major, minor) = if transposed { (column, row) } else { (row, column) };
                    let (holder, shift) = (4 * major + minor / 2, 16 * (minor % 2));
                    let element = &mut memory[2 * column..2 * column + 2];
                    if store {
                        element.copy_from_slice(&((values[holder] >> shift) as u16).to_le_bytes());
                    } else {
                        let bits = u32::from(u16::from_le_bytes([element[0], element[1]]));
                        values[holder] = values[holder] & !(0xffff << shift) | bits << shift;
                    }
                }
            }
            if !store {
                warp.set(register, u32::MAX, &values);
            }
        }
        Ok(())
    }

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
        barrier.expected = threads;
        barrier.arrived += 32;
        if let Some(n) = threads
            && barrier.arrived > n
        {
            return Err(Wrong::new(format!("{} threads arrive at barrier {id} of {n}", barrier.arrived)));
        }
        if waits {
            warp.state = State::Barrier { id };
            self.count(statement, |counts| counts.barrier_waits += 1);
        }
        Ok(())
    }
}

/// The value of an element in a register that may be wider.
#[inline(always)]
fn extend(kind: Kind, value: u64) -> u64 {
    match kind {
        Kind::S8 => value as i8 as i64 as u64,
        Kind::S16 => value as i16 as i64 as u64,
        Kind::S32 => value as i32 as i64 as u64,
        _ => value & (u64::MAX >> (64 - kind.bits())),
    }
}

#[inline(always)]
fn words_from(bytes: &[u8], out: &mut [u32; 8]) {
    match *bytes {
        [a] => out[0] = a.into(),
        [a, b] => out[0] = u16::from_le_bytes([a, b]).into(),
        _ => {
            for (out, word) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = u32::from_le_bytes(*word);
            }
        }
    }
}

#[inline(always)]
fn words_to(bytes: &mut [u8], values: &[u32; 8]) {
    if bytes.len() < 4 {
        let low = values[0].to_le_bytes();
        let n = bytes.len();
        bytes.copy_from_slice(&low[..n]);
        return;
    }
    for (word, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *word = value.to_le_bytes();
    }
}
