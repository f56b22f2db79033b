//! Vu Minh and Won: plain encoder-decoders of growing size on MNIST and CIFAR-10.
//!
//! ```text
//! networks.rs   the networks, and how they are trained
//! models.rs     trains, measures and shows one of them
//! tables.rs     won-mnist, won-cifar
//! progress.rs   won-progress
//! claims.rs     the verdicts
//! ```

mod claims;
mod models;
mod networks;
pub mod progress;
pub mod tables;
