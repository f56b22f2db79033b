//! Writes the `scheduler_config.json` of a configuration.

use super::format::{DDIM, DDPM, DPM_SOLVER, OWN, Sections};
use crate::diffusion::noise_schedule::{BetaRange, NoiseSchedule};
use crate::diffusion::timesteps::Spacing;
use crate::diffusion::{DiffusersLoop, PredictionTarget, Process, Sampler, Schedule, Variance};
use crate::train::config::Config;
use crate::{Error, Result};
use serde_json::{Map, Value, json};

/// The `scheduler_config.json` of a configuration.
///
/// # Errors
/// A noise schedule or a target that diffusers does not have.
pub fn to_json(config: &Config) -> Result<String> {
    let (diffusion, sample) = (&config.diffusion, &config.sample);
    let lacks = |key: &str, what: &str| Error::Config(format!("diffusion.{key}: diffusers has no {what}"));
    let prediction = match diffusion.target {
        // The output of a scaled score network is the noise.
        PredictionTarget::Epsilon | PredictionTarget::ScoreScaled => "epsilon",
        PredictionTarget::X0 => "sample",
        PredictionTarget::V => "v_prediction",
        PredictionTarget::Score | PredictionTarget::Mu => {
            return Err(lacks("target", "such target; epsilon, x0, v and score-scaled can be exported"));
        }
    };
    let Process::Discrete(schedule) = diffusion.process()? else {
        return Err(lacks("schedule", "continuous time; discrete schedules can be exported"));
    };
    let class = match sample.sampler {
        Sampler::Ddim { .. } => DDIM,
        Sampler::DpmSolver => DPM_SOLVER,
        Sampler::Ancestral { .. } | Sampler::Heun | Sampler::Langevin(_) => DDPM,
    };
    let mut keys = Map::new();
    keys.insert("_class_name".into(), class.into());
    keys.insert("_diffusers_version".into(), "0.42.1".into());
    keys.extend(betas(&diffusion.schedule, &schedule, class));
    keys.insert("prediction_type".into(), prediction.into());
    keys.extend(layout(sample.diffusers.as_ref(), class));
    if class != DPM_SOLVER {
        keys.insert("clip_sample".into(), sample.clip_x0.into());
        keys.insert("clip_sample_range".into(), sample.clip_range.into());
    }
    if class == DDPM {
        let variance = match sample.sampler.variance() {
            Variance::FixedSmall => "fixed_small",
            Variance::FixedLarge => "fixed_large",
            Variance::Learned => "learned_range",
        };
        keys.insert("variance_type".into(), variance.into());
    }
    if sample.diffusers.is_none() {
        let sections = Sections { diffusion: diffusion.clone(), sample: sample.clone() };
        keys.insert(OWN.into(), serde_json::to_value(sections).expect("plain data"));
    }
    Ok(serde_json::to_string_pretty(&keys).expect("plain data") + "\n")
}

/// Differences between diffusers' `DDPMPipeline` and our sampler with these settings, a sentence each.
pub fn unlike_ours(config: &Config) -> Vec<String> {
    let sample = &config.sample;
    let mut notes = Vec::new();
    if config.model.classes() > 0 {
        let guided = if sample.guidance == 0.0 { "" } else { ", and does not guide" };
        notes.push(format!("diffusers' DDPMPipeline gives the network no classes, which this one needs{guided}"));
    }
    let strides = matches!(sample.sampler, Sampler::Ddim { .. } | Sampler::DpmSolver) && sample.steps != 0;
    if strides && sample.diffusers.is_none() {
        notes.push(format!(
            "{} steps of diffusers' scheduler are at other times than those of this program, so its pictures differ a little",
            sample.steps
        ));
    }
    match sample.sampler {
        Sampler::Ddim { eta } if eta != 0.0 => notes.push(format!(
            "diffusers takes DDIM's eta, here {eta}, from the caller (DDIMPipeline), and DDPMPipeline draws with 0; the same \
             with --set sample.eta=0, or with --set sample.sampler=ddpm, which draws as eta = 1"
        )),
        Sampler::DpmSolver if sample.clip_x0 => notes.push(
            "diffusers' DPM-Solver does not clip the predicted image; the same with --set sample.clip_x0=false".into(),
        ),
        Sampler::Heun | Sampler::Langevin(_) => {
            notes.push(format!("diffusers' {DDPM} stands for sample.sampler, which the folder's schedulers lack"));
        }
        _ => {}
    }
    notes
}

/// The noise schedule as keys of diffusers; one that a class does not have as the list of its betas.
fn betas(name: &NoiseSchedule, schedule: &Schedule, class: &str) -> Map<String, Value> {
    let steps = schedule.steps();
    let named = |name: &str, range: Option<&BetaRange>, zero: bool| {
        let BetaRange { beta_start, beta_end, .. } = range.copied().unwrap_or_default();
        json!({
            "num_train_timesteps": steps, "beta_start": beta_start, "beta_end": beta_end, "beta_schedule": name,
            "trained_betas": null, "rescale_betas_zero_snr": zero,
        })
    };
    let keys = match name {
        NoiseSchedule::Linear(range) => named("linear", Some(range), range.zero_terminal_snr),
        NoiseSchedule::ScaledLinear(range) => named("scaled_linear", Some(range), range.zero_terminal_snr),
        NoiseSchedule::Sigmoid(range) if class == DDPM => named("sigmoid", Some(range), range.zero_terminal_snr),
        NoiseSchedule::Cosine(settings) => named("squaredcos_cap_v2", None, settings.zero_terminal_snr),
        _ => {
            let betas: Vec<f64> = (1..=steps).map(|t| schedule.beta(t)).collect();
            json!({ "num_train_timesteps": steps, "trained_betas": betas })
        }
    };
    let Value::Object(keys) = keys else { unreachable!("an object is written above") };
    keys
}

/// The times that a loop visits as keys of diffusers. Ours are nearest to linspace.
fn layout(layout: Option<&DiffusersLoop>, class: &str) -> Map<String, Value> {
    let ours = DiffusersLoop { spacing: Some(Spacing::Linspace), ..DiffusersLoop::default() };
    let layout = layout.unwrap_or(&ours);
    let mut keys = Map::from_iter([
        ("steps_offset".to_owned(), layout.steps_offset.into()),
        ("thresholding".to_owned(), false.into()),
    ]);
    if let Some(spacing) = layout.spacing {
        keys.insert("timestep_spacing".into(), serde_json::to_value(spacing).expect("a name"));
    }
    if class == DDIM {
        keys.insert("set_alpha_to_one".into(), layout.set_alpha_to_one.into());
    }
    if class == DPM_SOLVER {
        let end = if layout.final_sigma_min { "sigma_min" } else { "zero" };
        let settings = [
            ("algorithm_type", json!("dpmsolver++")),
            ("solver_order", layout.solver_order.into()),
            ("lower_order_final", layout.lower_order_final.into()),
            ("euler_at_final", layout.euler_at_final.into()),
            ("final_sigmas_type", end.into()),
        ];
        keys.extend(settings.map(|(key, value)| (key.to_owned(), value)));
        if layout.lambda_min_clipped.is_finite() {
            keys.insert("lambda_min_clipped".into(), layout.lambda_min_clipped.into());
        }
    }
    keys
}

/// The `model_index.json` of a pipeline with this scheduler.
pub fn pipeline_index(scheduler: &str) -> String {
    let scheduler: Value = serde_json::from_str(scheduler).expect("what we write is JSON");
    let index = json!({
        "_class_name": "DDPMPipeline", "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", scheduler["_class_name"]], "unet": ["diffusers", "UNet2DModel"],
    });
    serde_json::to_string_pretty(&index).expect("plain data") + "\n"
}
