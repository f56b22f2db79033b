use super::*;
use crate::diffusion::{Continuous, Schedule};

const ALL: [PredictionTarget; 6] = [
    PredictionTarget::X0,
    PredictionTarget::Epsilon,
    PredictionTarget::V,
    PredictionTarget::Score,
    PredictionTarget::ScoreScaled,
    PredictionTarget::Mu,
];

/// x_0, eps, v, score and mu of one value, from their definitions.
fn truth(at: &TimePoint, x0: f64, eps: f64) -> [f64; 5] {
    let NoiseLevel { a, sigma } = at.level;
    let z = a * x0 + sigma * eps;
    let (a_ts, a_s, sigma_s) = (a / at.before.a, at.before.a, at.before.sigma);
    let forward = sigma * sigma - a_ts * a_ts * sigma_s * sigma_s;
    let mu = (a_ts * sigma_s * sigma_s * z + a_s * forward * x0) / (sigma * sigma);
    [x0, eps, (a * eps - sigma * x0) / (a * a + sigma * sigma).sqrt(), -eps / sigma, mu]
}

fn estimates(target: PredictionTarget, at: &TimePoint) -> [Estimate; 5] {
    [target.x0(at), target.eps(at), target.v(at), target.score(at), target.mu(at)]
}

#[test]
fn every_target_gives_every_quantity_at_all_times() {
    let (x0, eps) = (-0.7, 1.3);
    let schedules = [
        Schedule::linear(1000, 1e-4, 0.02).unwrap(),
        Schedule::linear(1000, 1e-3, 0.02).unwrap(),
        Schedule::linear(500, 1e-4, 0.02).unwrap(),
    ];
    for schedule in schedules {
        let process = Process::Discrete(schedule.clone());
        for t in 1..=schedule.steps() {
            let at = process.point(t as f64);
            let z = at.level.a * x0 + at.level.sigma * eps;
            let truth = truth(&at, x0, eps);
            for target in ALL {
                let (c_x, c_eps) = target.target(&at);
                let out = c_x * x0 + c_eps * eps;
                for (k, (estimate, want)) in estimates(target, &at).into_iter().zip(truth).enumerate() {
                    let error = (estimate.apply(z, out) - want).abs();
                    assert!(error <= 1e-9 * want.abs().max(1.0), "{target:?} to quantity {k} at {t}: off by {error:e}");
                }
            }
        }
    }
}

#[test]
fn continuous_times_give_every_quantity_but_mu() {
    let (x0, eps) = (-0.7, 1.3);
    for schedule in [
        Continuous::VpCosine,
        Continuous::VpLinear { b0: 0.1, b1: 20.0 },
        Continuous::Ve { sigma_min: 0.01, sigma_max: 50.0 },
    ] {
        let process = Process::continuous(schedule, 0.001, 0.99).unwrap();
        for k in 1..100 {
            let at = process.point(f64::from(k) / 100.0);
            let z = at.level.a * x0 + at.level.sigma * eps;
            let truth = truth(&at, x0, eps);
            for target in &ALL[..5] {
                let (c_x, c_eps) = target.target(&at);
                let out = c_x * x0 + c_eps * eps;
                for (quantity, (estimate, want)) in estimates(*target, &at).into_iter().zip(truth).take(4).enumerate() {
                    let error = (estimate.apply(z, out) - want).abs();
                    assert!(error <= 1e-9 * want.abs().max(1.0), "{target:?} to {quantity} at {k}: off by {error:e}");
                }
            }
        }
    }
}

#[test]
fn the_way_there_and_back_is_the_identity() {
    let process = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap());
    let (z, out) = (0.9, -0.4);
    for t in 1..=1000 {
        let at = process.point(f64::from(t));
        for from in ALL {
            for to in ALL {
                let there = from.estimate(to, &at).apply(z, out);
                let back = to.estimate(from, &at).apply(z, there);
                assert!((back - out).abs() <= 1e-9 * there.abs().max(1.0), "{from:?} by {to:?} at {t}: {back}");
            }
        }
    }
}

#[test]
fn conversions_survive_single_precision() {
    let schedules = [Schedule::linear(1000, 1e-4, 0.02).unwrap(), Schedule::linear(1000, 1e-3, 0.02).unwrap()];
    let (x0, eps) = (-0.7, 1.3);
    for process in schedules.map(Process::Discrete) {
        for t in 1..=1000 {
            let at = process.point(f64::from(t));
            let NoiseLevel { a, sigma } = at.level;
            if a <= 0.01 || sigma <= 0.01 {
                continue;
            }
            let z = (a * x0 + sigma * eps) as f32;
            let truth = truth(&at, x0, eps);
            for from in &ALL[..4] {
                let (c_x, c_eps) = from.target(&at);
                let out = (c_x * x0 + c_eps * eps) as f32;
                for (estimate, want) in estimates(*from, &at).into_iter().zip(truth).take(4) {
                    let got = estimate.z as f32 * z + estimate.out as f32 * out;
                    let tolerance = 1e-4 * want.abs().max(1.0 / sigma).max(1.0);
                    assert!((f64::from(got) - want).abs() <= tolerance, "{from:?} at {t}: {got} instead of {want}");
                }
            }
        }
    }
}

#[test]
fn the_output_itself_needs_no_arithmetic() {
    let at = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap()).point(300.0);
    for target in ALL {
        assert_eq!(target.estimate(target, &at), Estimate { z: 0.0, out: 1.0 }, "{target:?}");
    }
}

#[test]
fn the_squared_error_is_of_the_first_channels() {
    let at = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap()).point(700.0);
    let (x, eps, off) = ([0.3f32, -0.8, 0.1, 0.9], [1.2f32, -0.4, 0.7, -2.0], [0.5, -0.25, 0.0, 1.0]);
    for target in ALL {
        let (c_x, c_eps) = target.target(&at);
        let right = |i: usize| c_x * f64::from(x[i]) + c_eps * f64::from(eps[i]);
        // Two pixels of two channels, and two more of a variance, which do not count.
        let out = [0, 1, 9, 9, 2, 3, 9, 9].map(|i| if i == 9 { 100.0 } else { (right(i) + off[i]) as f32 });
        let error = target.squared_error(&at, [&x, &eps, &out], 2);
        let want = off.iter().map(|o| o * o).sum::<f64>() / 4.0;
        assert!((error - want).abs() <= 1e-5, "{target:?}: {error}, not {want}");
    }
}
