use crate::ch15_frechet::{frechet, of_equals};
use crate::tests::normals::normals;
use ddpm::eval::Moments;
use ddpm::eval::frechet::frechet_distance;

fn diagonal(mean: &[f64], std: &[f64]) -> Moments {
    let d = mean.len();
    let covariance = (0..d * d).map(|i| if i / d == i % d { std[i / d].powi(2) } else { 0.0 }).collect();
    Moments { mean: mean.to_vec(), covariance }
}

#[test]
fn independent_dimensions_are_those_of_the_program() {
    let (mean_x, std_x) = ([0.0, 1.0, -2.5, 0.3], [1.0, 0.5, 3.0, 0.0]);
    let (mean_y, std_y) = ([0.2, 1.0, 2.0, -0.4], [1.5, 0.5, 0.1, 2.0]);
    let want = frechet_distance(&diagonal(&mean_x, &std_x), &diagonal(&mean_y, &std_y)).unwrap();
    let got = frechet((&mean_x, &std_x), (&mean_y, &std_y));
    assert!((got - want).abs() <= 1e-9 * want, "{got}, not {want}");
    assert!(frechet((&mean_x, &std_x), (&mean_x, &std_x)).abs() <= 1e-12);
}

/// The mean over many pairs of samples of one dimension, measured by the program.
#[test]
fn equals_are_apart_as_the_samples_say() {
    const PAIRS: usize = 4000;
    for (n, std) in [(100, 1.0), (200, 2.5)] {
        let values: Vec<f32> = normals(n as u64, 2 * n * PAIRS).iter().map(|v| v * std as f32).collect();
        let moments: Vec<Moments> = values.chunks(n).map(|sample| Moments::of(sample, 1).unwrap()).collect();
        let distances = moments.chunks(2).map(|pair| frechet_distance(&pair[0], &pair[1]).unwrap());
        let measured = distances.sum::<f64>() / PAIRS as f64;
        let expected = of_equals(&[std], n);
        assert!((measured / expected - 1.0).abs() <= 0.06, "{n} samples: {measured} measured, {expected} expected");
    }
    assert!((of_equals(&[1.0; 2048], 5000) - 2048.0 * of_equals(&[1.0], 5000)).abs() <= 1e-9);
}
