//! The standard normal distribution: its cumulative distribution function in full precision, and the approximation that
//! many published likelihoods were computed with.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Way to compute the normal distribution function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cdf {
    /// To rounding.
    #[default]
    Exact,
    /// `(1 + tanh(sqrt(2 / pi) (u + 0.044715 u^3))) / 2`, to 3e-4.
    Tanh,
}

impl Cdf {
    /// The probability of a value below `u`.
    pub fn below(self, u: f64) -> f64 {
        match self {
            Cdf::Exact => 0.5 * erfc(-u * FRAC_1_SQRT_2),
            Cdf::Tanh => 0.5 * (1.0 + ((2.0 / PI).sqrt() * (u + 0.044715 * u.powi(3))).tanh()),
        }
    }

    /// The probability of a value between `low` and `high`; either may be infinite.
    pub fn between(self, low: f64, high: f64) -> f64 {
        // By symmetry in the lower tail, where probabilities are small and not close to 1.
        if low > 0.0 { self.below(-low) - self.below(-high) } else { self.below(high) - self.below(low) }
    }
}

/// The density at `u`.
pub fn density(u: f64) -> f64 {
    (-0.5 * u * u).exp() / (2.0 * PI).sqrt()
}

/// `1 - erf(x)`: the Taylor series of `erf` near 0, all of whose terms are positive in this form, and Legendre's
/// continued fraction beyond.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.5 {
        // erf(x) = 2 / sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (2n + 1)!!
        let (mut term, mut sum, mut odd) = (x, x, 1.0);
        while term > 1e-17 * sum {
            odd += 2.0;
            term *= 2.0 * x * x / odd;
            sum += term;
        }
        return 1.0 - 2.0 / PI.sqrt() * (-x * x).exp() * sum;
    }
    // erfc(x) = exp(-x^2) / sqrt(pi) / (x + (1/2) / (x + (2/2) / (x + (3/2) / ...))), from the inside out.
    let fraction = (1..=60).rev().fold(x, |inner, n| x + 0.5 * f64::from(n) / inner);
    (-x * x).exp() / (PI.sqrt() * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_has_the_published_values() {
        // Abramowitz and Stegun 1964, tables 26.1 and 26.2.
        for (u, want) in [
            (0.0, 0.5),
            (0.5, 0.691_462_461_274_013),
            (1.0, 0.841_344_746_068_543),
            (2.0, 0.977_249_868_051_821),
            (-3.0, 1.349_898_031_630_095e-3),
            (-5.0, 2.866_515_718_791_939e-7),
            (-10.0, 7.619_853_024_160_53e-24),
            (-37.0, 5.725_571_222_524_577e-300),
        ] {
            let got = Cdf::Exact.below(u);
            assert!((got - want).abs() <= 2e-12 * want, "{u}: {got:e} instead of {want:e}");
        }
        assert_eq!((Cdf::Exact.below(f64::INFINITY), Cdf::Exact.below(f64::NEG_INFINITY)), (1.0, 0.0));
    }

    #[test]
    fn both_ways_to_compute_it_meet() {
        let [left, right] = [-2.5f64.next_down(), -2.5f64.next_up()].map(|x| erfc(-x));
        assert!((left - right).abs() <= 1e-12 * left, "{left:e} and {right:e}");
    }

    #[test]
    fn its_derivative_is_the_density() {
        for k in -60..=60 {
            let (u, h) = (f64::from(k) / 10.0, 1e-4);
            let slope = Cdf::Exact.between(u - h, u + h) / (2.0 * h);
            assert!((slope - density(u)).abs() <= 1e-7 * density(u) + 1e-12, "{u}: {slope}");
        }
    }

    #[test]
    fn intervals_in_a_tail_keep_their_digits() {
        let (upper, lower) = (Cdf::Exact.between(8.0, 9.0), Cdf::Exact.between(-9.0, -8.0));
        assert!(upper > 0.0 && (upper - lower).abs() <= 1e-14 * lower, "{upper:e} and {lower:e}");
    }

    #[test]
    fn the_approximation_is_close() {
        let largest = (-600..=600)
            .map(|k| f64::from(k) / 100.0)
            .map(|u| (Cdf::Tanh.below(u) - Cdf::Exact.below(u)).abs())
            .fold(0.0, f64::max);
        assert!(largest > 1e-5 && largest <= 3e-4, "{largest}");
    }
}
