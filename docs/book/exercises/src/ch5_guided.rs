//! Exercise 5.1: two outputs of one network.

use ddpm::diffusion::NoiseLevel;

/// The guided output, of strength `w`, from the output with the class and the one without.
pub fn guided(with_class: f64, without: f64, w: f64) -> f64 {
    let _ = (with_class, without, w);
    todo!("exercise 5.1")
}

/// The same for a network that returns noise, by way of the images: turn both outputs at `z` into images, guide those,
/// and turn the result into noise.
pub fn guided_by_images(z: f64, [with_class, without]: [f64; 2], w: f64, at: NoiseLevel) -> f64 {
    let _ = (z, with_class, without, w, at);
    todo!("exercise 5.1")
}
