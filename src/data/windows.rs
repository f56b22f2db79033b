//! The order of samples that lie in blocks on a disk: blocks are permuted, then the samples within windows.
//!
//! An epoch reads the blocks in a random order, one after the other; of the sequence that this makes, each window of some
//! thousand samples is shuffled. So every epoch visits every sample once, the samples of a batch come from many blocks,
//! and no more than the blocks of a window or two need be in memory. The sample at a position is a function of the seed
//! and the position: the order of the blocks of an epoch, which is remembered, can always be computed again.

use std::sync::Arc;

use super::members::Members;
use super::permute::permute;
use crate::engine::random::Stream;

/// The order of the blocks.
const BLOCKS: Stream = Stream::new(12);
/// The order of the samples within windows.
const WINDOWS: Stream = Stream::new(13);

/// The order of the samples of all epochs.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// The first sample of each block, and the number of samples at the end.
    firsts: Arc<[u32]>,
    /// The samples that are visited; `None`: all.
    members: Option<Arc<Members>>,
    /// Samples of a window.
    window: u64,
    seed: u64,
    /// Samples of an epoch.
    samples: u64,
    /// Epochs whose order is known, the latest one last.
    epochs: Vec<Epoch>,
}

/// The blocks of an epoch.
#[derive(Clone, Debug)]
struct Epoch {
    number: u64,
    blocks: Vec<u32>,
    /// The place in the epoch's sequence at which each block begins.
    starts: Vec<u32>,
}

/// A place in the endless sequence of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub block: usize,
    /// The place among the visited samples of the block.
    pub rank: usize,
    /// The place in the sequence at which the block ends.
    pub end: u64,
}

impl Windows {
    /// The order of the samples that `firsts` divides into blocks.
    pub fn new(firsts: Arc<[u32]>, members: Option<Members>, window: usize, seed: u64) -> Windows {
        let all = firsts.last().map_or(0, |&n| n as usize);
        let samples = members.as_ref().map_or(all, |members| members.count_in(0..all)) as u64;
        // A window ends where the epoch does.
        let window = (window as u64).clamp(1, samples.max(1));
        Windows { firsts, members: members.map(Arc::new), window, seed, samples, epochs: Vec::new() }
    }

    /// The number of samples of an epoch.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Samples of a window.
    pub fn window(&self) -> u64 {
        self.window
    }

    /// The sample at a position of the endless sequence of epochs.
    pub fn index(&mut self, position: u64) -> usize {
        let (epoch, at) = (position / self.samples, position % self.samples);
        let (window, start) = (at / self.window, at - at % self.window);
        let length = self.window.min(self.samples - start);
        let number = epoch * self.samples.div_ceil(self.window) + window;
        let shuffled = permute(at - start, length, self.seed, WINDOWS, number);
        let place = self.place(epoch * self.samples + start + shuffled);
        let first = self.firsts[place.block] as usize;
        self.members.as_ref().map_or(first + place.rank, |members| members.nth(first, place.rank))
    }

    /// The place in the sequence of blocks at which the window of a position begins.
    pub fn window_start(&self, position: u64) -> u64 {
        position - position % self.samples % self.window
    }

    /// The block at a place of the sequence of blocks, which is not shuffled within windows.
    pub fn place(&mut self, at: u64) -> Place {
        let samples = self.samples;
        let (number, at_in_epoch) = (at / samples, (at % samples) as u32);
        let epoch = self.epoch(number);
        let k = epoch.starts.partition_point(|&start| start <= at_in_epoch) - 1;
        let end = epoch.starts.get(k + 1).copied();
        let (block, rank) = (epoch.blocks[k] as usize, (at_in_epoch - epoch.starts[k]) as usize);
        Place { block, rank, end: number * samples + end.map_or(samples, u64::from) }
    }

    /// The order of an epoch; that of two is remembered, since blocks are read ahead into the next one.
    fn epoch(&mut self, number: u64) -> &Epoch {
        if let Some(known) = self.epochs.iter().position(|epoch| epoch.number == number) {
            return &self.epochs[known];
        }
        let n = self.firsts.len() as u64 - 1;
        let blocks: Vec<u32> = (0..n).map(|i| permute(i, n, self.seed, BLOCKS, number) as u32).collect();
        let size = |&block: &u32| {
            let range = self.firsts[block as usize] as usize..self.firsts[block as usize + 1] as usize;
            self.members.as_ref().map_or(range.len(), |members| members.count_in(range)) as u32
        };
        let starts = blocks.iter().scan(0, |start, block| {
            let this = *start;
            *start += size(block);
            Some(this)
        });
        let epoch = Epoch { number, starts: starts.collect(), blocks };
        if self.epochs.len() == 2 {
            self.epochs.remove(0);
        }
        self.epochs.push(epoch);
        self.epochs.last().expect("just added")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(window: usize, seed: u64) -> Windows {
        Windows::new([0, 10, 11, 30, 37, 100].into(), None, window, seed)
    }

    #[test]
    fn every_epoch_visits_every_sample_once_in_a_new_order() {
        for window in [1, 7, 40, 100, 1000] {
            let mut order = order(window, 3);
            let epochs = [0, 1].map(|e| (0..100).map(|i| order.index(100 * e + i)).collect::<Vec<_>>());
            for epoch in &epochs {
                let mut sorted = epoch.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..100).collect::<Vec<_>>(), "window {window}");
            }
            assert_ne!(epochs[0], epochs[1], "window {window}");
        }
    }

    /// A run that goes on must go on with the same samples: these are the first ones of two epochs, for ever.
    #[test]
    fn the_order_never_changes() {
        let mut order = order(20, 5);
        let first: Vec<usize> = (0..8).chain(100..104).map(|position| order.index(position)).collect();
        assert_eq!(first, EXPECTED_ORDER);
        // Asked for in another sequence, after other epochs.
        order.index(12_345);
        assert_eq!(order.index(100), EXPECTED_ORDER[8]);
        assert_eq!(order.index(3), EXPECTED_ORDER[3]);
    }

    const EXPECTED_ORDER: [usize; 12] = [3, 9, 1, 35, 30, 7, 4, 6, 54, 48, 53, 55];

    #[test]
    fn a_window_needs_only_the_blocks_in_it() {
        let mut order = order(20, 8);
        for position in 0..300 {
            let start = order.window_start(position);
            assert_eq!(start % 100 % 20, 0);
            let mut blocks = Vec::new();
            let mut at = start;
            while at < (start + 20).min((position / 100 + 1) * 100) {
                let place = order.place(at);
                blocks.push(place.block);
                at = place.end;
            }
            let sample = order.index(position) as u32;
            assert!(blocks.iter().any(|&b| (order.firsts[b]..order.firsts[b + 1]).contains(&sample)), "{position}");
        }
    }

    #[test]
    fn samples_that_validate_are_left_out() {
        let all = Arc::from([0, 10, 11, 30, 37, 100]);
        // The second block is left out as a whole.
        let mut order = Windows::new(all, Some(Members::of(100, |i| i % 5 != 0)), 30, 1);
        assert_eq!(order.samples(), 80);
        for epoch in 0..3 {
            let mut visited: Vec<usize> = (0..80).map(|i| order.index(80 * epoch + i)).collect();
            visited.sort_unstable();
            assert!(visited.into_iter().eq((0..100).filter(|i| i % 5 != 0)), "{epoch}");
        }
    }
}
