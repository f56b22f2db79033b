//! Exercise 4.1: one step of DDIM.

use ddpm::diffusion::NoiseLevel;

/// The deterministic step of DDIM from level `t` to the less noisy level `s`: from the noisy value `z` at `t` and the
/// predicted noise `eps` to the value at `s`.
///
/// First find the clean value `x_0` that `z` and `eps` imply. Then put it back at the level `s` with the same noise.
pub fn ddim_step(z: f64, eps: f64, t: NoiseLevel, s: NoiseLevel) -> f64 {
    let _ = (z, eps, t, s);
    todo!("exercise 4.1")
}
