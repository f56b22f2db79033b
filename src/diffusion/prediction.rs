//! What the network's output means, and how any meaning becomes an estimate of the image and of the noise.
//!
//! Every target is linear in `x_0` and `eps`, so it is two coefficients when training (`target = c_x x_0 + c_eps eps`),
//! and two pairs of coefficients when sampling (`x_0` and `eps` out of `z` and the output). This is the only place that
//! knows the difference.

use super::NoiseLevel;

/// What the network is trained to output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PredictionTarget {
    /// The noise `eps` in `z = a x_0 + sigma eps` (Ho et al. 2020, eq. 14).
    #[default]
    Epsilon,
}

/// `z_coefficient * z + out_coefficient * out`, with `out` the output of the network at `z`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Coefficient of the noisy image `z`.
    pub z: f64,
    /// Coefficient of the output of the network.
    pub out: f64,
}

impl PredictionTarget {
    /// `(c_x, c_eps)` such that the output to learn at this level is `c_x x_0 + c_eps eps`.
    pub fn target(self, _level: NoiseLevel) -> (f64, f64) {
        match self {
            PredictionTarget::Epsilon => (0.0, 1.0),
        }
    }

    /// The clean image that the output implies.
    pub fn x0(self, level: NoiseLevel) -> Estimate {
        match self {
            PredictionTarget::Epsilon => Estimate { z: 1.0 / level.a, out: -level.sigma / level.a },
        }
    }

    /// The noise that the output implies.
    pub fn eps(self, _level: NoiseLevel) -> Estimate {
        match self {
            PredictionTarget::Epsilon => Estimate { z: 0.0, out: 1.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Schedule;

    #[test]
    fn a_perfect_output_gives_back_image_and_noise() {
        let schedule = Schedule::linear(1000, 1e-4, 0.02).unwrap();
        let (x0, eps) = (-0.7, 1.3);
        for target in [PredictionTarget::Epsilon] {
            for t in 1..=1000 {
                let level = schedule.level(t);
                let z = level.a * x0 + level.sigma * eps;
                let (c_x, c_eps) = target.target(level);
                let out = c_x * x0 + c_eps * eps;
                let apply = |estimate: Estimate| estimate.z * z + estimate.out * out;
                assert!((apply(target.x0(level)) - x0).abs() <= 1e-12, "x_0 at {t}");
                assert!((apply(target.eps(level)) - eps).abs() <= 1e-12, "eps at {t}");
            }
        }
    }
}
