//! Evaluation of samples: distances between drawn samples and the data.
//!
//! [`moments`] and [`energy`] compare points as they are. [`frechet`] and [`kid`] compare features of images, the outputs
//! of a network that implements [`features::Features`], such as [`inception`], the network of the published numbers.
//! [`classifier`] assigns classes to images, and to noisy samples to guide them. [`nll`] bounds the likelihood of samples
//! under a model, [`flow`] computes it, [`coding`] sends images bit by bit, and [`time_losses`] are those of continuous
//! time. [`evaluation`] puts the metrics together, [`distances`] measures samples while a model is trained.

pub mod classifier;
pub mod coding;
pub mod distances;
pub mod energy;
pub mod evaluation;
pub mod features;
pub mod flow;
pub mod frechet;
pub mod inception;
pub mod kid;
pub mod moments;
pub mod nll;
#[cfg(test)]
mod normals;
pub mod npz;
pub mod predictions;
pub mod set;
pub mod time_losses;

pub use classifier::{Classifier, NoisyClassifier};
pub use evaluation::{Evaluation, Metric};
pub use features::Features;
pub use moments::Moments;
pub use set::Set;
