//! Langevin dynamics as sampler steps (Song and Ermon 2019, algorithm 1).
//!
//! At the noise level `sigma_i` of the sum `y = x_0 + sigma_i eps`, of which the process knows the multiple `z = a y`
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
//! and clipping the estimate means what it means for other samplers. The last step of a level also carries `z` over to
//! the scale of the next, and the very last one to that of the data.

use super::{Sampler, SamplerStep};
use crate::diffusion::{NoiseLevel, PredictionTarget, Process};
use crate::{Error, Result};

/// The steps of [`Sampler::Langevin`].
///
/// # Errors
/// No levels or no steps, settings that are not positive or not descending, or levels that the process does not have.
pub(super) fn steps(
    sampler: Sampler,
    process: &Process,
    target: PredictionTarget,
    clip: f64,
) -> Result<Vec<SamplerStep>> {
    let Sampler::Langevin { levels, steps_per_level, sigma_max, sigma_min, step } = sampler else {
        unreachable!("called for Langevin dynamics");
    };
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
    let times = geometric(sigma_max, sigma_min, levels)
        .into_iter()
        .map(|sigma| process.time_of_noise(sigma))
        .collect::<Result<Vec<f64>>>()?;
    let noise = |NoiseLevel { a, sigma }: NoiseLevel| sigma / a;
    let last_noise = noise(process.level(times[levels - 1]));
    let mut steps = Vec::with_capacity(levels * steps_per_level);
    for (i, &t) in times.iter().enumerate() {
        let at = process.point(t);
        let (a, x0) = (at.level.a, target.x0(&at));
        let share = step / (2.0 * last_noise * last_noise);
        let alpha = 2.0 * share * noise(at.level).powi(2);
        let next_a = times.get(i + 1).map_or(1.0, |&next| process.level(next).a);
        for k in 0..steps_per_level {
            let rescale = if k + 1 == steps_per_level { next_a / a } else { 1.0 };
            steps.push(SamplerStep {
                time: process.network_time(t),
                p_z: x0.z,
                p_out: x0.out,
                clip,
                m_z: rescale * (1.0 - share),
                m_x: rescale * share * a,
                m_previous: 0.0,
                m_out: 0.0,
                rho: rescale * a * alpha.sqrt(),
                log_variance: None,
            });
        }
    }
    if let Some(last) = steps.last_mut() {
        last.rho = 0.0;
    }
    Ok(steps)
}

/// `levels` numbers from `first` to `last` in equal ratios; `last` alone if there is only one.
fn geometric(first: f64, last: f64, levels: usize) -> Vec<f64> {
    let ratio = |i: usize| if levels == 1 { 1.0 } else { i as f64 / (levels - 1) as f64 };
    (0..levels).map(|i| first * (last / first).powf(ratio(i))).collect()
}
