//! `evaluations.jsonl`: one JSON object a line, one line for each time that samples were measured in training.

use super::metrics::{Log, Numbered, read_log};
use super::plot::Plot;
use crate::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Distances of samples, drawn after a step, from the data. Every number but the time is a function of the seed and the
/// configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    pub step: u64,
    /// Number of samples.
    pub n: usize,
    /// The distance that decides which samples are best.
    pub by: String,
    /// Every distance by its name; none where the samples were not finite.
    pub distances: BTreeMap<String, f64>,
    /// Time that drawing and measuring took.
    #[serde(default)]
    pub seconds: f64,
}

impl EvaluationRecord {
    /// The distance that decides, if it is a number.
    pub fn distance(&self) -> Option<f64> {
        self.distances.get(&self.by).copied().filter(|distance| distance.is_finite())
    }

    /// Every distance in words: `fid 12.31, kid 0.0042`.
    pub fn in_words(&self) -> String {
        let word = |(name, value): (&String, &f64)| format!("{} {}", name.replace('_', " "), digits(*value));
        self.distances.iter().map(word).collect::<Vec<_>>().join(", ")
    }
}

/// Four significant digits, and no more than a distance needs.
fn digits(value: f64) -> String {
    let decimals = if value == 0.0 { 3.0 } else { (3.0 - value.abs().log10().floor()).clamp(0.0, 9.0) };
    format!("{value:.*}", decimals as usize)
}

impl Numbered for EvaluationRecord {
    fn step(&self) -> u64 {
        self.step
    }
}

/// Appends measurements to a file.
pub type EvaluationLog = Log<EvaluationRecord>;

/// Reads a log of measurements; empty where there is none.
///
/// # Errors
/// If the file cannot be read.
pub fn read_evaluations(path: &Path) -> Result<Vec<EvaluationRecord>> {
    if path.exists() { read_log(path) } else { Ok(Vec::new()) }
}

/// The deciding distance against the step; none where nothing was measured.
pub fn distance_curve(records: &[EvaluationRecord]) -> Option<Plot> {
    let last = records.last()?;
    let comparable = records.iter().filter(|record| record.by == last.by && record.n == last.n);
    let points: Vec<[f64; 2]> = comparable.filter_map(|r| Some([r.step as f64, r.distance()?])).collect();
    let name = last.by.replace('_', " ");
    let title = format!("Samples against the data, {} of them", last.n);
    (!points.is_empty()).then(|| Plot::new(&title, "step", &name).line("", points))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_read_well_and_only_numbers_decide() {
        let distances = [("fid", 12.3056), ("kid", 0.004_211_7)].map(|(name, v)| (name.to_owned(), v));
        let record = EvaluationRecord { by: "fid".into(), distances: distances.into(), ..EvaluationRecord::default() };
        assert_eq!(record.in_words(), "fid 12.31, kid 0.004212");
        assert_eq!(record.distance(), Some(12.3056));
        assert_eq!(EvaluationRecord { by: "fid".into(), ..EvaluationRecord::default() }.distance(), None);
        let nothing = EvaluationRecord { distances: [("fid".to_owned(), f64::NAN)].into(), ..record.clone() };
        assert_eq!(nothing.distance(), None);
        assert!(distance_curve(&[nothing]).is_none() && distance_curve(&[]).is_none());
        assert!(distance_curve(&[record]).unwrap().svg().contains("fid"));
    }

    #[test]
    fn a_log_of_measurements_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evaluations.jsonl");
        assert_eq!(read_evaluations(&path).unwrap(), []);
        let record = |step| EvaluationRecord { step, n: 3, by: "fid".into(), ..EvaluationRecord::default() };
        let mut log = EvaluationLog::resume(&path, 0).unwrap();
        [10, 20].into_iter().for_each(|step| log.write(&record(step)).unwrap());
        drop(EvaluationLog::resume(&path, 11).unwrap());
        assert_eq!(read_evaluations(&path).unwrap(), [record(10)]);
    }
}
