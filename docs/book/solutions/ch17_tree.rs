//! Exercise 17.1: a sum over ranks that does not depend on their number.

/// The sum of one number of every shard, of which each rank has some, in the order of a binary tree.
pub fn sum(ranks: &[Vec<f32>]) -> f32 {
    let of_each: Vec<f32> = ranks.iter().map(|shards| tree(shards)).collect();
    tree(&of_each)
}

/// Adds up neighbours, then their sums, until one is left. A subtree of a binary tree is one itself.
fn tree(values: &[f32]) -> f32 {
    match values {
        [value] => *value,
        _ => tree(&values.chunks(2).map(|pair| pair[0] + pair[1]).collect::<Vec<f32>>()),
    }
}
