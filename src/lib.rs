//! Denoising diffusion probabilistic models on hand-written CUDA kernels; docs/ARCHITECTURE.md is the map.

#![deny(unsafe_code)]

pub mod cli;
pub mod data;
pub mod diffusion;
pub mod engine;
mod error;
pub mod eval;
pub mod experiment;
pub mod files;
pub mod invocation;
pub mod levels;
pub mod nn;
mod pickle;
pub mod probe;
pub mod profile;
pub mod ranks;
pub mod report;
pub mod sample;
mod sample_kind;
mod skip;
pub mod train;
pub mod version;

pub use error::{Error, Result};
pub use sample_kind::SampleKind;
