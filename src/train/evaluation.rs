//! Measurements of samples in the course of a run: how far they are from the data, and after which step they were best.
//!
//! A measurement draws with the averaged weights, of which nothing that is trained depends. Its line is written last: a run
//! that is stopped or killed before measures again when it goes on, and one that has the line does not.

use super::config::{Config, TrainConfig};
use super::run_dir::RunDir;
use crate::Result;
use crate::data::Dataset;
use crate::report::{EvaluationLog, EvaluationRecord, read_evaluations};
use crate::sample::Samples;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// Measures samples against the data that a run is trained on.
pub trait Evaluator {
    /// Name of the distance that decides which samples are best: the less, the better.
    fn by(&self) -> &'static str;

    /// Every distance by its name, that of [`Evaluator::by`] among them. Where `stop` is set, it ends early.
    ///
    /// # Errors
    /// A failure of the device, or [`Error::Stopped`](crate::Error::Stopped).
    fn distances(&mut self, samples: Samples, stop: &AtomicBool) -> Result<BTreeMap<String, f64>>;
}

/// Makes the evaluator of a run, whose data are opened by then.
pub type MakeEvaluator<'a> = dyn Fn(&Config, &Dataset) -> Result<Box<dyn Evaluator>> + 'a;

/// The measurements of a run.
pub struct Evaluations {
    /// Measures.
    pub evaluator: Box<dyn Evaluator>,
    log: EvaluationLog,
    records: Vec<EvaluationRecord>,
}

impl Evaluations {
    /// Goes on with the measurements of a run after `step` steps; later ones are forgotten, for they will be made again.
    ///
    /// # Errors
    /// A log that cannot be read or written.
    pub fn resume(dir: &RunDir, step: u64, evaluator: Box<dyn Evaluator>) -> Result<Evaluations> {
        let log = EvaluationLog::resume(&dir.evaluations(), step + 1)?;
        Ok(Evaluations { evaluator, log, records: read_evaluations(&dir.evaluations())? })
    }

    /// Returns true if the samples of this step are measured.
    pub fn has(&self, step: u64) -> bool {
        self.records.iter().any(|record| record.step == step)
    }

    /// Returns true if no earlier samples were better than these.
    pub fn is_best(&self, record: &EvaluationRecord) -> bool {
        let Some(distance) = record.distance() else { return false };
        best(&self.records, &record.by, record.n)
            .and_then(EvaluationRecord::distance)
            .is_none_or(|best| distance < best)
    }

    /// Adds a measurement.
    ///
    /// # Errors
    /// A log that cannot be written, e.g. on a full disk. It is as it was then.
    pub fn add(&mut self, record: EvaluationRecord) -> Result<()> {
        self.log.write(&record)?;
        self.records.push(record);
        Ok(())
    }
}

/// The best of the measurements that compare: by one distance, of equally many samples. The first of equal ones.
pub fn best<'a>(records: &'a [EvaluationRecord], by: &str, n: usize) -> Option<&'a EvaluationRecord> {
    let comparable = records.iter().filter(|record| record.by == by && record.n == n);
    let measured = comparable.filter_map(|record| Some((record, record.distance()?)));
    measured.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(record, _)| record)
}

/// The best of the measurements that compare with the last one, in words.
pub fn best_in_words(records: &[EvaluationRecord]) -> Option<String> {
    let last = records.last()?;
    best(records, &last.by, last.n).map(|best| format!("{} after step {}", best.in_words(), best.step))
}

/// Returns true if samples are measured after a step: every so many, and after the last.
pub fn is_due(train: &TrainConfig, step: u64) -> bool {
    let every = train.evaluate_every;
    every > 0 && step > 0 && (step.is_multiple_of(every) || step == train.steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Unused;

    impl Evaluator for Unused {
        fn by(&self) -> &'static str {
            "frechet_distance"
        }
        fn distances(&mut self, _: Samples, _: &AtomicBool) -> Result<BTreeMap<String, f64>> {
            unreachable!("nothing is drawn here")
        }
    }

    fn record(step: u64, n: usize, by: &str, distance: Option<f64>) -> EvaluationRecord {
        let distances = distance.map(|distance| (by.to_owned(), distance)).into_iter().collect();
        EvaluationRecord { step, n, by: by.into(), distances, seconds: 0.5 }
    }

    #[test]
    fn the_best_is_the_least_of_what_compares() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::new(folder.path());
        let mut evaluations = Evaluations::resume(&dir, 0, Box::new(Unused)).unwrap();
        let (mut best_steps, by) = (Vec::new(), "frechet_distance");
        let course = [
            record(10, 100, by, None),
            record(20, 100, by, Some(9.0)),
            record(30, 100, by, Some(f64::NAN)),
            record(40, 100, by, Some(7.0)),
            record(50, 100, by, Some(7.0)),
            record(60, 100, "fid", Some(8.0)),
            record(70, 10, by, Some(30.0)),
            record(80, 100, by, Some(6.5)),
        ];
        for record in course {
            if evaluations.is_best(&record) {
                best_steps.push(record.step);
            }
            evaluations.add(record).unwrap();
        }
        assert_eq!(best_steps, [20, 40, 60, 70, 80]);
        // After a resume the later ones are made again.
        let resumed = Evaluations::resume(&dir, 50, Box::new(Unused)).unwrap();
        assert!(resumed.has(50) && !resumed.has(60));
        assert_eq!(best(&resumed.records, by, 100).unwrap().step, 40);
        assert!(best(&resumed.records, "fid", 100).is_none());
    }

    #[test]
    fn the_last_step_is_measured_too() {
        let train = TrainConfig { steps: 10, evaluate_every: 4, ..TrainConfig::default() };
        let due: Vec<u64> = (0..=10).filter(|&step| is_due(&train, step)).collect();
        assert_eq!(due, [4, 8, 10]);
        assert!(!is_due(&TrainConfig { evaluate_every: 0, ..train }, 10));
    }
}
