//! Measurements of samples in the course of a run, and the checkpoint with the best of them.

use super::Course;
use crate::report::EvaluationRecord;
use crate::train::evaluation;
use crate::train::event::Event;
use crate::train::run_dir::RunDir;
use crate::{Error, Result};
use std::time::Instant;

impl Course<'_> {
    /// Measures samples where that is due, and was not done before the run was stopped.
    pub(super) fn evaluate_if_due(&mut self) -> Result<()> {
        let step = self.trainer.updates();
        let has = self.evaluations.as_ref().is_none_or(|evaluations| evaluations.has(step));
        if has || !evaluation::is_due(&self.config.train, step) {
            return Ok(());
        }
        // It may take minutes, and a run that is killed meanwhile goes on from here.
        if step > self.saved.1 {
            self.save()?;
        }
        match self.evaluate(step) {
            Err(Error::Stopped) => Ok(()),
            other => other,
        }
    }

    /// Draws samples, measures them, and keeps the checkpoint if no earlier samples were better.
    fn evaluate(&mut self, step: u64) -> Result<()> {
        let (started, n) = (Instant::now(), self.config.train.evaluate_n);
        let samples = self.samples(n, step)?;
        let Some(evaluations) = &mut self.evaluations else { return Ok(()) };
        let distances = match samples {
            Some(samples) => evaluations.evaluator.distances(samples, self.stop)?,
            None => Default::default(),
        };
        let (by, took) = (evaluations.evaluator.by().to_owned(), started.elapsed());
        let record = EvaluationRecord { step, n, by, distances, seconds: took.as_secs_f64() };
        let is_best = evaluations.is_best(&record);
        if is_best {
            self.save_as(RunDir::best_samples)?;
        }
        self.write(|course| course.log.distances(&record))?;
        self.write(|course| course.evaluations.as_mut().map_or(Ok(()), |all| all.add(record.clone())))?;
        self.measuring += took;
        let share = self.measuring.as_secs_f64() / self.started.elapsed().as_secs_f64();
        (self.watch)(Event::Evaluated { record: &record, is_best, share });
        Ok(())
    }
}
