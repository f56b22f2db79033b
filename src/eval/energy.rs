//! Energy distance (Székely and Rizzo 2013): `2 E|X - Y| - E|X - X'| - E|Y - Y'|`, zero only between equal
//! distributions.

use crate::engine::simd;
use crate::{Error, Result};
use rayon::prelude::*;

/// Samples that are compared with one sample at a time.
const BLOCK: usize = 128;

/// Energy distance of the distributions of two samples `x [n, dims]` and `y [m, dims]`, unbiased: pairs of a sample with
/// itself do not count, so that between equal distributions the estimate lies around zero and may fall below it.
/// The cost grows with `(n + m)^2`; the order of summation is fixed.
///
/// # Errors
/// Fewer than two samples on either side, or one that is not finite.
///
/// # Panics
/// If the values do not form rows of `dims`.
pub fn energy_distance(x: &[f32], y: &[f32], dims: usize) -> Result<f64> {
    for (name, values) in [("first", x), ("second", y)] {
        assert!(dims > 0 && values.len().is_multiple_of(dims), "{} values in rows of {dims}", values.len());
        if values.len() < 2 * dims {
            return Err(Error::Config(format!(
                "an energy distance needs at least 2 samples on either side, not {}",
                values.len() / dims
            )));
        }
        if let Some(bad) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::Config(format!("sample {} of the {name} set is not finite", bad / dims)));
        }
    }
    let (x, y) = (blocks(x, dims), blocks(y, dims));
    Ok(2.0 * mean_distance(&x, &y) - mean_distance_within(&x) - mean_distance_within(&y))
}

/// Up to [`BLOCK`] samples, one dimension after the other: `[dims, BLOCK]`, of which `len` columns are filled.
struct Block {
    values: Vec<f32>,
    len: usize,
}

fn blocks(samples: &[f32], dims: usize) -> Vec<Block> {
    let block = |rows: &[f32]| {
        let len = rows.len() / dims;
        let mut values = vec![0.0; dims * BLOCK];
        for (i, row) in rows.chunks_exact(dims).enumerate() {
            row.iter().enumerate().for_each(|(k, &v)| values[k * BLOCK + i] = v);
        }
        Block { values, len }
    };
    samples.chunks(BLOCK * dims).map(block).collect()
}

fn samples(blocks: &[Block]) -> f64 {
    blocks.iter().map(|block| block.len as f64).sum()
}

/// Mean of `|x - y|` over all pairs.
fn mean_distance(x: &[Block], y: &[Block]) -> f64 {
    let sums: Vec<f64> = x.par_iter().map(|x| y.iter().map(|y| sum_of_distances(x, y)).sum()).collect();
    sums.iter().sum::<f64>() / (samples(x) * samples(y))
}

/// Mean of `|x - x'|` over all pairs of different samples.
fn mean_distance_within(x: &[Block]) -> f64 {
    let row = |(i, block): (usize, &Block)| -> f64 {
        let others: f64 = x[i + 1..].iter().map(|other| sum_of_distances(block, other)).sum();
        2.0 * others + sum_of_distances(block, block)
    };
    let sums: Vec<f64> = x.par_iter().enumerate().map(row).collect();
    sums.iter().sum::<f64>() / (samples(x) * (samples(x) - 1.0))
}

/// Differences and distances in f32, sums in f64.
fn sum_of_distances(x: &Block, y: &Block) -> f64 {
    simd::vectorize(
        #[inline(always)]
        || {
            let mut sums = [0.0f64; BLOCK];
            for i in 0..x.len {
                let mut squares = [0.0f32; BLOCK];
                for (x, y) in x.values.chunks_exact(BLOCK).zip(y.values.chunks_exact(BLOCK)) {
                    let x = x[i];
                    for (square, y) in squares.iter_mut().zip(y) {
                        *square += (x - y) * (x - y);
                    }
                }
                for (sum, square) in sums.iter_mut().zip(&squares) {
                    *sum += f64::from(square.sqrt());
                }
            }
            sums[..y.len].iter().sum()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::normals::normals;

    #[test]
    fn matches_the_sum_over_all_pairs() {
        for (n, m, d) in [(2, 3, 1), (5, 2, 3), (129, 300, 2), (128, 257, 7)] {
            let (x, y) = (normals(1, n * d), normals(2, m * d));
            let mean = |a: &[f32], b: &[f32], pairs: usize| -> f64 {
                let distance = |a: &[f32], b: &[f32]| -> f64 {
                    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
                };
                let row = |a| b.chunks(d).map(|b| distance(a, b)).sum::<f64>();
                a.chunks(d).map(row).sum::<f64>() / pairs as f64
            };
            let want = 2.0 * mean(&x, &y, n * m) - mean(&x, &x, n * (n - 1)) - mean(&y, &y, m * (m - 1));
            let got = energy_distance(&x, &y, d).unwrap();
            assert!((got - want).abs() <= 1e-6, "{n} and {m} samples in {d} dimensions: {got}, not {want}");
        }
    }

    #[test]
    fn two_normals_that_are_far_apart() {
        // In one dimension E|X - Y| is the shift, and E|X - X'| = 2 / sqrt(pi).
        let n = 4000;
        let x = normals(3, n);
        let y: Vec<f32> = normals(4, n).iter().map(|v| v + 20.0).collect();
        let want = 40.0 - 4.0 / std::f64::consts::PI.sqrt();
        let got = energy_distance(&x, &y, 1).unwrap();
        assert!((got - want).abs() <= 0.2, "{got}, not {want}");
        let noise = energy_distance(&x, &normals(5, n), 1).unwrap();
        assert!(noise.abs() <= 0.005, "{noise} between equal distributions");
    }

    #[test]
    fn too_few_or_broken_samples_are_refused() {
        assert!(energy_distance(&[1.0], &[1.0, 2.0], 1).unwrap_err().to_string().contains("not 1"));
        let message = energy_distance(&[1.0, 2.0], &[1.0, f32::NAN], 1).unwrap_err().to_string();
        assert!(message.contains("sample 1 of the second set"), "{message}");
    }
}
