//! A training run: data through the trainer into a run directory, from the first step or from the last checkpoint.

use super::checkpoint::{self, Checkpoint};
use super::config::Config;
use super::course::Course;
use super::event::Event;
use super::feed::Feed;
use super::log::RunLog;
use super::model_file::ModelFile;
use super::run_dir::RunDir;
use super::run_lock::RunLock;
use super::schedule::learning_rate;
use super::trainer::Trainer;
use super::validation::EarlyStopping;
use crate::data::{self, Dataset};
use crate::engine::device::Device;
use crate::files;
use crate::report::{read_metrics, write_run_report};
use crate::{Error, Result};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// The end of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Number of steps made.
    pub step: u64,
    /// True at the end: after all steps, or after fewer when validation no longer improved, and the last sheet.
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
    /// The configuration that [`RunDir::begun`] found when `config` was decided on.
    pub begun: Option<&'a Config>,
    /// Weights to begin with instead of random ones.
    pub init: Option<&'a ModelFile>,
    /// Set from outside to end the run after the current step.
    pub stop: &'a AtomicBool,
}

impl Run<'_> {
    /// Returns the outcome of a run that has nothing left to do.
    ///
    /// # Errors
    /// A run directory that cannot be read.
    pub fn finished(&self) -> Result<Option<Outcome>> {
        let step = |checkpoint: &Checkpoint| {
            let step = checkpoint.header.step;
            let may_be_last = step >= self.config.train.steps || self.config.train.patience > 0;
            if may_be_last { checkpoint.verify().map(|()| step) } else { Ok(step) }
        };
        let Some(last) = checkpoint::first_whole(self.checkpoints()?, step)? else { return Ok(None) };
        let outcome = self.outcome(last.value, &self.validations(last.value)?);
        let is_drawn = self.config.sample.n == 0 || outcome.sheet.is_some();
        Ok(Some(outcome).filter(|outcome| outcome.finished && is_drawn && self.dir.report().exists()))
    }

    /// Trains to the end, or until `stop` is set; either way a checkpoint of the last step is written.
    ///
    /// # Errors
    /// Data, device or disk that fail, a step that is not finite, or another process that trains in the same directory.
    /// The last checkpoint stays.
    pub fn train(&self, device: Device, watch: &mut dyn FnMut(Event)) -> Result<Outcome> {
        self.train_to_the_end(device, watch)
            .map_err(|error| if files::is_full(&error) { self.explained(&error) } else { error })
    }

    fn train_to_the_end(&self, device: Device, watch: &mut dyn FnMut(Event)) -> Result<Outcome> {
        let held = self.begun.map(|_| self.lock(watch)).transpose()?;
        let dataset = open_data(self.config)?;
        let mut trainer = Trainer::without_weights(device, self.config)?;
        let init = self.init.map(|model| model.values_for(trainer.params())).transpose()?;
        let _held = held.map_or_else(|| self.lock(watch), Ok)?;
        self.dir.create(trainer.config())?;
        checkpoint::tidy(&self.dir.checkpoints(), 0)?;
        let needs_saving = self.begin(&mut trainer, init.as_deref(), watch)?;
        let first = trainer.updates();
        self.warn_of_another_rate(first, watch);

        let log = RunLog::resume(self.dir, first, self.config.train.log_every)?;
        watch(Event::Ready { trainer: &trainer, dataset: &dataset });
        let started = Instant::now();
        let stopping = self.validations(first)?;
        let mut course = Course::new(self.dir, self.config, self.stop, trainer, log, stopping, watch);
        if needs_saving {
            course.save()?;
        }
        course.run(&mut Feed::new(self.config, &dataset))?;
        let step = course.trainer.updates();
        let ended = self.outcome(step, &course.stopping);
        if ended.finished {
            match course.draw_last_sheet(ended.best_step.is_some()) {
                Err(Error::Stopped) => return Ok(Outcome { finished: false, ..ended }),
                drawn => drawn?,
            }
        }
        self.write_report(&course.trainer, &dataset, first..step, started.elapsed().as_secs_f64())?;
        Ok(self.outcome(step, &course.stopping))
    }

    /// Adds what is left and what to do to the error of a full disk.
    fn explained(&self, error: &Error) -> Error {
        let dir = self.dir.path();
        let last = checkpoint::list(&self.dir.checkpoints()).ok().and_then(|mut all| all.pop());
        let stays = last.map_or(String::new(), |(step, _)| format!("the checkpoint of step {step} stays; "));
        let go_on = format!("ddpm train --resume --out {}", dir.display());
        Error::format(dir, format!("{error}; {stays}free some space, then go on with: {go_on}"))
    }

    /// Takes the run directory for this process.
    fn lock(&self, watch: &mut dyn FnMut(Event)) -> Result<RunLock> {
        let lock = self.dir.lock()?;
        if !lock.is_held() {
            watch(Event::Warning("this file system has no locks: no other process may train in this directory"));
        }
        if self.dir.begun()?.as_ref() != self.begun {
            return Err(Error::format(self.dir.path(), "another process has just trained here; try again"));
        }
        Ok(lock)
    }

    /// Gives a trainer the state to begin from: that of the last checkpoint, or other weights, or random ones. Returns
    /// true if it should be saved: a resumed run must not depend on another model's still being there.
    fn begin(&self, trainer: &mut Trainer, init: Option<&[f32]>, watch: &mut dyn FnMut(Event)) -> Result<bool> {
        let state = |checkpoint: &Checkpoint| checkpoint.state(trainer.params());
        if let Some(last) = checkpoint::first_whole(self.checkpoints()?, state)? {
            for (path, error) in last.damaged {
                watch(Event::Warning(&format!("{error}; going on from step {}", last.value.step)));
                checkpoint::set_aside(&path)?;
            }
            return trainer.restore(&last.value).map(|()| false);
        }
        match init {
            Some(init) => trainer.start_from(init).map(|()| true),
            None => trainer.draw_weights().map(|()| false),
        }
    }

    /// Warns where the settings of a resumed run give the next step another learning rate than it would have had.
    fn warn_of_another_rate(&self, next: u64, watch: &mut dyn FnMut(Event)) {
        let Some(begun) = self.begun.filter(|_| next > 0) else { return };
        let (old, new) = (&begun.train, &self.config.train);
        let [was, is] = [old, new].map(|train| learning_rate(train, next));
        if (is - was).abs() > 0.01 * was.max(is) {
            let [planned, plans] = [old, new].map(|train| train.lr_horizon());
            watch(Event::Warning(&format!(
                "the learning rate of step {} is {is:.2e}, not {was:.2e}: its course was planned for {planned} steps, and \
                 is now for {plans} (to keep the old course: --set train.lr_steps={planned})",
                next + 1
            )));
        }
    }

    /// Lists the checkpoints, the newest first.
    fn checkpoints(&self) -> Result<impl Iterator<Item = PathBuf>> {
        Ok(checkpoint::list(&self.dir.checkpoints())?.into_iter().rev().map(|(_, path)| path))
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

/// Opens the data of a configuration.
///
/// # Errors
/// Data that cannot be read, or that do not fit the model.
pub fn open_data(config: &Config) -> Result<Dataset> {
    let dataset = data::open(&config.data.source, config.data.split, &config.data.options(&config.model))?;
    dataset.check_flip(config.data.flip)?;
    let (wanted, found) = (config.model.classes(), dataset.class_names().len());
    if wanted > 0 && wanted != found {
        let remedy = match found {
            0 => "to train without labels: --set model.classes=0 --set sample.guidance=0".into(),
            _ => format!("to train on them: --set model.classes={found}"),
        };
        let name = dataset.name();
        return Err(Error::Config(format!("model.classes = {wanted}, but {name} has {found} classes; {remedy}")));
    }
    Ok(dataset)
}
