//! The run of all stages: one process each, within its limit and that of the whole call.

use crate::results::Results;
use crate::stages::{self, Outcome, Stage};
use crate::{Args, process};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The folder of this program, with all that the bundle holds.
pub fn bundle() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().map(PathBuf::from).unwrap_or_default())
}

pub fn run(args: &Args) -> io::Result<ExitCode> {
    let begin = Instant::now();
    let mut results = Results::open(&bundle()?, args.device)?;
    if let Some(file) = &args.done_before {
        results.continue_from(file)?;
    }
    if args.list {
        print!("{}", results.summary());
        return Ok(ExitCode::SUCCESS);
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    let mut failures = 0;
    for stage in stages::due(&args.only, |name| results.is_finished(name)) {
        let left = stages::left(args.budget_seconds, begin.elapsed());
        let limit = stage.limit(args.device, args.few);
        let Some(allowed) = stages::allowance(left, limit, stage.takes_what_is_left) else {
            println!("{}: not begun, {} s are left and it may take {}", stage.name, left.as_secs(), limit.as_secs());
            break;
        };
        let outcome = run_stage(&mut results, stage, args, allowed, &interrupted)?;
        if interrupted.load(Ordering::Relaxed) {
            return Ok(ExitCode::from(143));
        }
        failures += usize::from(outcome.is_failure());
    }
    results.publish()?;
    print!("\n{}", results.summary());
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_stage(
    results: &mut Results,
    stage: &Stage,
    args: &Args,
    allowed: Duration,
    interrupted: &AtomicBool,
) -> io::Result<Outcome> {
    results.clear(stage.name)?;
    let begin = Instant::now();
    print!("{:<12} ", stage.name);
    io::stdout().flush()?;
    let log_path = results.part("logs").join(format!("{}.log", stage.name));
    let log = File::create(&log_path)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--device", args.device.name(), "--stage", stage.name, &allowed.as_secs().to_string()]);
    command.args(args.few.then_some("--few"));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let ending = process::run_group(&mut command, allowed, || interrupted.load(Ordering::Relaxed))?;
    if interrupted.load(Ordering::Relaxed) {
        return Ok(Outcome::Cut);
    }
    let outcome = Outcome::of(ending, allowed, stage.limit(args.device, args.few));
    let took = begin.elapsed();
    println!("{:<8} {:>4} s  {}", outcome.name(), took.as_secs(), results.note(stage.name));
    if outcome.is_failure() {
        let log = fs::read(&log_path)?;
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].iter().for_each(|line| println!("{line}"));
    }
    if outcome.is_recorded() {
        results.record(stage.name, outcome, took)?;
    }
    results.publish()?;
    Ok(outcome)
}
