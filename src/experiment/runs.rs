//! Trained runs that experiments share: each configuration is trained once and kept in a folder that is named by a hash
//! of it.

use super::Event;
use crate::engine::device::Device;
use crate::train::event;
use crate::train::run::Run;
use crate::train::{Config, RunDir};
use crate::{Error, Result};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// FNV-1a of 64 bits (Fowler, Noll and Vo): no secret to keep, and configurations few enough not to meet.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The name of a configuration's folder.
pub(super) fn key(config: &Config) -> String {
    format!("{:016x}", fnv1a(&config.to_toml()))
}

/// The run of `config` in `folder`, trained to its end.
pub(super) fn trained(
    folder: &Path,
    config: &Config,
    device: &str,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(Event),
) -> Result<RunDir> {
    config.validate()?;
    let key = key(config);
    let dir = RunDir::new(folder.join(&key));
    let begun = dir.begun()?;
    let run = Run { dir: &dir, config, begun: begun.as_ref(), init: None, stop };
    if run.finished()?.is_some() {
        watch(Event::Note(&format!("run {key} was trained before")));
        return Ok(dir);
    }
    let steps = config.train.steps;
    watch(Event::Note(&format!("training run {key}: {steps} steps on {}", config.data.source)));
    run.train(Device::open(device)?.0, &mut |event| {
        if let event::Event::Step(record) = event {
            watch(Event::Progress { done: record.step, total: steps });
        }
    })?;
    // A run that ended early because nothing was to be gained has come to its end.
    if run.finished()?.is_none() { Err(Error::Stopped) } else { Ok(dir) }
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
    fn configurations_that_differ_have_folders_that_differ() {
        let config = Config::default();
        let other = config.with_settings(&["train.seed=1".into()]).unwrap();
        assert_eq!(key(&config), key(&config.clone()));
        assert_ne!(key(&config), key(&other));
    }
}
