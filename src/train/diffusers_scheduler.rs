//! `scheduler_config.json` of diffusers, to and from the `diffusion` and `sample` sections of a configuration.
//!
//! A key that a file leaves out has the default of diffusers. A value that our samplers cannot honour is refused by key
//! and value; a key that diffusers ignores is ignored, with a note. Files that we write also hold the two sections as they
//! are, under a key that diffusers does not read: what diffusers has no word for survives the way there and back.

mod format;
mod keys;
mod write;

pub use format::{FILE, PIPELINE_INDEX};
pub use write::{pipeline_index, to_json, unlike_ours};

use super::config::Config;
use super::diffusion_config::DiffusionConfig;
use super::sample_config::SampleConfig;
use crate::diffusion::{DiffusersLoop, PredictionTarget, Sampler};
use crate::{Error, Result};
use format::{DDIM, DDPM, DPM_SOLVER, OWN, Sections};
use keys::{Keys, unsupported};
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;

/// Settings that a scheduler describes, and remarks on what was assumed or ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduler {
    /// Noise schedule and prediction target; the rest is default.
    pub diffusion: DiffusionConfig,
    /// Sampler and clipping; the rest is default.
    pub sample: SampleConfig,
    /// Sentences for the user.
    pub notes: Vec<String>,
}

/// Reads the scheduler of a model folder, which lies beside the model or in the folder `scheduler` next to it. Without
/// one, the schedule and the target are the defaults of diffusers, and a note says so.
///
/// # Errors
/// A file that cannot be read, or a setting that is not supported.
pub fn read(model: &Path) -> Result<Scheduler> {
    let sibling = model.join("..").join("scheduler").join(FILE);
    let Some(path) = [model.join(FILE), sibling].into_iter().find(|path| path.exists()) else {
        return Ok(Scheduler {
            diffusion: DiffusionConfig::default(),
            sample: SampleConfig::default(),
            notes: vec![format!(
                "no {FILE} beside the model: assuming 1000 linear betas from 0.0001 to 0.02 and the target epsilon; \
                 --schedule and --target change that"
            )],
        });
    };
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    from_json(&text).map_err(|e| Error::format(&path, e.to_string()))
}

/// The settings of a `scheduler_config.json`.
///
/// # Errors
/// The first key whose value is not supported.
pub fn from_json(text: &str) -> Result<Scheduler> {
    // Python writes -Infinity, which is no JSON, for the default of lambda_min_clipped.
    let text = text.replace(": -Infinity", ": null");
    let keys: Map<String, Value> =
        serde_json::from_str(&text).map_err(|e| Error::Config(format!("no JSON object: {e}")))?;
    if let Some(scheduler) = own(&keys)? {
        return Ok(scheduler);
    }
    let mut file = Keys::new(keys);
    let class = file.text("_class_name", DDPM)?;
    file.refuse_flags(&["thresholding"])?;
    let diffusion = DiffusionConfig {
        schedule: file.schedule()?,
        target: match file.text("prediction_type", "epsilon")?.as_str() {
            "epsilon" => PredictionTarget::Epsilon,
            "sample" => PredictionTarget::X0,
            "v_prediction" => PredictionTarget::V,
            other => return Err(unsupported("prediction_type", other, "epsilon, sample or v_prediction")),
        },
        ..DiffusionConfig::default()
    };
    let mut layout = DiffusersLoop { spacing: file.spacing()?, ..DiffusersLoop::default() };
    layout.steps_offset = file.count("steps_offset", 0)?;
    let mut sample = SampleConfig { clip_x0: false, ..SampleConfig::default() };
    match class.as_str() {
        DDPM => sample.sampler = Sampler::Ancestral { variance: file.variance()? },
        DPM_SOLVER => {
            sample.sampler = Sampler::DpmSolver;
            file.dpm_solver(&mut layout)?;
        }
        _ => {
            sample.sampler = Sampler::Ddim { eta: 0.0 };
            layout.set_alpha_to_one = file.flag("set_alpha_to_one", true)?;
            if class != DDIM {
                file.notes.push(format!("{class} is not supported: sampling by DDIM on its noise schedule"));
            }
        }
    }
    if class != DPM_SOLVER {
        sample.clip_x0 = file.flag("clip_sample", true)?;
        sample.clip_range = file.number("clip_sample_range", 1.0)?;
    }
    sample.diffusers = Some(layout);
    file.note_unused();
    let scheduler = Scheduler { diffusion, sample, notes: file.notes };
    scheduler.diffusion.validate()?;
    Ok(scheduler)
}

/// Our own sections, if they are there and still say the same as the keys of diffusers.
fn own(keys: &Map<String, Value>) -> Result<Option<Scheduler>> {
    let Some(sections) = keys.get(OWN) else { return Ok(None) };
    let Sections { diffusion, sample } = serde_json::from_value(sections.clone())
        .map_err(|e| Error::Config(format!("{OWN}: {e}; without this key, the others are read")))?;
    let written: Value = serde_json::from_str(&to_json(&Config {
        diffusion: diffusion.clone(),
        sample: sample.clone(),
        ..Config::default()
    })?)
    .expect("what we write is JSON");
    let same =
        written.as_object().is_some_and(|written| written.iter().all(|(key, value)| keys.get(key) == Some(value)));
    Ok(same.then(|| Scheduler { diffusion, sample, notes: Vec::new() }))
}

#[cfg(test)]
mod tests;
