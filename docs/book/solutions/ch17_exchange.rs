//! Exercise 17.2: who sends what to whom, so that each rank gets a slice of the sum.

use std::ops::Range;

/// One exchange of a rank: it adds what the partner sends to the part that it keeps, and sends it the rest of what it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Number of the other rank.
    pub partner: usize,
    /// The values that this rank keeps.
    pub keeps: Range<usize>,
}

/// The exchanges of a rank, in order.
pub fn exchanges(rank: usize, ranks: usize, n: usize) -> Vec<Exchange> {
    let mut mine = 0..n;
    let level = |level: u32| {
        let middle = mine.start + mine.len() / 2;
        // Neighbours first: the lowest bit of a rank's number says which half is its own.
        mine = if rank >> level & 1 == 0 { mine.start..middle } else { middle..mine.end };
        Exchange { partner: rank ^ 1 << level, keeps: mine.clone() }
    };
    (0..ranks.ilog2()).map(level).collect()
}
