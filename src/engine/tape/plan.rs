//! Memory planning: every intermediate gets an offset in one arena such that no two that are alive at the same time
//! overlap.
//!
//! Greedy by size: the largest intermediates are placed first, each at the lowest offset where it fits between those
//! that live at the same time. Within a few percent of the lower bound (the largest sum of sizes alive at one node)
//! on U-Nets, and fast.

use crate::engine::tensor::{ALIGN_BYTES, Place, Tensor};

/// Place of each intermediate.
#[derive(Debug, Default)]
pub struct Plan {
    /// Byte offset in the arena of each intermediate, by its number; unused ones have none.
    pub offsets: Vec<Option<u64>>,
    /// Size of the arena.
    pub bytes: u64,
    /// The most bytes alive at one node: no plan can be smaller.
    pub lower_bound_bytes: u64,
    /// Lifetime of each intermediate, by its number; unused ones have none.
    lifetimes: Vec<Option<Lifetime>>,
}

/// The nodes during which an intermediate needs its place.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// The first node that touches it.
    pub first: usize,
    /// The last node that touches it; one past the last of all if it is kept.
    pub last: usize,
    /// Its size, up to the next multiple of the alignment.
    pub bytes: u64,
}

impl Plan {
    /// Plans the intermediates `arena` of a list of nodes, of each of which the operands are given; those in `kept` live
    /// to the end.
    pub(super) fn new(nodes: impl Iterator<Item = Vec<Tensor>>, arena: &[Tensor], kept: &[Tensor]) -> Plan {
        let lifetimes = lifetimes(nodes, arena, kept);
        let lower_bound_bytes = alive_bytes(&lifetimes).max().unwrap_or(0);
        let mut order: Vec<(usize, Lifetime)> =
            lifetimes.iter().enumerate().filter_map(|(i, life)| life.map(|life| (i, life))).collect();
        order.sort_by_key(|&(i, life)| (std::cmp::Reverse(life.bytes), i));
        let mut placed: Vec<(u64, Lifetime)> = Vec::new(); // sorted by offset
        let (mut offsets, mut bytes) = (vec![None; arena.len()], 0);
        for (i, life) in order {
            let mut offset = 0;
            for &(start, other) in &placed {
                if other.first > life.last || other.last < life.first {
                    continue;
                }
                if offset + life.bytes <= start {
                    break;
                }
                offset = offset.max(start + other.bytes);
            }
            placed.insert(placed.partition_point(|&(start, _)| start <= offset), (offset, life));
            offsets[i] = Some(offset);
            bytes = bytes.max(offset + life.bytes);
        }
        Plan { offsets, bytes, lower_bound_bytes, lifetimes }
    }

    /// Lifetime and byte offset of each intermediate that is used, in the order in which they were made.
    pub fn places(&self) -> impl Iterator<Item = (Lifetime, u64)> {
        self.lifetimes.iter().zip(&self.offsets).filter_map(|(life, offset)| life.zip(*offset))
    }

    /// Bytes alive at each node.
    pub fn alive_bytes(&self) -> impl Iterator<Item = u64> {
        alive_bytes(&self.lifetimes)
    }
}

/// The first and the last node that touches each intermediate; none does where one is not used.
fn lifetimes(nodes: impl Iterator<Item = Vec<Tensor>>, arena: &[Tensor], kept: &[Tensor]) -> Vec<Option<Lifetime>> {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; arena.len()];
    let mut touch = |t: &Tensor, node: usize| {
        if let Place::Arena(i) = t.place {
            let bytes = (arena[i as usize].bytes() as u64).next_multiple_of(ALIGN_BYTES);
            let life = lifetimes[i as usize].get_or_insert(Lifetime { first: node, last: node, bytes });
            life.last = node;
        }
    };
    let mut end = 0;
    for (i, operands) in nodes.enumerate() {
        operands.iter().for_each(|t| touch(t, i));
        end = i + 1;
    }
    kept.iter().for_each(|t| touch(t, end));
    lifetimes
}

/// The sum of the sizes that are alive, at each node.
fn alive_bytes(lifetimes: &[Option<Lifetime>]) -> impl Iterator<Item = u64> {
    let lives = || lifetimes.iter().flatten();
    let nodes = lives().map(|life| life.last + 1).max().unwrap_or(0);
    let mut changes = vec![0i64; nodes + 1];
    for life in lives() {
        changes[life.first] += life.bytes as i64;
        changes[life.last + 1] -= life.bytes as i64;
    }
    changes.into_iter().take(nodes).scan(0, |alive, change| {
        *alive += change;
        Some(*alive as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tensor::DType;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_lives_together_does_not_overlap(
            nodes in prop::collection::vec((1usize..5000, prop::collection::vec(0usize..40, 0..4)), 1..60),
        ) {
            let made: Vec<Tensor> = (0u32..)
                .zip(&nodes)
                .map(|(i, (len, _))| Tensor::new(Place::Arena(i), &[*len], DType::F32))
                .collect();
            // Node n makes tensor n and reads some of those before.
            let operands: Vec<Vec<Tensor>> = nodes
                .iter()
                .enumerate()
                .map(|(n, (_, reads))| {
                    let read = reads.iter().filter_map(|&back| Some(made[n.checked_sub(back + 1)?]));
                    std::iter::once(made[n]).chain(read).collect()
                })
                .collect();
            let plan = Plan::new(operands.clone().into_iter(), &made, &made[..1]);
            let last_use = |t: usize| match t {
                0 => made.len(),
                _ => operands.iter().rposition(|operands| operands.contains(&made[t])).unwrap(),
            };
            for a in 0..made.len() {
                let (a_start, a_end) = (plan.offsets[a].unwrap(), plan.offsets[a].unwrap() + made[a].bytes() as u64);
                prop_assert!(a_end <= plan.bytes && a_start % ALIGN_BYTES == 0);
                let lives_with_a = made.iter().zip(&plan.offsets).take(last_use(a) + 1).skip(a + 1);
                for (b, b_start) in lives_with_a {
                    let b_start = b_start.unwrap();
                    prop_assert!(b_start >= a_end || b_start + b.bytes() as u64 <= a_start, "{a} and {b:?}");
                }
            }
            prop_assert!(plan.bytes >= plan.lower_bound_bytes);
            prop_assert_eq!(plan.places().count(), made.len());
            let alive = |node: usize| plan.places().filter(move |(life, _)| (life.first..=life.last).contains(&node));
            let at_nodes: Vec<u64> = (0..=made.len()).map(|node| alive(node).map(|(life, _)| life.bytes).sum()).collect();
            prop_assert!(plan.alive_bytes().eq(at_nodes));
        }
    }
}
