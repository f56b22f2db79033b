//! The keys of a `scheduler_config.json`, as settings.

use super::format::{FILE, OWN};
use crate::diffusion::noise_schedule::{BetaRange, Betas, NoiseSchedule, Steps};
use crate::diffusion::timesteps::Spacing;
use crate::diffusion::{DiffusersLoop, Variance};
use crate::{Error, Result};
use serde_json::{Map, Value};

pub(super) fn unsupported(key: &str, value: impl std::fmt::Display, supported: &str) -> Error {
    Error::Config(format!("{key} = {value} is not supported ({supported})"))
}

/// The keys of a file, and those of them that were read.
pub(super) struct Keys {
    keys: Map<String, Value>,
    used: Vec<String>,
    /// Sentences for the user.
    pub notes: Vec<String>,
}

impl Keys {
    pub fn new(keys: Map<String, Value>) -> Keys {
        Keys { keys, used: vec!["_class_name".into(), "_diffusers_version".into()], notes: Vec::new() }
    }

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

    pub fn text(&mut self, key: &str, default: &str) -> Result<String> {
        self.read(key, default.into(), "a string", |value| value.as_str().map(String::from))
    }

    pub fn flag(&mut self, key: &str, default: bool) -> Result<bool> {
        self.read(key, default, "true or false", Value::as_bool)
    }

    pub fn count(&mut self, key: &str, default: usize) -> Result<usize> {
        self.read(key, default, "a whole number", |value| value.as_u64().map(|v| v as usize))
    }

    pub fn number(&mut self, key: &str, default: f64) -> Result<f64> {
        self.read(key, default, "a number", Value::as_f64)
    }

    pub fn refuse_flags(&mut self, keys: &[&str]) -> Result<()> {
        for key in keys {
            if self.flag(key, false)? {
                return Err(unsupported(key, true, "false"));
            }
        }
        Ok(())
    }

    pub fn schedule(&mut self) -> Result<NoiseSchedule> {
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

    pub fn spacing(&mut self) -> Result<Option<Spacing>> {
        Ok(match self.text("timestep_spacing", "")?.as_str() {
            "" => None,
            "linspace" => Some(Spacing::Linspace),
            "leading" => Some(Spacing::Leading),
            "trailing" => Some(Spacing::Trailing),
            other => return Err(unsupported("timestep_spacing", other, "linspace, leading or trailing")),
        })
    }

    pub fn variance(&mut self) -> Result<Variance> {
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

    pub fn dpm_solver(&mut self, layout: &mut DiffusersLoop) -> Result<()> {
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
    pub fn note_unused(&mut self) {
        const OFF: [&str; 4] = ["dynamic_thresholding_ratio", "sample_max_value", "flow_shift", "time_shift_type"];
        let (used, keys) = (&self.used, &self.keys);
        let unused = |key: &&String| !used.contains(key) && !OFF.contains(&key.as_str()) && key.as_str() != OWN;
        let unused: Vec<String> = keys.keys().filter(unused).map(|key| format!("{key} = {}", keys[key])).collect();
        if !unused.is_empty() {
            self.notes.push(format!("{FILE}: {} is ignored, as diffusers does", unused.join(", ")));
        }
    }
}
