//! Counts of what a kernel does while it runs. They are exact and the same in every run: sums over warps, whatever the order
//! in which these run.

use crate::program::Class;
use std::collections::BTreeMap;

/// Counts of one launch, and of each line of its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub total: Counts,
    /// By file and line of the CUDA source (compiled with `-lineinfo`), else by the line of the PTX text.
    pub lines: BTreeMap<(String, u32), Counts>,
}

/// Counts of some instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instructions that a warp executed, by [`Class`]: `counts.instructions[Class::Load as usize]`.
    pub instructions: [u64; Class::ALL.len()],
    /// Lanes that were active, summed over those instructions.
    pub lanes: u64,
    /// Branches whose lanes went different ways.
    pub divergent_branches: u64,
    /// Operations of matrix products: two for each multiplication.
    pub tensor_flops: u64,
    /// Loads from global memory: instructions, the 32-byte sectors that they touch, and bytes that lanes asked for.
    pub global_loads: Traffic,
    pub global_stores: Traffic,
    /// Loads from shared memory: instructions, passes that the 32 banks need, and passes that they would need without
    /// conflicts.
    pub shared_loads: Wavefronts,
    pub shared_stores: Wavefronts,
    /// Bytes that tensor copies moved.
    pub tensor_copy_bytes: u64,
    /// Times that a warp had to wait at a barrier of the block, a transaction barrier, a barrier of the cluster.
    pub barrier_waits: u64,
    pub transaction_waits: u64,
    pub cluster_waits: u64,
}

/// Requests to global memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub requests: u64,
    pub sectors: u64,
    pub bytes: u64,
}

/// Requests to shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wavefronts {
    pub requests: u64,
    pub wavefronts: u64,
    pub ideal: u64,
}

impl Counts {
    /// All instructions of all classes.
    pub fn all_instructions(&self) -> u64 {
        self.instructions.iter().sum()
    }

    pub(crate) fn add(&mut self, other: &Counts) {
        for (sum, n) in self.instructions.iter_mut().zip(other.instructions) {
            *sum += n;
        }
        self.lanes += other.lanes;
        self.divergent_branches += other.divergent_branches;
        self.tensor_flops += other.tensor_flops;
        self.global_loads.add(other.global_loads);
        self.global_stores.add(other.global_stores);
        self.shared_loads.add(other.shared_loads);
        self.shared_stores.add(other.shared_stores);
        self.tensor_copy_bytes += other.tensor_copy_bytes;
        self.barrier_waits += other.barrier_waits;
        self.transaction_waits += other.transaction_waits;
        self.cluster_waits += other.cluster_waits;
    }
}

impl Traffic {
    fn add(&mut self, other: Traffic) {
        self.requests += other.requests;
        self.sectors += other.sectors;
        self.bytes += other.bytes;
    }

    /// Counts one instruction: `bytes` at the address of each lane that is active.
    pub(crate) fn count(&mut self, addresses: &[u64; 32], mask: u32, bytes: u64) {
        let mut sectors = [0; 64];
        let mut n = 0;
        for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
            for address in [addresses[lane], addresses[lane] + bytes - 1] {
                let sector = address / 32;
                if n == 0 || sectors[n - 1] != sector {
                    sectors[n] = sector;
                    n += 1;
                }
            }
        }
        let sectors = &mut sectors[..n];
        sectors.sort_unstable();
        let distinct = 1 + sectors.windows(2).filter(|pair| pair[0] != pair[1]).count();
        self.requests += 1;
        self.sectors += distinct as u64;
        self.bytes += bytes * u64::from(mask.count_ones());
    }
}

impl Wavefronts {
    fn add(&mut self, other: Wavefronts) {
        self.requests += other.requests;
        self.wavefronts += other.wavefronts;
        self.ideal += other.ideal;
    }

    /// Counts one instruction. Lanes that move 8 bytes are served by halves of a warp, 16 bytes by quarters; a pass serves
    /// one 4-byte word of each of the 32 banks, to any number of lanes.
    pub(crate) fn count(&mut self, addresses: &[u64; 32], mask: u32, bytes: u64) {
        self.requests += 1;
        let words = bytes.div_ceil(4).max(1);
        let lanes = (32 / words as usize).max(1);
        for first in (0..32).step_by(lanes) {
            let group = (first..first + lanes).filter(|lane| mask >> lane & 1 == 1);
            let mut asked = [0; 64];
            let mut n = 0;
            for lane in group {
                for word in 0..words {
                    asked[n] = addresses[lane] / 4 + word;
                    n += 1;
                }
            }
            if n > 0 {
                let (passes, ideal) = passes(&mut asked[..n]);
                self.wavefronts += passes;
                self.ideal += ideal;
            }
        }
    }

    /// Counts one matrix of ldmatrix or stmatrix: eight rows of 16 bytes.
    pub(crate) fn count_matrix(&mut self, rows: &[u64; 8]) {
        let mut asked = [0; 32];
        for (i, asked) in asked.iter_mut().enumerate() {
            *asked = rows[i / 4] / 4 + i as u64 % 4;
        }
        let (passes, ideal) = passes(&mut asked);
        self.wavefronts += passes;
        self.ideal += ideal;
    }
}

/// Passes for a set of words, as they lie and if they lay in different banks.
fn passes(words: &mut [u64]) -> (u64, u64) {
    words.sort_unstable();
    let mut banks = [0u64; 32];
    let mut distinct = 0u64;
    for (i, word) in words.iter().enumerate() {
        if i == 0 || words[i - 1] != *word {
            banks[(word % 32) as usize] += 1;
            distinct += 1;
        }
    }
    (banks.iter().copied().max().unwrap_or(0), distinct.div_ceil(32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(address: impl Fn(u64) -> u64) -> [u64; 32] {
        std::array::from_fn(|lane| address(lane as u64))
    }

    #[test]
    fn strided_words_conflict_as_their_stride_divides_the_banks() {
        for stride in 1..=64u64 {
            let mut wavefronts = Wavefronts::default();
            wavefronts.count(&lanes(|lane| 4 * stride * lane), u32::MAX, 4);
            // The greatest common divisor of stride and 32.
            let expected = 1 << stride.trailing_zeros().min(5);
            assert_eq!((wavefronts.wavefronts, wavefronts.ideal), (expected, 1), "stride {stride}");
        }
    }

    #[test]
    fn a_broadcast_is_one_pass_and_one_sector() {
        let (mut wavefronts, mut traffic) = (Wavefronts::default(), Traffic::default());
        wavefronts.count(&lanes(|_| 64), u32::MAX, 4);
        traffic.count(&lanes(|_| 64), u32::MAX, 4);
        assert_eq!((wavefronts.wavefronts, traffic.sectors), (1, 1));
    }

    #[test]
    fn a_padded_column_has_no_conflicts_and_an_unpadded_one_has_all() {
        let column = |row_words: u64| {
            let mut wavefronts = Wavefronts::default();
            wavefronts.count(&lanes(|lane| 4 * row_words * lane), u32::MAX, 4);
            wavefronts.wavefronts
        };
        assert_eq!((column(32), column(33)), (32, 1));
    }

    #[test]
    fn wide_accesses_are_served_in_halves_and_quarters() {
        for (bytes, expected) in [(4, 1), (8, 2), (16, 4)] {
            let mut wavefronts = Wavefronts::default();
            wavefronts.count(&lanes(|lane| bytes * lane), u32::MAX, bytes);
            assert_eq!((wavefronts.wavefronts, wavefronts.ideal), (expected, expected));
        }
    }

    #[test]
    fn matrices_conflict_in_rows_of_128_bytes_unless_they_are_swizzled() {
        let count = |address: &dyn Fn(u64) -> u64| {
            let mut wavefronts = Wavefronts::default();
            wavefronts.count_matrix(&std::array::from_fn(|row| address(row as u64)));
            wavefronts.wavefronts
        };
        assert_eq!(count(&|row| 128 * row), 8);
        assert_eq!(count(&|row| 128 * row + 16 * (row % 8)), 1);
        assert_eq!(count(&|row| 144 * row), 1);
        assert_eq!(count(&|row| 64 * row), 4);
    }

    #[test]
    fn sectors_follow_stride_and_alignment() {
        let count = |bytes: u64, address: &dyn Fn(u64) -> u64| {
            let mut traffic = Traffic::default();
            traffic.count(&lanes(address), u32::MAX, bytes);
            (traffic.requests, traffic.sectors, traffic.bytes)
        };
        assert_eq!(count(4, &|lane| 4 * lane), (1, 4, 128));
        assert_eq!(count(16, &|lane| 16 * lane), (1, 16, 512));
        assert_eq!(count(4, &|lane| 8 * lane), (1, 8, 128));
        assert_eq!(count(4, &|lane| 4 * lane + 4), (1, 5, 128), "begins inside a sector");
        assert_eq!(count(4, &|lane| 128 * lane), (1, 32, 128));
        assert_eq!(count(2, &|lane| 2 * (31 - lane)), (1, 2, 64), "backwards");
    }
}
