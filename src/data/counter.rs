//! Counter-based random numbers for choices made on the host: a draw is a function of (seed, stream, counter) and of
//! nothing else, so the data order needs no state and resuming needs only the step number.

use crate::engine::ops::philox::{Stream, philox4x32};

/// The four random words of a counter.
pub(super) fn words(seed: u64, stream: Stream, counter: [u32; 3]) -> [u32; 4] {
    philox4x32([counter[0], counter[1], counter[2], stream.id()], [seed as u32, (seed >> 32) as u32])
}

/// A run of draws at one (seed, stream, position), for code that needs an unknown number of them.
#[derive(Debug)]
pub(super) struct Draws {
    seed: u64,
    stream: Stream,
    position: [u32; 2],
    drawn: u32,
    block: [u32; 4],
}

impl Draws {
    pub(super) fn new(seed: u64, stream: Stream, position: u64) -> Draws {
        Draws { seed, stream, position: [position as u32, (position >> 32) as u32], drawn: 0, block: [0; 4] }
    }

    /// The next uniform number in (lo, hi).
    pub(super) fn uniform(&mut self, lo: f32, hi: f32) -> f32 {
        let lane = (self.drawn % 4) as usize;
        if lane == 0 {
            self.block = words(self.seed, self.stream, [self.drawn / 4, self.position[0], self.position[1]]);
        }
        self.drawn += 1;
        let unit = ((self.block[lane] >> 8) as f32 + 0.5) * (1.0 / (1 << 24) as f32);
        lo + (hi - lo) * unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_fill_the_interval_evenly() {
        let mut draws = Draws::new(7, Stream::Glyphs, 3);
        let values: Vec<f32> = (0..10_000).map(|_| draws.uniform(-1.0, 3.0)).collect();
        assert!(values.iter().all(|&v| v > -1.0 && v < 3.0));
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((mean - 1.0).abs() <= 0.05, "mean {mean}");
    }
}
