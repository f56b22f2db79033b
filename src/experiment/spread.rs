//! Measured numbers with their spread, and verdicts by confidence intervals.
//!
//! A claim on a way to train is a claim on all networks that it gives, so it is judged by networks that differ in their
//! seed only and share data and evaluation. Two ways are compared by the differences of networks of equal seed.

use super::numbers::mean;
use super::verdict::Verdict;
use crate::report::digits;
use std::ops::RangeInclusive;

/// The fewest values with an interval.
const FEWEST: usize = 3;

/// A measured number: one value for each repetition, which is a seed, or an image where the claim is on one network.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Measured(Vec<f64>);

/// An interval of confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub lo: f64,
    pub hi: f64,
}

impl FromIterator<f64> for Measured {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Measured {
        Measured(values.into_iter().collect())
    }
}

impl Measured {
    /// Adds the value of a further repetition.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        mean(&self.0)
    }

    /// Applies a function to every value.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Measured {
        self.0.iter().copied().map(f).collect()
    }

    /// Combines the values of equal repetitions.
    ///
    /// # Panics
    /// On different numbers of repetitions.
    pub fn zip(&self, other: &Measured, f: impl Fn(f64, f64) -> f64) -> Measured {
        assert_eq!(self.0.len(), other.0.len(), "values of the same repetitions");
        self.0.iter().zip(&other.0).map(|(a, b)| f(*a, *b)).collect()
    }

    /// The differences of values of equal repetitions.
    pub fn minus(&self, other: &Measured) -> Measured {
        self.zip(other, |a, b| a - b)
    }

    /// The interval that holds the mean over all repetitions with a confidence of 95 % (Student's t); none of fewer than three
    /// values.
    pub fn interval(&self) -> Option<Interval> {
        let n = self.0.len();
        if n < FEWEST {
            return None;
        }
        let mean = self.mean();
        let squares: f64 = self.0.iter().map(|v| (v - mean).powi(2)).sum();
        let half = t_quantile(n - 1) * (squares / ((n - 1) * n) as f64).sqrt();
        Some(Interval { lo: mean - half, hi: mean + half })
    }

    /// The mean with `figures` digits, and behind it half the interval.
    pub fn show(&self, figures: usize) -> String {
        let mean = digits(self.mean(), figures);
        match self.interval() {
            Some(Interval { lo, hi }) => format!("{mean} ± {}", digits(0.5 * (hi - lo), 2)),
            None => mean,
        }
    }

    /// Tests if the number is above `bound`: refuted if it is below, not decided if the interval holds the bound.
    pub fn above(&self, bound: f64) -> Verdict {
        match self.interval() {
            Some(Interval { lo, .. }) if lo > bound => Verdict::Confirmed,
            Some(Interval { hi, .. }) if hi < bound => Verdict::Refuted,
            _ => Verdict::NotDecided,
        }
    }

    /// Tests if the number is below `bound`.
    pub fn below(&self, bound: f64) -> Verdict {
        self.map(|v| -v).above(-bound)
    }

    /// Tests if the number lies in a range: refuted if the interval lies outside, not decided if it holds an end.
    pub fn within(&self, range: RangeInclusive<f64>) -> Verdict {
        Verdict::all([self.above(*range.start()), self.below(*range.end())])
    }
}

/// The two-sided 95 % quantile of Student's t.
fn t_quantile(freedom: usize) -> f64 {
    const TABLE: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    if let Some(quantile) = TABLE.get(freedom - 1) {
        return *quantile;
    }
    // The expansion in 1/n around the normal quantile (Abramowitz and Stegun, 26.7.5).
    let (z, n) = (1.959_964f64, freedom as f64);
    z + (z.powi(3) + z) / (4.0 * n)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n.powi(2))
        + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / (384.0 * n.powi(3))
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;

    fn seeds(values: &[f64]) -> Measured {
        values.iter().copied().collect()
    }

    #[test]
    fn intervals_are_student_s() {
        // scipy.stats.t.interval(0.95, n - 1, mean, sem)
        let Interval { lo, hi } = seeds(&[1.0, 2.0, 4.0]).interval().unwrap();
        assert!((lo + 1.461_250).abs() <= 1e-3 && (hi - 6.127_917).abs() <= 1e-3, "{lo} to {hi}");
        assert_eq!(seeds(&[1.0, 2.0]).interval(), None);
        for (freedom, want) in [(2, 4.303), (10, 2.228), (11, 2.201), (30, 2.042), (1000, 1.962)] {
            assert!((t_quantile(freedom) - want).abs() <= 1e-3, "{freedom}: {}", t_quantile(freedom));
        }
    }

    #[test]
    fn an_interval_decides_where_it_holds_no_bound() {
        let measured = seeds(&[0.9, 1.0, 1.1]); // 1.00 ± 0.25
        let verdicts = [0.7, 0.8, 1.2, 1.3].map(|bound| measured.above(bound));
        assert_eq!(verdicts, [Confirmed, NotDecided, NotDecided, Refuted]);
        let verdicts = [0.7, 0.8, 1.2, 1.3].map(|bound| measured.below(bound));
        assert_eq!(verdicts, [Refuted, NotDecided, NotDecided, Confirmed]);
        assert_eq!(measured.within(0.5..=1.5), Confirmed);
        assert_eq!(measured.within(0.5..=1.1), NotDecided);
        assert_eq!(measured.within(1.5..=2.0), Refuted);
        // One network, two, or one that failed decide nothing.
        for values in [&[9.0][..], &[9.0, 9.0], &[9.0, f64::NAN, 9.0]] {
            assert_eq!(seeds(values).above(0.0), NotDecided);
        }
    }

    #[test]
    fn differences_of_equal_seeds_are_sharper_than_their_parts() {
        let (a, b) = (seeds(&[1.0, 2.0, 3.0]), seeds(&[1.1, 2.12, 3.11]));
        assert_eq!(b.minus(&a).above(0.0), Confirmed);
        assert_eq!(b.above(a.mean()), NotDecided);
        assert_eq!(b.minus(&a).show(2), "0.11 ± 0.025");
    }
}
