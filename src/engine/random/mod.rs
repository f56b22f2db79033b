//! Random numbers as functions of a counter: Philox4x32-10, uniforms and normals made of its words, and a generator
//! for the functions of `rand` and `rand_distr`.
//!
//! ```text
//! key     = (seed_lo, seed_hi)
//! counter = (element / 4, image, step, stream)
//! ```
//! A value depends on these and on nothing else: not on the device, the batch split or the number of threads.

mod philox;
mod sequence;
mod state;
mod variates;

pub use philox::{Philox, philox4x32};
pub use sequence::PhiloxRng;
pub use state::{RngState, Stream};

#[cfg(test)]
mod tests;
