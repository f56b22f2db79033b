//! Exercise 5.1: two outputs of one network.

use ddpm::diffusion::NoiseLevel;

/// The guided output, of strength `w`, from the output with the class and the one without.
pub fn guided(with_class: f64, without: f64, w: f64) -> f64 {
    (1.0 + w) * with_class - w * without
}

/// The same for a network that returns noise, by way of the images.
pub fn guided_by_images(z: f64, [with_class, without]: [f64; 2], w: f64, at: NoiseLevel) -> f64 {
    let image = |eps: f64| (z - at.sigma * eps) / at.a;
    (z - at.a * guided(image(with_class), image(without), w)) / at.sigma
}
