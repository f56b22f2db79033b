//! Exercise 15.1: the Fréchet distance of independent dimensions, and its bias.

/// The squared distance of two normal distributions with independent dimensions, of these means and standard deviations.
pub fn frechet(x: (&[f64], &[f64]), y: (&[f64], &[f64])) -> f64 {
    let squares = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum() };
    squares(x.0, y.0) + squares(x.1, y.1)
}

/// The mean of the squared distance of `n` samples from `n` others of the same normal distribution.
pub fn of_equals(std: &[f64], n: usize) -> f64 {
    // The variance of a mean is s^2 / n, that of a standard deviation s^2 / 2n, and there are two of each.
    std.iter().map(|s| 3.0 * s * s / n as f64).sum()
}
