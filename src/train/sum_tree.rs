//! The order in which the shards of a batch are added up: a binary tree over their numbers, `((0 + 1) + (2 + 3))`.
//!
//! The shards are computed in order, each at the lowest free place of a stack of partial sums. As soon as two neighbours
//! are whole their sum takes the place of the first, as bits carry when one counts:
//!
//! ```text
//! shard 0 at place 0
//! shard 1 at place 1, 1 -> 0              (0 + 1)
//! shard 2 at place 1
//! shard 3 at place 2, 2 -> 1, 1 -> 0      (0 + 1) + (2 + 3)
//! ```
//! So n shards need log2(n) + 1 places. A process that computes a half or a quarter of them computes a subtree.

/// A program of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Computes a shard at a place.
    Shard { shard: usize, place: usize },
    /// Adds what is at a place to what is at the place below.
    Sum { place: usize },
}

/// Number of places for partial sums.
pub fn places(shards: usize) -> usize {
    (0..shards).map(|shard| shard.count_ones() as usize + 1).max().unwrap_or(1)
}

/// The programs of a step of so many shards, in order, until the sum of all is at place 0. Where the number is no power of
/// two the subtrees that are left are added up from the smallest on.
pub fn calls(shards: usize) -> impl Iterator<Item = Call> {
    let carry = |shard: usize| {
        let place = shard.count_ones() as usize;
        let sums = (0..shard.trailing_ones() as usize).map(move |carried| Call::Sum { place: place - carried });
        [Call::Shard { shard, place }].into_iter().chain(sums)
    };
    let left = (1..shards.count_ones() as usize).rev().map(|place| Call::Sum { place });
    (0..shards).flat_map(carry).chain(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum in words.
    fn sum(shards: usize) -> String {
        let mut at = vec![String::new(); places(shards)];
        for call in calls(shards) {
            match call {
                Call::Shard { shard, place } => at[place] = shard.to_string(),
                Call::Sum { place } => at[place - 1] = format!("({}+{})", at[place - 1], at[place]),
            }
        }
        at.swap_remove(0)
    }

    #[test]
    fn shards_are_added_up_as_a_tree() {
        let sums = [(1, "0"), (2, "(0+1)"), (3, "((0+1)+2)"), (4, "((0+1)+(2+3))"), (6, "(((0+1)+(2+3))+(4+5))")];
        sums.iter().for_each(|&(shards, wanted)| assert_eq!(sum(shards), wanted));
        assert_eq!(sum(8), "(((0+1)+(2+3))+((4+5)+(6+7)))");
        assert_eq!([1, 2, 3, 4, 8, 64].map(places), [1, 2, 2, 3, 4, 7]);
    }
}
