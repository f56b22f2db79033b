//! Denoising diffusion probabilistic models on hand-written CUDA kernels.
pub mod data;
pub mod diffusion;
pub mod error;
pub mod ops;
pub mod report;
pub use error::{Error, Result};
