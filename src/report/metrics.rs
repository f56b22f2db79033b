//! `metrics.jsonl`: one JSON object a line, one line a training step.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

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

/// Appends records to a file. Each is written at once and as a whole, so that a killed run loses at most its last line.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Begins an empty log.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(path: &Path) -> Result<MetricsLog> {
        let file = File::create(path).map_err(Error::io(path))?;
        Ok(MetricsLog { path: path.into(), file })
    }

    /// Goes on with a log, of which the records before `next_step` are kept: those that follow were written after the
    /// checkpoint that the run resumes from, and will be written again. A missing log is begun.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn resume(path: &Path, next_step: u64) -> Result<MetricsLog> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io(path))?;
        let mut reader = BufReader::new(&file);
        let (mut kept_bytes, mut line) = (0, String::new());
        loop {
            line.clear();
            let bytes = reader.read_line(&mut line).map_err(Error::io(path))?;
            // Also the end of the file, and a line that was cut off in the middle.
            let complete = line.ends_with('\n').then(|| serde_json::from_str::<Record>(&line).ok()).flatten();
            if complete.is_none_or(|record| record.step >= next_step) {
                break;
            }
            kept_bytes += bytes as u64;
        }
        file.set_len(kept_bytes).map_err(Error::io(path))?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(kept_bytes)).map_err(Error::io(path))?;
        Ok(MetricsLog { path: path.into(), file })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// If the disk is full or the file is gone.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_vec(record).expect("a record is plain numbers");
        line.push(b'\n');
        self.file.write_all(&line).map_err(Error::io(&self.path))
    }
}

/// Reads a log. A last line that was cut off is left out.
///
/// # Errors
/// If the file cannot be read, or a line in it is not a record.
pub fn read_metrics(path: &Path) -> Result<Vec<Record>> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|e| Error::format(path, format!("line {}: not a metrics record: {e}", i + 1)))
    };
    text[..whole].lines().enumerate().map(parse).collect()
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
    fn a_line_that_is_no_record_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, "{\"step\":0,\"loss\":1.0}\nhello\n").unwrap();
        let message = read_metrics(&path).unwrap_err().to_string();
        assert!(message.contains("line 2: not a metrics record"), "{message}");
    }
}
