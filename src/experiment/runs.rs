//! Trained runs that experiments share. A network is a function of the model, the diffusion, the data and the training;
//! each combination is trained once and kept in a folder named by a hash of these four. How samples are drawn does not
//! count: experiments that draw differently from one network use one run.

use super::event::Event;
use crate::Error;
use crate::engine::device::Device;
use crate::nn::ModelConfig;
use crate::ranks::Ranks;
use crate::train::config::{DataConfig, DiffusionConfig, TrainConfig};
use crate::train::event;
use crate::train::run::Run;
use crate::train::{Config, RunDir};
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// The sections of a configuration that a trained network is a function of.
#[derive(Serialize)]
struct Trained<'a> {
    model: &'a ModelConfig,
    diffusion: &'a DiffusionConfig,
    data: &'a DataConfig,
    train: &'a TrainConfig,
}

/// Hashes by FNV-1a of 64 bits (Fowler, Noll and Vo): there is no secret to keep, and collisions among so few
/// configurations are improbable.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The name of a configuration's folder.
fn key(config: &Config) -> String {
    let Config { model, diffusion, data, train, sample: _ } = config;
    let text = toml::to_string(&Trained { model, diffusion, data, train });
    format!("{:016x}", fnv1a(&text.expect("a configuration is representable in TOML")))
}

/// The run of `config` in `folder`, trained to its end. It draws no sheets of samples.
pub(super) fn trained(
    folder: &Path,
    config: &Config,
    device: &str,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(Event),
) -> Result<RunDir> {
    let mut config = config.clone();
    config.train.sample_every = 0;
    config.train.sample_every_minutes = 0.0;
    config.train.evaluate_every = 0;
    config.sample.n = 0;
    config.validate()?;
    let key = key(&config);
    let dir = RunDir::new(folder.join(&key));
    let begun = dir.begun()?;
    let alone = Ranks::alone();
    let run =
        Run { dir: &dir, config: &config, begun: begun.as_ref(), init: None, evaluator: None, stop, ranks: &alone };
    if run.finished()?.is_some() {
        watch(Event::Note(&format!("run {key} was trained before")));
        return Ok(dir);
    }
    let steps = config.train.steps;
    watch(Event::Note(&format!("training run {key}: {steps} steps on {}", config.data.source)));
    let mut step = |event: event::Event| {
        if let event::Event::Step(record) = event {
            watch(Event::Progress { done: record.step, total: steps });
        }
    };
    let device = Device::open(device)?.0;
    run.train(device, &mut step).with_context(|| format!("training {}", dir.path().display()))?;
    // A run that ended early because validation no longer improved has come to its end.
    if run.finished()?.is_none() { Err(Error::Stopped.into()) } else { Ok(dir) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        // Test vectors of the authors of FNV.
        let vectors = [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)];
        for (text, hash) in vectors {
            assert_eq!(fnv1a(text), hash, "{text}");
        }
    }

    #[test]
    fn a_run_is_found_by_what_its_training_depends_on() {
        let config = Config::default();
        let with = |setting: &str| key(&config.with_settings(&[setting.into()]).unwrap());
        for other in ["train.seed=1", "model.groups=8", "diffusion.timesteps=500", "data.limit=7"] {
            assert_ne!(key(&config), with(other), "{other}");
        }
        for other in ["sample.steps=7", "sample.clip_x0=false", "sample.seed=1", "sample.sampler=ddim"] {
            assert_eq!(key(&config), with(other), "{other}");
        }
    }
}
