//! Exercise 17.1: a sum over ranks that does not depend on their number.

/// The sum of one number of every shard. `ranks[r]` are the numbers of the shards that rank `r` has computed, in order; the
/// shards of rank 1 follow on those of rank 0, and so on. All ranks have equally many; both numbers are powers of two.
///
/// The order is that of a binary tree over the numbers of the shards, `((0 + 1) + (2 + 3))`. First each rank adds up its own.
pub fn sum(ranks: &[Vec<f32>]) -> f32 {
    let _ = ranks;
    todo!("exercise 17.1")
}
