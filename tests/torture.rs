//! Runs that are killed, stopped, doubled and damaged at random moments, many times: nothing is lost, nothing is wrong
//! without a word, and every run ends with the bits of an undisturbed one.
//!
//! Takes minutes, so it is no part of the usual tests: `scripts/torture.sh`. `DDPM_TORTURE` is the share of the full
//! counts that is done, 1 unless set.

#![cfg(unix)]

use ddpm::train::checkpoint::{self, Checkpoint};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tiny::{result, run_in, tiny_args, train};

mod tiny;

const STEPS: u64 = 60;
/// Settings of the tortured runs: under a second, with checkpoints, sheets and a validation all along.
const SETTINGS: [&str; 8] = [
    "train.steps=60",
    "train.lr_steps=60",
    "train.checkpoint_every=4",
    "train.keep_checkpoints=3",
    "train.sample_every=10",
    "train.validation_fraction=0.1",
    "train.validate_every=7",
    "sample.n=2",
];

/// A share of the full count.
fn count(full: u64) -> u64 {
    let share = std::env::var("DDPM_TORTURE").map_or(1.0, |share| share.parse().expect("DDPM_TORTURE is a number"));
    ((full as f64 * share).round() as u64).max(1)
}

/// Pseudo-random numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn moment(&mut self, within: Duration) -> Duration {
        Duration::from_micros(self.below(within.as_micros() as u64))
    }
}

/// A folder with an undisturbed run, and how long that took.
struct Ground {
    folder: TempDir,
    whole: PathBuf,
    took: Duration,
}

impl Ground {
    fn new() -> Ground {
        let folder = tempfile::tempdir().unwrap();
        let whole = run_in(&folder, "whole");
        let started = Instant::now();
        train(&whole, &settings());
        Ground { took: started.elapsed(), folder, whole }
    }

    /// Asserts that a run has ended as the undisturbed one.
    fn check(&self, run: &Path) {
        assert!(result(&self.whole, STEPS) == result(run, STEPS), "{}: other losses or weights", run.display());
        for sheet in ["samples/step-00000010.png", "samples/step-00000050.png", "samples/step-00000060.png"] {
            assert!(fs::read(self.whole.join(sheet)).unwrap() == fs::read(run.join(sheet)).unwrap(), "{sheet}");
        }
    }

    fn fresh(&self, name: &str, number: u64) -> PathBuf {
        run_in(&self.folder, &format!("{name}-{number}"))
    }
}

fn settings() -> Vec<&'static str> {
    SETTINGS.iter().flat_map(|setting| ["--set", setting]).collect()
}

fn start(run: &Path) -> Child {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("ddpm"));
    command.args(tiny_args(run)).args(settings()).arg("--resume");
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: &str) {
    // It may have ended already.
    let _ = Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status().unwrap();
}

/// Asserts that all checkpoints are whole, and returns the step of the last.
fn last_step(run: &Path) -> u64 {
    let all = checkpoint::list(&run.join("checkpoints")).unwrap();
    all.iter().for_each(|(_, path)| Checkpoint::open(path).unwrap().verify().unwrap());
    all.last().map_or(0, |(step, _)| *step)
}

/// Starts, waits for a random moment, disturbs and looks, again and again; whole runs are compared and begun anew.
/// Returns how many were completed.
fn disturb(name: &str, times: u64, mut look: impl FnMut(Child, &Path) -> bool) -> u64 {
    let ground = Ground::new();
    let mut dice = Dice(times);
    let (mut completed, mut run) = (0, ground.fresh(name, 0));
    for _ in 0..times {
        let child = start(&run);
        std::thread::sleep(dice.moment(ground.took));
        if look(child, &run) {
            ground.check(&run);
            fs::remove_dir_all(&run).unwrap();
            completed += 1;
            run = ground.fresh(name, completed);
        }
    }
    train(&run, &[&settings()[..], &["--resume"]].concat());
    ground.check(&run);
    completed + 1
}

#[test]
#[ignore = "takes minutes: scripts/torture.sh"]
fn killed_at_any_moment() {
    let times = count(1000);
    let mut last = 0;
    let completed = disturb("killed", times, |mut child, run| {
        child.kill().unwrap();
        let finished = child.wait().unwrap().success();
        let step = last_step(run);
        assert!(step >= last, "a checkpoint was lost: {step} after {last}");
        last = if finished { 0 } else { step };
        finished
    });
    eprintln!("{times} kills, {completed} runs completed, all equal to the undisturbed one");
}

#[test]
#[ignore = "takes minutes: scripts/torture.sh"]
fn asked_to_end_at_any_moment() {
    let (times, mut early) = (count(200), 0);
    let completed = disturb("ended", times, |child, run| {
        signal(&child, "-TERM");
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => return true,
            // Before the program looks for signals, there is nothing to save.
            (None, Some(15)) => early += 1,
            (Some(143), _) => {
                let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
                assert_eq!(last_step(run), log.lines().count() as u64, "steps were lost: {said}");
            }
            other => panic!("{other:?}: {said}"),
        }
        false
    });
    eprintln!("{times} SIGTERM ({early} before the run began), {completed} runs completed, all equal");
}

#[test]
#[ignore = "takes minutes: scripts/torture.sh"]
fn begun_twice_at_any_moment() {
    let (ground, mut dice, times, mut refused) = (Ground::new(), Dice(3), count(50), 0);
    for number in 0..times {
        let run = ground.fresh("twice", number);
        let first = start(&run);
        std::thread::sleep(dice.moment(ground.took));
        let outputs = [start(&run), first].map(|child| child.wait_with_output().unwrap());
        let said = outputs.each_ref().map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
        let codes = outputs.each_ref().map(|output| output.status.code().unwrap());
        for (code, said) in codes.iter().zip(&said) {
            let is_refused = said.contains("is training here") || said.contains("has just trained here");
            assert!(*code == 0 || (*code == 1 && is_refused), "{code}: {said}");
        }
        assert!(codes.contains(&0), "{said:?}");
        refused += codes.iter().filter(|&&code| code == 1).count();
        ground.check(&run);
        fs::remove_dir_all(&run).unwrap();
    }
    eprintln!("{times} second processes, {refused} refused, the others came after the end; all runs equal");
}

#[test]
#[ignore = "takes minutes: scripts/torture.sh"]
fn flipped_bits() {
    let (ground, mut dice, times) = (Ground::new(), Dice(4), count(200));
    let half = ground.fresh("half", 0);
    train(&half, &[&settings()[..], &["--set", "train.steps=32"]].concat());
    let all = checkpoint::list(&half.join("checkpoints")).unwrap();
    assert_eq!(all.len(), 3);
    let whole: Vec<Vec<u8>> = all.iter().map(|(_, path)| fs::read(path).unwrap()).collect();
    let mut noticed = 0;
    for number in 0..times {
        let run = ground.fresh("flipped", number);
        assert!(Command::new("cp").arg("-r").args([&half, &run]).status().unwrap().success());
        // Half of them in the last one, which the run goes on from.
        let which = if dice.below(2) == 0 { 2 } else { dice.below(3) as usize };
        let mut bytes = whole[which].clone();
        let bit = dice.below(8 * bytes.len() as u64) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(run.join("checkpoints").join(all[which].1.file_name().unwrap()), bytes).unwrap();
        let output = start(&run).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "bit {bit} of {which}: {said}");
        assert_eq!(said.contains("; going on from step 28"), which == 2, "bit {bit} of {which}: {said}");
        noticed += usize::from(which == 2);
        ground.check(&run);
        fs::remove_dir_all(&run).unwrap();
    }
    eprintln!("{times} flipped bits, {noticed} of them in the last checkpoint and all noticed; all runs equal");
}
