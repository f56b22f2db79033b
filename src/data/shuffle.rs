//! A seeded order of samples, for choices that are made once: which samples validate, which half a sample belongs to.

use super::dataset::Dataset;
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

/// Takes a sixth of a data set away, to test on where there is no test split; at least one sample stays in each part.
pub fn hold_out(dataset: &Dataset) -> [Dataset; 2] {
    let order = shuffled(dataset.len(), 0);
    let held_out = (dataset.len() / 6).max(1).min(dataset.len() - 1);
    let (test, train) = order.split_at(held_out);
    [train, test].map(|indices| dataset.part(indices))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataOptions, Split, open};

    #[test]
    fn what_is_held_out_is_not_trained_on() {
        let options = DataOptions { size: Some([4, 4]), classes: Some(vec![3, 5]), ..DataOptions::default() };
        let glyphs = open("glyphs", Split::Test, &options).unwrap();
        let [train, test] = hold_out(&glyphs);
        assert_eq!((train.len(), test.len(), test.class_names()), (1667, 333, glyphs.class_names()));
        let order = shuffled(2000, 0);
        assert_eq!(test.image_u8(7), glyphs.image_u8(order[7]));
        assert_eq!(train.labels().unwrap()[5], glyphs.labels().unwrap()[order[338]]);
    }

    /// `rand` may change its shuffle from version to version; a run's validation samples must not change with it.
    #[test]
    fn an_order_never_changes() {
        assert_eq!(shuffled(10, 7), [8, 6, 9, 7, 5, 1, 3, 0, 2, 4]);
        assert_ne!(shuffled(10, 8), shuffled(10, 7));
        assert_eq!(shuffled(0, 7), [0; 0]);
    }
}
