//! Denoising diffusion probabilistic models on hand-written CUDA kernels.

pub mod data;
pub mod device;
pub mod diffusion;
mod error;
pub mod ops;
pub mod report;
pub mod tape;
pub mod tensor;

pub use error::{Error, Result};
