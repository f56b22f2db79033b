//! A counter's words one after the other, as the generator that `rand` and `rand_distr` draw from.

use super::philox::Philox;
use super::state::{RngState, Stream};
use rand::TryRng;
use rand::rand_core::utils::{fill_bytes_via_next_word, next_u64_via_u32};
use std::convert::Infallible;

/// The words of one (seed, stream, position) in their order: a generator for draws whose number is not known before.
///
/// A position has 2^34 words. Seeded choices that are made once take a position of their own each.
#[derive(Clone, Debug)]
pub struct PhiloxRng {
    philox: Philox,
    block: [u32; 4],
    drawn: u64,
}

impl PhiloxRng {
    /// The generator of a seed and stream at `position`.
    pub fn new(seed: u64, stream: Stream, position: u64) -> PhiloxRng {
        let state = RngState { seed, step: (position >> 32) as u32, first_image: position as u32 };
        PhiloxRng { philox: Philox::new(state, stream), block: [0; 4], drawn: 0 }
    }
}

impl TryRng for PhiloxRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let lane = (self.drawn % 4) as usize;
        if lane == 0 {
            self.block = self.philox.block(0, (self.drawn / 4) as u32);
        }
        self.drawn += 1;
        Ok(self.block[lane])
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        next_u64_via_u32(self)
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        fill_bytes_via_next_word(dst, || self.try_next_u32())
    }
}
