//! A seeded order of samples, for choices that are made once: which samples validate, which half a sample belongs to.

use crate::engine::random::{PhiloxRng, Stream};
use rand::seq::SliceRandom;

/// The order in which samples are dealt to the parts of a split.
const SPLITS: Stream = Stream::new(11);

/// The numbers `0..samples` in a random order, a function of the seed alone. Unlike the order of a [`Loader`], it is not
/// addressed by a counter: the parts of a split are cut from it.
///
/// [`Loader`]: super::Loader
pub fn shuffled(samples: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..samples).collect();
    order.shuffle(&mut PhiloxRng::new(seed, SPLITS, 0));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `rand` may change its shuffle from version to version; a run's validation samples must not change with it.
    #[test]
    fn an_order_never_changes() {
        assert_eq!(shuffled(10, 7), [8, 6, 9, 7, 5, 1, 3, 0, 2, 4]);
        assert_ne!(shuffled(10, 8), shuffled(10, 7));
        assert_eq!(shuffled(0, 7), [0; 0]);
    }
}
