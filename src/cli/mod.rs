//! The command line. This module alone prints to the terminal.
//!
//! Exit codes: 0 done, 1 something failed, 2 a mistake in how the program was called or configured; 130, 143, 129 stopped
//! by Ctrl-C, SIGTERM, SIGHUP (with a checkpoint written).

mod bench;
mod bench_text;
mod classifier;
mod config;
mod data;
mod devices;
#[cfg(test)]
mod documented;
mod eval;
mod experiment;
mod features;
mod forward;
mod inpaint;
mod inspect;
mod interpolate;
mod measures;
mod memory_plan;
mod mistakes;
mod profile;
mod progress;
mod sample;
mod sampling;
mod signals;
mod size;
mod terminal;
mod train;
mod version;
mod weights;

use crate::train::presets;
use crate::version::version;
use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use terminal::{exit_code, in_words, open_model, say};
use version::long_version;

const EXAMPLES: &str = "\
Examples:
  ddpm train                                        drawn digits, in minutes, on any machine
  ddpm train --preset mnist-small --data DIR        MNIST, on a CPU
  ddpm train --preset ddpm-cifar10 --data DIR --device cuda
  ddpm train --resume --out runs/quickstart-001     go on where a run stopped
  ddpm sample runs/quickstart-001 --n 16 --out digits.png
  ddpm interpolate runs/quickstart-001 --between 3 8
  ddpm inspect --preset ddpm-cifar10";

/// Trains and samples denoising diffusion models.
#[derive(Parser)]
#[command(name = "ddpm", version = version(), long_version = long_version(), about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Device that computes: auto (CUDA if there is a GPU, else the CPU), cpu, cuda, cuda:N, or emu (the kernels, emulated)
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE")]
    device: String,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model; without arguments: drawn digits in a few minutes
    Train(train::Args),
    /// Draw samples from a run, a checkpoint, a diffusers model folder or a checkpoint of improved-diffusion
    Sample(sample::Args),
    /// Mix two images at several noise levels and draw what lies between them
    Interpolate(interpolate::Args),
    /// Draw a part of an image anew, so that it fits the rest
    Inpaint(inpaint::Args),
    /// Train a classifier of noisy samples, which guides samples to a class
    Classifier(classifier::Args),
    /// Measure how good samples are
    Eval(eval::Args),
    /// List, describe or look at data sets
    Data(data::Args),
    /// List what there is to compute on
    Devices(devices::Args),
    /// Show a model's layers, parameters, operations and memory
    Inspect(inspect::Args),
    /// Evaluate a network, and its gradients, on tensors of a safetensors file
    Forward(forward::Args),
    /// Write a model as a diffusers model folder, with its noise schedule and prediction target
    Export {
        /// A run, a checkpoint, or a checkpoint of improved-diffusion
        model: PathBuf,
        /// The folder to write; it must not exist, or be empty
        folder: PathBuf,
        #[command(flatten)]
        weights: weights::WeightsArgs,
        /// Write a whole pipeline, which DDPMPipeline.from_pretrained opens
        #[arg(long)]
        pipeline: bool,
        /// Change a setting, or say what a checkpoint of improved-diffusion does not, e.g. --set model.heads=1; may be
        /// repeated
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// List the named configurations, or print one as TOML
    Presets {
        /// Print this one
        name: Option<String>,
    },
    /// Reproduce the tables and figures of the papers
    Experiment(experiment::Args),
    /// Show where the time of a training step goes, launch by launch, or is predicted to go on a GPU
    Profile(profile::Args),
    /// Measure speed
    Bench(bench::Args),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let command = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
        mistakes::explained(error, &command).exit()
    });
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", in_words(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let device = cli.device.as_str();
    match cli.command {
        Command::Train(args) => return train::run(args, device),
        Command::Sample(args) => sample::run(args, device)?,
        Command::Interpolate(args) => interpolate::run(args, device)?,
        Command::Inpaint(args) => inpaint::run(args, device)?,
        Command::Classifier(args) => classifier::run(args, device)?,
        Command::Eval(args) => eval::run(args, device)?,
        Command::Data(args) => data::run(args)?,
        Command::Devices(args) => devices::run(args),
        Command::Inspect(args) => inspect::run(args)?,
        Command::Forward(args) => forward::run(args, device)?,
        Command::Export { model, folder, weights, pipeline, set } => {
            let model = open_model(&model, &weights, &set)?;
            let notes = model.export(&folder, pipeline).context("nothing was exported")?;
            notes.iter().for_each(|note| eprintln!("note: {note}"));
            say(format!("{}: {}", folder.display(), model.origin));
        }
        Command::Presets { name: Some(name) } => say(presets::get(&name)?.to_toml().trim_end()),
        Command::Presets { name: None } => {
            presets::ALL.iter().for_each(|preset| say(format!("{:14} {}", preset.name, preset.about)));
        }
        Command::Experiment(args) => experiment::run(args, device)?,
        Command::Profile(args) => profile::run(args, device)?,
        Command::Bench(args) => bench::run(args, device)?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "ddpm", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}
