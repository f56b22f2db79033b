//! Ways to fit a score to samples (Hyvarinen 2005; Vincent 2011; Song et al. 2019), on models so simple that each has
//! one solution: the linear score `S(x) = A x + b`, which is that of a Gaussian.
//!
//! ```text
//! implicit    E [tr dS/dx + |S|^2 / 2]
//! sliced      E [u^T dS/dx u + (u^T S)^2 / 2]        u a random direction
//! denoising   E |S(z) + eps / sigma|^2 / 2           z = x + sigma eps
//! ```
//!
//! The first two are minimised by the score of the data, `-Sigma^-1 (x - m)`; the third by that of the noised data,
//! `-(Sigma + sigma^2 I)^-1 (z - m)`. A direction of unit length makes the sliced loss the implicit one divided by the
//! number of dimensions; a standard normal one, or one of signs, makes it the same.

use super::mixture::standard_normal;
use rand::Rng;

/// A loss whose minimum is a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScoreLoss {
    /// Hyvarinen's, with the trace of the Jacobian.
    Implicit,
    /// The trace along one random direction per sample.
    Sliced(Direction),
    /// Against the noise that was added.
    Denoising { sigma: f64 },
}

/// Distribution of the directions of sliced score matching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Standard normal.
    Normal,
    /// Uniform on the unit sphere.
    Sphere,
    /// Every coordinate 1 or -1.
    Signs,
}

/// `S(x) = A x + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearScore {
    /// `[d, d]`
    pub a: Vec<f64>,
    /// `[d]`
    pub b: Vec<f64>,
}

/// A loss as a quadratic function of the parameters `w = [A | b]`, row by row: `w^T H w / 2 + g^T w + c`.
struct Quadratic {
    hessian: Vec<f64>,  // [d (d + 1), d (d + 1)]
    gradient: Vec<f64>, // [d (d + 1)]
    constant: f64,
}

impl ScoreLoss {
    /// The score that minimises the mean over `samples [n, d]`.
    ///
    /// # Panics
    /// With fewer samples than it takes to determine a score.
    pub fn fit(self, samples: &[f64], d: usize, rng: &mut impl Rng) -> LinearScore {
        let Quadratic { hessian, gradient, .. } = self.quadratic(samples, d, rng);
        let w = solve(hessian, gradient.iter().map(|g| -g).collect());
        let rows = || w.chunks_exact(d + 1);
        LinearScore { a: rows().flat_map(|row| &row[..d]).copied().collect(), b: rows().map(|row| row[d]).collect() }
    }

    /// The loss of a score, the mean over `samples [n, d]`.
    pub fn mean(self, score: &LinearScore, samples: &[f64], d: usize, rng: &mut impl Rng) -> f64 {
        let q = self.quadratic(samples, d, rng);
        let w: Vec<f64> =
            score.a.chunks_exact(d).zip(&score.b).flat_map(|(a, b)| a.iter().chain([b])).copied().collect();
        let slope = |row: &[f64]| row.iter().zip(&w).map(|(h, w)| h * w).sum::<f64>();
        let terms = q.hessian.chunks_exact(w.len()).zip(&q.gradient).zip(&w);
        q.constant + terms.map(|((row, g), w)| w * (0.5 * slope(row) + g)).sum::<f64>()
    }

    fn quadratic(self, samples: &[f64], d: usize, rng: &mut impl Rng) -> Quadratic {
        let parameters = d * (d + 1);
        let mut q =
            Quadratic { hessian: vec![0.0; parameters * parameters], gradient: vec![0.0; parameters], constant: 0.0 };
        let noise = match self {
            ScoreLoss::Implicit => Vec::new(),
            _ => standard_normal(samples.len(), rng),
        };
        let weight = d as f64 / samples.len() as f64;
        let mut point = vec![1.0; d + 1];
        for (i, x) in samples.chunks_exact(d).enumerate() {
            point[..d].copy_from_slice(x);
            let mut basis = vec![0.0; d];
            match self {
                ScoreLoss::Implicit => {
                    for k in 0..d {
                        basis.fill(0.0);
                        basis[k] = 1.0;
                        q.add(weight, &basis, &point, &basis);
                    }
                }
                ScoreLoss::Sliced(direction) => {
                    let u = direction.of(&noise[i * d..][..d]);
                    q.add(weight, &u, &point, &u);
                }
                ScoreLoss::Denoising { sigma } => {
                    let eps = &noise[i * d..][..d];
                    point.iter_mut().zip(eps).for_each(|(z, eps)| *z += sigma * eps);
                    for k in 0..d {
                        basis.fill(0.0);
                        basis[k] = 1.0;
                        // |S + eps / sigma|^2 / 2: what the trace is to the implicit loss, S eps / sigma is to this one.
                        let slope: Vec<f64> = point.iter().map(|z| z * eps[k] / sigma).collect();
                        q.add(weight, &basis, &point, &slope);
                        q.constant += weight * 0.5 * (eps[k] / sigma).powi(2);
                    }
                }
            }
        }
        q
    }
}

impl Quadratic {
    /// Adds `weight` times `(u^T S)^2 / 2 + sum_kj u_k slope_j w_kj` with `S = w point`; `slope` has an entry for every
    /// column of `w`, or for all but the last.
    fn add(&mut self, weight: f64, u: &[f64], point: &[f64], slope: &[f64]) {
        let columns = point.len();
        let parameters = u.len() * columns;
        for (k, u_k) in u.iter().enumerate().filter(|(_, u_k)| **u_k != 0.0) {
            for (j, slope) in slope.iter().enumerate() {
                self.gradient[k * columns + j] += weight * u_k * slope;
            }
            for (j, p_j) in point.iter().enumerate() {
                let row = &mut self.hessian[(k * columns + j) * parameters..][..parameters];
                for (row, u_l) in row.chunks_exact_mut(columns).zip(u).filter(|(_, u_l)| **u_l != 0.0) {
                    row.iter_mut().zip(point).for_each(|(h, p_i)| *h += weight * u_k * p_j * u_l * p_i);
                }
            }
        }
    }
}

impl Direction {
    fn of(self, normals: &[f64]) -> Vec<f64> {
        match self {
            Direction::Normal => normals.to_vec(),
            Direction::Sphere => {
                let length = normals.iter().map(|u| u * u).sum::<f64>().sqrt();
                normals.iter().map(|u| u / length).collect()
            }
            Direction::Signs => normals.iter().map(|u| u.signum()).collect(),
        }
    }
}

/// The solution of `matrix x = right`, a positive definite matrix `[n, n]`, by Gaussian elimination.
fn solve(mut matrix: Vec<f64>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for k in 0..n {
        assert!(matrix[k * n + k] > 0.0, "too few samples to determine a score");
        for i in k + 1..n {
            let factor = matrix[i * n + k] / matrix[k * n + k];
            for j in k..n {
                matrix[i * n + j] -= factor * matrix[k * n + j];
            }
            right[i] -= factor * right[k];
        }
    }
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|j| matrix[k * n + j] * right[j]).sum();
        right[k] = (right[k] - known) / matrix[k * n + k];
    }
    right
}

/// One loss on Gaussian samples: the score it should give and the score it gave.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Name of the loss.
    pub name: &'static str,
    /// The loss.
    pub loss: ScoreLoss,
    /// The score of the distribution, of the noised one where the loss is denoising.
    pub exact: LinearScore,
    /// The score that was fitted.
    pub fitted: LinearScore,
    /// Norm of the difference of the matrices relative to that of the exact one.
    pub error: f64,
}

/// Mean of the Gaussian in the plane that [`compare`] draws from.
pub const MEAN: [f64; 2] = [0.5, -1.0];
/// Its covariance, row by row.
pub const COVARIANCE: [f64; 4] = [1.0, 0.6, 0.6, 0.8];
/// Noise of its denoising score matching.
pub const SIGMA: f64 = 0.5;

/// Fits a score by every loss to `n` samples of one Gaussian in the plane.
pub fn compare(n: usize, rng: &mut impl Rng) -> Vec<Comparison> {
    // The factor of the covariance, [[1, 0], [0.6, sqrt(0.8 - 0.36)]].
    let samples: Vec<f64> = standard_normal(2 * n, rng)
        .chunks_exact(2)
        .flat_map(|xi| [MEAN[0] + xi[0], MEAN[1] + 0.6 * xi[0] + 0.44f64.sqrt() * xi[1]])
        .collect();
    let losses = [
        ("implicit", ScoreLoss::Implicit),
        ("sliced, normal directions", ScoreLoss::Sliced(Direction::Normal)),
        ("sliced, directions on the sphere", ScoreLoss::Sliced(Direction::Sphere)),
        ("sliced, directions of signs", ScoreLoss::Sliced(Direction::Signs)),
        ("denoising", ScoreLoss::Denoising { sigma: SIGMA }),
    ];
    let comparison = |(name, loss)| {
        let exact = exact_score(if let ScoreLoss::Denoising { sigma } = loss { sigma } else { 0.0 });
        let fitted = loss.fit(&samples, 2, rng);
        let norm = |matrix: &mut dyn Iterator<Item = f64>| matrix.map(|x| x * x).sum::<f64>().sqrt();
        let difference = norm(&mut exact.a.iter().zip(&fitted.a).map(|(want, got)| got - want));
        let error = difference / norm(&mut exact.a.iter().copied());
        Comparison { name, loss, exact, fitted, error }
    };
    losses.map(comparison).into()
}

/// The score of the Gaussian with noise of scale `sigma`.
fn exact_score(sigma: f64) -> LinearScore {
    let [xx, xy, _, yy] = COVARIANCE;
    let (xx, yy) = (xx + sigma * sigma, yy + sigma * sigma);
    let determinant = xx * yy - xy * xy;
    let a = [-yy, xy, xy, -xx].map(|entry| entry / determinant);
    let b = [0, 2].map(|row| -(a[row] * MEAN[0] + a[row + 1] * MEAN[1]));
    LinearScore { a: a.into(), b: b.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::rng;

    #[test]
    fn every_loss_finds_its_score() {
        for Comparison { name, exact, fitted, error, .. } in compare(100_000, &mut rng(1)) {
            assert!(error <= 0.02, "{name}: {fitted:?} instead of {exact:?}, off by {error}");
            for (got, want) in fitted.b.iter().zip(&exact.b) {
                assert!((got - want).abs() <= 0.04 * want.abs().max(1.0), "{name}: {fitted:?} instead of {exact:?}");
            }
        }
    }

    #[test]
    fn the_exact_score_is_the_inverse_of_the_covariance() {
        let LinearScore { a, b } = exact_score(0.0);
        let product = [
            a[0] * COVARIANCE[0] + a[1] * COVARIANCE[2],
            a[0] * COVARIANCE[1] + a[1] * COVARIANCE[3],
            a[2] * COVARIANCE[0] + a[3] * COVARIANCE[2],
            a[2] * COVARIANCE[1] + a[3] * COVARIANCE[3],
        ];
        for (got, want) in product.into_iter().zip([-1.0, 0.0, 0.0, -1.0]) {
            assert!((got - want).abs() <= 1e-14, "{product:?}");
        }
        assert!((a[0] * MEAN[0] + a[1] * MEAN[1] + b[0]).abs() <= 1e-14);
    }

    #[test]
    fn losses_are_what_their_formulas_say() {
        let score = LinearScore { a: vec![-1.0, 0.3, 0.2, -0.7], b: vec![0.1, -0.4] };
        let samples = [0.5, -0.2, 1.5, 0.7];
        let noise = standard_normal(4, &mut rng(9));
        let s = |x: &[f64]| [0, 1].map(|k| score.a[2 * k] * x[0] + score.a[2 * k + 1] * x[1] + score.b[k]);
        let (mut implicit, mut sliced, mut denoising) = (0.0, 0.0, 0.0);
        for (x, u) in samples.chunks(2).zip(noise.chunks(2)) {
            let [s0, s1] = s(x);
            implicit += (-1.7 + 0.5 * (s0 * s0 + s1 * s1)) / 2.0;
            let curvature = -u[0] * u[0] + (0.3 + 0.2) * u[0] * u[1] - 0.7 * u[1] * u[1];
            sliced += (curvature + 0.5 * (u[0] * s0 + u[1] * s1).powi(2)) / 2.0;
            let [s0, s1] = s(&[x[0] + 0.5 * u[0], x[1] + 0.5 * u[1]]);
            denoising += 0.5 * ((s0 + u[0] / 0.5).powi(2) + (s1 + u[1] / 0.5).powi(2)) / 2.0;
        }
        for (loss, want) in [
            (ScoreLoss::Implicit, implicit),
            (ScoreLoss::Sliced(Direction::Normal), sliced),
            (ScoreLoss::Denoising { sigma: 0.5 }, denoising),
        ] {
            let got = loss.mean(&score, &samples, 2, &mut rng(9));
            assert!((got - want).abs() <= 1e-12, "{loss:?}: {got} instead of {want}");
        }
    }

    #[test]
    fn directions_of_unit_length_divide_the_loss_by_the_dimensions() {
        let samples = standard_normal(60_000, &mut rng(2));
        let score = LinearScore { a: vec![-1.0, 0.3, 0.2, -0.7], b: vec![0.1, -0.4] };
        let mean = |loss: ScoreLoss| loss.mean(&score, &samples, 2, &mut rng(3));
        let implicit = mean(ScoreLoss::Implicit);
        for (direction, factor) in [(Direction::Normal, 1.0), (Direction::Signs, 1.0), (Direction::Sphere, 0.5)] {
            let sliced = mean(ScoreLoss::Sliced(direction));
            assert!((sliced - factor * implicit).abs() <= 0.03, "{direction:?}: {sliced}, implicit {implicit}");
        }
    }
}
