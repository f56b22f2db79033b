//! Standard normals for tests.

use crate::engine::ops::philox::{Philox, RngState, Stream};

/// `n` standard normals of a seed.
pub(super) fn normals(seed: u64, n: usize) -> Vec<f32> {
    let mut values = vec![0.0; n];
    Philox::new(RngState { seed, ..RngState::default() }, Stream::Noise).fill_normal(0, 0, &mut values);
    values
}
