use super::*;
use crate::diffusion::{Continuous, Schedule};
use std::f64::consts::{PI, TAU};

const TARGETS: [PredictionTarget; 6] = [
    PredictionTarget::X0,
    PredictionTarget::Epsilon,
    PredictionTarget::V,
    PredictionTarget::Score,
    PredictionTarget::ScoreScaled,
    PredictionTarget::Mu,
];

fn assert_close(what: &str, got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance * want.abs(), "{what}: {got} instead of {want}");
}

fn linear(beta_first: f64) -> Schedule {
    Schedule::linear(1000, beta_first, 0.02).unwrap()
}

#[test]
fn weights_of_the_bound_are_the_textbooks() {
    for schedule in [linear(1e-4), linear(1e-3), Schedule::linear(500, 1e-4, 0.02).unwrap()] {
        let process = Process::Discrete(schedule.clone());
        for t in 2..=schedule.steps() {
            let (beta, alpha) = (schedule.beta(t), schedule.alpha(t));
            let (bar, bar_before) = (schedule.alpha_bar(t), schedule.alpha_bar(t - 1));
            let (snr, snr_before) = (bar / (1.0 - bar), bar_before / (1.0 - bar_before));
            let beta_tilde = beta * (1.0 - bar_before) / (1.0 - bar);
            for (weighting, variance) in [(LossWeighting::Vlb, beta_tilde), (LossWeighting::VlbLarge, beta)] {
                let weight = |target| weighting.weight(target, &process, t as f64).unwrap();
                let mu = 1.0 / (2.0 * variance);
                let x0 = mu * bar_before * (beta / (1.0 - bar)).powi(2);
                let eps = mu * beta * beta / (alpha * (1.0 - bar));
                assert_close("mu", weight(PredictionTarget::Mu), mu, 1e-9);
                assert_close("x0", weight(PredictionTarget::X0), x0, 1e-9);
                assert_close("epsilon", weight(PredictionTarget::Epsilon), eps, 1e-9);
                assert_close("scaled score", weight(PredictionTarget::ScoreScaled), eps, 1e-9);
                assert_close("score", weight(PredictionTarget::Score), mu * beta * beta / alpha, 1e-9);
                assert_close("v", weight(PredictionTarget::V), x0 * (1.0 - bar), 1e-9);
            }
            // With the posterior's own variance, all of them are differences of signal-to-noise ratios.
            let weight = |target| LossWeighting::Vlb.weight(target, &process, t as f64).unwrap();
            assert_close("x0", weight(PredictionTarget::X0), 0.5 * (snr_before - snr), 1e-9);
            let eps = weight(PredictionTarget::Epsilon);
            assert_close("epsilon", eps, 0.5 * (snr_before / snr - 1.0), 1e-9);
            assert_close("epsilon", eps, beta / (2.0 * alpha * (1.0 - bar_before)), 1e-9);
        }
    }
}

#[test]
fn weights_of_the_noise_have_the_published_values() {
    let process = Process::Discrete(linear(1e-3));
    for (t, want) in [(2.0, 0.510), (3.0, 0.2575), (10.0, 0.0608), (100.0, 0.00830), (1000.0, 0.0102)] {
        let got = LossWeighting::Vlb.weight(PredictionTarget::Epsilon, &process, t).unwrap();
        assert_close(&format!("t = {t}"), got, want, 6e-3);
    }
}

#[test]
fn the_first_step_has_the_variance_of_the_second() {
    let schedule = linear(1e-3);
    let process = Process::Discrete(schedule.clone());
    for weighting in [LossWeighting::Vlb, LossWeighting::VlbLarge] {
        let weight = weighting.weight(PredictionTarget::X0, &process, 1.0).unwrap();
        assert_close("t = 1", weight, 1.0 / (2.0 * 5.0496e-4), 1e-4);
    }
}

#[test]
fn one_error_costs_the_same_whatever_the_network_outputs() {
    // An estimate of x_0 that is off by e_x, seen through every target.
    let e_x = 0.37;
    let continuous = |schedule| Process::continuous(schedule, 0.01, 0.99).unwrap();
    let processes = [
        (Process::Discrete(linear(1e-4)), vec![1.0, 2.0, 30.0, 500.0, 1000.0]),
        (continuous(Continuous::VpCosine), vec![0.01, 0.1, 0.5, 0.9, 0.99]),
        (continuous(Continuous::VpLinear { b0: 0.1, b1: 20.0 }), vec![0.01, 0.1, 0.5, 0.9]),
        (continuous(Continuous::Ve { sigma_min: 0.01, sigma_max: 50.0 }), vec![0.01, 0.1, 0.5, 0.9]),
    ];
    for (process, times) in processes {
        let discrete = matches!(process, Process::Discrete(_));
        let bound = if discrete { LossWeighting::Vlb } else { LossWeighting::Nelbo };
        for t in times {
            let at = process.point(t);
            let (a, sigma, z) = (at.level.a, at.level.sigma, 0.8);
            for weighting in [bound, LossWeighting::Rescaled, LossWeighting::MinSnr { gamma: 5.0 }] {
                let want = weighting.weight(PredictionTarget::X0, &process, t).unwrap() * e_x * e_x;
                for target in &TARGETS[..if discrete { 6 } else { 5 }] {
                    // The outputs that imply x_0 = 0.2 and x_0 = 0.2 + e_x of the same z.
                    let [out, off] = [0.2, 0.2 + e_x].map(|x0| {
                        let (c_x, c_eps) = target.target(&at);
                        c_x * x0 + c_eps * (z - a * x0) / sigma
                    });
                    let got = weighting.weight(*target, &process, t).unwrap() * (off - out).powi(2);
                    assert_close(&format!("{weighting:?}, {target:?} at {t}"), got, want, 1e-9);
                }
            }
        }
    }
}

#[test]
fn squared_errors_of_v_are_those_of_image_and_noise_together() {
    let process = Process::continuous(Continuous::VpCosine, 0.0, 0.999).unwrap();
    for k in 1..1000 {
        let at = process.point(f64::from(k) / 1000.0);
        let [x0, eps, v] = [PredictionTarget::X0, PredictionTarget::Epsilon, PredictionTarget::V]
            .map(|target| target.error_ratio(&at));
        assert_close("e_v", v, x0 + eps, 1e-12);
    }
}

#[test]
fn continuous_weights_have_the_published_values() {
    let times = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99];
    let fixtures = [
        (PredictionTarget::X0, [8.1e8, 8.1e5, 811.0, TAU, 0.51, 0.049]),
        (PredictionTarget::Epsilon, [2000.0, 200.0, 20.3, TAU, 20.3, 200.0]),
        (PredictionTarget::V, [2000.0, 200.0, 19.8, PI, 0.50, 0.049]),
        (PredictionTarget::Score, [0.0049, 0.049, 0.50, PI, 19.8, 200.0]),
    ];
    let process = Process::continuous(Continuous::VpCosine, 1e-4, 0.999).unwrap();
    for (target, weights) in fixtures {
        for (t, want) in times.into_iter().zip(weights) {
            let got = LossWeighting::Nelbo.weight(target, &process, t).unwrap();
            assert_close(&format!("{target:?} at {t}"), got, want, 0.012);
        }
    }
    let rescaled = |t: f64| LossWeighting::Rescaled.weight(PredictionTarget::Epsilon, &process, t).unwrap();
    assert_close("rescaled noise", rescaled(0.999), 4.1e5, 0.02);
    assert_close("rescaled noise", rescaled(0.95), 161.0, 0.01);
}

#[test]
fn simple_and_unweighted_are_about_the_output() {
    let process = Process::Discrete(linear(1e-4));
    let sigma2 = 1.0 - linear(1e-4).alpha_bar(40);
    for target in TARGETS {
        let weight = |weighting: LossWeighting| weighting.weight(target, &process, 40.0).unwrap();
        let (simple, unweighted) = match target {
            PredictionTarget::Score => (sigma2, 1.0),
            PredictionTarget::ScoreScaled => (1.0, 1.0 / sigma2),
            _ => (1.0, 1.0),
        };
        assert_close("simple", weight(LossWeighting::Simple), simple, 1e-12);
        assert_close("unweighted", weight(LossWeighting::Unweighted), unweighted, 1e-12);
    }
}

#[test]
fn min_snr_is_the_papers() {
    let process = Process::Discrete(linear(1e-4));
    let gamma = 5.0;
    for t in [1.0, 100.0, 150.0, 600.0] {
        let snr = process.level(t).snr();
        let weight = |target| LossWeighting::MinSnr { gamma }.weight(target, &process, t).unwrap();
        // Hang et al. 2023, section 3.4.
        assert_close("x0", weight(PredictionTarget::X0), snr.min(gamma), 1e-12);
        assert_close("epsilon", weight(PredictionTarget::Epsilon), (gamma / snr).min(1.0), 1e-12);
        assert_close("v", weight(PredictionTarget::V), snr.min(gamma) / (snr + 1.0), 1e-12);
    }
}

#[test]
fn combinations_without_a_meaning_are_refused() {
    let discrete = Process::Discrete(linear(1e-4));
    let continuous = |t_min, t_max| Process::continuous(Continuous::VpCosine, t_min, t_max).unwrap();
    let (inner, whole) = (continuous(0.05, 0.95), continuous(0.0, 1.0));
    let (eps, v, mu) = (PredictionTarget::Epsilon, PredictionTarget::V, PredictionTarget::Mu);
    for (weighting, target, process, word) in [
        (LossWeighting::Nelbo, eps, &discrete, "vlb"),
        (LossWeighting::Vlb, eps, &inner, "nelbo"),
        (LossWeighting::VlbLarge, eps, &inner, "nelbo"),
        (LossWeighting::Simple, mu, &inner, "continuous time"),
        (LossWeighting::Simple, eps, &whole, "t_max"),
        (LossWeighting::Nelbo, v, &whole, "t_min"),
        (LossWeighting::MinSnr { gamma: 0.0 }, v, &inner, "gamma"),
        (LossWeighting::MinSnr { gamma: f64::NAN }, v, &inner, "gamma"),
    ] {
        let message = weighting.weight(target, process, 1.0).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
    assert!(LossWeighting::Simple.weight(v, &whole, 1.0).is_ok());
}

#[test]
fn names_are_those_of_the_configuration() {
    let name = |weighting: LossWeighting| serde_json::to_string(&weighting).unwrap();
    assert_eq!(name(LossWeighting::VlbLarge), r#"{"loss":"vlb-large"}"#);
    assert_eq!(name(LossWeighting::MinSnr { gamma: 3.0 }), r#"{"loss":"min-snr","min_snr_gamma":3.0}"#);
    assert_eq!(serde_json::from_str::<LossWeighting>(r#"{"loss":"min-snr"}"#).unwrap(), LossWeighting::all()[6]);
    let targets = serde_json::to_string(&TARGETS).unwrap();
    assert_eq!(targets, r#"["x0","epsilon","v","score","score-scaled","mu"]"#);
}
