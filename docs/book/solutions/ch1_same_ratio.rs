//! Exercise 1.2: a process that preserves variance, from one that lets it explode.

use ddpm::diffusion::NoiseLevel;

/// The level with `a^2 + sigma^2 = 1` whose noise is `ratio` times its signal, `sigma / a = ratio`.
pub fn variance_preserving(ratio: f64) -> NoiseLevel {
    let a = 1.0 / ratio.hypot(1.0);
    NoiseLevel { a, sigma: ratio * a }
}
