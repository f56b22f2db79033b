//! Denoising diffusion probabilistic models on hand-written CUDA kernels; docs/ARCHITECTURE.md is the map.

#![deny(unsafe_code)]

pub mod data;
#[allow(unsafe_code)]
pub mod device;
pub mod diffusion;
mod error;
pub mod ops;
pub mod report;
pub mod tape;
pub mod tensor;

pub use error::{Error, Result};
