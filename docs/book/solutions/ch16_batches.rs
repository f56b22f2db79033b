//! Exercise 16.1: batches that need no memory of the steps before.

use ddpm::data::shuffled;
use ddpm::engine::random::philox4x32;

/// The indices of the samples of a step: a function of the seed and the step.
pub fn batch(n: usize, size: usize, seed: u64, step: u64) -> Vec<usize> {
    let batches = (n / size) as u64;
    let (epoch, first) = (step / batches, (step % batches) as usize * size);
    // The sum of seed and epoch would give epoch 1 of seed 0 the order of epoch 0 of seed 1.
    let [low, high, ..] = philox4x32([epoch as u32, (epoch >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32]);
    shuffled(n, u64::from(high) << 32 | u64::from(low))[first..first + size].to_vec()
}
