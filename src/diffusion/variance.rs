//! Variance of a step back in time: fixed at one of its two bounds, or learned between them.

use serde::{Deserialize, Serialize};

/// Variance of the noise that an ancestral step adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variance {
    /// `beta_tilde`, the variance of the posterior: exact if the data were a single point.
    #[default]
    FixedSmall,
    /// `beta` of the (strided) forward step: exact if the data were standard normal.
    FixedLarge,
    /// Between the two, as the network predicts it.
    Learned,
}

/// `ln rho^2` between `[ln beta_tilde, ln beta]` for the network's output `v`; a `v` outside `[-1, 1]` leaves the range.
pub fn log_variance([log_small, log_large]: [f64; 2], v: f64) -> f64 {
    let f = 0.5 * (v + 1.0);
    f * log_large + (1.0 - f) * log_small
}
