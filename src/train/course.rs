//! The course of a run: steps, validations, checkpoints and samples, until the end.

mod measure;

use super::checkpoint::{self, Checkpoint};
use super::config::Config;
use super::evaluation::{self, Evaluations};
use super::event::Event;
use super::feed::Feed;
use super::log::RunLog;
use super::run_dir::RunDir;
use super::trainer::Trainer;
use super::validation::EarlyStopping;
use crate::files;
use crate::ranks::Order;
use crate::report::{Record, sample_sheet};
use crate::sample::Samples;
use crate::{Error, Result, SampleKind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Waits before a full disk is tried again.
const FULL_DISK_WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];

/// A run in progress.
pub struct Course<'a> {
    /// The run directory.
    pub dir: &'a RunDir,
    /// The configuration.
    pub config: &'a Config,
    /// Set from outside to end the run after the current step.
    pub stop: &'a AtomicBool,
    /// The network in training.
    pub trainer: Trainer,
    /// The log of the steps.
    pub log: RunLog,
    /// The validations so far.
    pub stopping: EarlyStopping,
    /// Receives the events.
    pub watch: &'a mut dyn FnMut(Event),
    /// The measurements of samples, where the configuration has any.
    pub evaluations: Option<Evaluations>,
    /// Start of this part of the run, and the time of it that measurements took.
    started: Instant,
    measuring: Duration,
    /// Time and step of the last checkpoint.
    saved: (Instant, u64),
    /// Time of the last sheet of samples.
    drawn: Instant,
}

impl<'a> Course<'a> {
    /// Begins where the trainer stands, which is a checkpoint or the start.
    pub fn new(
        dir: &'a RunDir,
        config: &'a Config,
        stop: &'a AtomicBool,
        trainer: Trainer,
        log: RunLog,
        stopping: EarlyStopping,
        watch: &'a mut dyn FnMut(Event),
    ) -> Course<'a> {
        let (now, step) = (Instant::now(), trainer.updates());
        Course {
            dir,
            config,
            stop,
            trainer,
            log,
            stopping,
            watch,
            evaluations: None,
            started: now,
            measuring: Duration::ZERO,
            saved: (now, step),
            drawn: now,
        }
    }

    /// Makes all steps that are left, or those until `stop` is set, and a checkpoint of the last.
    ///
    /// # Errors
    /// Device or disk that fail, or a step that is not finite. The last checkpoint stays.
    pub fn run(&mut self, feed: &mut Feed) -> Result<()> {
        self.draw_missed_sheet()?;
        self.evaluate_if_due()?;
        while self.enqueue(feed)? {
            let record = self.finish_step(feed)?;
            if self.stopping.note(&record) && self.config.train.patience > 0 {
                self.save_as(RunDir::best)?;
            }
            self.write(|course| course.log.metrics(&record))?;
            self.write(|course| course.log.curves(&record))?;
            self.log.report.step(&record);
            (self.watch)(Event::Step(&record));
            if self.trainer.under_way() == 0 {
                self.after_step()?;
            }
        }
        if self.trainer.updates() > self.saved.1 { self.save() } else { Ok(()) }
    }

    /// Enqueues the steps that may be under way together; returns false where none is left to wait for.
    fn enqueue(&mut self, feed: &mut Feed) -> Result<bool> {
        let is_over = self.stopping.is_over();
        loop {
            let trainer = &mut self.trainer;
            // A GPU gets the next step while it computes one, unless something is done with the weights in between.
            let train = &self.config.train;
            let rests = is_overdue(train.checkpoint_every_minutes, self.saved.0)
                || is_overdue(train.sample_every_minutes, self.drawn)
                || rests_after(self.config, trainer.updates());
            let most = if trainer.runs_ahead() && !rests { 2 } else { 1 };
            let goes_on = trainer.updates() < self.config.train.steps && !is_over;
            if !goes_on || trainer.under_way() >= most || self.stop.load(Ordering::Relaxed) {
                return Ok(trainer.under_way() > 0);
            }
            trainer.ranks().order(Order::Step)?;
            feed.start(trainer)?;
        }
    }

    /// Waits for the earliest step that is under way, and validates where that is due.
    fn finish_step(&mut self, feed: &mut Feed) -> Result<Record> {
        let mut record = feed.finish(&mut self.trainer)?;
        if is_due(self.config.train.validate_every, record.step) {
            let report = &mut self.log.report;
            let validation = feed.validate(&mut self.trainer, &mut || report.beat("validating"))?;
            record.validation_loss = Some(validation.loss as f32);
            record.validation_error = Some(validation.standard_error as f32);
        }
        Ok(record)
    }

    /// Writes a checkpoint, draws samples and measures some, where that is due.
    fn after_step(&mut self) -> Result<()> {
        let (train, step) = (&self.config.train, self.trainer.updates());
        if is_due(train.checkpoint_every, step) || is_overdue(train.checkpoint_every_minutes, self.saved.0) {
            self.save()?;
        }
        let is_drawn = is_due(train.sample_every, step) || is_overdue(train.sample_every_minutes, self.drawn);
        if self.config.sample.n > 0 && is_drawn && step < train.steps {
            self.draw_sheet_in_time(step)?;
        }
        self.evaluate_if_due()
    }

    /// Draws samples; none, with a warning, where they are not finite: the weights may become better.
    fn samples(&mut self, n: usize, step: u64) -> Result<Option<Samples>> {
        match self.draw(n) {
            Err(Error::SampleNotFinite { sample }) => {
                let text = format!("sample {sample} after step {step} is not finite; going on without these samples");
                (self.watch)(Event::Warning(&text));
                Ok(None)
            }
            samples => samples.map(Some),
        }
    }

    /// Writes the present state to one of the checkpoints with a name.
    fn save_as(&mut self, path: fn(&RunDir) -> PathBuf) -> Result<()> {
        self.write(|course| {
            let state = course.trainer.state()?;
            checkpoint::save(&path(course.dir), course.trainer.config(), course.trainer.params(), &state)
        })
    }

    /// Writes a checkpoint, and removes those that are no longer kept.
    ///
    /// # Errors
    /// Device or disk that fail. The checkpoint before stays.
    pub fn save(&mut self) -> Result<()> {
        let state = self.trainer.state()?;
        let (folder, keep) = (self.dir.checkpoints(), self.config.train.keep_checkpoints);
        self.write(|course| {
            let path = checkpoint::path(&folder, state.step);
            let saved = checkpoint::save(&path, course.trainer.config(), course.trainer.params(), &state);
            if keep > 1 && saved.as_ref().is_err_and(files::is_full) {
                // Those that this one would have replaced go first.
                checkpoint::tidy(&folder, keep - 1)?;
            }
            saved
        })?;
        self.saved = (Instant::now(), state.step);
        checkpoint::tidy(&folder, keep)?;
        self.log.report.refresh("");
        Ok(())
    }

    /// Draws the sheet that was due at the step from which the run resumes, if it ended before that was done.
    fn draw_missed_sheet(&mut self) -> Result<()> {
        let (train, step) = (&self.config.train, self.trainer.updates());
        let was_due = step > 0 && step < train.steps && is_due(train.sample_every, step);
        if was_due && self.config.sample.n > 0 && !self.sheet(step).exists() {
            self.draw_sheet_in_time(step)
        } else {
            Ok(())
        }
    }

    /// Draws the sheet of a run that has ended, with the weights that count.
    ///
    /// # Errors
    /// Device or disk that fail, or [`Error::Stopped`].
    pub fn draw_last_sheet(&mut self, uses_best: bool) -> Result<()> {
        let step = self.trainer.updates();
        if uses_best {
            let best = self.dir.best();
            match Checkpoint::open(&best).and_then(|checkpoint| checkpoint.state(self.trainer.params())) {
                Ok(state) => self.trainer.restore(&state)?,
                Err(error @ Error::Format { .. }) => {
                    (self.watch)(Event::Warning(&format!("{error}; the weights of the last step count instead")));
                    checkpoint::set_aside(&best)?;
                }
                Err(error) => return Err(error),
            }
        }
        if self.config.sample.n > 0 && !self.sheet(step).exists() { self.draw_sheet(step) } else { Ok(()) }
    }

    fn sheet(&self, step: u64) -> PathBuf {
        self.dir.sheet(step, self.config.sample_kind())
    }

    /// Draws a sheet unless the run is stopped meanwhile: then its checkpoint is what matters, and the sheet is drawn when
    /// the run goes on, if it goes on from there. Samples that are not finite are no reason to end.
    fn draw_sheet_in_time(&mut self, step: u64) -> Result<()> {
        self.drawn = Instant::now();
        match self.samples(self.config.sample.n, step) {
            Ok(Some(samples)) => self.write_sheet(step, &samples),
            Ok(None) | Err(Error::Stopped) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Draws a sheet of samples.
    fn draw_sheet(&mut self, step: u64) -> Result<()> {
        let samples = self.draw(self.config.sample.n)?;
        self.write_sheet(step, &samples)
    }

    /// Draws samples, and keeps the page of the run alive meanwhile.
    fn draw(&mut self, n: usize) -> Result<Samples> {
        let report = &mut self.log.report;
        let mut beat = |done, all| report.beat(&format!("drawing samples, {done} of {all} evaluations"));
        self.trainer.sample(n, Some(self.stop), &mut beat)
    }

    /// Writes a sheet of samples and the strip from noise to images.
    fn write_sheet(&mut self, step: u64, samples: &Samples) -> Result<()> {
        let (sheet, path) = (sample_sheet(&samples.images, samples.dims), self.sheet(step));
        self.write(|course| {
            match samples.kind() {
                SampleKind::Points => course.log.report.scatter(step, &samples.images).write(&path)?,
                SampleKind::Images => {
                    sheet.write_png(&path)?;
                    samples.strip().write_png(&course.dir.strip())?;
                }
            }
            course.log.sheet(step, &sheet)
        })?;
        self.log.report.refresh("");
        (self.watch)(Event::Sheet(&path));
        Ok(())
    }

    /// Writes something, and tries again for a while where the disk is full.
    ///
    /// # Errors
    /// The error of the last attempt.
    fn write(&mut self, mut write: impl FnMut(&mut Course) -> Result<()>) -> Result<()> {
        let mut waits = FULL_DISK_WAITS.iter();
        loop {
            let Err(error) = write(self) else { return Ok(()) };
            let may_pass = files::is_full(&error) && !self.stop.load(Ordering::Relaxed);
            let Some(wait) = waits.next().filter(|_| may_pass) else { return Err(error) };
            (self.watch)(Event::Warning(&format!("{error}; trying again in {} s", wait.as_secs())));
            thread::sleep(*wait);
        }
    }
}

/// Returns true where the weights are needed after a step, for a validation, a checkpoint, samples or their measurement.
fn rests_after(config: &Config, step: u64) -> bool {
    let train = &config.train;
    evaluation::is_due(train, step)
        || [train.validate_every, train.checkpoint_every, train.sample_every].iter().any(|&every| is_due(every, step))
}

/// Returns true where something that happens every so many minutes (0: never) last happened longer ago.
fn is_overdue(minutes: f64, last: Instant) -> bool {
    minutes > 0.0 && last.elapsed().as_secs_f64() >= 60.0 * minutes
}

/// Returns true where something that happens every so many steps (0: never) is due after this one.
fn is_due(every: u64, step: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}
