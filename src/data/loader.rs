//! Batches of a data set. A batch is a function of (seed, step): nothing is remembered between steps, so a
//! resumed run goes on with exactly the batches that an uninterrupted one would have seen.

use crate::engine::random::{Stream, philox4x32};

/// Horizontal flips.
const FLIPS: Stream = Stream::new(4);
/// The order of the data.
const ORDER: Stream = Stream::new(6);

/// Rounds of the Feistel network; four already pass statistical tests, the rest is for tiny data sets.
const ROUNDS: u32 = 8;

/// Draws shuffled batches of a fixed size that wrap across epochs.
///
/// The images of an epoch are visited in a new order each time, each exactly once; a batch may hold the last images of
/// one epoch and the first of the next.
#[derive(Clone, Copy, Debug)]
pub struct Loader {
    images: usize,
    batch_images: usize,
    seed: u64,
    flip: bool,
}

/// The composition of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Positions in the data set.
    pub indices: Vec<usize>,
    /// Mirror the image left to right, for each image.
    pub flips: Vec<bool>,
}

impl Loader {
    /// A loader over `images` images. With `flip`, every image is mirrored with probability 1/2.
    ///
    /// # Panics
    /// If there are no images or a batch would hold none.
    pub fn new(images: usize, batch_images: usize, seed: u64, flip: bool) -> Loader {
        assert!(images > 0 && batch_images > 0, "a loader needs images and a batch size");
        Loader { images, batch_images, seed, flip }
    }

    /// The batch of a step, counted from 0.
    pub fn batch(&self, step: u64) -> Batch {
        let mut batch = Batch::default();
        self.fill(step, &mut batch);
        batch
    }

    /// [`Loader::batch`] into vectors that are used again.
    pub fn fill(&self, step: u64, batch: &mut Batch) {
        let first = step * self.batch_images as u64;
        batch.indices.clear();
        batch.indices.extend((first..).take(self.batch_images).map(|position| self.index(position)));
        batch.flips.clear();
        batch.flips.extend(
            (0..self.batch_images as u32)
                .map(|i| self.flip && word(self.seed, FLIPS, [i, step as u32, (step >> 32) as u32]) & 1 == 1),
        );
    }

    /// The image at a position of the endless sequence of epochs.
    fn index(&self, position: u64) -> usize {
        let n = self.images as u64;
        permute(position % n, n, self.seed, position / n) as usize
    }
}

/// A random word of a counter.
fn word(seed: u64, stream: Stream, [a, b, c]: [u32; 3]) -> u32 {
    philox4x32([a, b, c, stream.id()], [seed as u32, (seed >> 32) as u32])[0]
}

/// A pseudo-random permutation of `0..n`, different for each (seed, epoch), evaluated at `i` without a table: a Feistel
/// network permutes the next power of two, and walking its cycle until the value is below n restricts it to `0..n`.
fn permute(i: u64, n: u64, seed: u64, epoch: u64) -> u64 {
    let bits = (u64::BITS - (n - 1).leading_zeros()).max(2);
    let (high, low) = (bits / 2, bits - bits / 2);
    let (high_mask, low_mask) = ((1u64 << high) - 1, (1u64 << low) - 1);
    let hash = |round: u32, half: u64| {
        let counter = [half as u32, epoch as u32, ((epoch >> 32) as u32) << 8 | round];
        u64::from(word(seed, ORDER, counter))
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

    #[test]
    fn every_epoch_visits_every_image_once_in_a_new_order() {
        for n in [1, 2, 3, 5, 17, 64, 1000] {
            let loader = Loader::new(n, 1, 3, false);
            let epochs: Vec<Vec<usize>> =
                (0..2).map(|e| (0..n).map(|i| loader.batch((e * n + i) as u64).indices[0]).collect()).collect();
            for epoch in &epochs {
                let mut sorted = epoch.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..n).collect::<Vec<_>>(), "n = {n}");
            }
            if n >= 17 {
                assert_ne!(epochs[0], epochs[1], "n = {n}");
                assert_ne!(epochs[0], (0..n).collect::<Vec<_>>(), "n = {n}");
            }
        }
    }

    #[test]
    fn batches_wrap_across_epochs_and_depend_on_nothing_but_the_step() {
        let loader = Loader::new(10, 4, 11, true);
        let all: Vec<usize> = (0..5).flat_map(|step| loader.batch(step).indices).collect();
        let mut counts = [0; 10];
        all.iter().for_each(|&i| counts[i] += 1);
        assert_eq!(counts, [2; 10]);
        assert_eq!(loader.batch(3), Loader::new(10, 4, 11, true).batch(3));
        assert_ne!(loader.batch(3), Loader::new(10, 4, 12, true).batch(3));
    }

    #[test]
    fn permutations_of_three_are_all_reached_about_equally_often() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000 {
            *counts.entry([0, 1, 2].map(|i| permute(i, 3, 5, epoch))).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|&c: &i32| (c - 1000).abs() <= 150), "{counts:?}");
    }

    #[test]
    fn the_first_image_of_an_epoch_is_uniform() {
        let mut counts = [0i32; 50];
        (0..10_000).for_each(|epoch| counts[permute(0, 50, 1, epoch) as usize] += 1);
        assert!(counts.iter().all(|&c| (c - 200).abs() <= 75), "{counts:?}");
    }

    #[test]
    fn half_of_the_images_are_flipped_and_none_when_off() {
        let flipped = |flip| {
            let loader = Loader::new(100, 50, 2, flip);
            (0..100).flat_map(|step| loader.batch(step).flips).filter(|&f| f).count()
        };
        assert_eq!(flipped(false), 0);
        assert!(flipped(true).abs_diff(2500) <= 200, "{}", flipped(true));
    }
}
