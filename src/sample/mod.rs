//! Drawing samples: from noise, one evaluation of the network and one sampler step after another.
//!
//! Sample `i` is a function of the weights, the seed and `i`: no sum of an evaluation depends on how many samples are
//! evaluated together. Many are drawn in chunks of one size and what is left over, each with a program of its own size, so
//! that nothing is computed that was not asked for.
//!
//! [`ImageSampler`] has the programs of a step. [`mixtures`] of images at a noise level are a start for it, and with [`Known`]
//! pixels it draws the rest of an image. A [`GuidingClassifier`] guides its steps.

mod guide;
mod image_sampler;
mod inpaint;
mod interpolate;
mod request;

pub use guide::GuidingClassifier;
pub use image_sampler::{ImageSampler, chunk_images};
pub use inpaint::Known;
pub use interpolate::{mixtures, noised};
pub use request::{ByClassifier, Request, Samples, StageView};
