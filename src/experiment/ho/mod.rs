//! Notes on Ho et al. (2020): the variational bound, interpolation in latent space, progressive coding, and an ablation.

pub mod ablation;
pub mod bound;
pub mod coding;
pub mod interpolation;
mod model;
