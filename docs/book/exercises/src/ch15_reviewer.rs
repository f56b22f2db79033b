//! Exercise 15.3: what a published table says of itself.

/// A row of the table: a network that was trained for one target.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub target: &'static str,
    /// The bound of the likelihood that is reported, in continuous time and without its ½.
    pub bound: f64,
}

/// The bound of each row as part of the least that is possible, where no network predicts the noise with a lower mean
/// squared error than `noise_error`. The process is VP-cosine: the weight of that error is `2 pi / sin(pi t)`.
pub fn of_the_least(rows: &[Row], noise_error: f64) -> Vec<f64> {
    let _ = (rows, noise_error);
    todo!("exercise 15.3")
}

/// Three mean squared errors, of `x`, of the noise and of `v`: how far are they from what must hold in every VP process?
pub fn contradiction(x: f64, noise: f64, v: f64) -> f64 {
    let _ = (x, noise, v);
    todo!("exercise 15.3")
}
