//! How good samples are: distances between what a model draws and what it learnt from.
//!
//! [`moments`] and [`energy`] compare points as they are; [`frechet`] and [`kid`] compare features of images, which a
//! network of the kind of [`features::Features`] reads off them, such as [`inception`], the one of papers;
//! [`classifier`] says what images show.

pub mod classifier;
pub mod energy;
pub mod features;
pub mod frechet;
pub mod inception;
pub mod kid;
pub mod moments;
pub mod npz;
pub mod predictions;
