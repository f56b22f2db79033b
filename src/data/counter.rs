//! Counter-based random numbers for choices made on the host: a draw is a function of (seed, stream, counter) and of
//! nothing else, so the data order needs no state and resuming needs only the step number.

/// What a draw is for; streams never share a draw.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Stream {
    Shuffle = 0x7368_7566,
    Flip = 0x666c_6970,
    Glyph = 0x676c_7970,
}

/// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
pub(crate) fn philox(seed: u64, stream: Stream, counter: [u32; 3]) -> [u32; 4] {
    rounds([counter[0], counter[1], counter[2], stream as u32], [seed as u32, (seed >> 32) as u32])
}

fn rounds(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// A run of draws at one (seed, stream, position), for code that needs an unknown number of them.
#[derive(Debug)]
pub(crate) struct Draws {
    seed: u64,
    stream: Stream,
    position: [u32; 2],
    drawn: u32,
    block: [u32; 4],
}

impl Draws {
    pub(crate) fn new(seed: u64, stream: Stream, position: u64) -> Draws {
        Draws { seed, stream, position: [position as u32, (position >> 32) as u32], drawn: 0, block: [0; 4] }
    }

    /// The next uniform number in (lo, hi).
    pub(crate) fn uniform(&mut self, lo: f32, hi: f32) -> f32 {
        let lane = (self.drawn % 4) as usize;
        if lane == 0 {
            self.block = philox(self.seed, self.stream, [self.drawn / 4, self.position[0], self.position[1]]);
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
    fn matches_the_published_vectors() {
        assert_eq!(rounds([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(rounds([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(rounds(pi, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn draws_fill_the_interval_evenly() {
        let mut draws = Draws::new(7, Stream::Glyph, 3);
        let values: Vec<f32> = (0..10_000).map(|_| draws.uniform(-1.0, 3.0)).collect();
        assert!(values.iter().all(|&v| v > -1.0 && v < 3.0));
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((mean - 1.0).abs() <= 0.05, "mean {mean}");
    }
}
