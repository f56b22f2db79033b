//! Runs everything that shows on a machine that the program is right and how fast it is there: the tests, the sanitizers,
//! the benchmarks, the comparison with PyTorch, training. Part of the bundle that scripts/gpu-bundle.sh makes; docs/GPU.md
//! says what each stage proves.
//!
//! Each stage is a process of its own, this program with `--stage`, so that it can be ended with all that it has started.

mod process;
mod results;
mod runner;
mod stages;
mod work;

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the stages in their order and writes results when a stage ends, to results/DEVICE beside this program and, where
/// OUT is set, to that folder too. A further call skips the stages that are finished.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Seconds within which to end: what might take longer than is left is for the next call
    #[arg(value_name = "SECONDS")]
    budget_seconds: Option<u64>,
    /// Device to run on; emu and cpu run the same stages with less work in each
    #[arg(long, default_value = "cuda")]
    device: Device,
    /// Do as little in each stage as on emu: to see within minutes whether all stages run
    #[arg(long)]
    few: bool,
    /// Run these stages alone, finished or not
    #[arg(long, value_name = "STAGE,...", value_delimiter = ',', value_parser = stages::find)]
    only: Vec<&'static stages::Stage>,
    /// The stages.jsonl of an earlier call on another machine: what it finished is not run again
    #[arg(long = "done", value_name = "FILE")]
    done_before: Option<PathBuf>,
    /// Print the stages and which of them are finished
    #[arg(long)]
    list: bool,
    /// Run one stage in this very process: how this program calls itself
    #[arg(long, hide = true, value_parser = stages::find)]
    stage: Option<&'static stages::Stage>,
}

/// The device that stages run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Device {
    Cuda,
    Emu,
    Cpu,
}

impl Device {
    fn name(self) -> &'static str {
        match self {
            Device::Cuda => "cuda",
            Device::Emu => "emu",
            Device::Cpu => "cpu",
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.stage {
        Some(stage) => work::run(stage, &args),
        None => runner::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("run-on-gpu: {error}");
        ExitCode::FAILURE
    })
}
