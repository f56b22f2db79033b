//! The log of a run: its metrics and the same for TensorBoard.

use super::run_dir::RunDir;
use crate::Result;
use crate::report::{EventWriter, MetricsLog, Picture, Record};

/// Writes what is measured in each step.
pub struct RunLog {
    metrics: MetricsLog,
    events: EventWriter,
    /// Steps between the points of the TensorBoard curves.
    log_every: u64,
}

impl RunLog {
    /// Goes on with the log of a run after `step` steps; later entries are forgotten, for they will be written again.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn resume(dir: &RunDir, step: u64, log_every: u64) -> Result<RunLog> {
        let metrics = MetricsLog::resume(&dir.metrics(), step + 1)?;
        let events = EventWriter::create(dir.path(), step + 1)?;
        Ok(RunLog { metrics, events, log_every })
    }

    /// Adds a step.
    ///
    /// # Errors
    /// Files that cannot be written, e.g. on a full disk.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        self.metrics.write(record)?;
        if let Some(loss) = record.validation_loss {
            self.events.scalars(record.step, &[("validation_loss", loss)])?;
        }
        if record.step.is_multiple_of(self.log_every) {
            let scalars =
                [("loss", record.loss), ("learning_rate", record.learning_rate), ("grad_norm", record.grad_norm)];
            self.events.scalars(record.step, &scalars)?;
        }
        Ok(())
    }

    /// Adds a sheet of samples.
    ///
    /// # Errors
    /// A file that cannot be written, e.g. on a full disk.
    pub fn sheet(&mut self, step: u64, sheet: &Picture) -> Result<()> {
        self.events.picture(step, "samples", sheet)
    }
}
