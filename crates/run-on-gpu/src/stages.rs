//! The stages, and the rules by which they are chosen, limited and judged.

use std::time::Duration;

/// One stage of the run.
#[derive(Debug, PartialEq, Eq)]
pub struct Stage {
    /// Name on the command line and in the results.
    pub name: &'static str,
    /// Seconds that it may take.
    pub limit_seconds: u64,
    /// Description for the summary of a stage that left no note.
    pub description: &'static str,
}

const fn stage(name: &'static str, limit_seconds: u64, description: &'static str) -> Stage {
    Stage { name, limit_seconds, description }
}

/// All stages in their order.
pub static STAGES: [Stage; 16] = [
    stage("device", 60, "driver, GPU, machine code in use, ceilings"),
    stage("robustness", 60, "no GPU visible: falls back to the CPU; too large a batch: a clear error"),
    stage("wrappers", 60, "each instruction's wrapper against arithmetic"),
    stage("ops", 240, "every op and its gradient against float64"),
    stage("parity", 240, "whole training steps against the CPU"),
    stage("program", 240, "files, schedulers and runs through the program, away from its build"),
    stage("determinism", 240, "two runs and a resumed one give the same bytes"),
    stage("bench", 300, "training steps and samples a second, time of each kernel"),
    stage("pytorch", 540, "the same steps in PyTorch"),
    stage("ncu", 300, "counters of the largest kernels"),
    stage("memcheck", 300, "compute-sanitizer: accesses out of bounds"),
    stage("racecheck", 300, "compute-sanitizer: races in shared memory"),
    stage("initcheck", 300, "compute-sanitizer: reads of what was never written"),
    stage("synccheck", 300, "compute-sanitizer: wrong barriers"),
    stage("mnist", 420, "trains digits 1, 2, 3 for 50 epochs"),
    stage("cifar10", 300, "trains ddpm-cifar10 for some minutes"),
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

    /// Returns true where the whole run has failed.
    pub fn is_failure(self) -> bool {
        matches!(self, Outcome::Failed | Outcome::Timeout)
    }
}

/// The time that a stage is allowed when so much is left of the whole call; none if it is not worth beginning. The rest is
/// for writing results.
pub fn allowance(left: Duration, limit: Duration) -> Option<Duration> {
    const LEAST: Duration = Duration::from_secs(15);
    const RESERVE: Duration = Duration::from_secs(8);
    (left >= LEAST).then(|| limit.min(left - RESERVE))
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
        assert_eq!(names[..3], ["robustness", "wrappers", "parity"]);
        assert_eq!(names.len(), STAGES.len() - 2);
        let (ops, device) = (find("ops").unwrap(), find("device").unwrap());
        assert_eq!(due(&[ops, device], finished), [device, ops], "in their own order");
    }

    #[test]
    fn a_stage_is_allowed_its_limit_or_what_is_left_but_the_reserve() {
        assert_eq!(allowance(seconds(560), seconds(60)), Some(seconds(60)));
        assert_eq!(allowance(seconds(100), seconds(240)), Some(seconds(92)));
        assert_eq!(allowance(seconds(15), seconds(240)), Some(seconds(7)));
        assert_eq!(allowance(seconds(14), seconds(1)), None);
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
    }
}
