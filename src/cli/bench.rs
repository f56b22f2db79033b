//! `ddpm bench`

use super::config::ConfigArgs;
use super::open_device;
use super::terminal::say;
use crate::Result;
use crate::device::Device;
use crate::ops::philox::{Philox, RngState, Stream};
use crate::profile::{self, Ceilings};
use crate::tensor::DType;
use crate::train::Trainer;
use clap::Subcommand;
use serde_json::json;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Time training steps on random images; prints one JSON object
    Train {
        #[command(flatten)]
        config: ConfigArgs,
        /// Steps to time
        #[arg(long, default_value_t = 10)]
        steps: usize,
        /// Steps before the clock starts
        #[arg(long, default_value_t = 3)]
        warmup: usize,
    },
}

pub fn run(args: Args, device: &str) -> Result<()> {
    let Command::Train { config: from, steps, warmup } = args.command;
    let mut config = from.resolve(None)?;
    config.sample.n = 0;
    let mut trainer = Trainer::new(open_device(device)?, &config)?;
    let batch = config.train.batch_size;
    let mut images = vec![0.0; batch * config.model.sample_len()];
    Philox::new(RngState::default(), Stream::SampleInit).fill_normal(0, 0, &mut images);
    let labels = vec![0; batch];

    let mut ms = Vec::new();
    for step in 0..warmup + steps.max(1) {
        let started = Instant::now();
        trainer.step(&images, &labels)?;
        if step >= warmup {
            ms.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    ms.sort_by(f64::total_cmp);
    let (median, (fixed, activations)) = (ms[ms.len() / 2], trainer.memory_bytes());
    say(json!({
        "what": "training step",
        "model": from.name(),
        "device": trainer.device_name(),
        "batch_size": batch,
        "parameters": trainer.params().count(),
        "ms_per_step": median,
        "min_ms_per_step": ms[0],
        "images_per_s": batch as f64 / median * 1e3,
        "gflop_per_step": trainer.flops() as f64 / 1e9,
        "gflop_per_s": trainer.flops() as f64 / median / 1e6,
        "peak_bytes": fixed + activations,
        "peak_resident_bytes": peak_resident_bytes(),
    }));
    Ok(())
}

/// Measures what the device does at most.
///
/// # Errors
/// A device that is not there, or what it reports.
pub fn ceilings(device: &str, dtype: DType) -> Result<Ceilings> {
    profile::measure(Device::open(device)?.0, dtype)
}

/// The most memory that this process has had, where the system tells.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
