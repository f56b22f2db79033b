//! `metrics.jsonl`: one JSON object a line, one line a training step.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::files::replace_file;
use crate::{Error, Result};

/// One line of the log: the figures of one training step. Every number but the speed is a function of the seed and the
/// configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub step: u64,
    /// Mean over the step's images, before its update.
    pub loss: f32,
    #[serde(default)]
    pub learning_rate: f32,
    /// Global L2 norm of the gradient, before clipping.
    #[serde(default)]
    pub grad_norm: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_per_second: Option<f32>,
    /// Mean loss on the validation samples, after the update; in the steps that validate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f32>,
    /// Standard error of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_error: Option<f32>,
}

impl Numbered for Record {
    fn step(&self) -> u64 {
        self.step
    }
}

/// A line of a log, which belongs to a step.
pub trait Numbered: Serialize + DeserializeOwned {
    /// The step.
    fn step(&self) -> u64;
}

/// Appends records to a file. Each is written at once and as a whole, so that a killed run loses at most its last line.
#[derive(Debug)]
pub struct Log<R> {
    path: PathBuf,
    file: File,
    /// Length of what was written so far.
    bytes: u64,
    records: PhantomData<R>,
}

/// Appends what is measured in every step.
pub type MetricsLog = Log<Record>;

impl<R: Numbered> Log<R> {
    /// Begins an empty log.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(path: &Path) -> Result<Log<R>> {
        replace_file(path, b"")?;
        Log::resume(path, 0)
    }

    /// Goes on with a log, of which the records before `next_step` are kept: those that follow were written after the
    /// checkpoint that the run resumes from, and will be written again. Torn lines are dropped. A missing log is begun.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn resume(path: &Path, next_step: u64) -> Result<Log<R>> {
        let open = |path: &Path| OpenOptions::new().append(true).create(true).open(path).map_err(Error::io(path));
        let mut file = open(path)?;
        let text = read_text(path)?;
        let mut kept = String::new();
        let mut last_step = None;
        for (line, record) in whole_lines::<R>(&text) {
            let step = record.step();
            if step < next_step && last_step.is_none_or(|last| last < step) {
                kept.push_str(line);
                last_step = Some(step);
            }
        }
        let bytes = kept.len() as u64;
        if text.starts_with(&kept) {
            file.set_len(bytes).map_err(Error::io(path))?;
        } else {
            replace_file(path, kept.as_bytes())?;
            file = open(path)?;
        }
        Ok(Log { path: path.into(), file, bytes, records: PhantomData })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// If the disk is full or the file is gone. The log is as it was then.
    pub fn write(&mut self, record: &R) -> Result<()> {
        let mut line = serde_json::to_vec(record).expect("a record is plain data");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|error| {
            // A part of the line may be there. If it cannot be taken back, it is a torn line, which readers skip.
            let _ = self.file.set_len(self.bytes);
            Error::io(&self.path)(error)
        })?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

/// Reads a log. Lines that are no records are left out: a process that was killed tears the last one, and two that write
/// at once tear any.
///
/// # Errors
/// If the file cannot be read.
pub fn read_metrics(path: &Path) -> Result<Vec<Record>> {
    read_log(path)
}

/// As [`read_metrics`], for any records.
pub(super) fn read_log<R: Numbered>(path: &Path) -> Result<Vec<R>> {
    Ok(whole_lines(&read_text(path)?).map(|(_, record)| record).collect())
}

/// Reads a file, in which torn bytes may be no UTF-8.
fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Lists the lines that are records, each with its end.
fn whole_lines<R: Numbered>(text: &str) -> impl Iterator<Item = (&str, R)> {
    let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    complete.filter_map(|line| Some((line, serde_json::from_str(line).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64) -> Record {
        Record {
            step,
            loss: 0.1 + step as f32,
            learning_rate: 2e-4,
            grad_norm: 0.3,
            images_per_second: Some(271.5),
            ..Record::default()
        }
    }

    #[test]
    fn records_are_read_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = MetricsLog::create(&path).unwrap();
        let odd = Record { step: 1, loss: f32::MIN_POSITIVE * 0.3, images_per_second: None, ..record(1) };
        log.write(&record(0)).unwrap();
        log.write(&odd).unwrap();
        assert_eq!(read_metrics(&path).unwrap(), [record(0), odd]);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\"step\":0,\"loss\":0.1,\"learning_rate\":0.0002,"), "{text}");
    }

    #[test]
    fn resuming_drops_later_records_and_a_broken_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = MetricsLog::create(&path).unwrap();
        (0..10).for_each(|step| log.write(&record(step)).unwrap());
        fs::write(&path, [fs::read(&path).unwrap(), b"{\"step\":10,\"lo".to_vec()].concat()).unwrap();
        assert_eq!(read_metrics(&path).unwrap().len(), 10);

        let mut log = MetricsLog::resume(&path, 12).unwrap();
        log.write(&record(10)).unwrap();
        assert_eq!(read_metrics(&path).unwrap().len(), 11);
        let mut log = MetricsLog::resume(&path, 4).unwrap();
        log.write(&record(4)).unwrap();
        let steps: Vec<u64> = read_metrics(&path).unwrap().iter().map(|record| record.step).collect();
        assert_eq!(steps, [0, 1, 2, 3, 4]);
        drop(MetricsLog::resume(&path, 0).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        drop(MetricsLog::resume(&folder.path().join("new.jsonl"), 0).unwrap());
    }

    #[test]
    fn a_torn_line_is_left_out_and_what_follows_it_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let line = |step: u64| serde_json::to_string(&record(step)).unwrap() + "\n";
        // Two processes wrote at once: a line within another, and steps twice.
        let torn = [&line(1)[..20], &line(2)].concat();
        let text = [line(0).as_str(), &torn, &line(2), &line(3), &line(2), &line(3), "?\n", &line(4)].concat();
        fs::write(&path, text).unwrap();
        let steps = || read_metrics(&path).unwrap().iter().map(|record| record.step).collect::<Vec<u64>>();
        assert_eq!(steps(), [0, 2, 3, 2, 3, 4]);
        let mut log = MetricsLog::resume(&path, 4).unwrap();
        assert_eq!(steps(), [0, 2, 3]);
        log.write(&record(4)).unwrap();
        assert_eq!(steps(), [0, 2, 3, 4]);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(b"\xff\xfe\n");
        fs::write(&path, bytes).unwrap();
        assert_eq!(steps(), [0, 2, 3, 4]);
    }
}
