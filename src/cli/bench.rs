//! `ddpm bench`

use super::bench_text;
use super::config::ConfigArgs;
use super::profile;
use super::terminal::{open_device, say};
use crate::Error;
use crate::engine::ops::conv2d::Conv2dShape;
use crate::engine::tape::{Backend, Pass};
use crate::engine::tensor::DType;
use crate::profile::convolution::{Candidate, compare};
use crate::profile::{Step, Total, measure, measure_or_known, random_batch};
use crate::sample::Request;
use crate::train::{Config, LoadedModel, ModelFile, Trainer};
use anyhow::{Result, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::time::Instant;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Time training steps on random images
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
    /// Time the drawing of samples with untrained weights
    Sample {
        #[command(flatten)]
        config: ConfigArgs,
        /// Samples to draw [default: that of the configuration]
        #[arg(short, long)]
        n: Option<usize>,
    },
    /// Time the kernels of a training step (on the CPU: the ops) at its shapes
    Kernels {
        #[command(flatten)]
        config: ConfigArgs,
        /// Steps to time; the median of each launch counts
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Time every kernel that can compute a convolution, in all three passes (bf16, on a GPU)
    #[command(after_help = "Examples:
  ddpm bench convolution 128x32x32x128 128 --device cuda          3x3, 128 to 128 channels
  ddpm bench convolution 128x16x16x256 768 --kernel 1 --device cuda")]
    Convolution {
        /// Images, height, width and channels of the input, such as 128x32x32x128
        #[arg(value_name = "NxHxWxC", value_parser = input_dims)]
        input: [usize; 4],
        /// Output channels
        #[arg(value_name = "CHANNELS")]
        c_out: usize,
        /// Rows and columns of the kernel; around the image (KERNEL - 1) / 2 pixels are zero
        #[arg(long, default_value_t = 3)]
        kernel: usize,
        /// Pixels of the input from one of the output to the next
        #[arg(long, default_value_t = 1)]
        stride: usize,
        /// Times to run each; the median counts
        #[arg(long, default_value_t = 20)]
        rounds: usize,
    },
    /// Measure what the device does at most: a matrix product and a copy
    Ceilings,
}

/// Prints a table, or one JSON object.
pub fn run(args: Args, device: &str) -> Result<()> {
    let report = match args.command {
        Command::Train { config, steps, warmup } => train(&config, steps, warmup, device)?,
        Command::Sample { config, n } => sample(&config, n, device)?,
        Command::Kernels { config, rounds } => kernels(&config, rounds, device)?,
        Command::Convolution { input, c_out, kernel, stride, rounds } => {
            convolution(input, c_out, [kernel, stride], rounds, device)?
        }
        Command::Ceilings => {
            let opened = open_device(device)?;
            let dtype = if opened.backend() == Backend::Cpu { DType::F32 } else { DType::Bf16 };
            let name = opened.name();
            drop(opened);
            let measured = measure(device, dtype)?;
            let known = measured.or_known(&name);
            json!({ "device": name, "ceilings": known.json(dtype), "measured": measured.json(dtype) })
        }
    };
    say(if args.json { report.to_string() } else { bench_text::text(&report) });
    Ok(())
}

fn train(from: &ConfigArgs, steps: usize, warmup: usize, device: &str) -> Result<Value> {
    let mut config = from.resolve(None)?;
    config.sample.n = 0;
    let mut trainer = Trainer::new(open_device(device)?, &config)?;
    let batch = config.train.batch_size;
    let (images, labels) = random_batch(&config);

    let (mut ms, count) = (Vec::new(), warmup + steps.max(1));
    let mut started = Instant::now();
    for step in 0..count {
        if trainer.under_way() == 0 {
            trainer.start(&images, &labels)?;
        }
        if trainer.runs_ahead() && step + 1 < count {
            trainer.start(&images, &labels)?;
        }
        trainer.finish()?;
        if step >= warmup {
            ms.push(started.elapsed().as_secs_f64() * 1e3);
        }
        started = Instant::now();
    }
    ms.sort_by(f64::total_cmp);
    let (median, flops, (fixed, activations)) = (ms[ms.len() / 2], trainer.flops(), trainer.memory_bytes());
    let (name, parameters, resident) = (trainer.device_name(), trainer.params().count(), peak_resident_bytes());
    let dtype = trainer.config().train.precision.dtype();
    drop(trainer);
    let ceilings = measure_or_known(device, dtype)?;
    Ok(json!({
        "what": "training step",
        "model": from.name(),
        "device": name,
        "ceilings": ceilings.json(dtype),
        "batch_size": batch,
        "parameters": parameters,
        "ms_per_step": median,
        "min_ms_per_step": ms[0],
        "images_per_s": batch as f64 / median * 1e3,
        "gflop_per_step": flops as f64 / 1e9,
        "gflop_per_s": flops as f64 / median / 1e6,
        "mfu": flops as f64 / median / 1e9 / ceilings.tflops,
        "peak_bytes": fixed + activations,
        "peak_resident_bytes": resident,
    }))
}

fn sample(from: &ConfigArgs, n: Option<usize>, device: &str) -> Result<Value> {
    let mut config = from.resolve(None)?;
    config.sample.n = n.unwrap_or(config.sample.n).max(1);
    config.train.batch_size = 1;
    config.train.shards = 1;
    config.validate()?;
    let (opened, plan) = (open_device(device)?, config.sample_plan()?);
    let (backend, name) = (opened.backend(), opened.name());
    let mut loaded = LoadedModel::new(&ModelFile::untrained(&config)?, opened)?;
    let request =
        Request { guidance: config.sample.guidance, ..Request::new(&plan, config.sample.n, config.sample.seed) };
    loaded.sample(request, &mut |_, _| {})?;
    let started = Instant::now();
    loaded.sample(request, &mut |_, _| {})?;
    let seconds = started.elapsed().as_secs_f64();

    let (n, evaluations) = (config.sample.n as f64, plan.steps.len());
    let ((fixed, activations), resident) = (loaded.memory_bytes(), peak_resident_bytes());
    drop(loaded);
    let dtype = if backend == Backend::Cpu { DType::F32 } else { DType::Bf16 };
    let ceilings = measure_or_known(device, dtype)?;
    let flops = n * evaluations as f64 * forward_flops(&config, backend, dtype)? as f64;
    Ok(json!({
        "what": "sampling",
        "model": from.name(),
        "device": name,
        "ceilings": ceilings.json(dtype),
        "samples": config.sample.n,
        "steps": evaluations,
        "s": seconds,
        "ms_per_step": seconds / evaluations as f64 * 1e3,
        "samples_per_s": n / seconds,
        "gflop_per_s": flops / seconds / 1e9,
        "mfu": flops / seconds / 1e12 / ceilings.tflops,
        "peak_bytes": fixed + activations,
        "peak_resident_bytes": resident,
    }))
}

/// Operations of what a sampler evaluates for one image: the network, twice where it is guided.
fn forward_flops(config: &Config, backend: Backend, dtype: DType) -> Result<u64> {
    let step = Step::plan(config, backend, dtype)?;
    let forward = step.work.iter().filter(|work| work.pass == Pass::Forward);
    let evaluations = if config.sample.guidance == 0.0 { 1 } else { 2 };
    Ok(evaluations * forward.map(|work| work.flops).sum::<u64>())
}

fn kernels(from: &ConfigArgs, rounds: usize, device: &str) -> Result<Value> {
    let profile = profile::measured(&from.resolve(None)?, device, rounds)?;
    let row = |total: &Total| {
        let us = total.us / total.launches as f64;
        let per_launch = |amount: u64| amount as f64 / total.launches as f64;
        json!({
            "name": total.name,
            "shape": total.shape,
            "launches": total.launches,
            "us": us,
            "tflops": per_launch(total.flops) / us / 1e6,
            "gb_s": per_launch(total.bytes) / us / 1e3,
            "percent_of_ceiling": 100.0 * total.floor_us / total.us,
        })
    };
    Ok(json!({
        "what": "kernels of a training step",
        "model": from.name(),
        "device": profile.machine.name,
        "ceilings": profile.machine.ceilings.json(profile.step.dtype),
        "batch_size": profile.step.images,
        "rows": profile.by_kernel().iter().map(row).collect::<Vec<_>>(),
    }))
}

fn input_dims(text: &str) -> Result<[usize; 4], String> {
    let dims: Option<Vec<usize>> = text.split('x').map(|dim| dim.parse().ok().filter(|&dim| dim > 0)).collect();
    dims.and_then(|dims| dims.try_into().ok()).ok_or("four numbers are wanted, such as 128x32x32x128".into())
}

fn convolution(
    [n, h, w, c_in]: [usize; 4],
    c_out: usize,
    [kernel, stride]: [usize; 2],
    rounds: usize,
    device: &str,
) -> Result<Value> {
    let pad = kernel.saturating_sub(1) / 2;
    if c_out == 0 || kernel == 0 || stride == 0 || h.min(w) + 2 * pad < kernel {
        bail!(Error::Config(format!("no {kernel}x{kernel} convolution with stride {stride} of {h}x{w} pixels")));
    }
    let shape = Conv2dShape {
        n,
        h,
        w,
        c_in,
        c_out,
        kh: kernel,
        kw: kernel,
        stride,
        pad_top: pad,
        pad_left: pad,
        pad_bottom: pad,
        pad_right: pad,
    };
    let opened = open_device(device)?;
    let name = opened.name();
    let row = |candidate: Candidate| {
        json!({
            "pass": candidate.op,
            "kernel": candidate.kernel,
            "us": candidate.us,
            "tflops": candidate.flops as f64 / candidate.us / 1e6,
            "chosen": candidate.is_chosen,
        })
    };
    let rows: Vec<Value> = compare(opened, &shape, rounds)?.into_iter().map(row).collect();
    Ok(json!({
        "what": "kernels of a convolution",
        "device": name,
        "input": [n, h, w, c_in],
        "weights": [c_out, kernel, kernel, c_in],
        "stride": stride,
        "rows": rows,
    }))
}

/// Peak resident memory of this process in bytes, where the system reports it.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
