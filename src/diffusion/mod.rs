//! The mathematics of diffusion: noise schedules, what a network may predict, how a step back in time is taken, and
//! what a training step draws. Everything here is `f64` on the host and ends in a few coefficients per image or per
//! step; the kernels that apply them know nothing of schedules. Nothing in this module names a device.
//!
//! Reading order: [`schedule`] and [`continuous`] → [`process`] → [`posterior`] → [`prediction`] → [`weighting`] →
//! [`timesteps`] → [`sampler`] → [`training`]; then what builds on them: [`guidance`], [`interpolation`],
//! [`learned_variance`], [`likelihood`]. [`mixture`], [`langevin`] and [`score_matching`] are worlds so small that the
//! best network is known.
//!
//! Notation, the field's: `t` is diffusion time, in `1..=T` or in `[0, 1]`, and `s < t` the earlier time of a step back;
//! `z_t = a_t x_0 + sigma_t eps`, where variance is preserved with `a_t = sqrt(alpha_bar_t)` and `sigma_t = sqrt(1 -
//! alpha_bar_t)`; SNR is `a_t^2 / sigma_t^2`; `xi` is the fresh noise of a step back and `rho` its scale.

pub mod continuous;
pub mod guidance;
pub mod interpolation;
pub mod langevin;
pub mod learned_variance;
pub mod likelihood;
pub mod mixture;
pub mod normal;
pub mod posterior;
pub mod prediction;
pub mod process;
pub mod sampler;
pub mod schedule;
pub mod score_matching;
pub mod timesteps;
pub mod training;
pub mod weighting;

pub use continuous::Continuous;
pub use posterior::Posterior;
pub use prediction::PredictionTarget;
pub use process::{Process, TimePoint};
pub use sampler::{Sampler, SamplerStep, Variance};
pub use schedule::{NoiseLevel, Schedule};
pub use training::{ImageCoefficients, Reduction, TimestepDraw};
pub use weighting::LossWeighting;
