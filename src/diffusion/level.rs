//! Noise levels: how much signal and how much noise a sample has at one time.

/// Signal and noise scale at one time: `z = a x_0 + sigma eps`. Discrete or continuous time, variance preserving or
/// not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseLevel {
    /// Scale of the signal, in `[0, 1]`.
    pub a: f64,
    /// Scale of the noise, at least 0.
    pub sigma: f64,
}

impl NoiseLevel {
    /// The data itself: all signal, no noise.
    pub const CLEAN: NoiseLevel = NoiseLevel { a: 1.0, sigma: 0.0 };

    /// The variance-preserving level whose squared signal scale is `alpha_bar`.
    pub fn variance_preserving(alpha_bar: f64) -> NoiseLevel {
        NoiseLevel { a: alpha_bar.sqrt(), sigma: (1.0 - alpha_bar).sqrt() }
    }

    /// Signal-to-noise ratio, `a^2 / sigma^2`; infinite for clean data.
    pub fn snr(self) -> f64 {
        (self.a / self.sigma).powi(2)
    }

    /// Noise relative to the signal, `sigma / a`.
    pub fn noise_ratio(self) -> f64 {
        self.sigma / self.a
    }

    /// `sqrt(a^2 + sigma^2)`: the size of `z` for data of unit variance; 1 where variance is preserved.
    pub fn norm(self) -> f64 {
        self.a.hypot(self.sigma)
    }

    /// Logarithm of the signal-to-noise ratio, `ln(a^2 / sigma^2)`; infinite for clean data.
    pub fn log_snr(self) -> f64 {
        2.0 * (self.a.ln() - self.sigma.ln())
    }
}
