//! Atomics of global and shared memory: lane after lane.

use super::cluster::{Cluster, Wrong};
use super::warp::{Warp, lanes_of};
use crate::arith;
use crate::lower::{SHARED_WINDOW, WINDOW_BYTES};
use crate::program::{Address, AtomicOp, BinaryOp, Kind, Mode, Slot, Where};

impl Cluster<'_> {
    #[expect(clippy::too_many_arguments, reason = "an instruction's fields")]
    pub(super) fn atomic(
        &mut self,
        warp: &mut Warp,
        mask: u32,
        (op, kind, space): (AtomicOp, Kind, Where),
        d: Option<Slot>,
        address: &Address,
        a: Slot,
        b: Slot,
    ) -> Result<(), Wrong> {
        let bytes = u64::from(kind.bits() / 8);
        let addresses = warp.addresses(address);
        let (a, b) = (warp.get_any(a, kind.slots()), warp.get_any(b, kind.slots()));
        let mut old = [0u64; 32];
        for lane in lanes_of(mask) {
            let mut address = addresses[lane];
            let mut shared = space == Where::Shared;
            if space == Where::Generic && (SHARED_WINDOW..SHARED_WINDOW + WINDOW_BYTES).contains(&address) {
                (shared, address) = (true, address - SHARED_WINDOW);
            }
            if !address.is_multiple_of(bytes) {
                return Err(Wrong::in_lane(lane, format!("the address {address:#x} of an atomic is misaligned")));
            }
            let change = |old: u64| change(op, kind, old, a[lane], b[lane]);
            old[lane] = if shared {
                let memory = self.shared(lane, address, bytes)?;
                let mut word = [0; 8];
                word[..memory.len()].copy_from_slice(memory);
                let old = u64::from_le_bytes(word);
                memory.copy_from_slice(&change(old).to_le_bytes()[..bytes as usize]);
                old
            } else {
                let memory = self.run.memory;
                let place = memory.place(address, bytes, &mut self.hint);
                let place = place.map_err(|reason| Wrong::in_lane(lane, reason))?;
                if bytes == 8 {
                    memory.update64(place, change)
                } else {
                    memory.update32(place, |old| change(old.into()) as u32).into()
                }
            };
        }
        if let Some(d) = d {
            warp.set_any(d, kind.slots(), mask, &old);
        }
        Ok(())
    }
}

/// Computes the value that an atomic writes.
fn change(op: AtomicOp, kind: Kind, old: u64, a: u64, b: u64) -> u64 {
    let of = |op| arith::binary(op, kind, Mode::default(), old, a);
    match op {
        AtomicOp::Add => of(BinaryOp::Add),
        AtomicOp::Min => of(BinaryOp::Min),
        AtomicOp::Max => of(BinaryOp::Max),
        AtomicOp::And => old & a,
        AtomicOp::Or => old | a,
        AtomicOp::Xor => old ^ a,
        AtomicOp::Exch => a,
        AtomicOp::Cas => {
            if old == a {
                b
            } else {
                old
            }
        }
        AtomicOp::Inc => {
            if old >= a {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > a {
                a
            } else {
                old - 1
            }
        }
    }
}
