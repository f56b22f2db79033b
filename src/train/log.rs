//! The log of a run: its metrics, the same for TensorBoard, and the page that shows it.

use super::run_dir::RunDir;
use super::run_report::RunReport;
use super::trainer::Trainer;
use crate::Result;
use crate::data::Dataset;
use crate::report::{EvaluationRecord, EventWriter, MetricsLog, Picture, Record};

/// Writes what is measured in each step.
pub struct RunLog {
    metrics: MetricsLog,
    events: EventWriter,
    /// The page of the run.
    pub report: RunReport,
    /// Steps between the points of the TensorBoard curves.
    log_every: u64,
}

impl RunLog {
    /// Goes on with the log of a run where the trainer stands; later entries are forgotten, for they will be written again.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn resume(dir: &RunDir, trainer: &Trainer, dataset: &Dataset) -> Result<RunLog> {
        let next = trainer.updates() + 1;
        let metrics = MetricsLog::resume(&dir.metrics(), next)?;
        let events = EventWriter::create(dir.path(), next)?;
        let report = RunReport::begin(dir, trainer, dataset)?;
        Ok(RunLog { metrics, events, report, log_every: trainer.config().train.log_every })
    }

    /// Adds a step to the metrics.
    ///
    /// # Errors
    /// A file that cannot be written, e.g. on a full disk. The log is as it was then.
    pub fn metrics(&mut self, record: &Record) -> Result<()> {
        self.metrics.write(record)
    }

    /// Adds a step to the curves, where it is one of their points.
    ///
    /// # Errors
    /// As for [`RunLog::metrics`].
    pub fn curves(&mut self, record: &Record) -> Result<()> {
        let mut scalars: Vec<(&str, f32)> =
            record.validation_loss.map(|loss| ("validation_loss", loss)).into_iter().collect();
        if record.step.is_multiple_of(self.log_every) {
            let Record { loss, learning_rate, grad_norm, .. } = *record;
            scalars.extend([("loss", loss), ("learning_rate", learning_rate), ("grad_norm", grad_norm)]);
        }
        if scalars.is_empty() { Ok(()) } else { self.events.scalars(record.step, &scalars) }
    }

    /// Adds the distances of a measurement to the curves.
    ///
    /// # Errors
    /// As for [`RunLog::metrics`].
    pub fn distances(&mut self, record: &EvaluationRecord) -> Result<()> {
        let tags: Vec<(String, f32)> =
            record.distances.iter().map(|(name, &value)| (format!("samples/{name}"), value as f32)).collect();
        let scalars: Vec<(&str, f32)> = tags.iter().map(|(tag, value)| (tag.as_str(), *value)).collect();
        if scalars.is_empty() { Ok(()) } else { self.events.scalars(record.step, &scalars) }
    }

    /// Adds a sheet of samples.
    ///
    /// # Errors
    /// A file that cannot be written, e.g. on a full disk.
    pub fn sheet(&mut self, step: u64, sheet: &Picture) -> Result<()> {
        self.events.picture(step, "samples", sheet)
    }
}
