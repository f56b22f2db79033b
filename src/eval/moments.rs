//! Mean and covariance of a sample, and how far those of two samples are apart.

use crate::{Error, Result};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Rows that are centred together.
const CHUNK_ROWS: usize = 1024;
/// Rows of the covariance that one task computes.
const TILE_ROWS: usize = 64;

/// Mean and covariance of a sample in d dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// `[d]`
    pub mean: Vec<f64>,
    /// `[d, d]`, with divisor n - 1.
    pub covariance: Vec<f64>,
}

impl Moments {
    /// The moments of `samples [n, dims]`, summed in double precision in a fixed order.
    ///
    /// # Errors
    /// Fewer than two samples, or one that is not finite.
    ///
    /// # Panics
    /// If the values do not form rows of `dims`.
    pub fn of(samples: &[f32], dims: usize) -> Result<Moments> {
        assert!(dims > 0 && samples.len().is_multiple_of(dims), "{} values in rows of {dims}", samples.len());
        let n = samples.len() / dims;
        if n < 2 {
            return Err(Error::Config(format!("a covariance needs at least 2 samples, not {n}")));
        }
        if let Some(bad) = samples.iter().position(|v| !v.is_finite()) {
            return Err(Error::Config(format!("sample {} of {n} is not finite", bad / dims)));
        }
        let mut mean = vec![0.0; dims];
        for row in samples.chunks_exact(dims) {
            mean.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v));
        }
        mean.iter_mut().for_each(|sum| *sum /= n as f64);
        let covariance = covariance(samples, &mean);
        Ok(Moments { mean, covariance })
    }

    /// Number of dimensions.
    pub fn dims(&self) -> usize {
        self.mean.len()
    }

    /// Euclidean distance of the means (Kumar, eq. 4.2).
    pub fn mean_distance(&self, other: &Moments) -> f64 {
        euclidean(&self.mean, &other.mean)
    }

    /// Frobenius norm of the difference of the covariances (Kumar, eq. 4.5).
    pub fn covariance_distance(&self, other: &Moments) -> f64 {
        euclidean(&self.covariance, &other.covariance)
    }
}

fn euclidean(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len(), "moments of the same number of dimensions");
    x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
}

/// `sum (x - mean)^T (x - mean) / (n - 1)`: the lower triangle in tiles of rows, mirrored.
fn covariance(samples: &[f32], mean: &[f64]) -> Vec<f64> {
    let (d, n) = (mean.len(), samples.len() / mean.len());
    let mut sum = vec![0.0; d * d];
    for chunk in samples.chunks(CHUNK_ROWS * d) {
        let rows = chunk.chunks_exact(d);
        let centred: Vec<f64> = rows.flat_map(|row| row.iter().zip(mean).map(|(&v, m)| f64::from(v) - m)).collect();
        let centred = MatRef::from_row_major_slice(&centred, chunk.len() / d, d);
        sum.par_chunks_mut(TILE_ROWS * d).enumerate().for_each(|(tile, out)| {
            let (first, rows) = (tile * TILE_ROWS, out.len() / d);
            let out = MatMut::from_row_major_slice_mut(out, rows, d).subcols_mut(0, first + rows);
            let (left, right) = (centred.subcols(first, rows).transpose(), centred.subcols(0, first + rows));
            matmul(out, Accum::Add, left, right, 1.0, Par::Seq);
        });
    }
    for i in 0..d {
        for j in 0..=i {
            sum[i * d + j] /= (n - 1) as f64;
            sum[j * d + i] = sum[i * d + j];
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::normals::normals;

    #[test]
    fn moments_are_those_of_the_definition() {
        for (n, d) in [(2, 1), (7, 3), (1500, 5), (70, 130)] {
            let x = normals(1, n * d);
            let got = Moments::of(&x, d).unwrap();
            let at = |row: usize, i: usize| f64::from(x[row * d + i]);
            let mean: Vec<f64> = (0..d).map(|i| (0..n).map(|row| at(row, i)).sum::<f64>() / n as f64).collect();
            for i in 0..d {
                assert!((got.mean[i] - mean[i]).abs() <= 1e-12);
                for j in (0..d).step_by(3) {
                    let product = |row| (at(row, i) - mean[i]) * (at(row, j) - mean[j]);
                    let want = (0..n).map(product).sum::<f64>() / (n - 1) as f64;
                    assert!((got.covariance[i * d + j] - want).abs() <= 1e-12, "{n} x {d}: ({i}, {j})");
                }
            }
        }
    }

    #[test]
    fn distances_of_known_moments() {
        // Four points around (1, 2) and four around (4, -2), of variances 4/3 and 16/3 in each direction.
        let cross = |[x, y]: [f32; 2], r: f32| [x + r, y + r, x + r, y - r, x - r, y + r, x - r, y - r];
        let a = Moments::of(&cross([1.0, 2.0], 1.0), 2).unwrap();
        let b = Moments::of(&cross([4.0, -2.0], 2.0), 2).unwrap();
        assert!((a.mean_distance(&b) - 5.0).abs() <= 1e-12);
        assert!((a.covariance_distance(&b) - 4.0 * 2f64.sqrt()).abs() <= 1e-12);
        assert_eq!(a.covariance_distance(&a), 0.0);
    }

    #[test]
    fn too_few_or_broken_samples_are_refused() {
        assert!(Moments::of(&[1.0, 2.0], 2).unwrap_err().to_string().contains("at least 2 samples, not 1"));
        let message = Moments::of(&[1.0, 2.0, f32::NAN, 0.0], 2).unwrap_err().to_string();
        assert!(message.contains("sample 1 of 2 is not finite"), "{message}");
    }
}
