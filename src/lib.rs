//! Denoising diffusion probabilistic models on hand-written CUDA kernels.
pub mod error;
pub mod data;
pub mod device;
pub mod diffusion;
pub mod report;
pub use error::{Error, Result};
