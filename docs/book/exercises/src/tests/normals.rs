//! Standard normals for the tests.

use ddpm::engine::random::{Philox, RngState, Stream};

/// `n` standard normals of a seed.
pub fn normals(seed: u64, n: usize) -> Vec<f32> {
    let mut values = vec![0.0; n];
    Philox::new(RngState { seed, ..RngState::default() }, Stream::new(0)).fill_normal(0, 0, &mut values);
    values
}
