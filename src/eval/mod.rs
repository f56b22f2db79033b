//! How good samples are: distances between what a model draws and what it learnt from.
//!
//! [`moments`] and [`energy`] compare points as they are; [`frechet`] and [`kid`] compare features of images, which a
//! network of the kind of [`features::Features`] reads off them; [`classifier`] says what images show. [`evaluation`]
//! puts them together.

pub mod classifier;
pub mod energy;
pub mod evaluation;
pub mod features;
pub mod frechet;
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
