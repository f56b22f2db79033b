//! Exercise 15.1: the Fréchet distance of independent dimensions, and its bias.

/// The squared distance of two normal distributions with independent dimensions, of these means and standard deviations.
pub fn frechet(x: (&[f64], &[f64]), y: (&[f64], &[f64])) -> f64 {
    let _ = (x, y);
    todo!("exercise 15.1")
}

/// The mean of the squared distance of `n` samples from `n` others of the *same* normal distribution, summed over
/// independent dimensions of these standard deviations; to first order in `1 / n`.
pub fn of_equals(std: &[f64], n: usize) -> f64 {
    let _ = (std, n);
    todo!("exercise 15.1")
}
