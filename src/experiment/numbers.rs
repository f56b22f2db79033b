//! Small numerical helpers of the experiments.

/// Evenly spaced numbers from `lo` to `hi`, both included.
pub(super) fn spaced(lo: f64, hi: f64, n: usize) -> Vec<f64> {
    (0..n).map(|i| lo + (hi - lo) * i as f64 / (n - 1) as f64).collect()
}

/// The largest of some errors; not a number wins.
pub(super) fn largest(errors: impl IntoIterator<Item = f64>) -> f64 {
    errors.into_iter().fold(0.0, |worst: f64, error| if error <= worst || worst.is_nan() { worst } else { error })
}

/// The mean.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// `part` as a percentage with one decimal.
pub(super) fn percent(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}

/// Pearson's correlation of two sequences of the same length.
pub(super) fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let n = a.len() as f64;
    let mean = |v: &[f32]| v.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sums = a.iter().zip(b).fold([0.0; 3], |[ab, aa, bb], (&a, &b)| {
        let (a, b) = (f64::from(a) - mean_a, f64::from(b) - mean_b);
        [ab + a * b, aa + a * a, bb + b * b]
    });
    sums[0] / (sums[1] * sums[2]).sqrt()
}

/// Spearman's rank correlation of two sequences of the same length, without ties.
pub(super) fn spearman(x: &[f64], y: &[f64]) -> f64 {
    let ranks = |values: &[f64]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
        let mut ranks = vec![0.0; values.len()];
        order.into_iter().enumerate().for_each(|(rank, i)| ranks[i] = rank as f64);
        ranks
    };
    let n = x.len() as f64;
    let squares: f64 = ranks(x).iter().zip(ranks(y)).map(|(a, b)| (a - b).powi(2)).sum();
    1.0 - 6.0 * squares / (n * (n * n - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlation_is_the_textbook_s() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 300.0, 4000.0]), 1.0);
        assert_eq!(spearman(&[1.0, 2.0, 3.0, 4.0], &[9.0, 4.0, 1.0, 0.0]), -1.0);
        assert!((spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 1.0, 4.0, 3.0, 5.0]) - 0.8).abs() <= 1e-12);
    }

    #[test]
    fn correlation_is_one_of_a_line_and_none_of_a_cross() {
        assert!((correlation(&[1.0, 2.0, 4.0], &[3.0, 5.0, 9.0]) - 1.0).abs() <= 1e-12);
        assert!(correlation(&[1.0, -1.0, 1.0, -1.0], &[1.0, 1.0, -1.0, -1.0]).abs() <= 1e-12);
    }

    #[test]
    fn not_a_number_is_the_largest_error() {
        assert_eq!(largest([0.1, 0.3, 0.2]), 0.3);
        assert!(largest([0.1, f64::NAN]).is_nan() && largest([f64::NAN, 0.1]).is_nan());
    }
}
