//! Our samplers against diffusers' DDPM, DDIM, DPM-Solver++ and Heun schedulers, step by step on the same noise and the same network.
//!
//! `tests/golden/schedulers.json.gz` is made by `scripts/golden.py`.

use ddpm::diffusion::timesteps::Spacing;
use ddpm::diffusion::{PredictionTarget, Process, Sampler, Schedule, Variance};
use flate2::read::GzDecoder;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    /// Values of the start, then of every step.
    noise: Vec<Vec<f64>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    sampler: String,
    variance: Option<String>,
    eta: Option<f64>,
    /// The times visited, ascending; without them, those of leading spacing.
    times: Option<Vec<f64>>,
    schedule: String,
    train_steps: usize,
    beta_first: f64,
    beta_last: f64,
    clip: Option<f64>,
    /// Precision of diffusers' tables and of its arithmetic.
    tables: String,
    /// Before the first and after every step.
    z: Vec<Vec<f64>>,
}

impl Case {
    fn sampler(&self) -> Sampler {
        match (self.sampler.as_str(), self.variance.as_deref(), self.eta) {
            ("ddpm", Some("fixed_small"), None) => Sampler::Ancestral { variance: Variance::FixedSmall },
            ("ddpm", Some("fixed_large"), None) => Sampler::Ancestral { variance: Variance::FixedLarge },
            ("ddim", None, Some(eta)) => Sampler::Ddim { eta },
            ("dpm-solver", None, None) => Sampler::DpmSolver,
            ("heun", None, None) => Sampler::Heun,
            other => panic!("no such sampler: {other:?}"),
        }
    }

    fn process(&self) -> Process {
        Process::Discrete(match self.schedule.as_str() {
            "linear" => Schedule::linear(self.train_steps, self.beta_first, self.beta_last).unwrap(),
            "cosine" => Schedule::cosine(self.train_steps).unwrap(),
            other => panic!("no such schedule: {other}"),
        })
    }
}

#[test]
fn every_step_agrees_with_diffusers() {
    let packed = GzDecoder::new(&include_bytes!("golden/schedulers.json.gz")[..]);
    let golden: Golden = serde_json::from_reader(packed).unwrap();
    let network = |z: f64, time: f64| 0.9 * z + 0.4 * (2.0 * z + 0.01 * time).sin();
    assert!(!golden.cases.is_empty());
    for case in &golden.cases {
        let (process, sampler) = (case.process(), case.sampler());
        let leading = || process.sampling_times(sampler.times_of(case.z.len() - 1), Spacing::Leading).unwrap();
        let times = case.times.clone().unwrap_or_else(leading);
        let steps = sampler.steps(&process, &times, PredictionTarget::Epsilon, case.clip).unwrap();
        assert_eq!(steps.len(), case.z.len() - 1);
        // Measured: 7e-16 with their tables in f64, 4e-6 as diffusers ships them, in f32.
        let tolerance = if case.tables == "float64" { 1e-13 } else { 2e-5 };
        let mut previous = vec![0.0; case.z[0].len()];
        // Of Heun's second evaluations, which draw none.
        let still = previous.clone();
        for (k, step) in steps.iter().enumerate() {
            let noise = golden.noise.get(k + 1).unwrap_or(&still);
            let values = case.z[k].iter().zip(&case.z[k + 1]).zip(noise).zip(&mut previous);
            for (((&z, &want), &xi), previous) in values {
                let out = network(z, step.time);
                let got = step.apply(z, out, std::mem::replace(previous, step.x0(z, out)), xi);
                assert!(
                    (got - want).abs() <= tolerance * want.abs().max(1.0),
                    "{sampler:?}, {} schedule, step {k}: {got} instead of {want}",
                    case.schedule
                );
            }
        }
    }
}
