//! Exercise 3.1: the divergence of two normal distributions.

/// `KL(N(mean_q, var_q) || N(mean_p, var_p))` in nats.
pub fn gaussian_kl([mean_q, var_q]: [f64; 2], [mean_p, var_p]: [f64; 2]) -> f64 {
    0.5 * ((var_p / var_q).ln() + (var_q + (mean_q - mean_p).powi(2)) / var_p - 1.0)
}
