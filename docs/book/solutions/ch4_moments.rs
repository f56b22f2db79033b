//! Exercise 4.2: mean and variance through a step.

use ddpm::diffusion::{NoiseLevel, Posterior};

/// Mean and variance of `z_s` after an ancestral step with the small variance, from those of `z_t`. The data are
/// `N(0.5, 0.3^2)` and the network is the best one, whose estimate of `x_0` is a straight line in `z`
/// (exercise 2.2).
pub fn step([mean, variance]: [f64; 2], t: NoiseLevel, s: NoiseLevel) -> [f64; 2] {
    // x_0 = offset + slope z, and z_s = (C_1 + C_2 slope) z + C_2 offset + noise.
    let slope = 0.09 * t.a / (0.09 * t.a * t.a + t.sigma * t.sigma);
    let offset = 0.5 - slope * t.a * 0.5;
    let posterior = Posterior::new(t, s);
    let factor = posterior.z + posterior.x0 * slope;
    [factor * mean + posterior.x0 * offset, factor * factor * variance + posterior.variance]
}
