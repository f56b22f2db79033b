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

/// The exchanges of a rank, in order; `ranks`, a power of two, have `n` values each. Afterwards each rank has its slice of the
/// sum of all, in the order `((0 + 1) + (2 + 3))`.
pub fn exchanges(rank: usize, ranks: usize, n: usize) -> Vec<Exchange> {
    let _ = (rank, ranks, n);
    todo!("exercise 17.2")
}
