//! Checkpoints of improved-diffusion as models: what their file does not say is assumed as the published models have it,
//! aloud, and settings change it.

use super::config::Config;
use crate::diffusion::Process;
use crate::nn::openai_unet;
use crate::nn::weight_file::WeightFile;
use crate::nn::{ModelConfig, UNetConfig};
use crate::{Error, Result};

/// Settings of the network that no shape tells: what changes them changes no dimension.
const UNSAID: [&str; 6] = ["image_size", "heads", "head_dim", "groups", "norm_eps", "time_factor"];

/// The configuration of such a checkpoint with these settings, and sentences for the user.
///
/// # Errors
/// A network that ours cannot be, a setting that the weights contradict, or one that does not exist.
pub fn config(file: &WeightFile, settings: &[String]) -> Result<(Config, Vec<String>)> {
    let unet = openai_unet::config(file)?;
    let (of_model, others): (Vec<String>, Vec<String>) =
        settings.iter().cloned().partition(|s| s.starts_with("model."));
    if let Some(other) = of_model.iter().find(|s| !UNSAID.contains(&key(s).trim_start_matches("model."))) {
        let message = format!("--set {other}: the weights say this; of the network, {} can be set", UNSAID.join(", "));
        return Err(Error::Config(message));
    }
    let assumed = assumed(&unet);
    let with_heads = of_model.iter().any(|s| key(s) == "model.head_dim");
    let heads = if with_heads { 0 } else { unet.heads };
    let classes = unet.classes;
    let base = Config { model: UNetConfig { heads, ..unet }.into(), ..Config::default() };
    let config = base.with_settings(&assumed)?.with_settings(&others)?;
    // rescale_timesteps: on, unless the model knows classes.
    let steps = match config.diffusion.process()? {
        Process::Discrete(schedule) if classes == 0 => schedule.steps(),
        _ => 1000,
    };
    let factor = format!("model.time_factor={:?}", 1000.0 / steps as f32);
    let config = config.with_settings(&[factor])?.with_settings(&of_model)?;
    let note = note(&config, settings);
    Ok((config, vec![note]))
}

/// The part of a setting before its `=`.
fn key(setting: &str) -> &str {
    setting.split('=').next().unwrap_or_default().trim()
}

/// Settings of the published models: those with scale and shift were trained on 4000 steps of the cosine schedule, the
/// others on 1000 of the linear one.
fn assumed(unet: &UNetConfig) -> Vec<String> {
    let (schedule, steps) = if unet.time_scale_shift { ("cosine", 4000) } else { ("linear", 1000) };
    let variance = if unet.out_channels == 2 * unet.in_channels { "learned" } else { "fixed-large" };
    vec![
        format!("diffusion.schedule={schedule}"),
        format!("diffusion.timesteps={steps}"),
        format!("sample.variance={variance}"),
    ]
}

/// Names what was assumed.
fn note(config: &Config, settings: &[String]) -> String {
    let said = |name: &str| settings.iter().any(|setting| key(setting) == name);
    let wanted = ["model.image_size", "model.heads", "model.time_factor", "diffusion.schedule", "diffusion.timesteps"];
    let is_assumed =
        |name: &str| wanted.contains(&name) && !said(name) && !(name == "model.heads" && said("model.head_dim"));
    let assumed = config.leaves().into_iter().filter(|(name, _)| is_assumed(name));
    let list: Vec<String> = assumed.map(|(name, value)| format!("{name}={value}")).collect();
    if list.is_empty() {
        return "a checkpoint of improved-diffusion".into();
    }
    format!("the checkpoint does not say {}: assumed as of the published models; --set changes them", list.join(", "))
}

/// The network of a configuration that [`config`] has made.
pub fn network(config: &Config) -> &UNetConfig {
    match &config.model {
        ModelConfig::Unet(unet) => unet,
        _ => unreachable!("it was made of one"),
    }
}
