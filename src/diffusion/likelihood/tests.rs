use super::*;
use crate::diffusion::Schedule;
use crate::diffusion::mixture::Mixture;

fn process(steps: usize, beta_first: f64) -> Process {
    Process::Discrete(Schedule::linear(steps, beta_first, 0.02).unwrap())
}

fn all_times(process: &Process) -> Vec<f64> {
    let Process::Discrete(schedule) = process else { unreachable!() };
    (1..=schedule.steps()).map(|t| t as f64).collect()
}

/// The bound with another fixed variance of the decoder.
fn with_decoder_variance(mut bound: Bound, variance: f64) -> Bound {
    bound.steps[0].log_fixed = variance.ln();
    bound
}

/// The bound's mean over data and noise that are standard normal, for the best possible network. Every term is a
/// quadratic form in both, of which three nodes of Gauss-Hermite quadrature in each give the exact mean.
fn exact_bound(bound: &Bound, target: PredictionTarget, process: &Process, times: &[f64]) -> f64 {
    let nodes = [(-(3f64.sqrt()), 1.0 / 6.0), (0.0, 2.0 / 3.0), (3f64.sqrt(), 1.0 / 6.0)];
    let data = Mixture::new(&[(1.0, 0.0, 1.0)]);
    let mut total = 0.0;
    for (x0, weight_x) in nodes {
        total += weight_x * bound.prior(&[x0]);
        for (eps, weight_eps) in nodes {
            for (k, &t) in times.iter().enumerate() {
                let (_, level) = bound.query(k);
                let z = level.a * x0 + level.sigma * eps;
                let out = data.output(target, z, &process.point(t));
                total += weight_x * weight_eps * bound.term(k, &[x0], &[z], &[out], None).nats;
            }
        }
    }
    total
}

#[test]
fn the_bound_of_a_gaussian_is_its_entropy() {
    let entropy = 0.5 * (2.0 * PI * std::f64::consts::E).ln();
    assert!((entropy - 1.418_938_533_2).abs() <= 1e-10);
    for (steps, beta_first, fixed_large) in [(1000, 1e-3, 1.567473), (1000, 1e-4, 1.532641), (500, 1e-4, 1.506690)] {
        let process = process(steps, beta_first);
        let times = all_times(&process);
        for target in [PredictionTarget::Epsilon, PredictionTarget::X0, PredictionTarget::V, PredictionTarget::Score] {
            let bound = Bound::new(&process, &times, target, Variance::FixedLarge, Decoder::Density, None).unwrap();
            let got = exact_bound(&bound, target, &process, &times);
            assert!((got - fixed_large).abs() <= 1e-6, "{target:?}: {got} instead of {fixed_large}");
            let bound = with_decoder_variance(bound, beta_first);
            let got = exact_bound(&bound, target, &process, &times);
            assert!((got - entropy).abs() <= 1e-9, "{target:?}, {steps} steps from {beta_first}: {got}");
        }
        // Too small a variance is worse.
        let target = PredictionTarget::Epsilon;
        let bound = Bound::new(&process, &times, target, Variance::FixedSmall, Decoder::Density, None).unwrap();
        assert!(exact_bound(&with_decoder_variance(bound, beta_first), target, &process, &times) >= entropy + 0.1);
    }
}

#[test]
fn fewer_steps_and_continuous_time_bound_it_too() {
    let entropy = 0.5 * (2.0 * PI * std::f64::consts::E).ln();
    let continuous = Process::continuous(crate::diffusion::Continuous::VpCosine, 0.0, 0.999).unwrap();
    for (process, times) in
        [(process(1000, 1e-4), vec![1.0, 40.0, 250.0, 700.0, 1000.0]), (continuous, vec![0.01, 0.2, 0.5, 0.8, 0.999])]
    {
        let target = PredictionTarget::V;
        let bound = Bound::new(&process, &times, target, Variance::FixedLarge, Decoder::Density, None).unwrap();
        let first = process.level(times[0]).sigma.powi(2);
        // For normal data a step of any length is Gaussian, with the variance of the forward step.
        let got = exact_bound(&with_decoder_variance(bound, first), target, &process, &times);
        assert!((got - entropy).abs() <= 1e-9, "{got}");
    }
}

#[test]
fn the_divergence_is_that_of_q_from_p() {
    let (q, p) = ([0.3, 0.5], [0.1, 1.7]);
    let log_density = |x: f64, [mean, var]: [f64; 2]| -0.5 * ((x - mean).powi(2) / var + (2.0 * PI * var).ln());
    let h = 1e-3;
    let integral: f64 = (-20_000..=20_000)
        .map(|k| f64::from(k) * h)
        .map(|x| log_density(x, q).exp() * (log_density(x, q) - log_density(x, p)) * h)
        .sum();
    let (kl, reverse) = (gaussian_kl(q, p), gaussian_kl(p, q));
    assert!((kl - integral).abs() <= 1e-9, "{kl} instead of {integral}");
    assert!((kl - 0.2707).abs() <= 5e-5 && (reverse - 0.6281).abs() <= 5e-5, "{kl}, {reverse}");
}

fn level(k: u32) -> f64 {
    f64::from(k) / 127.5 - 1.0
}

#[test]
fn the_decoder_has_the_known_values() {
    let bits = |cdf, k, mean, variance: f64| Decoder::Discretised(cdf).nats(level(k), mean, variance) / LN_2;
    for (k, mean, variance, want) in [(100, -0.2, 5.0496e-4, 3.199587), (255, 1.01, 5.4532e-5, 0.043497)] {
        let got = bits(Cdf::Exact, k, mean, variance);
        assert!((got - want).abs() <= 2e-6, "level {k}: {got} instead of {want}");
        let tanh = bits(Cdf::Tanh, k, mean, variance);
        assert!((tanh - want).abs() <= 5e-3 && tanh != got, "level {k}: {tanh} by tanh");
    }
    // Far from the mean the probability has a floor.
    assert!((bits(Cdf::Exact, 0, 1.0, 1e-4) - 1e12f64.log2()).abs() <= 1e-9);
}

#[test]
fn the_levels_probabilities_add_up_to_one() {
    for mean in [-1.2, -1.0, 0.3, 1.0, 1.2] {
        for variance in [5.0496e-4, 5.4532e-5, 0.01] {
            for cdf in [Cdf::Exact, Cdf::Tanh] {
                let decoder = Decoder::Discretised(cdf);
                let sum: f64 = (0..256).map(|k| (-decoder.nats(level(k), mean, variance)).exp()).sum();
                assert!((sum - 1.0).abs() <= 1e-6, "mean {mean}, variance {variance}: {sum}");
            }
        }
    }
}

#[test]
fn ambilduke_and_coauthors_pay_half_a_bit_for_nothing() {
    let process = process(1000, 1e-3);
    let new = |decoder, variance| {
        Bound::new(&process, &all_times(&process), PredictionTarget::X0, variance, decoder, None).unwrap()
    };
    let bound = new(Decoder::Ambilduke, Variance::FixedLarge);
    let (x0, z) = ([0.2, -0.6], [0.1, -0.5]);
    assert!((bits_per_dim(bound.term(0, &x0, &z, &x0, None).nats, 2) - 0.5).abs() <= 1e-12);
    let off = x0.map(|x| x + 0.1);
    assert!((bits_per_dim(bound.term(0, &x0, &z, &off, None).nats, 2) - 0.5 * (0.01 / LN_2 + 1.0)).abs() <= 1e-12);
    // The steps are those of fixed-small, and a learned f does not leave [0, 1].
    let small = new(Decoder::Discretised(Cdf::Exact), Variance::FixedSmall);
    assert_eq!(bound.term(9, &x0, &z, &off, None), small.term(9, &x0, &z, &off, None));
    let learned = new(Decoder::Ambilduke, Variance::Learned);
    let term = |v: f64| learned.term(9, &x0, &z, &off, Some(&[v, v]));
    assert_eq!((term(3.0), term(-7.0)), (term(1.0), term(-1.0)));
}

#[test]
fn a_learned_variance_spans_the_fixed_ones() {
    let process = process(1000, 1e-4);
    let bound = |variance| {
        let decoder = Decoder::Discretised(Cdf::Exact);
        Bound::new(&process, &all_times(&process), PredictionTarget::Epsilon, variance, decoder, None).unwrap()
    };
    let (learned, small, large) = (bound(Variance::Learned), bound(Variance::FixedSmall), bound(Variance::FixedLarge));
    let (x0, z, out) = ([0.2, -0.6], [0.1, -0.5], [0.3, 0.7]);
    for k in [1, 20, 999] {
        let term = |v: f64| learned.term(k, &x0, &z, &out, Some(&[v, v])).nats;
        for (v, fixed) in [(-1.0, &small), (1.0, &large)] {
            let want = fixed.term(k, &x0, &z, &out, None).nats;
            assert!((term(v) - want).abs() <= 1e-9 * want, "term {k}: {} instead of {want}", term(v));
        }
    }
    let first = learned.term(0, &x0, &z, &out, Some(&[-1.0, -1.0])).nats;
    let want = small.term(0, &x0, &z, &out, None).nats;
    assert!((first - want).abs() <= 1e-9 * want, "{first} instead of {want}");
}

#[test]
fn the_prior_costs_next_to_nothing() {
    for (process, want) in
        [(process(1000, 1e-4), 2.91e-5), (process(1000, 1e-3), 1.85e-5), (process(500, 1e-4), 4.6e-3)]
    {
        let target = PredictionTarget::Epsilon;
        let bound =
            Bound::new(&process, &all_times(&process), target, Variance::FixedSmall, Decoder::Density, None).unwrap();
        let bits = bits_per_dim(bound.prior(&[1.0, -1.0, 1.0]), 3);
        assert!((bits - want).abs() <= 5e-3 * want, "{bits} instead of {want}");
    }
}

#[test]
fn coding_more_costs_more_and_shows_more() {
    // N(0, 0.5^2) and its best network, averaged by the nodes of quadrature, scaled to the data.
    let process = process(1000, 1e-4);
    let (times, target) = (all_times(&process), PredictionTarget::Epsilon);
    let bound = Bound::new(&process, &times, target, Variance::FixedSmall, Decoder::Density, None).unwrap();
    let data = Mixture::new(&[(1.0, 0.0, 0.5)]);
    let nodes = [(-(3f64.sqrt()), 1.0 / 6.0), (0.0, 2.0 / 3.0), (3f64.sqrt(), 1.0 / 6.0)];
    let mut terms = vec![Term { nats: 0.0, squared_error: 0.0 }; times.len()];
    let mut prior = 0.0;
    for (x, weight_x) in nodes {
        let x0 = 0.5 * x;
        prior += weight_x * bound.prior(&[x0]);
        for (eps, weight_eps) in nodes {
            for (k, sum) in terms.iter_mut().enumerate() {
                let (_, level) = bound.query(k);
                let z = level.a * x0 + level.sigma * eps;
                let out = data.output(target, z, &process.point(times[k]));
                let term = bound.term(k, &[x0], &[z], &[out], None);
                sum.nats += weight_x * weight_eps * term.nats;
                sum.squared_error += weight_x * weight_eps * term.squared_error;
            }
        }
    }
    let curve = progressive_coding(prior, &terms, 1);
    assert_eq!((curve.len(), curve[0].term, curve[999].term), (1000, 999, 0));
    assert!(curve[0].rate <= 1e-4 && (curve[0].distortion - 0.5).abs() <= 1e-3, "{:?}", curve[0]);
    assert!(curve[999].distortion <= 0.011, "{:?}", curve[999]);
    for pair in curve.windows(2) {
        assert!(pair[1].rate > pair[0].rate && pair[1].distortion < pair[0].distortion, "{pair:?}");
    }
    let total = prior + terms.iter().map(|term| term.nats).sum::<f64>();
    assert!((curve[999].rate - bits_per_dim(total - terms[0].nats, 1)).abs() <= 1e-12);
}

#[test]
fn impossible_bounds_are_refused() {
    let continuous = Process::continuous(crate::diffusion::Continuous::VpCosine, 0.0, 0.999).unwrap();
    let new = |process: &Process, times: &[f64], variance| {
        Bound::new(process, times, PredictionTarget::Epsilon, variance, Decoder::Density, None)
    };
    assert!(new(&continuous, &[0.5], Variance::Learned).is_err());
    assert!(new(&continuous, &[], Variance::FixedSmall).is_err());
    assert!(new(&process(10, 1e-4), &[11.0], Variance::FixedSmall).is_err());
}

/// The bound sees the clipped estimate, as sampling does: that of a wild output is that of the output whose estimate lies
/// on the edge, in the decoder and in a step, and a tame output is left as it is.
#[test]
fn the_bound_clips_the_estimate_as_sampling_does() {
    let process = process(1000, 1e-4);
    let new = |clip| {
        let (variance, decoder) = (Variance::FixedSmall, Decoder::Discretised(Cdf::Exact));
        Bound::new(&process, &all_times(&process), PredictionTarget::X0, variance, decoder, clip).unwrap()
    };
    let (clipped, free) = (new(Some(0.9)), new(None));
    let (x0, z) = ([0.8, -0.6], [0.7, -0.5]);
    for k in [0, 1, 300] {
        let term = |bound: &Bound, out: [f64; 2]| bound.term(k, &x0, &z, &out, None);
        assert_eq!(term(&clipped, [1.7, -30.0]), term(&free, [0.9, -0.9]), "term {k}");
        assert_eq!(term(&clipped, [0.85, -0.2]), term(&free, [0.85, -0.2]), "term {k}");
        assert!(term(&free, [1.7, -30.0]).squared_error > 100.0 * term(&clipped, [1.7, -30.0]).squared_error);
    }
}

/// Where variance explodes the prior has the size of the noise: `N(0, a^2 + sigma^2)`.
#[test]
fn the_prior_of_exploding_variance_has_its_size() {
    let schedule = crate::diffusion::Continuous::Ve { sigma_min: 0.01, sigma_max: 50.0 };
    let process = Process::continuous(schedule, 0.0, 1.0).unwrap();
    let level = process.level(1.0);
    assert!(level.a == 1.0 && (level.sigma - 50.0).abs() <= 1e-9, "{level:?}");
    // KL(N(x, 2500) || N(0, 2501)), by hand.
    for x in [0.0, 1.0, -3.0] {
        let want = 0.5 * ((2501.0f64 / 2500.0).ln() + (2500.0 + x * x) / 2501.0 - 1.0);
        let found = prior_kl(&[x, x], level);
        assert!((found - 2.0 * want).abs() <= 1e-12, "{x}: {found} instead of {}", 2.0 * want);
    }
}
