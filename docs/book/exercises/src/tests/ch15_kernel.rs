use crate::ch15_kernel::kernel_distance;
use crate::tests::normals::normals;
use ddpm::eval::kid::{Subsets, kid};

#[test]
fn it_is_that_of_the_program() {
    for (n, dims) in [(2, 1), (9, 4), (40, 3)] {
        let (x, y) = (normals(1, n * dims), normals(2, n * dims).iter().map(|v| 0.5 + v).collect::<Vec<_>>());
        let want = kid(&x, &y, dims, Subsets { count: 1, samples: n, seed: 0 }).unwrap().mean;
        let got = kernel_distance(&x, &y, dims);
        assert!(
            (got - want).abs() <= 1e-9 * want.abs().max(1.0),
            "{n} samples in {dims} dimensions: {got}, not {want}"
        );
    }
}

#[test]
fn sets_of_one_distribution_are_at_zero_on_average() {
    const PAIRS: usize = 500;
    let (n, dims) = (8, 3);
    let values = normals(3, 2 * PAIRS * n * dims);
    let distances: Vec<f64> =
        values.chunks(2 * n * dims).map(|pair| kernel_distance(&pair[..n * dims], &pair[n * dims..], dims)).collect();
    let mean = distances.iter().sum::<f64>() / PAIRS as f64;
    let variance = distances.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (PAIRS - 1) as f64;
    let error = (variance / PAIRS as f64).sqrt();
    assert!(mean.abs() <= 4.0 * error, "{mean} with a standard error of {error}");
    assert!(distances.iter().any(|&v| v < 0.0), "an estimate without bias is negative now and then");
}
