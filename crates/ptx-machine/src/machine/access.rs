//! Loads and stores of all state spaces.

use super::cluster::{Cluster, Wrong};
use super::warp::{Warp, WideLanes, lanes_of};
use crate::lower::{LOCAL_WINDOW, PARAMETER_WINDOW, RESERVED_SHARED_BYTES, SHARED_WINDOW, WINDOW_BYTES};
use crate::program::{Access, Kind, Where};

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
pub(super) type Parts = ([(Where, u32); 4], WideLanes);

impl Cluster<'_> {
    /// Checks the alignment of an access, and sorts its lanes by state space.
    pub(super) fn parts(space: Where, mut addresses: WideLanes, mask: u32, bytes: u64) -> Result<Parts, Wrong> {
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
            if self.races.is_some() {
                self.watch(warp, mask, space, &addresses, (bytes, false, access.order), statement)?;
            }
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
            if self.races.is_some() {
                self.watch(warp, mask, space, &addresses, (bytes, true, access.order), statement)?;
            }
        }
        Ok(())
    }

    pub(super) fn count_access(
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
    pub(super) fn fetch(
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
pub(super) fn words_to(bytes: &mut [u8], values: &[u32; 8]) {
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
