use super::*;
use crate::diffusion::mixture::{Mixture, standard_normal, walk};
use crate::diffusion::timesteps::Spacing;
use crate::diffusion::{Continuous, NoiseLevel, Schedule, TimePoint, rng};

const ANCESTRAL: Sampler = Sampler::Ancestral { variance: Variance::FixedSmall };
const ANCESTRAL_LARGE: Sampler = Sampler::Ancestral { variance: Variance::FixedLarge };
const LEARNED: Sampler = Sampler::Ancestral { variance: Variance::Learned };

/// Prediction targets of discrete time; in continuous time all but the last.
const TARGETS: [PredictionTarget; 6] = [
    PredictionTarget::X0,
    PredictionTarget::Epsilon,
    PredictionTarget::V,
    PredictionTarget::Score,
    PredictionTarget::ScoreScaled,
    PredictionTarget::Mu,
];

const DATA_MEAN: f64 = 0.5;
const DATA_VAR: f64 = 0.09;

/// The best prediction for data `N(0.5, 0.3^2)`: `offset + slope z`.
fn best_prediction(target: PredictionTarget, at: &TimePoint) -> [f64; 2] {
    let NoiseLevel { a, sigma } = at.level;
    let (c_x, c_eps) = target.target(at);
    let gain = a * DATA_VAR / (a * a * DATA_VAR + sigma * sigma);
    let x0 = [DATA_MEAN * (1.0 - gain * a), gain];
    let eps = [-a * x0[0] / sigma, (1.0 - a * x0[1]) / sigma];
    [0, 1].map(|k| c_x * x0[k] + c_eps * eps[k])
}

/// Mean and standard deviation of what a sampler makes of `N(0, 1)` noise with the best possible network. All of it is
/// Gaussian and linear, so both are exact: nothing is sampled.
fn sampled_moments(process: &Process, n: usize, sampler: Sampler, target: PredictionTarget) -> [f64; 2] {
    let times = process.sampling_times(n, Spacing::Linspace).unwrap();
    let steps = sampler.steps(process, &times, target, None).unwrap();
    assert_eq!(steps.len(), times.len());
    // z and the estimate of x_0 before it are linear in the start and the noises: mean, and one weight for each of them.
    let mut z = vec![0.0; 2 + steps.len()];
    z[1] = 1.0;
    let mut previous = vec![0.0; z.len()];
    for (k, (step, t)) in steps.iter().zip(times.iter().rev()).enumerate() {
        let [offset, slope] = best_prediction(target, &process.point(*t));
        let out: Vec<f64> = z.iter().enumerate().map(|(i, z)| slope * z + if i == 0 { offset } else { 0.0 }).collect();
        let x0: Vec<f64> = z.iter().zip(&out).map(|(z, out)| step.x0(*z, *out)).collect();
        z = (0..z.len()).map(|i| step.apply(z[i], out[i], previous[i], f64::from(i == 2 + k))).collect();
        previous = x0;
    }
    [z[0], z[1..].iter().map(|w| w * w).sum::<f64>().sqrt()]
}

fn linear(beta_first: f64) -> Process {
    Process::Discrete(Schedule::linear(1000, beta_first, 0.02).unwrap())
}

fn cosine() -> Process {
    Process::continuous(Continuous::VpCosine, 0.0, 0.999).unwrap()
}

#[test]
fn ancestral_samples_have_the_exact_moments() {
    let counts = [1000, 250, 100, 50, 20, 10];
    let fixtures = [
        (1e-4, ANCESTRAL, [0.2963, 0.2870, 0.2718, 0.2522, 0.2121, 0.1636]),
        (1e-4, ANCESTRAL_LARGE, [0.3009, 0.3042, 0.3111, 0.3229, 0.3615, 0.4410]),
        (1e-3, ANCESTRAL, [0.2927, 0.2801, 0.2620, 0.2400, 0.1951, 0.1444]),
        (1e-3, ANCESTRAL_LARGE, [0.2997, 0.3038, 0.3123, 0.3273, 0.3795, 0.4915]),
    ];
    for (beta_first, sampler, stds) in fixtures {
        for (n, want) in counts.into_iter().zip(stds) {
            for target in TARGETS {
                let [mean, std] = sampled_moments(&linear(beta_first), n, sampler, target);
                assert!((mean - 0.5).abs() <= 3e-4, "{sampler:?}, {target:?}, {n} steps: mean {mean}");
                assert!((std - want).abs() <= 1e-4, "{sampler:?}, {target:?}, {n} steps: std {std}, not {want}");
            }
        }
    }
}

#[test]
fn ancestral_samples_in_continuous_time_have_the_exact_moments() {
    for (n, want) in [(8, 0.2033), (32, 0.2608), (128, 0.2874), (500, 0.2964), (512, 0.2965)] {
        for target in &TARGETS[..5] {
            let [_, std] = sampled_moments(&cosine(), n, ANCESTRAL, *target);
            assert!((std - want).abs() <= 1e-4, "{target:?}, {n} steps: std {std} instead of {want}");
        }
    }
}

#[test]
fn ddim_recovers_the_data_in_many_steps_and_is_ancestral_at_eta_1() {
    let process = linear(1e-4);
    let moments = |n, sampler| sampled_moments(&process, n, sampler, PredictionTarget::Epsilon);
    let [mean, std] = moments(1000, Sampler::Ddim { eta: 0.0 });
    assert!((mean - 0.5).abs() <= 5e-3 && (std - 0.3).abs() <= 5e-3, "mean {mean}, std {std}");
    for n in [1000, 50, 10] {
        let ([mean, std], [want_mean, want_std]) = (moments(n, Sampler::Ddim { eta: 1.0 }), moments(n, ANCESTRAL));
        assert!((mean - want_mean).abs() <= 1e-9 && (std - want_std).abs() <= 1e-9, "{n} steps: {mean} {std}");
    }
}

#[test]
fn the_last_step_returns_the_predicted_image() {
    let samplers = [
        ANCESTRAL,
        ANCESTRAL_LARGE,
        LEARNED,
        Sampler::Ddim { eta: 0.0 },
        Sampler::Ddim { eta: 1.0 },
        Sampler::DpmSolver,
        Sampler::Heun,
    ];
    for (process, time) in [(linear(1e-4), 0.0), (cosine(), 50.0)] {
        let times = process.sampling_times(20, Spacing::Linspace).unwrap();
        for sampler in samplers {
            if sampler == LEARNED && time > 0.0 {
                continue;
            }
            for target in [PredictionTarget::Epsilon, PredictionTarget::V] {
                let steps = sampler.steps(&process, &times, target, Some(1.0)).unwrap();
                let last = steps.last().unwrap();
                let got = [last.time, last.m_z, last.m_x, last.m_previous, last.m_out, last.rho];
                assert_eq!(got, [time, 0.0, 1.0, 0.0, 0.0, 0.0], "{sampler:?}");
                assert_eq!(last.apply(3.0, -1.0, 0.5, 9.0), 1.0, "clipped");
            }
        }
    }
}

#[test]
fn a_learned_variance_lies_between_those_of_the_kept_steps() {
    let process = linear(1e-4);
    let times = [1.0, 50.0, 400.0, 1000.0];
    let target = PredictionTarget::Epsilon;
    let steps = LEARNED.steps(&process, &times, target, None).unwrap();
    let (small, large) = (
        ANCESTRAL.steps(&process, &times, target, None).unwrap(),
        ANCESTRAL_LARGE.steps(&process, &times, target, None).unwrap(),
    );
    for k in 0..4 {
        let [got_small, got_large] = [-1.0, 1.0].map(|v| steps[k].deviation(v));
        // What would be 0 in the last step is what it was in the one before.
        let want_small = small[k.min(2)].rho;
        assert!((got_small - want_small).abs() <= 1e-12 * want_small, "step {k}: {got_small} instead of {want_small}");
        let middle = steps[k].deviation(0.0).powi(2);
        assert!((middle - got_small * got_large).abs() <= 1e-12 * middle);
        if k < 3 {
            assert!((got_large - large[k].rho).abs() <= 1e-12, "step {k}: {got_large}");
            assert_eq!(steps[k].rho, 1.0);
        }
    }
    let beta = Schedule::linear(1000, 1e-4, 0.02).unwrap().beta(1);
    assert!((steps[3].deviation(1.0).powi(2) - beta).abs() <= 1e-15);
    assert_eq!(LEARNED.steps(&process, &[1000.0], target, None).unwrap()[0].rho, 0.0);
}

#[test]
fn impossible_plans_are_refused() {
    let process = Process::Discrete(Schedule::linear(10, 1e-4, 0.02).unwrap());
    let plan = |sampler: Sampler, times: &[f64], clip| sampler.steps(&process, times, PredictionTarget::Epsilon, clip);
    for times in [&[][..], &[0.0, 1.0], &[11.0], &[3.0, 2.0], &[2.0, 2.0], &[1.5], &[f64::NAN]] {
        assert!(plan(ANCESTRAL, times, None).is_err(), "{times:?}");
    }
    for eta in [-0.1, 1.1, f64::NAN] {
        assert!(plan(Sampler::Ddim { eta }, &[1.0, 2.0], None).is_err(), "{eta}");
    }
    for clip in [0.0, -1.0, f64::NAN] {
        assert!(plan(ANCESTRAL, &[1.0, 2.0], Some(clip)).is_err(), "{clip}");
    }
    let continuous = |sampler: Sampler, target| sampler.steps(&cosine(), &[0.5], target, None);
    assert!(continuous(LEARNED, PredictionTarget::Epsilon).is_err());
    assert!(continuous(ANCESTRAL, PredictionTarget::Mu).is_err());
    assert!(ANCESTRAL.steps(&cosine(), &[0.5, 1.0], PredictionTarget::V, None).is_err(), "beyond t_max");
    let blind = Process::continuous(Continuous::VpCosine, 0.0, 1.0).unwrap();
    assert!(ANCESTRAL.steps(&blind, &[0.5, 1.0], PredictionTarget::Epsilon, None).is_err());
    assert!(ANCESTRAL.steps(&blind, &[0.5, 1.0], PredictionTarget::V, None).is_ok());
}

#[test]
fn drawn_samples_have_the_exact_moments() {
    let n = 20_000;
    let counts = [(linear(1e-4), ANCESTRAL, 20), (linear(1e-3), ANCESTRAL_LARGE, 50), (cosine(), ANCESTRAL, 32)];
    for (process, sampler, steps) in counts {
        let targets = if matches!(process, Process::Discrete(_)) { &TARGETS[..] } else { &TARGETS[..5] };
        let [want_mean, want_std] = sampled_moments(&process, steps, sampler, PredictionTarget::Epsilon);
        let times = process.sampling_times(steps, Spacing::Linspace).unwrap();
        for target in targets {
            let plan = sampler.steps(&process, &times, *target, None).unwrap();
            let output = |z: f64, at: &TimePoint| {
                let [offset, slope] = best_prediction(*target, at);
                offset + slope * z
            };
            let samples = walk(&process, &plan, standard_normal(n, &mut rng(5)), &mut rng(6), output);
            let mean = samples.iter().sum::<f64>() / n as f64;
            let std = (samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt();
            let error = want_std / (n as f64).sqrt();
            assert!((mean - want_mean).abs() <= 3.0 * error, "{target:?}, {steps} steps: mean {mean}");
            let bound = 3.0 * error / std::f64::consts::SQRT_2;
            assert!((std - want_std).abs() <= bound, "{target:?}, {steps} steps: std {std} instead of {want_std}");
        }
    }
}

#[test]
fn dpm_solver_and_heun_are_of_second_order() {
    // The probability flow ends at the data's own moments. Half the step, a quarter of the error; DDIM halves it.
    let error = |sampler: Sampler, n: usize| {
        let process = Process::continuous(Continuous::VpLinear { b0: 0.1, b1: 20.0 }, 0.0, 1.0).unwrap();
        // Levels at which ln(a / sigma) is evenly spaced, up to where the last step's own error is small.
        let times: Vec<f64> = (0..n)
            .map(|k| 6.0 - 11.0 * k as f64 / (n - 1) as f64)
            .map(|lambda: f64| process.time_of_noise((-lambda).exp()).unwrap())
            .collect();
        let steps = sampler.steps(&process, &times, PredictionTarget::V, None).unwrap();
        let z = walk(&process, &steps, vec![1.0], &mut rng(0), |z, at| {
            let [offset, slope] = best_prediction(PredictionTarget::V, at);
            offset + slope * z
        });
        // One standard deviation of the start is carried to one of the data.
        let level = process.level(times[n - 1]);
        let start = (1.0 - level.a * DATA_MEAN) / ((level.a * level.a) * DATA_VAR + level.sigma * level.sigma).sqrt();
        (z[0] - (DATA_MEAN + start * DATA_VAR.sqrt())).abs()
    };
    let ratio = |sampler: Sampler| error(sampler, 40) / error(sampler, 80);
    let first = ratio(Sampler::Ddim { eta: 0.0 });
    for sampler in [Sampler::DpmSolver, Sampler::Heun] {
        let second = ratio(sampler);
        assert!((3.4..5.0).contains(&second), "{sampler:?}: {second}");
    }
    assert!((1.7..2.4).contains(&first), "DDIM: {first}");
}

const SETTINGS: Langevin = Langevin { levels: 10, steps_per_level: 7, sigma_max: 1.0, sigma_min: 0.01, step: 2e-5 };
const LANGEVIN: Sampler = Sampler::Langevin(SETTINGS);

fn exploding() -> Process {
    Process::continuous(Continuous::Ve { sigma_min: 0.01, sigma_max: 10.0 }, 0.0, 1.0).unwrap()
}

#[test]
fn langevin_steps_are_algorithm_1() {
    let target = PredictionTarget::Score;
    let steps = LANGEVIN.steps(&exploding(), &[], target, None).unwrap();
    assert_eq!(steps.len(), 70);
    let (mut y, score) = (0.8, -0.3);
    for (k, step) in steps.iter().enumerate() {
        let sigma = 0.01f64.powf((k / 7) as f64 / 9.0);
        let alpha = 2e-5 * sigma * sigma / 1e-4;
        assert!((exploding().level(exploding().time_at(step.time)).sigma - sigma).abs() <= 1e-12, "step {k}");
        let xi = if k == 69 { 0.0 } else { 1.1 };
        let want = y + 0.5 * alpha * score + alpha.sqrt() * xi;
        y = step.apply(y, score, 0.0, 1.1);
        assert!((y - want).abs() <= 1e-9, "step {k}: {y} instead of {want}");
    }
}

#[test]
fn langevin_dynamics_of_a_variance_preserving_network_is_the_same_walk() {
    let mixture = Mixture::new(&[(0.2, -1.0, 0.1), (0.8, 1.0, 0.1)]);
    let preserving = Process::continuous(Continuous::VpCosine, 0.0, 0.999).unwrap();
    let walks = [(exploding(), PredictionTarget::Score), (preserving, PredictionTarget::V)].map(|(process, target)| {
        let steps = LANGEVIN.steps(&process, &[], target, None).unwrap();
        let first = process.level(process.time_at(steps[0].time));
        let start = (-8..=8).map(|y| first.a * f64::from(y)).collect();
        walk(&process, &steps, start, &mut rng(3), |z, at| mixture.output(target, z, at))
    });
    for (one, other) in walks[0].iter().zip(&walks[1]) {
        assert!((one - other).abs() <= 1e-9, "{one} and {other}");
    }
}

#[test]
fn samples_start_where_the_process_ends() {
    let times = [0.5, 0.9];
    assert!((ANCESTRAL.start_scale(&cosine(), &times).unwrap() - 1.0).abs() <= 1e-15);
    let sigma = 0.01 * 1000f64.powf(0.9);
    assert!((ANCESTRAL.start_scale(&exploding(), &times).unwrap() - sigma.hypot(1.0)).abs() <= 1e-12);
    assert!((LANGEVIN.start_scale(&exploding(), &[]).unwrap() - 2f64.sqrt()).abs() <= 1e-12);
    assert!((LANGEVIN.start_scale(&cosine(), &[]).unwrap() - 1.0).abs() <= 1e-12);
}

#[test]
fn exploding_variance_recovers_the_data() {
    let n = 400;
    let times = exploding().sampling_times(n, Spacing::Linspace).unwrap();
    for sampler in [ANCESTRAL, Sampler::DpmSolver, Sampler::Heun, Sampler::Ddim { eta: 0.0 }] {
        let steps = sampler.steps(&exploding(), &times, PredictionTarget::Epsilon, None).unwrap();
        let scale = sampler.start_scale(&exploding(), &times).unwrap();
        let start = standard_normal(10_000, &mut rng(8)).iter().map(|xi| scale * xi).collect();
        let samples = walk(&exploding(), &steps, start, &mut rng(9), |z, at| {
            let [offset, slope] = best_prediction(PredictionTarget::Epsilon, at);
            offset + slope * z
        });
        let mean = samples.iter().sum::<f64>() / 1e4;
        let std = (samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e4).sqrt();
        assert!((std - 0.3).abs() <= 0.01 && (mean - 0.5).abs() <= 0.03, "{sampler:?}: {mean}, {std}");
    }
}

#[test]
fn impossible_langevin_settings_are_refused() {
    for settings in [
        Langevin { levels: 0, ..SETTINGS },
        Langevin { steps_per_level: 0, ..SETTINGS },
        Langevin { sigma_max: 0.001, ..SETTINGS },
        Langevin { sigma_max: 20.0, ..SETTINGS },
        Langevin { sigma_min: 0.0, ..SETTINGS },
        Langevin { step: 0.0, ..SETTINGS },
    ] {
        let steps = Sampler::Langevin(settings).steps(&exploding(), &[], PredictionTarget::Score, None);
        assert!(steps.is_err(), "{settings:?}");
    }
}
