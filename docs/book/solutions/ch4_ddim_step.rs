//! Exercise 4.1: one step of DDIM.

use ddpm::diffusion::NoiseLevel;

/// The deterministic step of DDIM from level `t` to the less noisy level `s`.
pub fn ddim_step(z: f64, eps: f64, t: NoiseLevel, s: NoiseLevel) -> f64 {
    let x0 = (z - t.sigma * eps) / t.a;
    s.a * x0 + s.sigma * eps
}
