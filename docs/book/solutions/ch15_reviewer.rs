//! Exercise 15.3: what a published table says of itself.

use std::f64::consts::TAU;

/// A row of the table: a network that was trained for one target.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub target: &'static str,
    /// The bound of the likelihood that is reported, in continuous time and without its ½.
    pub bound: f64,
}

/// The bound of each row as part of the least that is possible.
pub fn of_the_least(rows: &[Row], noise_error: f64) -> Vec<f64> {
    // The sine is at most 1.
    rows.iter().map(|row| row.bound / (TAU * noise_error)).collect()
}

/// Three mean squared errors: how far they are from what must hold in every VP process.
pub fn contradiction(x: f64, noise: f64, v: f64) -> f64 {
    (v - x - noise).abs()
}
