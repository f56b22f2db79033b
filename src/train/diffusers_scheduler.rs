//! `scheduler_config.json` of diffusers, to and from the `diffusion` and `sample` sections of a configuration.
//!
//! A key that a file leaves out has the default of diffusers. A value that our samplers cannot honour is refused by key
//! and value; a key that diffusers ignores is ignored, with a note. Files that we write also hold the two sections as they
//! are, under a key that diffusers does not read: what diffusers has no word for survives the way there and back.

use super::config::Config;
use super::diffusion_config::DiffusionConfig;
use super::sample_config::SampleConfig;
use crate::diffusion::noise_schedule::{BetaRange, Betas, NoiseSchedule, Steps};
use crate::diffusion::timesteps::Spacing;
use crate::diffusion::{DiffusersLoop, PredictionTarget, Process, Sampler, Schedule, Variance};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// Name of the file.
pub const FILE: &str = "scheduler_config.json";
/// Key of our own sections.
const OWN: &str = "_ddpm";

const DDPM: &str = "DDPMScheduler";
const DDIM: &str = "DDIMScheduler";
const DPM_SOLVER: &str = "DPMSolverMultistepScheduler";

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

#[derive(Serialize, Deserialize)]
struct Sections {
    diffusion: DiffusionConfig,
    sample: SampleConfig,
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
    let mut file = Keys { keys, used: vec!["_class_name".into(), "_diffusers_version".into()], notes: Vec::new() };
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
    keys.insert("timestep_spacing".into(), "linspace".into());
    keys.insert("thresholding".into(), false.into());
    if class == DPM_SOLVER {
        keys.insert("solver_order".into(), 2.into());
        keys.insert("algorithm_type".into(), "dpmsolver++".into());
    } else {
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
    let sections = Sections { diffusion: diffusion.clone(), sample: sample.clone() };
    keys.insert(OWN.into(), serde_json::to_value(sections).expect("plain data"));
    Ok(serde_json::to_string_pretty(&keys).expect("plain data") + "\n")
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

fn unsupported(key: &str, value: impl std::fmt::Display, supported: &str) -> Error {
    Error::Config(format!("{key} = {value} is not supported ({supported})"))
}

/// The keys of a file, and those of them that were read.
struct Keys {
    keys: Map<String, Value>,
    used: Vec<String>,
    notes: Vec<String>,
}

impl Keys {
    /// The value of a key; `None` where it is absent or null.
    fn get(&mut self, key: &str) -> Option<&Value> {
        self.used.push(key.into());
        self.keys.get(key).filter(|value| !value.is_null())
    }

    fn read<T>(&mut self, key: &str, default: T, kind: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => read(value).ok_or_else(|| Error::Config(format!("{key} = {value} is not {kind}"))),
        }
    }

    fn text(&mut self, key: &str, default: &str) -> Result<String> {
        self.read(key, default.into(), "a string", |value| value.as_str().map(String::from))
    }

    fn flag(&mut self, key: &str, default: bool) -> Result<bool> {
        self.read(key, default, "true or false", Value::as_bool)
    }

    fn count(&mut self, key: &str, default: usize) -> Result<usize> {
        self.read(key, default, "a whole number", |value| value.as_u64().map(|v| v as usize))
    }

    fn number(&mut self, key: &str, default: f64) -> Result<f64> {
        self.read(key, default, "a number", Value::as_f64)
    }

    fn refuse_flags(&mut self, keys: &[&str]) -> Result<()> {
        for key in keys {
            if self.flag(key, false)? {
                return Err(unsupported(key, true, "false"));
            }
        }
        Ok(())
    }

    fn schedule(&mut self) -> Result<NoiseSchedule> {
        let timesteps = self.count("num_train_timesteps", 1000)?;
        let beta_start = self.number("beta_start", 1e-4)?;
        let beta_end = self.number("beta_end", 0.02)?;
        let zero_terminal_snr = self.flag("rescale_betas_zero_snr", false)?;
        let name = self.text("beta_schedule", "linear")?;
        let numbers = |value: &Value| value.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>();
        let betas = self.read("trained_betas", None, "a list of numbers", |value| numbers(value).map(Some))?;
        if let Some(betas) = betas {
            return Ok(NoiseSchedule::Betas(Betas { betas, zero_terminal_snr }));
        }
        let range = BetaRange { timesteps, beta_start, beta_end, zero_terminal_snr };
        Ok(match name.as_str() {
            "linear" => NoiseSchedule::Linear(range),
            "scaled_linear" => NoiseSchedule::ScaledLinear(range),
            "squaredcos_cap_v2" => NoiseSchedule::Cosine(Steps { timesteps, zero_terminal_snr }),
            "sigmoid" => NoiseSchedule::Sigmoid(range),
            other => {
                return Err(unsupported("beta_schedule", other, "linear, scaled_linear, squaredcos_cap_v2 or sigmoid"));
            }
        })
    }

    fn spacing(&mut self) -> Result<Option<Spacing>> {
        Ok(match self.text("timestep_spacing", "")?.as_str() {
            "" => None,
            "linspace" => Some(Spacing::Linspace),
            "leading" => Some(Spacing::Leading),
            "trailing" => Some(Spacing::Trailing),
            other => return Err(unsupported("timestep_spacing", other, "linspace, leading or trailing")),
        })
    }

    fn variance(&mut self) -> Result<Variance> {
        Ok(match self.text("variance_type", "fixed_small")?.as_str() {
            "fixed_small" | "fixed_small_log" => Variance::FixedSmall,
            "fixed_large" => Variance::FixedLarge,
            "learned_range" => Variance::Learned,
            other => {
                let supported = "fixed_small, fixed_small_log, fixed_large or learned_range";
                return Err(unsupported("variance_type", other, supported));
            }
        })
    }

    fn dpm_solver(&mut self, layout: &mut DiffusersLoop) -> Result<()> {
        // What diffusers reads as the second word, it takes for the first.
        let choices: [(&str, &[&str]); 3] = [
            ("algorithm_type", &["dpmsolver++", "deis"]),
            ("solver_type", &["midpoint", "logrho", "bh1", "bh2"]),
            ("variance_type", &["learned", "learned_range"]),
        ];
        for (key, supported) in choices {
            let value = self.text(key, supported[0])?;
            if !supported.contains(&value.as_str()) {
                return Err(unsupported(key, value, supported[0]));
            }
        }
        let sigmas = ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"];
        self.refuse_flags(&sigmas)?;
        self.refuse_flags(&["use_flow_sigmas", "use_dynamic_shifting"])?;
        layout.solver_order = self.count("solver_order", 2)?;
        if !(1..=2).contains(&layout.solver_order) {
            return Err(unsupported("solver_order", layout.solver_order, "1 or 2"));
        }
        layout.lower_order_final = self.flag("lower_order_final", true)?;
        layout.euler_at_final = self.flag("euler_at_final", false)?;
        layout.lambda_min_clipped = self.number("lambda_min_clipped", f64::NEG_INFINITY)?;
        layout.final_sigma_min = match self.text("final_sigmas_type", "zero")?.as_str() {
            "zero" => false,
            "sigma_min" => true,
            other => return Err(unsupported("final_sigmas_type", other, "zero or sigma_min")),
        };
        Ok(())
    }

    /// Names the keys that were not read, but for those that belong to a feature that is off.
    fn note_unused(&mut self) {
        const OFF: [&str; 4] = ["dynamic_thresholding_ratio", "sample_max_value", "flow_shift", "time_shift_type"];
        let (used, keys) = (&self.used, &self.keys);
        let unused = |key: &&String| !used.contains(key) && !OFF.contains(&key.as_str()) && key.as_str() != OWN;
        let unused: Vec<String> = keys.keys().filter(unused).map(|key| format!("{key} = {}", keys[key])).collect();
        if !unused.is_empty() {
            self.notes.push(format!("{FILE}: {} is ignored, as diffusers does", unused.join(", ")));
        }
    }
}
