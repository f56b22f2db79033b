//! Times that a sampler visits, a subset of all `T`.

use crate::{Error, Result};

/// How a subset of the times is spread over `1..=T`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// Evenly from 1 to `T`, both included: `unique(round(linspace(1, T, n)))`, ties to even. A single step visits `T`.
    #[default]
    Linspace,
    /// Every `(T / n)`-th time from 1 on, the default of diffusers' schedulers. The noisiest times are
    /// left out.
    Leading,
    /// Every `T / n`-th time from `T` down, rounded.
    Trailing,
}

/// The times visited in `n` steps, ascending. Distinct; fewer than `n` only where rounding makes two of them equal.
///
/// # Errors
/// `n` is 0 or more than `steps`, the `T` of the schedule.
pub fn subset(steps: usize, n: usize, spacing: Spacing) -> Result<Vec<usize>> {
    if n == 0 || n > steps {
        return Err(Error::Config(format!(
            "sampling steps: wanted 1 to {steps}, the length of the noise schedule, not {n}"
        )));
    }
    let mut times: Vec<usize> = match spacing {
        Spacing::Linspace if n == 1 => vec![steps],
        Spacing::Linspace => {
            let stride = (steps - 1) as f64 / (n - 1) as f64;
            (0..n).map(|k| (1.0 + k as f64 * stride).round_ties_even() as usize).collect()
        }
        Spacing::Leading => (0..n).map(|k| k * (steps / n) + 1).collect(),
        Spacing::Trailing => (1..=n).map(|k| (k as f64 * steps as f64 / n as f64).round_ties_even() as usize).collect(),
    };
    times.dedup();
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_are_all_times() {
        for spacing in [Spacing::Linspace, Spacing::Leading, Spacing::Trailing] {
            assert_eq!(subset(1000, 1000, spacing).unwrap(), (1..=1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn linspace_keeps_both_ends_and_rounds_ties_to_even() {
        assert_eq!(subset(1000, 10, Spacing::Linspace).unwrap(), [1, 112, 223, 334, 445, 556, 667, 778, 889, 1000]);
        assert_eq!(subset(10, 5, Spacing::Linspace).unwrap(), [1, 3, 6, 8, 10]);
        assert_eq!(subset(4, 3, Spacing::Linspace).unwrap(), [1, 2, 4]);
        assert_eq!(subset(1000, 1, Spacing::Linspace).unwrap(), [1000]);
    }

    #[test]
    fn leading_is_what_diffusers_visits() {
        assert_eq!(subset(1000, 4, Spacing::Leading).unwrap(), [1, 251, 501, 751]);
        assert_eq!(subset(1000, 7, Spacing::Leading).unwrap(), [1, 143, 285, 427, 569, 711, 853]);
    }

    #[test]
    fn subsets_are_ascending_and_within_the_schedule() {
        for steps in [1, 2, 3, 10, 500, 1000] {
            for n in 1..=steps.min(60) {
                for spacing in [Spacing::Linspace, Spacing::Leading, Spacing::Trailing] {
                    let times = subset(steps, n, spacing).unwrap();
                    assert!(times.is_sorted_by(|u, t| u < t), "{steps} {n} {times:?}");
                    assert!(times[0] >= 1 && *times.last().unwrap() <= steps);
                    assert_eq!(times.len(), n);
                }
            }
        }
    }

    #[test]
    fn impossible_counts_are_refused() {
        assert!(subset(10, 0, Spacing::Linspace).is_err());
        assert!(subset(10, 11, Spacing::Leading).is_err());
    }
}
