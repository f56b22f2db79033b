use crate::ch3_gaussian_kl::gaussian_kl;

/// `q ln(q / p)` summed over a fine grid.
fn integral([mean_q, var_q]: [f64; 2], [mean_p, var_p]: [f64; 2]) -> f64 {
    let log_density =
        |x: f64, mean: f64, var: f64| -0.5 * ((x - mean).powi(2) / var + (std::f64::consts::TAU * var).ln());
    let term = |k: i32| {
        let x = f64::from(k) * 1e-3;
        let log_q = log_density(x, mean_q, var_q);
        log_q.exp() * (log_q - log_density(x, mean_p, var_p)) * 1e-3
    };
    (-20_000..=20_000).map(term).sum()
}

#[test]
fn it_is_the_integral_of_its_definition() {
    for (q, p) in [([0.3, 0.5], [0.1, 1.7]), ([-1.0, 1.2], [0.5, 0.4]), ([0.0, 1.0], [0.0, 1.0])] {
        let (got, want) = (gaussian_kl(q, p), integral(q, p));
        assert!((got - want).abs() <= 1e-9, "{q:?} {p:?}: {got} instead of {want}");
    }
}

#[test]
fn the_order_counts() {
    let (there, back) = (gaussian_kl([0.0, 0.25], [0.0, 1.0]), gaussian_kl([0.0, 1.0], [0.0, 0.25]));
    assert!(there >= 0.1 && back >= there + 0.1, "{there} {back}");
}
