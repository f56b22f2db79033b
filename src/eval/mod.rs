//! How good samples are: distances between what a model draws and what it learnt from.
//!
//! [`moments`] and [`energy`] compare points as they are; [`frechet`] and [`kid`] compare features of images, which a
//! network of the kind of [`features::Features`] reads off them, such as [`inception`], the one of papers;
//! [`classifier`] says what images show. [`evaluation`] puts them together.

pub mod classifier;
pub mod energy;
pub mod evaluation;
pub mod features;
pub mod frechet;
pub mod inception;
pub mod kid;
pub mod moments;
pub mod nll;
pub mod npz;
pub mod predictions;
pub mod set;

pub use classifier::Classifier;
pub use evaluation::{Evaluation, Metric};
pub use features::Features;
pub use moments::Moments;
pub use set::Set;

/// Standard normals for tests.
#[cfg(test)]
fn normals(seed: u64, n: usize) -> Vec<f32> {
    use crate::engine::ops::noise_loss::NOISE;
    use crate::engine::random::{Philox, RngState};
    let mut values = vec![0.0; n];
    Philox::new(RngState { seed, ..RngState::default() }, NOISE).fill_normal(0, 0, &mut values);
    values
}
