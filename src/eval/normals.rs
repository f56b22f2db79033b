//! Standard normals for tests.

use crate::engine::ops::noise_loss::NOISE;
use crate::engine::random::{Philox, RngState};

/// `n` standard normals of a seed.
pub(super) fn normals(seed: u64, n: usize) -> Vec<f32> {
    let mut values = vec![0.0; n];
    Philox::new(RngState { seed, ..RngState::default() }, NOISE).fill_normal(0, 0, &mut values);
    values
}
