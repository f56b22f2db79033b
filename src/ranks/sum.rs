//! The sum over all ranks, in a fixed order: a binary tree over their numbers, `((0 + 1) + (2 + 3))`.
//!
//! Neighbours exchange halves, so that each has half of the sum of both; then pairs exchange halves of these, fours halves
//! of those, until each rank has its slice of the whole sum. The way back gathers the slices:
//!
//! ```text
//!            rank 0          rank 1          rank 2          rank 3
//! has        a b c d         a b c d         a b c d         a b c d
//! 0-1, 2-3   a b (0+1)       c d (0+1)       a b (2+3)       c d (2+3)
//! 0-2, 1-3   a               c               b               d           of ((0+1)+(2+3))
//! back       a b             c d             a b             c d
//!            a b c d         a b c d         a b c d         a b c d
//! ```
//! Each rank sends (P - 1)/P of the bytes on either way: as many as in a ring, in log2(P) messages instead of P - 1. A sum of
//! two floats does not depend on their order, so which of both ranks adds does not matter.

use super::link::Link;
use crate::Result;
use bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;
use std::ops::Range;

/// Values that are received before they are added: few enough to stay in a cache.
const CHUNK: usize = 1 << 18;
/// Values that one thread adds at a time.
const BLOCK: usize = 1 << 14;

/// Adds up the values of all ranks; afterwards all have the sum.
///
/// # Errors
/// A connection that fails.
pub fn sum(link: &dyn Link, values: &mut [f32]) -> Result<()> {
    let mut received = vec![0.0; CHUNK.min(values.len())];
    let mut mine = 0..values.len();
    let mut given = Vec::new();
    for level in 0..link.size().ilog2() {
        let (kept, other) = halves(&mine, link.rank() >> level & 1);
        reduce(link, link.rank() ^ 1 << level, values, [&kept, &other], &mut received)?;
        given.push(other);
        mine = kept;
    }
    for (level, other) in given.into_iter().enumerate().rev() {
        let [mine_of, theirs] = disjoint(values, [&mine, &other]);
        link.exchange(link.rank() ^ 1 << level, cast_slice(mine_of), cast_slice_mut(theirs))?;
        mine = mine.start.min(other.start)..mine.end.max(other.end);
    }
    Ok(())
}

/// Sends the partner its half of the values, and adds to the own half what it sends.
fn reduce(
    link: &dyn Link,
    partner: usize,
    values: &mut [f32],
    [kept, other]: [&Range<usize>; 2],
    received: &mut [f32],
) -> Result<()> {
    for first in (0..kept.len().max(other.len())).step_by(CHUNK) {
        let chunk =
            |half: &Range<usize>| half.start + first.min(half.len())..half.start + (first + CHUNK).min(half.len());
        let (kept, other) = (chunk(kept), chunk(other));
        let received = &mut received[..kept.len()];
        link.exchange(partner, cast_slice(&values[other]), cast_slice_mut(received))?;
        let sums = values[kept].par_chunks_mut(BLOCK).zip(received.par_chunks(BLOCK));
        sums.for_each(|(sums, more)| sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more));
    }
    Ok(())
}

/// Halves a range: the half of a side, and the other.
fn halves(range: &Range<usize>, side: usize) -> (Range<usize>, Range<usize>) {
    let middle = range.start + range.len() / 2;
    let (low, high) = (range.start..middle, middle..range.end);
    if side == 0 { (low, high) } else { (high, low) }
}

/// Two ranges next to each other.
fn disjoint<'a>(values: &'a mut [f32], [a, b]: [&Range<usize>; 2]) -> [&'a mut [f32]; 2] {
    // Either may be empty.
    if a.end <= b.start {
        let (low, high) = values.split_at_mut(b.start);
        [&mut low[a.clone()], &mut high[..b.len()]]
    } else {
        let (low, high) = values.split_at_mut(a.start);
        [&mut high[..a.len()], &mut low[b.clone()]]
    }
}

#[cfg(test)]
mod tests {
    use super::super::threads::on_ranks;
    use super::CHUNK;

    /// Values whose sum depends on the order.
    fn values(rank: usize, n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + rank * 1009) as f32).sin() * 10f32.powi((i + rank) as i32 % 9)).collect()
    }

    /// The sum of ranks `first..first + count` as a tree.
    fn tree(first: usize, count: usize, n: usize) -> Vec<f32> {
        if count == 1 {
            return values(first, n);
        }
        let (left, right) = (tree(first, count / 2, n), tree(first + count / 2, count / 2, n));
        left.iter().zip(&right).map(|(a, b)| a + b).collect()
    }

    #[test]
    fn the_sum_is_that_of_the_tree_bit_for_bit_and_near_that_in_f64() {
        for size in [2, 4, 8] {
            for n in [0, 1, 2, 3, 7, 1000, 2 * CHUNK + 3] {
                let sums = on_ranks(size, |ranks| {
                    let mut sum = values(ranks.rank(), n);
                    ranks.sum(&mut sum).unwrap();
                    sum
                });
                let wanted = tree(0, size, n);
                let all: Vec<Vec<f32>> = (0..size).map(|rank| values(rank, n)).collect();
                assert!(sums.iter().all(|sum| *sum == wanted), "{size} ranks, {n} values");
                for i in (0..n).step_by(n / 100 + 1) {
                    let of_all = all.iter().map(|values| f64::from(values[i]));
                    let (exact, scale) = of_all.fold((0.0, 0.0), |(sum, scale), v| (sum + v, scale + v.abs()));
                    assert!((f64::from(wanted[i]) - exact).abs() <= 3.0 * f64::from(f32::EPSILON) * scale);
                }
            }
        }
    }

    #[test]
    fn one_after_the_other_would_give_other_bits() {
        let wanted = tree(0, 4, 1000);
        let running =
            (1..4).fold(values(0, 1000), |sum, rank| sum.iter().zip(values(rank, 1000)).map(|(a, b)| a + b).collect());
        assert_ne!(wanted, running);
    }
}
