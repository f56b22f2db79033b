//! A training run: data through the trainer into a run directory, from the first step or from the last checkpoint.

use super::checkpoint::{self, Checkpoint};
use super::config::Config;
use super::feed::Feed;
use super::log::RunLog;
use super::model_file::ModelFile;
use super::run_dir::RunDir;
use super::trainer::Trainer;
use super::validation::EarlyStopping;
use crate::data::{self, Dataset};
use crate::engine::device::Device;
use crate::report::{Record, read_metrics, sample_sheet, write_run_report};
use crate::{Error, Result, SampleKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// An event of a run, for whoever watches it.
pub enum Event<'a> {
    /// Everything is allocated; the first step follows.
    Ready { trainer: &'a Trainer, dataset: &'a Dataset },
    /// A step is done.
    Step(&'a Record),
    /// A sheet of samples was drawn.
    Sheet(&'a Path),
}

/// The end of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Number of steps made.
    pub step: u64,
    /// True at the end: after all steps, or after fewer when validation no longer improved.
    pub finished: bool,
    /// Step whose weights count, where it is not the last: that of the best validation.
    pub best_step: Option<u64>,
    /// The last sheet of samples, if there is one.
    pub sheet: Option<PathBuf>,
    /// The page that shows the run.
    pub report: PathBuf,
}

/// A training run: its configuration and its place.
pub struct Run<'a> {
    /// The run directory: new, or with a configuration and perhaps checkpoints.
    pub dir: &'a RunDir,
    /// The configuration.
    pub config: &'a Config,
    /// Weights to begin with instead of random ones.
    pub init: Option<&'a ModelFile>,
    /// Set from outside to end the run after the current step.
    pub stop: &'a AtomicBool,
}

impl Run<'_> {
    /// Finds the last checkpoint: its step and file.
    fn last_checkpoint(&self) -> Result<Option<(u64, PathBuf)>> {
        Ok(checkpoint::list(&self.dir.checkpoints())?.pop())
    }

    /// Returns the outcome of a run that has nothing left to do.
    ///
    /// # Errors
    /// A run directory that cannot be read.
    pub fn finished(&self) -> Result<Option<Outcome>> {
        let Some((step, _)) = self.last_checkpoint()? else { return Ok(None) };
        let outcome = self.outcome(step, &self.validations(step)?);
        Ok(Some(outcome).filter(|outcome| outcome.finished && self.dir.report().exists()))
    }

    /// Reads the validations up to a step.
    fn validations(&self, step: u64) -> Result<EarlyStopping> {
        let mut stopping = EarlyStopping::new(&self.config.train);
        if self.dir.metrics().exists() {
            let records = read_metrics(&self.dir.metrics())?;
            records.iter().take_while(|record| record.step <= step).for_each(|record| {
                stopping.note(record);
            });
        }
        Ok(stopping)
    }

    fn outcome(&self, step: u64, validations: &EarlyStopping) -> Outcome {
        let finished = step >= self.config.train.steps || validations.is_over();
        let best_step = validations.best_step().filter(|_| finished && self.dir.best().exists());
        let sheet = Some(self.dir.sheet(step)).filter(|path| path.exists());
        Outcome { step, finished, best_step, sheet, report: self.dir.report() }
    }

    /// Trains to the end, or until `stop` is set; either way a checkpoint of the last step is written.
    ///
    /// # Errors
    /// Data, device or disk that fail, or a step that is not finite. The last checkpoint stays.
    pub fn train(&self, device: Device, watch: &mut dyn FnMut(Event)) -> Result<Outcome> {
        let dataset = open_data(self.config)?;
        let mut trainer = self.trainer(device)?;
        let first = trainer.updates();
        let mut log = RunLog::resume(self.dir, first, self.config.train.log_every)?;
        watch(Event::Ready { trainer: &trainer, dataset: &dataset });

        let mut feed = Feed::new(self.config, &dataset);
        let mut stopping = self.validations(first)?;
        let started = Instant::now();
        while self.enqueue(&mut trainer, &mut feed, stopping.is_over())? {
            let record = self.finish_step(&mut trainer, &mut feed)?;
            if stopping.note(&record) && self.config.train.patience > 0 {
                let state = trainer.state()?;
                checkpoint::save(&self.dir.best(), trainer.config(), trainer.params(), &state)?;
            }
            log.write(&record)?;
            watch(Event::Step(&record));
            if trainer.under_way() == 0 {
                self.after_step(&mut trainer, &mut log, watch)?;
            }
        }
        let step = trainer.updates();
        if step > first && self.last_checkpoint()?.is_none_or(|(saved, _)| saved < step) {
            self.save(&mut trainer)?;
        }
        self.draw_last_sheet(&mut trainer, &self.outcome(step, &stopping), &mut log, watch)?;
        self.write_report(&trainer, &dataset, first..step, started.elapsed().as_secs_f64())?;
        Ok(self.outcome(step, &stopping))
    }

    /// Prepares a trainer with the state to begin from, and the run directory.
    fn trainer(&self, device: Device) -> Result<Trainer> {
        let mut trainer = Trainer::without_weights(device, self.config)?;
        let init = self.init.map(|model| model.values_for(trainer.params())).transpose()?;
        self.dir.create(trainer.config())?;
        checkpoint::tidy(&self.dir.checkpoints(), 0)?;
        match (self.last_checkpoint()?, init) {
            (Some((_, path)), _) => {
                let state = Checkpoint::open(&path)?.state(trainer.params())?;
                trainer.restore(&state)?;
            }
            (None, Some(init)) => {
                trainer.start_from(&init)?;
                // A resumed run must not depend on the other model's still being there.
                self.save(&mut trainer)?;
            }
            (None, None) => trainer.draw_weights()?,
        }
        Ok(trainer)
    }

    /// Enqueues the steps that may be under way together; returns false where none is left to wait for.
    fn enqueue(&self, trainer: &mut Trainer, feed: &mut Feed, is_over: bool) -> Result<bool> {
        loop {
            // A GPU gets the next step while it computes one, unless something is done with the weights in between.
            let most = if trainer.runs_ahead() && !self.rests_after(trainer.updates()) { 2 } else { 1 };
            let goes_on = trainer.updates() < self.config.train.steps && !is_over;
            if !goes_on || trainer.under_way() >= most || self.stop.load(Ordering::Relaxed) {
                return Ok(trainer.under_way() > 0);
            }
            feed.start(trainer)?;
        }
    }

    /// Waits for the earliest step that is under way, and validates where that is due.
    fn finish_step(&self, trainer: &mut Trainer, feed: &mut Feed) -> Result<Record> {
        let mut record = feed.finish(trainer)?;
        if is_due(self.config.train.validate_every, record.step) {
            let validation = feed.validate(trainer)?;
            record.validation_loss = Some(validation.loss as f32);
            record.validation_error = Some(validation.standard_error as f32);
        }
        Ok(record)
    }

    /// Returns true where the weights are needed after a step, for a validation, a checkpoint or samples.
    fn rests_after(&self, step: u64) -> bool {
        let train = &self.config.train;
        [train.validate_every, train.checkpoint_every, train.sample_every].iter().any(|&every| is_due(every, step))
    }

    /// Writes a checkpoint and draws samples, where they are due.
    fn after_step(&self, trainer: &mut Trainer, log: &mut RunLog, watch: &mut dyn FnMut(Event)) -> Result<()> {
        let (train, step) = (&self.config.train, trainer.updates());
        if is_due(train.checkpoint_every, step) {
            self.save(trainer)?;
        }
        if self.config.sample.n > 0 && is_due(train.sample_every, step) && step < train.steps {
            self.draw_sheet(trainer, step, log, watch)?;
        }
        Ok(())
    }

    fn save(&self, trainer: &mut Trainer) -> Result<()> {
        let (folder, state) = (self.dir.checkpoints(), trainer.state()?);
        checkpoint::save(&checkpoint::path(&folder, state.step), trainer.config(), trainer.params(), &state)?;
        checkpoint::tidy(&folder, self.config.train.keep_checkpoints)
    }

    /// Draws the sheet of a run that has ended, with the weights that count.
    fn draw_last_sheet(
        &self,
        trainer: &mut Trainer,
        ended: &Outcome,
        log: &mut RunLog,
        watch: &mut dyn FnMut(Event),
    ) -> Result<()> {
        if ended.best_step.is_some() {
            let best = Checkpoint::open(&self.dir.best())?.state(trainer.params())?;
            trainer.restore(&best)?;
        }
        if ended.finished && self.config.sample.n > 0 && ended.sheet.is_none() {
            self.draw_sheet(trainer, ended.step, log, watch)?;
        }
        Ok(())
    }

    /// Draws a sheet of samples and the strip from noise to images.
    fn draw_sheet(
        &self,
        trainer: &mut Trainer,
        step: u64,
        log: &mut RunLog,
        watch: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let samples = trainer.sample()?;
        let (sheet, path) = (sample_sheet(&samples.images, samples.dims), self.dir.sheet(step));
        sheet.write_png(&path)?;
        if samples.kind() == SampleKind::Images {
            samples.strip().write_png(&self.dir.strip())?;
        }
        watch(Event::Sheet(&path));
        log.sheet(step, &sheet)
    }

    fn write_report(&self, trainer: &Trainer, dataset: &Dataset, made: Range<u64>, seconds: f64) -> Result<()> {
        let (step, steps) = (made.end, made.end - made.start);
        let config = trainer.config();
        let (fixed, activations) = trainer.memory_bytes();
        let images = steps * config.train.batch_size as u64;
        let mut facts = vec![
            ("data", format!("{}, {} images", dataset.name(), dataset.len())),
            ("parameters", trainer.params().count().to_string()),
            ("device", trainer.device_name()),
            ("steps", format!("{step} of {}", config.train.steps)),
            ("memory", format!("{:.0} MB", (fixed + activations) as f64 / 1e6)),
        ];
        if steps > 0 {
            facts.push(("time", format!("{:.0} s for {steps} steps", seconds)));
            facts.push(("speed", format!("{:.1} images/s", images as f64 / seconds)));
        }
        let title = self.dir.path().file_name().map_or("run".into(), |name| name.to_string_lossy());
        write_run_report(self.dir.path(), &title, &facts).map(drop)
    }
}

/// Returns true where something that happens every so many steps (0: never) is due after this one.
fn is_due(every: u64, step: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

/// Opens the data of a configuration.
///
/// # Errors
/// Data that cannot be read, or that do not fit the model.
pub fn open_data(config: &Config) -> Result<Dataset> {
    let dataset = data::open(&config.data.source, config.data.split, &config.data.options(&config.model))?;
    dataset.check_flip(config.data.flip)?;
    let (wanted, found) = (config.model.classes(), dataset.class_names().len());
    if wanted > 0 && wanted != found {
        return Err(Error::Config(format!("model.classes = {wanted}, but {} has {found} classes", dataset.name())));
    }
    Ok(dataset)
}
