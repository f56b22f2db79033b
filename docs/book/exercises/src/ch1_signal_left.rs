//! Exercise 1.1: how much of the signal is left.

/// `alpha_bar` at the times `0..=T`, from `beta` at `1..=T`. Time 0 is clean data.
pub fn alpha_bar(betas: &[f64]) -> Vec<f64> {
    let _ = betas;
    todo!("exercise 1.1")
}

/// The first time at which at most `share` of the signal's power is left, if there is one.
pub fn first_time_with(alpha_bar: &[f64], share: f64) -> Option<usize> {
    let _ = (alpha_bar, share);
    todo!("exercise 1.1")
}
