//! Exercise 5.2: the gradient of the perfect classifier.

use ddpm::diffusion::NoiseLevel;

/// `d/dz ln q(y | z)` of the class `y` whose data are `N(mean, 1)`, where the other class, equally likely, is
/// `N(-mean, 1)`; `z` has the noise level `at`.
///
/// The density of each class at `z` is normal, and `q(y | z)` is the logistic function of a multiple of `z`.
pub fn classifier_gradient(z: f64, mean: f64, at: NoiseLevel) -> f64 {
    // ln q(z | y) - ln q(z | other) = slope z, and d ln s(u) / du = s(-u) for the logistic function s.
    let slope = 2.0 * at.a * mean / (at.a * at.a + at.sigma * at.sigma);
    slope / (1.0 + (slope * z).exp())
}
