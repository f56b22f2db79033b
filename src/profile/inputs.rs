//! Random inputs of measurements: their values do not matter, but zeros would be faster than what networks see.

use crate::engine::random::{Philox, RngState, Stream};

/// Stream of the inputs.
pub const INPUTS: Stream = Stream::new(10);

/// Returns `n` standard normals; those of another `index` are others.
pub fn normals(index: u32, n: usize) -> Vec<f32> {
    let mut values = vec![0.0; n];
    Philox::new(RngState::default(), INPUTS).fill_normal(index, 0, &mut values);
    values
}
