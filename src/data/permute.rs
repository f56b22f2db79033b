//! Random orders that need no table: the place of each number is a function of a counter.

use crate::engine::random::{Stream, philox4x32};

/// Rounds of the Feistel network; four already pass statistical tests, the rest is for tiny data sets.
const ROUNDS: u32 = 8;

/// A random word of a counter.
pub(super) fn word(seed: u64, stream: Stream, [a, b, c]: [u32; 3]) -> u32 {
    philox4x32([a, b, c, stream.id()], [seed as u32, (seed >> 32) as u32])[0]
}

/// A pseudo-random permutation of `0..n`, different for each (seed, stream, number), evaluated at `i` without a table: a
/// Feistel network permutes the next power of two, and walking its cycle until the value is below n restricts it to
/// `0..n`. `n` is at most 2^32, `number` below 2^56.
pub(super) fn permute(i: u64, n: u64, seed: u64, stream: Stream, number: u64) -> u64 {
    let bits = (u64::BITS - (n - 1).leading_zeros()).max(2);
    let (high, low) = (bits / 2, bits - bits / 2);
    let (high_mask, low_mask) = ((1u64 << high) - 1, (1u64 << low) - 1);
    let hash = |round: u32, half: u64| {
        let counter = [half as u32, number as u32, ((number >> 32) as u32) << 8 | round];
        u64::from(word(seed, stream, counter))
    };
    let mut value = i;
    loop {
        let (mut a, mut b) = (value >> low, value & low_mask);
        for round in (0..ROUNDS).step_by(2) {
            a ^= hash(round, b) & high_mask;
            b ^= hash(round + 1, a) & low_mask;
        }
        value = a << low | b;
        if value < n {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Stream = Stream::new(6);

    #[test]
    fn permutations_of_three_are_all_reached_about_equally_often() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000 {
            *counts.entry([0, 1, 2].map(|i| permute(i, 3, 5, ORDER, epoch))).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|&c: &i32| (c - 1000).abs() <= 150), "{counts:?}");
    }

    #[test]
    fn the_first_image_of_an_epoch_is_uniform() {
        let mut counts = [0i32; 50];
        (0..10_000).for_each(|epoch| counts[permute(0, 50, 1, ORDER, epoch) as usize] += 1);
        assert!(counts.iter().all(|&c| (c - 200).abs() <= 75), "{counts:?}");
    }
}
