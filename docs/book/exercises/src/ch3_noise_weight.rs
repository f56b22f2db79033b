//! Exercise 3.2: the weight of the noise in the bound.

/// The weight of the squared error of the noise at time `t` in the bound with the posterior's variance, in nats;
/// `alpha_bar` is the table of the times `0..=T`, and `t` is at least 2.
pub fn noise_weight(alpha_bar: &[f64], t: usize) -> f64 {
    let _ = (alpha_bar, t);
    todo!("exercise 3.2")
}
