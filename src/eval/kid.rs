//! Kernel distance (Bińkowski et al. 2018): the squared maximum mean discrepancy of features under the kernel
//! `k(x, y) = (x y / d + 1)^3`, estimated without bias on random subsets.
//!
//! ```text
//! mmd^2 = mean over i != j of k(x_i, x_j)  +  mean over i != j of k(y_i, y_j)  -  2 mean over i, j of k(x_i, y_j)
//! ```

use crate::data::Loader;
use crate::{Error, Result};
use faer::MatRef;
use rayon::prelude::*;

/// The subsets that are compared.
#[derive(Clone, Copy, Debug)]
pub struct Subsets {
    /// Number of subsets.
    pub count: usize,
    /// Samples that each takes from either side, without repetition.
    pub samples: usize,
    /// Seed of the choice.
    pub seed: u64,
}

/// An estimate over subsets.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Kid {
    /// Mean over the subsets; around zero between equal distributions, and sometimes below it.
    pub mean: f64,
    /// Standard error of that mean, as if no two subsets shared a sample.
    pub standard_error: f64,
}

/// Kernel distance of the features `x [n, dims]` and `y [m, dims]`.
///
/// # Errors
/// Subsets of fewer than two samples or more than there are, or no subset at all.
///
/// # Panics
/// If the values do not form rows of `dims`.
pub fn kid(x: &[f32], y: &[f32], dims: usize, subsets: Subsets) -> Result<Kid> {
    assert!(dims > 0 && x.len().is_multiple_of(dims) && y.len().is_multiple_of(dims), "rows of {dims} features");
    let Subsets { count, samples, seed } = subsets;
    let fewest = x.len().min(y.len()) / dims;
    if count == 0 || samples < 2 || samples > fewest {
        return Err(Error::Config(format!(
            "a kernel distance on {count} subsets of {samples} samples is not possible: there are {fewest} samples, \
             and a subset needs at least 2"
        )));
    }
    // An epoch of the loader is a permutation; its beginning is a subset.
    let subset = |values: &[f32], epoch: usize| -> Vec<f64> {
        let n = values.len() / dims;
        let order = Loader::new(n, n, seed, false).batch(epoch as u64).indices;
        order[..samples].iter().flat_map(|&i| values[i * dims..][..dims].iter().map(|&v| f64::from(v))).collect()
    };
    let discrepancies: Vec<f64> = (0..count)
        .into_par_iter()
        .map(|i| discrepancy(&subset(x, 2 * i), &subset(y, 2 * i + 1), samples, dims))
        .collect();
    let mean = discrepancies.iter().sum::<f64>() / count as f64;
    let squares: f64 = discrepancies.iter().map(|v| (v - mean) * (v - mean)).sum();
    let variance = squares / (count - 1).max(1) as f64;
    Ok(Kid { mean, standard_error: (variance / count as f64).sqrt() })
}

/// The unbiased estimate of one pair of subsets `[n, d]`.
fn discrepancy(x: &[f64], y: &[f64], n: usize, d: usize) -> f64 {
    let kernel = |product: f64| (product / d as f64 + 1.0).powi(3);
    let sum = |a: &[f64], b: &[f64], diagonal: bool| -> f64 {
        let (a, b) = (MatRef::from_row_major_slice(a, n, d), MatRef::from_row_major_slice(b, n, d));
        let products = a * b.transpose();
        let column = |j: usize| (0..n).filter(|&i| diagonal || i != j).map(|i| kernel(products[(i, j)])).sum::<f64>();
        (0..n).map(column).sum()
    };
    let n = n as f64;
    (sum(x, x, false) + sum(y, y, false)) / (n * (n - 1.0)) - 2.0 * sum(x, y, true) / (n * n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::normals::normals;

    /// Subsets that hold every sample leave nothing to chance: values from `numpy`.
    #[test]
    fn matches_numpy() {
        for (n, d, want) in
            [(40, 3, 1.660_102_823_444_015), (9, 1, -1.358_016_331_990_559_6), (33, 17, 1.764_776_309_702_238)]
        {
            let x: Vec<f32> = (0..n * d)
                .map(|i| (i / d, i % d))
                .map(|(i, k)| ((i * 7 + k * 13 + i * i * 3) % 17) as f32 / 4.0 - 2.0)
                .collect();
            let y: Vec<f32> = (0..n * d)
                .map(|i| (i / d, i % d))
                .map(|(i, k)| ((i * 5 + k * 11 + i * i * k) % 19) as f32 / 8.0 - 1.0)
                .collect();
            let got = kid(&x, &y, d, Subsets { count: 3, samples: n, seed: 1 }).unwrap();
            assert!((got.mean - want).abs() <= 1e-10, "{n} x {d}: {}, not {want}", got.mean);
            assert!(got.standard_error <= 1e-10);
        }
    }

    #[test]
    fn equal_distributions_are_within_the_error_of_zero() {
        let (n, d) = (600, 5);
        let shifted = |seed, shift| -> Vec<f32> { normals(seed, n * d).iter().map(|v| v + shift).collect() };
        let subsets = Subsets { count: 40, samples: 100, seed: 2 };
        let same = kid(&shifted(1, 0.0), &shifted(2, 0.0), d, subsets).unwrap();
        assert!(same.mean.abs() <= 6.0 * same.standard_error, "{same:?}");
        let apart = kid(&shifted(1, 0.0), &shifted(2, 0.3), d, subsets).unwrap();
        assert!(apart.mean >= 6.0 * apart.standard_error, "{apart:?}");
        assert_eq!(apart, kid(&shifted(1, 0.0), &shifted(2, 0.3), d, subsets).unwrap());
    }

    #[test]
    fn impossible_subsets_are_refused() {
        let refused = |count, samples| {
            let message = kid(&[0.0; 12], &[0.0; 8], 2, Subsets { count, samples, seed: 0 }).unwrap_err().to_string();
            assert!(message.contains("4 samples"), "{message}");
        };
        refused(1, 5);
        refused(1, 1);
        refused(0, 3);
    }
}
