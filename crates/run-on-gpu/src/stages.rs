//! The stages, and the rules by which they are chosen, limited and judged.

use crate::Device;
use std::time::Duration;

/// One stage of the run.
#[derive(Debug, PartialEq, Eq)]
pub struct Stage {
    /// Name on the command line and in the results.
    pub name: &'static str,
    /// Seconds that it may take on a GPU.
    pub limit_seconds: u64,
    /// True if it makes do with less than its limit, and ends in time by itself.
    pub takes_what_is_left: bool,
    /// Description for the summary of a stage that left no note.
    pub description: &'static str,
}

const fn stage(name: &'static str, limit_seconds: u64, description: &'static str) -> Stage {
    Stage { name, limit_seconds, takes_what_is_left: false, description }
}

const fn training(name: &'static str, limit_seconds: u64, description: &'static str) -> Stage {
    Stage { takes_what_is_left: true, ..stage(name, limit_seconds, description) }
}

impl Stage {
    /// Time that it may take: where processors compute, or may, four times as long as on a GPU.
    pub fn limit(&self, device: Device, few: bool) -> Duration {
        Duration::from_secs(self.limit_seconds * if device == Device::Cuda && !few { 1 } else { 4 })
    }
}

/// All stages in their order. The limits of those up to `bench` are the five minutes of a first call, those up to `ncu` six
/// of the eight of a second one; `cifar10` takes the rest.
pub static STAGES: [Stage; 18] = [
    stage("device", 20, "driver, GPU, machine code in use, ceilings"),
    stage("wrappers", 25, "each instruction's wrapper against arithmetic"),
    stage("ops", 80, "every kernel's values and every op's gradient against float64"),
    stage("parity", 30, "whole training steps against the CPU"),
    stage("determinism", 25, "two runs and a resumed one give the same bytes"),
    stage("bench", 120, "training steps and samples a second, time of each kernel"),
    stage("pytorch", 120, "the same steps of ddpm-cifar10 in PyTorch, eager and compiled"),
    stage("autotune", 180, "the same, compiled with max-autotune"),
    stage("ncu", 60, "counters of the five largest kernels"),
    training("cifar10", 240, "trains ddpm-cifar10 for some minutes"),
    stage("robustness", 60, "no GPU visible: falls back to the CPU; too large a batch: a clear error"),
    stage("program", 240, "files, schedulers and runs through the program, away from its build"),
    stage("memcheck", 300, "compute-sanitizer: accesses out of bounds"),
    stage("racecheck", 300, "compute-sanitizer: races in shared memory"),
    stage("initcheck", 300, "compute-sanitizer: reads of what was never written"),
    stage("synccheck", 300, "compute-sanitizer: wrong barriers"),
    stage("others", 480, "the steps of the other benchmark models in PyTorch"),
    training("mnist", 420, "trains digits 1, 2, 3 for 50 epochs"),
];

/// Finds a stage by its name.
pub fn find(name: &str) -> Result<&'static Stage, String> {
    STAGES.iter().find(|stage| stage.name == name).ok_or_else(|| "there is no such stage; --list shows them".into())
}

/// Exit status of a stage that has nothing to do here.
pub const SKIPPED: u8 = 77;

/// How the process of a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this exit status; none if a signal ended it.
    Exit(Option<i32>),
    /// Its time was over.
    OutOfTime,
}

/// Result of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Skipped,
    Failed,
    /// Ended by its own limit.
    Timeout,
    /// Ended by the limit of the whole call: it is not recorded, and begins again in the next call.
    Cut,
}

impl Outcome {
    /// Judges how a stage with this limit ended that was allowed so much time.
    pub fn of(ending: Ending, allowed: Duration, limit: Duration) -> Outcome {
        match ending {
            Ending::Exit(Some(0)) => Outcome::Passed,
            Ending::Exit(Some(status)) if status == i32::from(SKIPPED) => Outcome::Skipped,
            Ending::Exit(_) => Outcome::Failed,
            Ending::OutOfTime if allowed < limit => Outcome::Cut,
            Ending::OutOfTime => Outcome::Timeout,
        }
    }

    /// The word for it in the results.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Skipped => "skipped",
            Outcome::Failed => "failed",
            Outcome::Timeout => "timeout",
            Outcome::Cut => "cut",
        }
    }

    /// Returns true where the stage is finished, and is not run again.
    pub fn is_recorded(self) -> bool {
        self != Outcome::Cut
    }

    /// Returns true where the whole run has failed.
    pub fn is_failure(self) -> bool {
        matches!(self, Outcome::Failed | Outcome::Timeout)
    }
}

/// The time that is left of a whole call of so many seconds; without a limit, all there is.
pub fn left(budget_seconds: Option<u64>, elapsed: Duration) -> Duration {
    budget_seconds.map_or(Duration::MAX, |seconds| Duration::from_secs(seconds).saturating_sub(elapsed))
}

/// The time that a stage with this limit is allowed when so much is left of the whole call; none if that is not enough, or
/// for a stage that takes what is left too little. The rest is for writing results.
pub fn allowance(left: Duration, limit: Duration, takes_what_is_left: bool) -> Option<Duration> {
    const LEAST: Duration = Duration::from_secs(45);
    const RESERVE: Duration = Duration::from_secs(5);
    let least = if takes_what_is_left { LEAST.min(limit) } else { limit };
    left.checked_sub(RESERVE).filter(|left| *left >= least).map(|left| limit.min(left))
}

/// Lists the stages to run: those of `only`, finished or not; without them all that are not finished.
pub fn due(only: &[&Stage], is_finished: impl Fn(&str) -> bool) -> Vec<&'static Stage> {
    let is_due = |stage: &&Stage| match only {
        [] => !is_finished(stage.name),
        only => only.contains(stage),
    };
    STAGES.iter().filter(is_due).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn names_are_unique_and_found() {
        for stage in &STAGES {
            assert_eq!(find(stage.name), Ok(stage));
        }
        assert!(find("no-such").is_err());
    }

    #[test]
    fn finished_stages_are_left_out_unless_they_are_named() {
        let finished = |name: &str| name == "device" || name == "ops";
        let names: Vec<&str> = due(&[], finished).iter().map(|stage| stage.name).collect();
        assert_eq!(names[..3], ["wrappers", "parity", "determinism"]);
        assert_eq!(names.len(), STAGES.len() - 2);
        let (ops, device) = (find("ops").unwrap(), find("device").unwrap());
        assert_eq!(due(&[ops, device], finished), [device, ops], "in their own order");
    }

    #[test]
    fn a_stage_is_allowed_its_limit_or_what_is_left_but_the_reserve() {
        assert_eq!(allowance(seconds(540), seconds(60), false), Some(seconds(60)));
        assert_eq!(allowance(seconds(65), seconds(60), false), Some(seconds(60)));
        assert_eq!(allowance(seconds(64), seconds(60), false), None);
        assert_eq!(allowance(seconds(100), seconds(240), true), Some(seconds(95)));
        assert_eq!(allowance(seconds(49), seconds(240), true), None);
        assert_eq!(allowance(Duration::MAX, seconds(240), true), Some(seconds(240)));
        assert_eq!(allowance(seconds(3), seconds(1), false), None);
    }

    #[test]
    fn time_that_has_passed_is_not_left() {
        assert_eq!(left(Some(60), seconds(20)), seconds(40));
        assert_eq!(left(Some(60), seconds(70)), seconds(0));
        assert_eq!(left(None, seconds(70)), Duration::MAX);
    }

    #[test]
    fn stages_have_more_time_where_processors_compute() {
        let ops = find("ops").unwrap();
        let limits = [(Device::Cuda, false), (Device::Cuda, true), (Device::Emu, false), (Device::Cpu, false)];
        assert_eq!(limits.map(|(device, few)| ops.limit(device, few).as_secs()), [80, 320, 320, 320]);
    }

    /// The table of docs/GPU.md: two minutes until the machine has started, five of a first call, eight of a second.
    #[test]
    fn two_calls_fit_fifteen_minutes() {
        let (start, calls) = (120, [305, 475]);
        assert!(start + calls.iter().sum::<u64>() <= 15 * 60 && start + calls[0] <= 9 * 60 && calls[1] <= 9 * 60);
        let call = |budget: u64, finished: &[&str]| {
            let (mut left, mut names) = (seconds(budget), Vec::new());
            for stage in due(&[], |name| finished.contains(&name)) {
                let Some(allowed) = allowance(left, stage.limit(Device::Cuda, false), stage.takes_what_is_left) else {
                    break;
                };
                left -= allowed;
                names.push((stage.name, allowed.as_secs()));
            }
            names
        };
        let first = call(calls[0], &[]);
        assert_eq!(first.last(), Some(&("bench", 120)));
        let finished: Vec<&str> = first.iter().map(|(name, _)| *name).collect();
        let second = [("pytorch", 120), ("autotune", 180), ("ncu", 60), ("cifar10", 110)];
        assert_eq!(call(calls[1], &finished), second);
    }

    #[test]
    fn outcomes() {
        let of = |ending, allowed| Outcome::of(ending, seconds(allowed), seconds(60));
        assert_eq!(of(Ending::Exit(Some(0)), 60), Outcome::Passed);
        assert_eq!(of(Ending::Exit(Some(77)), 60), Outcome::Skipped);
        assert_eq!(of(Ending::Exit(Some(1)), 60), Outcome::Failed);
        assert_eq!(of(Ending::Exit(None), 60), Outcome::Failed, "a signal");
        assert_eq!(of(Ending::OutOfTime, 60), Outcome::Timeout);
        assert_eq!(of(Ending::OutOfTime, 59), Outcome::Cut);
        let all = [Outcome::Passed, Outcome::Skipped, Outcome::Failed, Outcome::Timeout, Outcome::Cut];
        assert_eq!(all.map(Outcome::is_failure), [false, false, true, true, false]);
        assert_eq!(all.map(Outcome::is_recorded), [true, true, true, true, false]);
    }
}
