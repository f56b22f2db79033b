//! Langevin dynamics as sampler steps (Song and Ermon 2019, algorithm 1).
//!
//! At the noise level `sigma_i` of the sum `y = x_0 + sigma_i eps`, of which the process has the multiple `z = a y`
//! with `sigma_i = sigma / a`:
//!
//! ```text
//! y <- y + alpha_i / 2 S_y(y) + sqrt(alpha_i) xi,    alpha_i = step sigma_i^2 / sigma_L^2,    S_y = a S
//! ```
//!
//! With `S = (a x_0 - z) / sigma^2` the move is a step towards the estimate of the image, by the share `h = alpha_i / (2
//! sigma_i^2)`, which is the same at all levels:
//!
//! ```text
//! z <- (1 - h) z + h a x_0 + a sqrt(alpha_i) xi
//! ```
//!
//! and clipping the estimate means the same as for other samplers. The last step of a level also carries `z` over to
//! the scale of the next, and the very last one to that of the data.

use super::route::Route;
use super::step::{SamplerStep, Update};
use crate::diffusion::process::Process;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Annealed Langevin dynamics: `levels` noise levels, their `sigma / a` falling geometrically from `sigma_max` to
/// `sigma_min`. One level is plain Langevin dynamics at `sigma_min`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Langevin {
    /// Number of noise levels.
    #[serde(rename = "langevin_levels")]
    pub levels: usize,
    /// Steps at each of them.
    #[serde(rename = "langevin_steps")]
    pub steps_per_level: usize,
    /// Largest noise, relative to the signal.
    #[serde(rename = "langevin_sigma_max")]
    pub sigma_max: f64,
    /// Smallest noise, relative to the signal.
    #[serde(rename = "langevin_sigma_min")]
    pub sigma_min: f64,
    /// Step size at the smallest noise.
    #[serde(rename = "langevin_step_size")]
    pub step: f64,
}

impl Default for Langevin {
    /// The settings of Song and Ermon (2019): ten levels from 1 to 0.01, 100 steps each.
    fn default() -> Langevin {
        Langevin { levels: 10, steps_per_level: 100, sigma_max: 1.0, sigma_min: 0.01, step: 2e-5 }
    }
}

impl Langevin {
    /// The time that the dynamics starts at.
    ///
    /// # Errors
    /// A noise level that the process does not have.
    pub(super) fn first_time(self, process: &Process) -> Result<f64> {
        process.time_of_noise(if self.levels == 1 { self.sigma_min } else { self.sigma_max })
    }

    /// The steps; the times of the route are not visited.
    ///
    /// # Errors
    /// No levels or no steps, settings that are not positive or not descending, or levels that the process does not
    /// have.
    pub(super) fn steps(self, route: &Route) -> Result<Vec<SamplerStep>> {
        self.validate()?;
        let Langevin { levels, steps_per_level, sigma_max, sigma_min, step } = self;
        let process = route.process;
        let times = geometric(sigma_max, sigma_min, levels)
            .into_iter()
            .map(|sigma| process.time_of_noise(sigma))
            .collect::<Result<Vec<f64>>>()?;
        let last_noise = process.level(times[levels - 1]).noise_ratio();
        let share = step / (2.0 * last_noise * last_noise);
        let mut steps = Vec::with_capacity(levels * steps_per_level);
        for (i, &t) in times.iter().enumerate() {
            let at = process.point(t);
            let a = at.level.a;
            let alpha = 2.0 * share * at.level.noise_ratio().powi(2);
            let next_a = times.get(i + 1).map_or(1.0, |&next| process.level(next).a);
            for k in 0..steps_per_level {
                let rescale = if k + 1 == steps_per_level { next_a / a } else { 1.0 };
                let update = Update {
                    m_z: rescale * (1.0 - share),
                    m_x: rescale * share * a,
                    rho: rescale * a * alpha.sqrt(),
                    ..Update::default()
                };
                steps.push(route.step_at(t, &at, update));
            }
        }
        Ok(steps)
    }

    fn validate(self) -> Result<()> {
        let Langevin { levels, steps_per_level, sigma_max, sigma_min, step } = self;
        if levels == 0 || steps_per_level == 0 {
            return Err(Error::Config(format!(
                "Langevin dynamics: wanted at least one level and one step, not {levels} levels of {steps_per_level} steps"
            )));
        }
        if !(step > 0.0 && sigma_min > 0.0 && sigma_max >= sigma_min) {
            return Err(Error::Config(format!(
                "Langevin dynamics: wanted sigma_max >= sigma_min > 0 and a positive step, not sigma_max = {sigma_max}, \
                 sigma_min = {sigma_min}, step = {step}"
            )));
        }
        Ok(())
    }
}

/// `levels` numbers from `first` to `last` in equal ratios; `last` alone if there is only one.
fn geometric(first: f64, last: f64, levels: usize) -> Vec<f64> {
    let ratio = |i: usize| if levels == 1 { 1.0 } else { i as f64 / (levels - 1) as f64 };
    (0..levels).map(|i| first * (last / first).powf(ratio(i))).collect()
}
