//! The share of a batch that a rank computes.

use super::config::TrainConfig;
use crate::ranks::Ranks;
use crate::{Error, Result};
use std::ops::Range;

/// Some shards of each batch, next to each other: a subtree of their sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Number of the first.
    pub first: usize,
    /// Number of shards.
    pub shards: usize,
}

impl Share {
    /// The share of this rank.
    ///
    /// # Errors
    /// Shards that the ranks cannot share.
    pub fn new(config: &TrainConfig, ranks: &Ranks) -> Result<Share> {
        let (shards, size) = (config.shards, ranks.size());
        if size > 1 && !(shards.is_power_of_two() && shards.is_multiple_of(size)) {
            let enough = shards.next_power_of_two().max(size);
            return Err(Error::Config(format!(
                "train.shards = {shards} on {size} processes: wanted a power of two that they divide, such as \
                 --set train.shards={enough}; a run that is to give the same bits on more of them has more shards"
            )));
        }
        let shards = shards / size;
        Ok(Share { first: ranks.rank() * shards, shards })
    }

    /// Places of its images in the batch.
    pub fn images(self, config: &TrainConfig) -> Range<usize> {
        let n = config.micro_batch();
        self.first * n..(self.first + self.shards) * n
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::threads::on_ranks;

    #[test]
    fn ranks_share_the_shards_evenly_or_not_at_all() {
        let shares = |shards: usize| {
            let config = TrainConfig { shards, batch_size: 24, ..TrainConfig::default() };
            on_ranks(4, |ranks| Share::new(&config, &ranks).map(|share| share.images(&config)))
        };
        let images: Vec<_> = shares(8).into_iter().map(Result::unwrap).collect();
        assert_eq!(images, [0..6, 6..12, 12..18, 18..24]);
        for (shards, wanted) in [(1, "train.shards=4"), (2, "train.shards=4"), (12, "train.shards=16")] {
            let message = shares(shards).swap_remove(0).unwrap_err().to_string();
            assert!(message.contains(&format!("train.shards = {shards} on 4 processes")), "{message}");
            assert!(message.contains(wanted), "{message}");
        }
        let alone = TrainConfig { shards: 3, batch_size: 24, ..TrainConfig::default() };
        assert_eq!(Share::new(&alone, &Ranks::alone()).unwrap().images(&alone), 0..24);
    }
}
