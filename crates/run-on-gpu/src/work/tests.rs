//! Test executables, and what they say of themselves.

use super::{Done, Work, require};
use crate::process::{Streams, run_read_within};
use std::io;
use std::process::Command;
use std::time::Duration;

/// Tests by how they ended. Those that had nothing to run on count as skipped, whatever their executable says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    skipped: u64,
    failed: Vec<String>,
}

impl Counts {
    /// Adds what an executable printed with `--show-output`.
    fn add(&mut self, text: &str) {
        let number_before = |word: &str, line: &str| {
            let words: Vec<&str> = line.split([' ', ';']).collect();
            words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse::<u64>().ok())
        };
        let results = text.lines().filter_map(|line| line.strip_prefix("test result: "));
        let passed: u64 = results.filter_map(|result| number_before("passed", result)).sum();
        let skipped = text.lines().filter(|line| line.starts_with("skipped: ")).count() as u64;
        self.skipped += skipped;
        self.passed += passed.saturating_sub(skipped);
        self.failed.extend(failed(text));
    }

    fn note(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped)
    }
}

/// Names of the tests that failed: the last list of an executable's output.
fn failed(text: &str) -> Vec<String> {
    let list = text.rsplit_once("\nfailures:\n").map_or("", |(_, list)| list);
    list.lines().map_while(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

/// Names of tests that were begun by an executable that was killed: of all, those without a result.
fn unfinished<'a>(all: &'a str, text: &str) -> Vec<&'a str> {
    let has_ended = |name: &str| text.lines().any(|line| line.starts_with(&format!("test {name} ... ")));
    let names = all.lines().filter_map(|line| line.strip_suffix(": test"));
    names.filter(|name| !has_ended(name)).collect()
}

/// Runs test executables, each with its arguments, one after the other, and notes how many tests passed. Those that fail are
/// run once more, each in a process of its own: after an error of one kernel a GPU refuses all that comes after. Fails if one
/// has failed, then too.
pub fn run_tests(work: &Work, tests: Vec<Command>) -> Done {
    /// Time that is kept for each executable that is still to come.
    const KEPT: Duration = Duration::from_secs(10);
    let (mut counts, mut reasons) = (Counts::default(), Vec::new());
    let mut again = Vec::new();
    let count = tests.len() as u32;
    for (i, mut test) in tests.into_iter().enumerate() {
        let allowed = work.left().saturating_sub(KEPT * (count - i as u32));
        let (status, text) = run_read_within(test.arg("--show-output"), Streams::Both, allowed)?;
        counts.add(&text);
        work.note(counts.note())?;
        if status.success() {
            continue;
        }
        let names = failed(&text);
        if names.is_empty() {
            let all = test.arg("--list").output()?;
            let all = String::from_utf8_lossy(&all.stdout);
            reasons.push(format!(
                "{:?}: {status}, without an end: {}",
                test.get_program(),
                unfinished(&all, &text).join(" ")
            ));
        }
        again.extend(names.into_iter().map(|name| (test.get_program().to_owned(), name)));
    }
    for (program, name) in again {
        let alone = if work.left() < KEPT { "not run again".into() } else { alone(work, program.as_ref(), &name)? };
        println!("{name}: {alone}");
        reasons.push(format!("{name}: {alone}"));
    }
    work.note([vec![counts.note()], reasons.clone()].concat().join("; "))?;
    require(reasons.is_empty(), &reasons.join("\n"))
}

/// How a test ends in a process of its own.
fn alone(work: &Work, program: &std::path::Path, name: &str) -> io::Result<String> {
    let mut test = work.command(program);
    let allowed = Duration::from_secs(20).min(work.left());
    let (status, _) = run_read_within(test.args(["--exact", name]), Streams::Both, allowed)?;
    Ok(match status.code() {
        Some(0) => "passes alone".into(),
        Some(_) => "fails alone, too".into(),
        None => format!("does not end alone, {status}"),
    })
}

#[cfg(test)]
mod examples {
    use super::*;

    const TEXT: &str = "
running 4 tests
test ops::a ... ok
test ops::b ... ok
test ops::c ... FAILED
test ops::d ... FAILED

successes:

---- ops::b stdout ----
skipped: no GPU

successes:
    ops::a
    ops::b

failures:

---- ops::c stdout ----
off by 3

failures:
    ops::c
    ops::d

test result: FAILED. 2 passed; 2 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.05s
";

    #[test]
    fn what_had_nothing_to_run_on_has_not_passed() {
        let mut counts = Counts::default();
        counts.add(TEXT);
        counts.add("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.05s");
        assert_eq!(counts, Counts { passed: 13, skipped: 1, failed: vec!["ops::c".into(), "ops::d".into()] });
        assert_eq!(counts.note(), "13 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn tests_without_an_end_are_named() {
        let all = "ops::a: test\nops::b: test\nops::e: test\n\n3 tests, 0 benchmarks\n";
        assert_eq!(unfinished(all, TEXT), ["ops::e"]);
    }
}
