//! Fréchet distance of two normal distributions (Heusel et al. 2017, eq. 6): of features of images, this is the FID when
//! the features are those of the Inception network.
//!
//! ```text
//! d^2 = |mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2))
//! ```
//! The product has the eigenvalues of the symmetric `B = S_x^(1/2) S_y S_x^(1/2)`, so the trace of its root is the sum of
//! their roots. With `S_x = U L U^T`, B is similar to `L^(1/2) U^T S_y U L^(1/2)`. The root of a singular product, as
//! when there are fewer samples than features, is nothing special here, so that nothing need be added to the diagonals.

use super::moments::Moments;
use crate::{Error, Result};
use faer::linalg::solvers::EvdError;
use faer::{Mat, MatRef, Side};

/// The squared distance, as is usual.
///
/// # Errors
/// Distributions in different numbers of dimensions, or moments that are not finite.
pub fn frechet_distance(x: &Moments, y: &Moments) -> Result<f64> {
    if x.dims() != y.dims() {
        return Err(Error::Config(format!(
            "features of {} and of {} dimensions cannot be compared",
            x.dims(),
            y.dims()
        )));
    }
    let trace = |m: &Moments| m.covariance.iter().step_by(m.dims() + 1).sum::<f64>();
    let finite = [x, y].iter().all(|m| m.mean.iter().chain(&m.covariance).all(|v| v.is_finite()));
    match trace_of_root(x, y) {
        Ok(root) if finite => Ok(x.mean_distance(y).powi(2) + trace(x) + trace(y) - 2.0 * root),
        _ => Err(Error::Config("the moments of the features are not finite".into())),
    }
}

/// `tr (S_x S_y)^(1/2)`. Eigenvalues that rounding has made negative count as zero.
fn trace_of_root(x: &Moments, y: &Moments) -> Result<f64, EvdError> {
    let d = x.dims();
    let covariance = |m| -> MatRef<f64> { MatRef::from_row_major_slice(m, d, d) };
    let eigen = covariance(&x.covariance).self_adjoint_eigen(Side::Lower)?;
    let root = |value: f64| value.max(0.0).sqrt();
    let scales: Vec<f64> = eigen.S().column_vector().iter().map(|&value| root(value)).collect();
    let scaled = Mat::from_fn(d, d, |i, j| eigen.U()[(i, j)] * scales[j]);
    let b = scaled.transpose() * covariance(&y.covariance) * &scaled;
    Ok(b.self_adjoint_eigenvalues(Side::Lower)?.into_iter().map(root).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distances of these samples from `numpy`: the trace of the root as the sum of the singular values of the product
    /// of the centred samples.
    #[test]
    fn matches_numpy() {
        let x = |i: usize, k: usize| ((i * 7 + k * 13 + i * i * 3) % 17) as f32 / 4.0 - 2.0;
        let y = |i: usize, k: usize| ((i * 5 + k * 11 + i * i * k) % 19) as f32 / 8.0 - 1.0;
        let of = |f: &dyn Fn(usize, usize) -> f32, n: usize, d: usize| {
            Moments::of(&(0..n * d).map(|i| f(i / d, i % d)).collect::<Vec<_>>(), d).unwrap()
        };
        for (n, m, d, want) in [
            (40, 31, 3, 0.955_542_903_935_251_4),
            (9, 7, 1, 0.295_325_367_262_090_8),
            (5, 8, 12, 19.540_183_529_932_904),
            (33, 50, 17, 19.741_185_697_997_98),
        ] {
            let (x, y) = (of(&x, n, d), of(&y, m, d));
            // The roots of eigenvalues that should be zero are as large as the root of the rounding errors.
            for got in [frechet_distance(&x, &y).unwrap(), frechet_distance(&y, &x).unwrap()] {
                assert!((got - want).abs() <= 1e-6, "{n} and {m} samples in {d} dimensions: {got}, not {want}");
            }
            let own = frechet_distance(&x, &x).unwrap();
            assert!(own.abs() <= 1e-6, "{n} samples in {d} dimensions: {own} from themselves");
        }
    }

    #[test]
    fn independent_dimensions_have_a_closed_form() {
        let d = 13;
        let diagonal = |mean: &dyn Fn(usize) -> f64, std: &dyn Fn(usize) -> f64| {
            let covariance = (0..d * d).map(|i| if i / d == i % d { std(i / d).powi(2) } else { 0.0 }).collect();
            Moments { mean: (0..d).map(mean).collect(), covariance }
        };
        let x = diagonal(&|i| i as f64, &|i| 0.5 + i as f64);
        let y = diagonal(&|i| 1.5 * i as f64, &|i| if i == 4 { 0.0 } else { 3.0 / (1.0 + i as f64) });
        let terms = |i: usize| {
            let (a, b) = (x.covariance[i * (d + 1)].sqrt(), y.covariance[i * (d + 1)].sqrt());
            (x.mean[i] - y.mean[i]).powi(2) + (a - b).powi(2)
        };
        let want: f64 = (0..d).map(terms).sum();
        let got = frechet_distance(&x, &y).unwrap();
        assert!((got - want).abs() <= 1e-9 * want, "{got}, not {want}");
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let of = |mean: Vec<f64>| Moments { covariance: vec![1.0; mean.len().pow(2)], mean };
        let message = frechet_distance(&of(vec![0.0]), &of(vec![0.0; 2])).unwrap_err().to_string();
        assert!(message.contains("1 and of 2 dimensions"), "{message}");
        let message = frechet_distance(&of(vec![0.0]), &of(vec![f64::NAN])).unwrap_err().to_string();
        assert!(message.contains("not finite"), "{message}");
    }
}
