//! The sampling loops of diffusers' schedulers against ours, for every setting of `scheduler_config.json` that we read.
//!
//! `tests/golden/diffusers-loops.json.gz` is made by `scripts/golden.py`, in float32 as diffusers ships.

use ddpm::diffusion::{Process, Sampler};
use ddpm::train::Config;
use ddpm::train::diffusers_scheduler::{Scheduler, from_json};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    config: Value,
    steps: usize,
    eta: Option<f64>,
    /// `None`: diffusers fails, or its result is not finite.
    end: Option<Vec<f64>>,
}

/// The noise of step `k` for value `i`, 0 for the start.
fn noise(k: usize, i: usize) -> f64 {
    2f64.sqrt() * (12.9898 * k as f64 + 78.233 * (i + 1) as f64 + 0.5).sin()
}

/// The end of our loop; `None` where it is refused.
fn end(case: &Case, values: usize) -> Option<Vec<f64>> {
    let Scheduler { diffusion, mut sample, .. } = from_json(&case.config.to_string()).ok()?;
    sample.steps = case.steps;
    if let Some(eta) = case.eta {
        sample.sampler = Sampler::Ddim { eta };
    }
    let plan = sample.plan(&diffusion, true).ok()?;
    assert!(matches!(diffusion.process().unwrap(), Process::Discrete(_)));
    let value = |i: usize| {
        let mut previous = 0.0;
        plan.steps.iter().enumerate().fold(plan.start_scale * noise(0, i), |z, (k, step)| {
            let out = 0.9 * z + 0.4 * (2.0 * z + 0.01 * step.time).sin();
            let v = (3.0 * z + 0.02 * step.time).sin();
            let x0 = std::mem::replace(&mut previous, step.x0(z, out));
            step.apply(z, out, x0, noise(k + 1, i) * step.deviation(v))
        })
    };
    Some((0..values).map(value).collect())
}

#[test]
fn every_loop_ends_where_diffusers_ends() {
    let packed = GzDecoder::new(&include_bytes!("golden/diffusers-loops.json.gz")[..]);
    let golden: Golden = serde_json::from_reader(packed).unwrap();
    assert!(golden.cases.len() >= 150, "{} cases", golden.cases.len());
    for case in &golden.cases {
        let name = format!("{}, {} steps, eta {:?}", case.config, case.steps, case.eta);
        let Some(want) = &case.end else {
            // What diffusers cannot compute we refuse, or compute.
            assert!(end(case, 4).is_none_or(|got| got.iter().all(|v| v.is_finite())), "{name}");
            continue;
        };
        let got = end(case, want.len()).unwrap_or_else(|| panic!("{name}: refused"));
        for (got, want) in got.iter().zip(want) {
            // Measured: 8e-5. A level of an 8-bit image would be 8e-3.
            let error = (got - want).abs() / want.abs().max(1.0);
            assert!(error <= 5e-4, "{name}: {got} instead of {want}");
        }
    }
}

#[test]
fn the_default_configuration_is_that_of_ho_and_coauthors() {
    let scheduler = from_json("{}").unwrap();
    assert_eq!(scheduler.diffusion, Config::default().diffusion);
    assert_eq!(scheduler.sample.sampler, Config::default().sample.sampler);
}
