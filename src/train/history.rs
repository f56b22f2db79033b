//! `history.jsonl`: the processes that have trained in a run directory, one object a line.

use crate::files::replace_unsynced;
use crate::report::Table;
use crate::{Error, Result, invocation, version};
use humantime::{format_duration, format_rfc3339_seconds};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The part of a run that one process did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Start: date and time, UTC, as in RFC 3339.
    pub began: String,
    /// Version of the program.
    pub version: String,
    /// Command line.
    pub command: String,
    /// Device.
    pub device: String,
    /// Steps that were done before.
    pub first: u64,
    /// Steps that were done at the last writing.
    pub step: u64,
    /// Time from the start to the last writing, in seconds.
    pub seconds: f64,
    /// State at the last writing.
    pub state: State,
}

/// State of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The process trains, or was killed.
    Training,
    /// The user stopped it.
    Stopped,
    /// An error ended it.
    Failed,
    /// The run came to its end.
    Finished,
}

/// The parts of a run, the present one last.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    parts: Vec<Part>,
}

impl History {
    /// Reads the parts so far. Lines that are no parts, as a power cut may leave them, are left out.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn open(path: &Path) -> Result<History> {
        let text = if path.exists() { fs::read(path).map_err(Error::io(path))? } else { Vec::new() };
        let text = String::from_utf8_lossy(&text);
        let parts = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(History { path: path.into(), parts })
    }

    /// Adds the part of this process, which begins after so many steps.
    pub fn begin(&mut self, device: String, first: u64) {
        self.parts.push(Part {
            began: format_rfc3339_seconds(SystemTime::now()).to_string(),
            version: version::version().into(),
            command: invocation::own(),
            device,
            first,
            step: first,
            seconds: 0.0,
            state: State::Training,
        });
    }

    /// Writes the present part's progress.
    ///
    /// # Errors
    /// A file that cannot be written.
    ///
    /// # Panics
    /// If no part was begun.
    pub fn note(&mut self, step: u64, seconds: f64, state: State) -> Result<()> {
        let present = self.parts.last_mut().expect("a part was begun");
        *present = Part { step, seconds, state, ..present.clone() };
        let line = |part| serde_json::to_string(part).expect("a part is plain data") + "\n";
        replace_unsynced(&self.path, self.parts.iter().map(line).collect::<String>().as_bytes())
    }

    /// True unless the last process is at work or was killed; also of a run from before there was a history.
    pub fn is_closed(&self) -> bool {
        self.parts.last().is_none_or(|part| part.state != State::Training)
    }

    /// Start of the first part, in words.
    pub fn began(&self) -> Option<String> {
        self.parts.first().map(|part| date_words(&part.began))
    }

    /// Time of all parts in words: `12m 5s`.
    pub fn time(&self) -> String {
        let total = words(self.parts.iter().map(|part| part.seconds).sum());
        let before = self.parts.first().map_or(0, |part| part.first);
        let parts = if self.parts.len() > 1 { format!(" in {} parts", self.parts.len()) } else { String::new() };
        let since = if before > 0 { format!(" since step {before}") } else { String::new() };
        total + &parts + &since
    }

    /// The parts as a table.
    pub fn table(&self) -> Table {
        let mut table = Table::new(&["began", "steps", "time", "device", "version", "command"]);
        for part in &self.parts {
            let steps = format!("{} – {}", part.first, part.step);
            let Part { began, command, device, version, .. } = part;
            table.row([&date_words(began), &steps, &words(part.seconds), device, version, command]);
        }
        table
    }
}

/// A date and time as people write it: `2026-12-01 08:38:35 UTC`.
pub fn date_words(rfc_3339: &str) -> String {
    rfc_3339.replace('T', " ").replace('Z', " UTC")
}

/// A time in its two largest units: `2m 5s`, `3days 7h`.
pub fn words(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.round()).unwrap_or(Duration::MAX);
    let all = format_duration(Duration::from_secs(whole.as_secs())).to_string();
    all.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_parts_count_and_torn_lines_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let mut first = History::open(&path).unwrap();
        assert!(first.is_closed() && first.began().is_none());
        first.begin("cpu".into(), 0);
        first.note(130, 100.4, State::Training).unwrap();
        assert_eq!(first.time(), "1m 40s");
        // The process was killed; the next goes on from the last checkpoint.
        let mut second = History::open(&path).unwrap();
        assert!(!second.is_closed());
        second.begin("cpu".into(), 100);
        second.note(200, 25.0, State::Finished).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen('\n', "\n{\"began\":\"20", 1).replacen("20{", "20\n{", 1)).unwrap();
        let read = History::open(&path).unwrap();
        assert_eq!((read.time().as_str(), read.parts.len()), ("2m 5s in 2 parts", 2));
        assert!(read.is_closed());
        let steps: Vec<&str> = read.parts.iter().map(|part| part.began.as_str()).collect();
        assert!(steps.iter().all(|began| began.len() == 20 && began.ends_with('Z')), "{steps:?}");
        assert_eq!([0.4, 59.6, 7384.0, 5e5].map(words), ["0s", "1m", "2h 3m", "5days 18h"]);
        assert!(read.table().text().contains("100 – 200"), "{}", read.table().text());
    }

    #[test]
    fn the_time_before_the_history_began_is_not_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History::open(&folder.path().join("history.jsonl")).unwrap();
        history.begin("cpu".into(), 5000);
        history.note(5001, 3.0, State::Stopped).unwrap();
        assert_eq!(history.time(), "3s since step 5000");
    }
}
