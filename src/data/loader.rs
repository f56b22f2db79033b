//! Batches of a data set. A batch is a function of (seed, step): nothing is remembered between steps, so a
//! resumed run goes on with exactly the batches that an uninterrupted one would have seen.

use std::ops::Range;
use std::sync::Arc;

use super::permute::{permute, word};
use super::windows::Windows;
use crate::engine::random::Stream;

/// Horizontal flips.
const FLIPS: Stream = Stream::new(4);
/// The order of the data.
const ORDER: Stream = Stream::new(6);

/// Draws shuffled batches of a fixed size that wrap across epochs.
///
/// The images of an epoch are visited in a new order each time, each exactly once; a batch may hold the last images of
/// one epoch and the first of the next.
#[derive(Clone, Debug)]
pub struct Loader {
    order: Order,
    batch_images: usize,
    /// The images of each batch that are drawn.
    share: Range<usize>,
    seed: u64,
    flip: bool,
}

/// The order in which images are visited.
#[derive(Clone, Debug)]
enum Order {
    /// All of so many images, permuted.
    Full(u64),
    /// The images of a list, permuted.
    Listed(Arc<[usize]>),
    /// In blocks, as they lie on the disk.
    Windows(Windows),
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
        Loader::ordered(Order::Full(images as u64), batch_images, seed, flip)
    }

    /// A loader over the images at these places.
    ///
    /// # Panics
    /// As for [`Loader::new`].
    pub(super) fn listed(images: Vec<usize>, batch_images: usize, seed: u64, flip: bool) -> Loader {
        Loader::ordered(Order::Listed(images.into()), batch_images, seed, flip)
    }

    /// A loader over images in blocks.
    ///
    /// # Panics
    /// As for [`Loader::new`].
    pub(super) fn windows(windows: Windows, batch_images: usize, seed: u64, flip: bool) -> Loader {
        Loader::ordered(Order::Windows(windows), batch_images, seed, flip)
    }

    fn ordered(order: Order, batch_images: usize, seed: u64, flip: bool) -> Loader {
        let loader = Loader { order, batch_images, share: 0..batch_images, seed, flip };
        assert!(loader.images() > 0 && batch_images > 0, "a loader needs images and a batch size");
        loader
    }

    /// The number of images of an epoch.
    pub fn images(&self) -> u64 {
        match &self.order {
            Order::Full(images) => *images,
            Order::Listed(images) => images.len() as u64,
            Order::Windows(windows) => windows.samples(),
        }
    }

    /// Draws only these images of each batch.
    pub fn of_share(self, share: Range<usize>) -> Loader {
        Loader { share, ..self }
    }

    /// Images of a whole batch.
    pub fn batch_images(&self) -> usize {
        self.batch_images
    }

    /// The order of images in blocks.
    pub(super) fn in_blocks(&mut self) -> Option<&mut Windows> {
        match &mut self.order {
            Order::Windows(windows) => Some(windows),
            _ => None,
        }
    }

    /// The batch of a step, counted from 0.
    pub fn batch(&mut self, step: u64) -> Batch {
        let mut batch = Batch::default();
        self.fill(step, &mut batch);
        batch
    }

    /// [`Loader::batch`] into vectors that are used again.
    pub fn fill(&mut self, step: u64, batch: &mut Batch) {
        let (first, share) = (step * self.batch_images as u64, self.share.clone());
        batch.indices.clear();
        batch.indices.extend(share.clone().map(|image| self.index(first + image as u64)));
        batch.flips.clear();
        batch.flips.extend(
            (share.start as u32..share.end as u32)
                .map(|i| self.flip && word(self.seed, FLIPS, [i, step as u32, (step >> 32) as u32]) & 1 == 1),
        );
    }

    /// The image at a position of the endless sequence of epochs.
    fn index(&mut self, position: u64) -> usize {
        let n = self.images();
        let permuted = || permute(position % n, n, self.seed, ORDER, position / n) as usize;
        match &mut self.order {
            Order::Full(_) => permuted(),
            Order::Listed(images) => images[permuted()],
            Order::Windows(windows) => windows.index(position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_make_up_the_batch() {
        for flip in [false, true] {
            let loader = || Loader::new(37, 8, 5, flip);
            let whole = loader().batch(11);
            let [first, second] = [0..2, 2..8].map(|share| loader().of_share(share).batch(11));
            assert_eq!([first.indices, second.indices].concat(), whole.indices);
            assert_eq!([first.flips, second.flips].concat(), whole.flips);
        }
    }

    #[test]
    fn every_epoch_visits_every_image_once_in_a_new_order() {
        for n in [1, 2, 3, 5, 17, 64, 1000] {
            let mut loader = Loader::new(n, 1, 3, false);
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
        let mut loader = Loader::new(10, 4, 11, true);
        let all: Vec<usize> = (0..5).flat_map(|step| loader.batch(step).indices).collect();
        let mut counts = [0; 10];
        all.iter().for_each(|&i| counts[i] += 1);
        assert_eq!(counts, [2; 10]);
        assert_eq!(loader.batch(3), Loader::new(10, 4, 11, true).batch(3));
        assert_ne!(loader.batch(3), Loader::new(10, 4, 12, true).batch(3));
    }

    #[test]
    fn half_of_the_images_are_flipped_and_none_when_off() {
        let flipped = |flip| {
            let mut loader = Loader::new(100, 50, 2, flip);
            (0..100).flat_map(|step| loader.batch(step).flips).filter(|&f| f).count()
        };
        assert_eq!(flipped(false), 0);
        assert!(flipped(true).abs_diff(2500) <= 200, "{}", flipped(true));
    }
}
