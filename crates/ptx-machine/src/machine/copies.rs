//! Asynchronous copies to shared memory, and matrices from and to it.

use super::access::words_to;
use super::cluster::{Cluster, Wrong};
use super::warp::{PendingCopy, Warp, lanes_of};
use crate::program::{Address, Slot, Where};
use crate::races::Order;

impl Cluster<'_> {
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
            if self.races.is_some() {
                let source = (wanted > 0).then_some(from[lane]);
                self.watch_copy(warp, lane, source, to[lane], size, statement)?;
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
        if self.races.is_some() {
            let order = Order::default();
            self.watch(warp, rows, Where::Shared, &addresses, (16, store, order), statement)?;
        }
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
}
