//! How good samples are: distances between what a model draws and what it learnt from.
//!
//! [`moments`] and [`energy`] compare points as they are; [`frechet`] and [`kid`] compare features of images.

pub mod energy;
pub mod frechet;
pub mod kid;
pub mod moments;
pub mod npz;
