//! Exercise 1.1: how much of the signal is left.

/// `alpha_bar` at the times `0..=T`, from `beta` at `1..=T`. Time 0 is clean data.
pub fn alpha_bar(betas: &[f64]) -> Vec<f64> {
    let mut table = vec![1.0];
    for beta in betas {
        table.push(table[table.len() - 1] * (1.0 - beta));
    }
    table
}

/// The first time at which at most `share` of the signal's power is left, if there is one.
pub fn first_time_with(alpha_bar: &[f64], share: f64) -> Option<usize> {
    alpha_bar.iter().position(|left| *left <= share)
}
