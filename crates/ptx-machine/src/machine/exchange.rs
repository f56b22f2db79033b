//! Lanes of a warp tell each other: shuffles and votes.

use super::cluster::{Cluster, Wrong};
use super::warp::{Warp, lanes_of};
use crate::program::{Predicate, ShuffleOp, Slot, VoteOp};

impl Cluster<'_> {
    /// All lanes that an instruction names must run it.
    pub(super) fn members(&self, warp: &Warp, mask: u32, members: Slot) -> Result<(), Wrong> {
        let members = warp.get(members);
        for lane in lanes_of(mask) {
            let named = members[lane];
            if named >> lane & 1 == 0 {
                return Err(Wrong::in_lane(lane, format!("the mask {named:#010x} does not name the lane itself")));
            }
            let missing = named & warp.live & !mask;
            if missing != 0 {
                let reason = format!("the mask {named:#010x} names lanes that do not run this: {missing:#010x}");
                return Err(Wrong::in_lane(lane, reason));
            }
        }
        Ok(())
    }

    pub(super) fn shuffle(
        &self,
        warp: &mut Warp,
        mask: u32,
        op: ShuffleOp,
        (d, valid): (Slot, Option<u32>),
        [a, b, c]: [Slot; 3],
    ) -> Result<(), Wrong> {
        let (a, b, c) = (*warp.get(a), *warp.get(b), *warp.get(c));
        let (mut out, mut valid_lanes) = ([0; 32], 0);
        for lane in lanes_of(mask) {
            let (by, segment, clamp) = (b[lane] & 31, c[lane] >> 8 & 31, c[lane] & 31);
            let own = lane as u32;
            let first = own & segment;
            let last = first | clamp & !segment;
            let (from, inside) = match op {
                ShuffleOp::Up => (own.wrapping_sub(by), own as i32 - by as i32 >= last as i32),
                ShuffleOp::Down => (own + by, own + by <= last),
                ShuffleOp::Butterfly => (own ^ by, own ^ by <= last),
                ShuffleOp::Index => {
                    let from = first | by & !segment;
                    (from, from <= last)
                }
            };
            let from = if inside { from } else { own };
            if mask >> from & 1 == 0 {
                return Err(Wrong::in_lane(lane, format!("the shuffle reads lane {from}, which does not run it")));
            }
            out[lane] = a[from as usize];
            valid_lanes |= u32::from(inside) << lane;
        }
        warp.set(d, mask, &out);
        if let Some(valid) = valid {
            warp.set_predicate(valid, mask, valid_lanes);
        }
        Ok(())
    }

    pub(super) fn vote(&self, warp: &mut Warp, mask: u32, op: VoteOp, d: Slot, p: Predicate) {
        let p = warp.predicate(p) & mask;
        let result = match op {
            VoteOp::All => p == mask,
            VoteOp::Any => p != 0,
            VoteOp::Uni => p == mask || p == 0,
            VoteOp::Ballot => return warp.set(d, mask, &[p; 32]),
        };
        warp.set_predicate(d, mask, if result { u32::MAX } else { 0 });
    }
}
