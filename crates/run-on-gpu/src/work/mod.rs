//! The work of each stage, in the process of that stage.

mod benchmarks;
mod checks;
mod kernels;
mod profilers;
mod tests;
mod training;

use crate::process::{Streams, run_read};
use crate::runner::bundle;
use crate::stages::{SKIPPED, Stage};
use crate::{Args, Device};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{fs, io};

/// Reason why a stage ends before its end.
enum Stop {
    /// There is nothing to do here.
    Skip(String),
    Fail(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Fail(error.to_string())
    }
}

impl From<serde_json::Error> for Stop {
    fn from(error: serde_json::Error) -> Stop {
        Stop::Fail(error.to_string())
    }
}

type Done = Result<(), Stop>;

fn skip(why: &str) -> Stop {
    Stop::Skip(why.into())
}

fn fail(why: impl Into<String>) -> Stop {
    Stop::Fail(why.into())
}

fn require(holds: bool, why: &str) -> Done {
    if holds { Ok(()) } else { Err(fail(why)) }
}

/// A stage at work. The current folder is its scratch folder, which is kept: training goes on where it was cut.
struct Work {
    stage: &'static Stage,
    device: Device,
    /// With as little work as on emu.
    few: bool,
    /// Folder of the bundle.
    bundle: PathBuf,
    results: PathBuf,
    end: Instant,
}

/// Runs a stage, which is ended after so many seconds.
pub fn run(stage: &'static Stage, args: &Args) -> io::Result<ExitCode> {
    let Args { device, few, budget_seconds, .. } = *args;
    let end = Instant::now() + budget_seconds.map_or(stage.limit(device, few), Duration::from_secs);
    let bundle = bundle()?;
    let scratch = bundle.join("scratch").join(device.name()).join(stage.name);
    fs::create_dir_all(&scratch)?;
    std::env::set_current_dir(&scratch)?;
    let results = bundle.join("results").join(device.name());
    let work = Work { stage, device, few, bundle, results, end };
    Ok(match work.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Skip(why)) => {
            work.note(why)?;
            ExitCode::from(SKIPPED)
        }
        Err(Stop::Fail(why)) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    })
}

const NO_WORK: &str = "no work is known for";

impl Work {
    fn run(&self) -> Done {
        match self.stage.name {
            "device" => checks::device(self),
            "robustness" => checks::robustness(self),
            "wrappers" => checks::wrappers(self),
            "ops" => checks::ops(self),
            "parity" => checks::parity(self),
            "program" => checks::program(self),
            "determinism" => checks::determinism(self),
            "bench" => benchmarks::bench(self),
            "pytorch" => benchmarks::pytorch(self, &["eager", "compile"], &["ddpm-cifar10:128:30"]),
            "autotune" => benchmarks::pytorch(self, &["max-autotune"], &["ddpm-cifar10:128:30"]),
            "others" => benchmarks::pytorch(self, &["eager", "compile"], &["mnist-123:128:30", "unet64:32:60"]),
            "ncu" => profilers::ncu(self),
            tool @ ("memcheck" | "racecheck" | "initcheck" | "synccheck") => profilers::sanitize(self, tool),
            "mnist" => training::mnist(self),
            "cifar10" => training::cifar10(self),
            other => Err(fail(format!("{NO_WORK} {other}"))),
        }
    }

    fn on_gpu(&self) -> bool {
        self.device == Device::Cuda
    }

    /// The device whose amount of work is done.
    fn amount(&self) -> Device {
        if self.few { Device::Emu } else { self.device }
    }

    /// Time until this stage is ended.
    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Leaves one line for the summary.
    fn note(&self, text: impl AsRef<str>) -> io::Result<()> {
        fs::write(self.note_file(), text.as_ref())
    }

    fn note_file(&self) -> PathBuf {
        self.results.join("parts/notes").join(self.stage.name)
    }

    /// Leaves a JSON value for the results.
    fn fact(&self, name: &str, json: &str) -> io::Result<()> {
        fs::write(self.results.join("parts/facts").join(self.stage.name).join(format!("{name}.json")), json)
    }

    /// The text of a fact that was left before.
    fn fact_text(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.results.join("parts/facts").join(self.stage.name).join(format!("{name}.json")))
    }

    /// Keeps a file as an artifact.
    fn keep(&self, file: impl AsRef<Path>, name: &str) -> io::Result<()> {
        fs::copy(file, self.results.join("parts/artifacts").join(name)).map(drop)
    }

    /// A command with the variables that tests read.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        // Where the tests look for the program.
        command.env("CARGO_BIN_EXE_ddpm", self.program()).env("DDPM_TEST_DEVICES", self.device.name());
        if self.on_gpu() {
            command.env("DDPM_REQUIRE_GPU", "1");
        }
        if self.amount() != Device::Cuda {
            command.env("DDPM_TEST_SHAPES", "few");
        }
        command
    }

    fn program(&self) -> PathBuf {
        self.bundle.join("ddpm")
    }

    /// The program with these arguments.
    fn ddpm<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(self.program());
        command.args(arguments);
        command
    }

    fn test(&self, executable: &str) -> Command {
        self.command(self.bundle.join("tests").join(executable))
    }
}

/// Runs a command that must succeed, and returns its standard output, which is printed too.
fn output(command: &mut Command) -> Result<String, Stop> {
    let (status, text) = run_read(command, Streams::Output)?;
    require(status.success(), &format!("{:?}: {status}", command.get_program()))?;
    Ok(text)
}

/// Returns true if a command is there and runs: its output is not shown.
fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Settings of a small network that uses every part of a run, on drawn digits.
const TINY: [&str; 18] = [
    "--set",
    "model.image_size=8",
    "--set",
    "model.channels=[8,16]",
    "--set",
    "model.attention_levels=[1]",
    "--set",
    "model.groups=4",
    "--set",
    "model.dropout=0.1",
    "--set",
    "data.limit=100",
    "--set",
    "train.batch_size=4",
    "--set",
    "sample.n=0",
    "--set",
    "train.lr_schedule=constant",
];

#[cfg(test)]
mod all_stages {
    use super::*;
    use crate::stages::STAGES;

    #[test]
    fn every_stage_has_its_work() {
        let bundle = tempfile::tempdir().unwrap();
        for stage in &STAGES {
            let results = bundle.path().join("results");
            let work = Work {
                stage,
                device: Device::Emu,
                few: false,
                bundle: bundle.path().into(),
                results,
                end: Instant::now(),
            };
            if let Err(Stop::Fail(why)) = work.run() {
                assert!(!why.starts_with(NO_WORK), "{why}");
            }
        }
    }
}
