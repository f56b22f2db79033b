//! Cases in processes of their own. A kernel's error leaves a GPU's context that refuses all that comes after, and a
//! barrier that nobody completes is waited for without end: a further process goes on after the case at which one ended.
//!
//! A process is this test executable with an ignored test that calls [`child`]. It appends to a report: `begin N NAME`
//! before each case, `wrong MESSAGE` after one that gave other words than it should, `failed MESSAGE` after the one at which
//! it ended, and `done` in the end.

use super::case::Case;
use super::golden;
use ddpm::engine::device::Driver;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

const FROM: &str = "DDPM_WRAPPERS_FROM";
const REPORT: &str = "DDPM_WRAPPERS_REPORT";
const GOLDEN: &str = "DDPM_WRAPPERS_GOLDEN";

/// Runs the cases of the ignored test `test`, and returns what was wrong with which. What each gave is added to the file
/// `golden` as it comes.
pub fn run(test: &str, golden: Option<&OsStr>) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let (mut failures, mut from) = (Vec::new(), 0);
    loop {
        fs::write(&report, "").unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", test]).env(FROM, from.to_string()).env(REPORT, &report);
        child.envs(golden.map(|file| (GOLDEN, file)));
        let output = child.output().unwrap();
        let (mut case, mut is_done, mut has_ended) = (None, false, false);
        for line in fs::read_to_string(&report).unwrap().lines() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            let name = || case.as_ref().map_or("", |(_, name): &(usize, String)| name.as_str());
            match kind {
                "begin" => {
                    let (number, name) = rest.split_once(' ').expect("number and name");
                    case = Some((number.parse().expect("a number"), name.to_owned()));
                }
                "wrong" | "failed" => {
                    failures.push(format!("{}: {rest}", name()));
                    has_ended = kind == "failed";
                }
                _ => is_done = true,
            }
        }
        match case {
            _ if is_done => return failures,
            Some((number, name)) => {
                if !has_ended {
                    failures.push(format!("{name}: its process ended by itself, {}", output.status));
                }
                from = number + 1;
            }
            None => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                failures.push(format!("{test} does not begin at case {from}: {}\n{text}", output.status));
                return failures;
            }
        }
    }
}

/// Runs the cases from the first that is due, until one fails or takes longer than `limit`. The thread that runs them has the
/// name of the test that they belong to.
pub fn child(test: &str, driver: Box<dyn Driver>, cases: Vec<Case>, limit: Duration) {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let from: usize = std::env::var(FROM).expect("another test starts this one").parse().unwrap();
    let append = |file: &PathBuf, text: &str| {
        let mut file = OpenOptions::new().append(true).create(true).open(file).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let report = variable(REPORT).expect("set with the other");
    let report = |line: String| append(&report, &format!("{}\n", line.replace('\n', " ")));
    let golden = variable(GOLDEN);
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let (order, orders) = channel::<usize>();
    let (answer, answers) = channel();
    let work = move || {
        for number in orders {
            let case = &cases[number];
            let words = (case.run)(driver.as_ref());
            let result = words.map_err(|error| error.to_string()).map(|words| (case.mismatch(&words), words));
            answer.send(result).expect("it is waited for");
        }
    };
    let worker = thread::Builder::new().name(test.into()).spawn(work).unwrap();
    for (number, name) in names.iter().enumerate().skip(from) {
        report(format!("begin {number} {name}"));
        // A worker that has panicked takes no orders and gives no answers.
        let _ = order.send(number);
        let failure = match answers.recv_timeout(limit) {
            Ok(Ok((mismatch, words))) => {
                golden.iter().for_each(|file| append(file, &golden::lines(name, &words)));
                mismatch.into_iter().for_each(|mismatch| report(format!("wrong {mismatch}")));
                continue;
            }
            Ok(Err(error)) => error,
            Err(RecvTimeoutError::Disconnected) => "it panicked".into(),
            Err(RecvTimeoutError::Timeout) => format!("it does not end within {limit:?}"),
        };
        report(format!("failed {failure}"));
        // Not an orderly end: that would wait for the GPU.
        std::process::abort();
    }
    report("done".into());
    drop(order);
    worker.join().expect("all its cases are done");
}
