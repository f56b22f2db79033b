//! Drawing samples: from noise, one evaluation of the network and one sampler step after another.
//!
//! Sample `i` is a function of the weights, the seed and `i`. Samples are drawn in chunks of one fixed size, the last
//! one padded, since the rounding of a matrix product may depend on its shape.
//!
//! [`ImageSampler`] has the program of a step. [`mixtures`] of images at a noise level are a start for it, and with [`Known`]
//! pixels it draws the rest of an image.

mod image_sampler;
mod inpaint;
mod interpolate;
mod request;

pub use image_sampler::{ImageSampler, chunk_images};
pub use inpaint::Known;
pub use interpolate::{mixtures, noised};
pub use request::{Request, Samples, StageView};
