//! Exercise 2.2: the best network for normal data.

use ddpm::diffusion::NoiseLevel;

/// `E[x_0 | z]` for data `x_0 ~ N(mean, std^2)` at a noise level.
///
/// `x_0` and `z` are normal together: the answer is a straight line in `z`.
pub fn best_denoiser(z: f64, mean: f64, std: f64, at: NoiseLevel) -> f64 {
    // The covariance of x_0 and z is a std^2, the variance of z is (a std)^2 + sigma^2.
    let slope = at.a * std * std / ((at.a * std).powi(2) + at.sigma * at.sigma);
    mean + slope * (z - at.a * mean)
}
