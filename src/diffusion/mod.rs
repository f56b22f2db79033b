//! The mathematics of diffusion: noise schedules, what a network may predict, how a step back in time is taken, and
//! what a training step draws. Everything here is `f64` on the host and ends in a few coefficients per image or per
//! step; the kernels that apply them know nothing of schedules. Nothing in this module names a device.
//!
//! Reading order: [`schedule`] → [`posterior`] → [`prediction`] → [`timesteps`] → [`sampler`] → [`training`].
//!
//! Notation, the field's: `t` in `1..=T` is diffusion time and `s < t` the earlier time of a step back;
//! `z_t = a_t x_0 + sigma_t eps` with `a_t = sqrt(alpha_bar_t)` and `sigma_t = sqrt(1 - alpha_bar_t)`; `xi` is the fresh
//! noise of a step back and `rho` its scale. A network is told `t - 1`, the index that published models were trained with.

pub mod posterior;
pub mod prediction;
pub mod sampler;
pub mod schedule;
pub mod timesteps;
pub mod training;

pub use posterior::Posterior;
pub use prediction::PredictionTarget;
pub use sampler::{Sampler, SamplerStep, Variance};
pub use schedule::{NoiseLevel, Schedule};
pub use training::{ImageCoefficients, TimestepDraw};
