//! The files that a run leaves, in `results/DEVICE` beside the program.
//!
//! | file | content |
//! |---|---|
//! | `stages.jsonl` | one object a stage: result (passed, failed, skipped, timeout), seconds, note, facts |
//! | `summary.txt` | the same as a table |
//! | `bench.json` | measurements, as benches/results/README.md describes them |
//! | `wrappers.txt` | words that a GPU gave, for tests/golden (cuda only) |
//! | `logs.tar.gz` | the end of everything that was printed |
//! | `artifacts.tar` | samples, curves, tables |

use crate::Device;
use crate::stages::{Outcome, STAGES};
use serde_json::{Map, Value, json};
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The folder of results and its parts: notes, facts and logs of each stage, artifacts.
pub struct Results {
    device: Device,
    /// Folder of the program, where `BUNDLE.json` is.
    bundle: PathBuf,
    pub folder: PathBuf,
    /// The objects of `stages.jsonl`.
    stages: Vec<Value>,
}

impl Results {
    /// Opens the folder, and makes it where it is not there.
    pub fn open(bundle: &Path, device: Device) -> io::Result<Results> {
        let folder = bundle.join("results").join(device.name());
        for part in ["logs", "tails", "artifacts", "notes", "facts"] {
            fs::create_dir_all(folder.join("parts").join(part))?;
        }
        let stages = match fs::read_to_string(folder.join("stages.jsonl")) {
            Ok(text) => read_stages(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Results { device, bundle: bundle.into(), folder, stages })
    }

    /// Takes over the stages that another machine has finished.
    pub fn continue_from(&mut self, file: &Path) -> io::Result<()> {
        self.stages = read_stages(&fs::read_to_string(file)?)?;
        self.write_stages()
    }

    /// Path of a file or folder among the parts.
    pub fn part(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join("parts").join(path)
    }

    /// Returns true if a stage has a result.
    pub fn is_finished(&self, name: &str) -> bool {
        self.recorded(name).is_some()
    }

    fn recorded(&self, name: &str) -> Option<&Value> {
        self.stages.iter().find(|stage| stage["stage"] == name)
    }

    /// Forgets the note and the facts of a stage, which is about to begin.
    pub fn clear(&self, name: &str) -> io::Result<()> {
        for path in [self.part("facts").join(name), self.part("notes").join(name)] {
            let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        }
        fs::create_dir_all(self.part("facts").join(name))
    }

    /// The note that a stage left, in one line.
    pub fn note(&self, name: &str) -> String {
        let text = fs::read_to_string(self.part("notes").join(name)).unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ").chars().take(200).collect()
    }

    /// Facts that a stage left: one JSON value a file.
    fn facts(&self, name: &str) -> Value {
        let mut files: Vec<PathBuf> = fs::read_dir(self.part("facts").join(name))
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        files.sort();
        let fact = |file: &PathBuf| {
            let value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
            Some((file.file_stem()?.to_string_lossy().into_owned(), value))
        };
        Value::Object(files.iter().filter_map(fact).collect::<Map<_, _>>())
    }

    /// Records a stage's result, in place of an earlier one.
    pub fn record(&mut self, name: &str, outcome: Outcome, took: Duration) -> io::Result<()> {
        self.stages.retain(|stage| stage["stage"] != name);
        self.stages.push(json!({
            "stage": name,
            "device": self.device.name(),
            "result": outcome.name(),
            "seconds": took.as_secs(),
            "note": self.note(name),
            "facts": self.facts(name),
        }));
        self.write_stages()
    }

    fn write_stages(&self) -> io::Result<()> {
        let new = self.folder.join("stages.new");
        fs::write(&new, self.stages.iter().map(|stage| format!("{stage}\n")).collect::<String>())?;
        fs::rename(new, self.folder.join("stages.jsonl"))
    }

    /// The table of all stages.
    pub fn summary(&self) -> String {
        let mut table = format!("{:<12} {:<8} {:>7}  {}\n", "stage", "result", "seconds", "note");
        for stage in &STAGES {
            let recorded = self.recorded(stage.name);
            let result = recorded.and_then(|r| r["result"].as_str()).unwrap_or("-");
            let seconds = recorded.map_or("-".into(), |r| r["seconds"].to_string());
            let own = recorded.and_then(|r| r["note"].as_str()).filter(|note| !note.is_empty()).map(String::from);
            let note = own.or_else(|| Some(self.note(stage.name)).filter(|note| !note.is_empty()));
            let note = note.unwrap_or_else(|| stage.description.into());
            table += &format!("{:<12} {result:<8} {seconds:>7}  {note}\n", stage.name);
        }
        table
    }

    /// The measurements of all stages.
    fn bench(&self, date: &str) -> Value {
        let facts = |name| self.recorded(name).map_or_else(|| json!({}), |stage| stage["facts"].clone());
        let bundle = fs::read_to_string(self.bundle.join("BUNDLE.json")).ok();
        let of_stage = |name| facts(name).as_object().cloned().unwrap_or_default();
        let comparison: Map<String, Value> = ["pytorch", "autotune", "others"].into_iter().flat_map(of_stage).collect();
        json!({
            "date": date,
            "bundle": bundle.and_then(|text| serde_json::from_str::<Value>(&text).ok()),
            "environment": facts("device"),
            "steps": facts("bench"),
            "comparison": comparison,
            "training": { "mnist": facts("mnist"), "cifar10": facts("cifar10") },
        })
    }

    /// Writes all files anew: eight at most, none above 16 MiB.
    pub fn publish(&self) -> io::Result<()> {
        const LOG_BYTES: u64 = 1_500_000;
        const ARTIFACT_BYTES: u64 = 3_000 << 10;
        fs::write(self.folder.join("summary.txt"), self.summary())?;
        let date = Command::new("date").args(["-u", "+%F"]).output()?;
        let bench = self.bench(String::from_utf8_lossy(&date.stdout).trim());
        fs::write(self.folder.join("bench.json"), format!("{bench}\n"))?;
        for log in files(&self.part("logs"))? {
            fs::write(self.part("tails").join(log.file_name().unwrap_or_default()), tail(&log, LOG_BYTES)?)?;
        }
        for artifact in files(&self.part("artifacts"))? {
            if artifact.metadata()?.len() > ARTIFACT_BYTES {
                fs::remove_file(artifact)?;
            }
        }
        archive("-czf", &self.folder.join("logs.tar.gz"), &self.part("tails"))?;
        archive("-cf", &self.folder.join("artifacts.tar"), &self.part("artifacts"))?;
        if let Some(out) = std::env::var_os("OUT").filter(|out| !out.is_empty()) {
            self.copy_to(Path::new(&out))?;
        }
        Ok(())
    }

    /// Copies what is not too large to leave the machine.
    fn copy_to(&self, folder: &Path) -> io::Result<()> {
        const FILE_BYTES: u64 = 16_000 << 10;
        for file in files(&self.folder)? {
            if file.metadata()?.len() <= FILE_BYTES {
                fs::copy(&file, folder.join(file.file_name().unwrap_or_default()))?;
            }
        }
        Ok(())
    }
}

fn read_stages(text: &str) -> io::Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

/// Files of a folder, not of those below.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    paths.filter(|path| path.as_ref().map_or(true, |path| path.is_file())).collect()
}

fn tail(file: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(file)?;
    let start = file.metadata()?.len().saturating_sub(bytes);
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(text)
}

fn archive(how: &str, file: &Path, folder: &Path) -> io::Result<()> {
    let status = Command::new("tar").arg(how).arg(file).arg("-C").arg(folder).arg(".").status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("tar {how} {}: {status}", file.display()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn results_are_recorded_once_and_read_again() {
        let bundle = tempfile::tempdir().unwrap();
        let mut results = Results::open(bundle.path(), Device::Emu).unwrap();
        results.clear("ops").unwrap();
        fs::write(results.part("facts/ops/x.json"), "{\"ms\":1.5}\n").unwrap();
        fs::write(results.part("facts/ops/cut.json"), "{\"ms\":").unwrap();
        fs::write(results.part("notes/ops"), "3 passed,\n\"0\" failed\n").unwrap();
        results.record("ops", Outcome::Failed, SECOND).unwrap();
        results.record("ops", Outcome::Passed, 2 * SECOND).unwrap();
        let text = fs::read_to_string(results.folder.join("stages.jsonl")).unwrap();
        let wanted = r#"{"stage":"ops","device":"emu","result":"passed","seconds":2,"note":"3 passed, \"0\" failed","facts":{"x":{"ms":1.5}}}"#;
        assert_eq!(text, format!("{wanted}\n"));

        let again = Results::open(bundle.path(), Device::Emu).unwrap();
        assert!(again.is_finished("ops") && !again.is_finished("parity"));
        again.clear("ops").unwrap();
        assert_eq!(again.note("ops"), "");
        assert_eq!(again.facts("ops"), json!({}));

        let elsewhere = tempfile::tempdir().unwrap();
        Results::open(elsewhere.path(), Device::Emu)
            .unwrap()
            .continue_from(&again.folder.join("stages.jsonl"))
            .unwrap();
        assert!(Results::open(elsewhere.path(), Device::Emu).unwrap().is_finished("ops"));
    }

    #[test]
    fn the_summary_names_every_stage() {
        let bundle = tempfile::tempdir().unwrap();
        let mut results = Results::open(bundle.path(), Device::Cpu).unwrap();
        fs::write(results.part("notes/wrappers"), "no kernels").unwrap();
        results.record("wrappers", Outcome::Skipped, SECOND).unwrap();
        let summary = results.summary();
        let lines: Vec<&str> = summary.lines().collect();
        assert_eq!(lines.len(), 1 + STAGES.len());
        assert_eq!(lines[0], "stage        result   seconds  note");
        assert_eq!(lines[1], "device       -              -  driver, GPU, machine code in use, ceilings");
        assert_eq!(lines[2], "wrappers     skipped        1  no kernels");
    }

    #[test]
    fn publishing_leaves_few_and_small_files() {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join("BUNDLE.json"), r#"{"version":"1"}"#).unwrap();
        let mut results = Results::open(bundle.path(), Device::Cuda).unwrap();
        results.clear("bench").unwrap();
        fs::write(results.part("facts/bench/run_of_one_step_ms.json"), "17").unwrap();
        results.record("bench", Outcome::Passed, SECOND).unwrap();
        fs::write(results.part("logs/bench.log"), vec![b'x'; 2_000_000]).unwrap();
        fs::write(results.part("artifacts/large"), vec![0; 4 << 20]).unwrap();
        results.publish().unwrap();
        let bench: Value = serde_json::from_slice(&fs::read(results.folder.join("bench.json")).unwrap()).unwrap();
        assert_eq!(bench["bundle"]["version"], "1");
        assert_eq!(bench["steps"], json!({ "run_of_one_step_ms": 17 }));
        assert_eq!(bench["training"], json!({ "mnist": {}, "cifar10": {} }));
        assert_eq!(fs::metadata(results.part("tails/bench.log")).unwrap().len(), 1_500_000);
        assert!(!results.part("artifacts/large").exists());
        let mut names: Vec<_> = files(&results.folder).unwrap();
        names.sort();
        let names: Vec<_> = names.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["artifacts.tar", "bench.json", "logs.tar.gz", "stages.jsonl", "summary.txt"]);
    }

    #[test]
    fn files_that_are_not_large_are_copied_to_another_folder() {
        let (bundle, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let results = Results::open(bundle.path(), Device::Cuda).unwrap();
        fs::write(results.folder.join("large"), vec![0; 17 << 20]).unwrap();
        fs::write(results.folder.join("small"), "1").unwrap();
        results.copy_to(out.path()).unwrap();
        assert_eq!(files(out.path()).unwrap(), [out.path().join("small")]);
    }
}
