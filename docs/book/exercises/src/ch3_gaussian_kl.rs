//! Exercise 3.1: the divergence of two normal distributions.

/// `KL(N(mean_q, var_q) || N(mean_p, var_p))` in nats.
pub fn gaussian_kl([mean_q, var_q]: [f64; 2], [mean_p, var_p]: [f64; 2]) -> f64 {
    let _ = (mean_q, var_q, mean_p, var_p);
    todo!("exercise 3.1")
}
