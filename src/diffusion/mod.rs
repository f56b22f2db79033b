//! The mathematics of diffusion: noise schedules, prediction targets, loss weightings and samplers. Everything here is
//! `f64` on the host and ends in a few coefficients per image or per step; the kernels that apply them are independent
//! of schedules. Nothing in this module names a device. Random numbers come from the caller.
//!
//! Reading order: [`level`] → [`schedule`] and [`continuous`] → [`process`] → [`noise_schedule`] → [`posterior`] → [`prediction`] →
//! [`weighting`] → [`training`]; then the way back: [`timesteps`] → [`sampler`] → [`plan`]; then the modules that build
//! on them: [`guidance`], [`interpolation`], [`inpainting`], [`variance`], [`likelihood`], [`flow`], [`learned_variance`], [`diffusers_loop`]. [`mixture`],
//! [`langevin`] and [`score_matching`] hold distributions so simple that the best network has a closed form.
//!
//! Notation, the field's: `t` is diffusion time, in `1..=T` or in `[0, 1]`, and `s < t` the earlier time of a step back;
//! `z_t = a_t x_0 + sigma_t eps`, where variance is preserved with `a_t = sqrt(alpha_bar_t)` and `sigma_t = sqrt(1 -
//! alpha_bar_t)`; SNR is `a_t^2 / sigma_t^2`; `xi` is the fresh noise of a step back and `rho` its scale.

pub mod continuous;
pub mod diffusers_loop;
pub mod flow;
pub mod guidance;
pub mod inpainting;
pub mod interpolation;
pub mod langevin;
pub mod learned_variance;
pub mod level;
pub mod likelihood;
pub mod mixture;
pub mod noise_schedule;
pub mod normal;
pub mod plan;
pub mod posterior;
pub mod prediction;
pub mod process;
pub mod sampler;
pub mod schedule;
pub mod score_matching;
pub mod timesteps;
pub mod training;
pub mod variance;
pub mod weighting;

pub use continuous::Continuous;
pub use diffusers_loop::DiffusersLoop;
pub use level::NoiseLevel;
pub use noise_schedule::NoiseSchedule;
pub use plan::SamplePlan;
pub use posterior::Posterior;
pub use prediction::PredictionTarget;
pub use process::{Process, TimePoint};
pub use sampler::{Langevin, Sampler, SamplerStep};
pub use schedule::Schedule;
pub use training::{ImageCoefficients, Reduction};
pub use variance::Variance;
pub use weighting::LossWeighting;

/// Random numbers of the tests.
#[cfg(test)]
fn rng(seed: u64) -> rand::rngs::Xoshiro256PlusPlus {
    rand::SeedableRng::seed_from_u64(seed)
}
