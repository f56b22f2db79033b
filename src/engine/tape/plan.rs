//! Memory planning: every intermediate gets an offset in one arena such that no two that are alive at the same time
//! overlap.
//!
//! Greedy by size: the largest intermediates are placed first, each at the lowest offset where it fits between those
//! that live at the same time. Within a few percent of the lower bound (the largest sum of sizes alive at one node)
//! on U-Nets, and fast.

use super::Op;
use crate::engine::tensor::{ALIGN_BYTES, Place, Tensor};

/// Where each intermediate lies.
#[derive(Debug, Default)]
pub struct Plan {
    /// Byte offset in the arena of each intermediate, by its number; unused ones have none.
    pub offsets: Vec<Option<u64>>,
    /// Size of the arena.
    pub bytes: u64,
    /// The most bytes alive at one node: no plan can be smaller.
    pub lower_bound_bytes: u64,
}

#[derive(Clone, Copy)]
struct Lifetime {
    first: usize,
    last: usize,
    bytes: u64,
}

/// Plans the intermediates `arena` of `nodes`; those in `kept` live to the end.
pub fn plan(nodes: &[Box<dyn Op>], arena: &[Tensor], kept: &[Tensor]) -> Plan {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; arena.len()];
    let mut touch = |t: &Tensor, node: usize| {
        if let Place::Arena(i) = t.place {
            let bytes = (arena[i as usize].bytes() as u64).next_multiple_of(ALIGN_BYTES);
            let life = lifetimes[i as usize].get_or_insert(Lifetime { first: node, last: node, bytes });
            life.last = node;
        }
    };
    for (i, node) in nodes.iter().enumerate() {
        node.outputs().iter().chain(&node.inputs()).for_each(|t| touch(t, i));
    }
    kept.iter().for_each(|t| touch(t, nodes.len()));

    let mut alive_bytes = vec![0i64; nodes.len() + 2];
    for life in lifetimes.iter().flatten() {
        alive_bytes[life.first] += life.bytes as i64;
        alive_bytes[life.last + 1] -= life.bytes as i64;
    }
    let mut running = 0;
    let lower_bound = alive_bytes.iter().map(|d| (running += d, running).1).max().unwrap_or(0);

    let mut order: Vec<(usize, Lifetime)> =
        lifetimes.iter().enumerate().filter_map(|(i, life)| life.map(|life| (i, life))).collect();
    order.sort_by_key(|&(i, life)| (std::cmp::Reverse(life.bytes), i));
    let mut placed: Vec<(u64, Lifetime)> = Vec::new(); // sorted by offset
    let mut offsets = vec![None; arena.len()];
    let mut total = 0;
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
        total = total.max(offset + life.bytes);
    }
    Plan { offsets, bytes: total, lower_bound_bytes: lower_bound as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::Memory;
    use crate::engine::tape::{Backend, Launches, Tape, op};
    use crate::engine::tensor::DType;
    use proptest::prelude::*;

    op! {
        struct Touch = "touch" {
            out made,
            in reads: Vec<Tensor>,
        }
    }

    impl Op for Touch {
        fn cpu(&self, _: &mut Memory) {}
        fn launch(&self, _: &mut Launches) {}
    }

    proptest! {
        #[test]
        fn what_lives_together_does_not_overlap(
            nodes in prop::collection::vec((1usize..5000, prop::collection::vec(0usize..40, 0..4)), 1..60),
        ) {
            let mut tape = Tape::new(Backend::Cpu, DType::F32);
            let mut made: Vec<Tensor> = Vec::new();
            for (len, reads) in nodes {
                let reads = reads.iter().filter_map(|&r| made.get(made.len().checked_sub(r + 1)?).copied()).collect();
                let out = tape.tensor(&[len], DType::F32);
                tape.push(Touch { made: out, reads });
                made.push(out);
            }
            let kept = [made[0]];
            let plan = plan(&tape.nodes, &tape.arena, &kept);
            let last_use = |t: usize| {
                let reads = |n: &dyn Op| n.inputs().contains(&made[t]);
                let last = (0..made.len()).rev().find(|&n| reads(tape.nodes[n].as_ref())).unwrap_or(t);
                if t == 0 { made.len() } else { last }
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
        }
    }
}
