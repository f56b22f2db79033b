//! A training run: data through the trainer into a run directory, from the first step or from the last checkpoint.

use super::checkpoint::{self, Checkpoint};
use super::config::Config;
use super::course::Course;
use super::evaluation::{self, Evaluations, Evaluator, MakeEvaluator};
use super::event::Event;
use super::feed::{self, Feed};
use super::history::{History, State};
use super::log::RunLog;
use super::model_file::ModelFile;
use super::run_dir::RunDir;
use super::run_lock::RunLock;
use super::schedule::learning_rate;
use super::share::Share;
use super::trainer::Trainer;
use super::validation::EarlyStopping;
use crate::data::{self, Dataset};
use crate::engine::device::Device;
use crate::files;
use crate::ranks::Ranks;
use crate::report::{read_evaluations, read_metrics};
use crate::{Error, Result, invocation};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// The end of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Number of steps made.
    pub step: u64,
    /// Number of steps that were planned.
    pub steps: u64,
    /// True at the end: after all steps, or after fewer when validation no longer improved, and the last sheet.
    pub finished: bool,
    /// Step whose weights count, where it is not the last: that of the best validation.
    pub best_step: Option<u64>,
    /// Step after which samples were measured best, in words, if any were.
    pub best_samples: Option<String>,
    /// The last sheet of samples, if there is one.
    pub sheet: Option<PathBuf>,
    /// The page that shows the run.
    pub report: PathBuf,
}

/// A training run: its configuration and its place.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The run directory: new, or with a configuration and perhaps checkpoints.
    pub dir: &'a RunDir,
    /// The configuration.
    pub config: &'a Config,
    /// The configuration that [`RunDir::begun`] found when `config` was decided on.
    pub begun: Option<&'a Config>,
    /// Weights to begin with instead of random ones.
    pub init: Option<&'a ModelFile>,
    /// Makes what measures samples, where the configuration says to.
    pub evaluator: Option<&'a MakeEvaluator<'a>>,
    /// Set from outside to end the run after the current step.
    pub stop: &'a AtomicBool,
    /// The processes that train together. All have the same configuration; rank 0 alone uses the run directory.
    pub ranks: &'a Ranks,
}

impl Run<'_> {
    /// Returns the outcome of a run that has nothing left to do.
    ///
    /// # Errors
    /// A run directory that cannot be read.
    pub fn finished(&self) -> Result<Option<Outcome>> {
        // Passes over the data become steps when these are opened.
        let Some(steps) = self.planned_steps()? else { return Ok(None) };
        let step = |checkpoint: &Checkpoint| {
            let step = checkpoint.header.step;
            let may_be_last = step >= steps || self.config.train.patience > 0;
            if may_be_last { checkpoint.verify().map(|()| step) } else { Ok(step) }
        };
        let Some(last) = checkpoint::first_whole(self.checkpoints()?, step)? else { return Ok(None) };
        let config = self.with_steps(steps);
        let outcome = Run { config: &config, ..*self }.outcome(last.value, &self.validations(last.value)?)?;
        let is_drawn = self.config.sample.n == 0 || outcome.sheet.is_some();
        let is_shown = self.dir.report().exists() && History::open(&self.dir.history())?.is_closed();
        Ok(Some(outcome).filter(|outcome| outcome.finished && is_drawn && is_shown))
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

    /// Computes this rank's share of the steps that rank 0 makes with [`Run::train`], until that ends.
    ///
    /// # Errors
    /// Data or a device that fail.
    pub fn follow(&self, device: Device) -> Result<()> {
        let opened = self.open()?;
        Run { config: &opened.config, ..*self }.follow_on(&opened.dataset, device)
    }

    fn train_to_the_end(&self, device: Device, watch: &mut dyn FnMut(Event)) -> Result<Outcome> {
        let held = self.begun.map(|_| self.lock(watch)).transpose()?;
        let Opened { dataset, config } = self.open()?;
        self.warn_of_other_classes(dataset.class_names(), watch);
        Run { config: &config, ..*self }.train_on(&dataset, held, device, watch)
    }

    /// Opens the data, and completes the configuration with what they say.
    fn open(&self) -> Result<Opened> {
        let dataset = self.ranks.together(open_data(self.config))?;
        let mut config = self.with_class_names(dataset.class_names());
        config.train.steps = feed::steps(self.config, &dataset);
        Ok(Opened { dataset, config })
    }

    fn train_on(
        &self,
        dataset: &Dataset,
        held: Option<RunLock>,
        device: Device,
        watch: &mut dyn FnMut(Event),
    ) -> Result<Outcome> {
        let evaluator = self.evaluator(dataset)?;
        let mut trainer = self.trainer(dataset, device)?;
        let init = self.init.map(|model| model.values_for(trainer.params())).transpose()?;
        let _held = held.map_or_else(|| self.lock(watch), Ok)?;
        self.dir.create(trainer.config())?;
        checkpoint::tidy(&self.dir.checkpoints(), 0)?;
        let needs_saving = self.begin(&mut trainer, init.as_deref(), watch)?;
        trainer.share_state()?;
        let first = trainer.updates();
        if first == 0 {
            self.config.cautions()?.iter().for_each(|text| watch(Event::Warning(text)));
        }
        self.warn_of_another_rate(first, watch);

        let log = RunLog::resume(self.dir, &trainer, dataset)?;
        watch(Event::Ready { trainer: &trainer, dataset });
        let stopping = self.validations(first)?;
        let share = Share::new(&self.config.train, self.ranks)?;
        let mut course = Course::new(self.dir, self.config, self.stop, trainer, log, stopping, watch);
        course.evaluations = evaluator.map(|evaluator| Evaluations::resume(self.dir, first, evaluator)).transpose()?;
        let ended = if needs_saving { course.save() } else { Ok(()) }
            .and_then(|()| course.run(&mut Feed::new(self.config, dataset, share)?))
            .and_then(|()| self.last_sheet(&mut course));
        let report = &mut course.log.report;
        match &ended {
            Ok(outcome) if outcome.finished => report.end(State::Finished, &self.ending(outcome))?,
            Ok(outcome) => report.end(State::Stopped, &format!("stopped after step {}", outcome.step))?,
            // The error that ended the run is the one to report.
            Err(error) => drop(report.end(State::Failed, &error.to_string())),
        }
        ended
    }

    /// Draws the last sheet of a run that has come to its end. The outcome is not finished if it was stopped meanwhile.
    fn last_sheet(&self, course: &mut Course) -> Result<Outcome> {
        let step = course.trainer.updates();
        let ended = self.outcome(step, &course.stopping)?;
        if !ended.finished {
            return Ok(ended);
        }
        match course.draw_last_sheet(ended.best_step.is_some()) {
            Err(Error::Stopped) => Ok(Outcome { finished: false, ..ended }),
            drawn => drawn.and_then(|()| self.outcome(step, &course.stopping)),
        }
    }

    /// The end of a run in words.
    fn ending(&self, outcome: &Outcome) -> String {
        let steps = self.config.train.steps;
        let end = match outcome.step < steps {
            true => format!("after {} of {steps} steps validation no longer improved", outcome.step),
            false => format!("all {steps} steps are done"),
        };
        let best = outcome
            .best_step
            .map_or(String::new(), |step| format!("; the weights of step {step} count, whose validation was best"));
        end + &best
    }

    /// Makes what measures samples, where some are to be measured.
    fn evaluator(&self, dataset: &Dataset) -> Result<Option<Box<dyn Evaluator>>> {
        match self.evaluator {
            _ if self.config.train.evaluate_every == 0 => Ok(None),
            Some(make) => make(self.config, dataset).map(Some),
            None => Err(Error::Config("train.evaluate_every: nothing measures the samples of this run".into())),
        }
    }

    /// The number of steps, if it is known before the data are open: the passes of a run that was begun were counted then.
    fn planned_steps(&self) -> Result<Option<u64>> {
        let train = &self.config.train;
        if train.epochs == 0.0 {
            return Ok(Some(train.steps));
        }
        let begun = self.dir.begun()?.map(|begun| begun.train);
        Ok(begun.filter(|begun| begun.epochs == train.epochs).map(|begun| begun.steps))
    }

    fn with_steps(&self, steps: u64) -> Config {
        let mut config = self.config.clone();
        config.train.steps = steps;
        config
    }

    /// The configuration with the names of the data's classes, where the network is told of them.
    fn with_class_names(&self, names: &[String]) -> Config {
        let mut config = self.config.clone();
        let known = &mut config.sample.class_names;
        if config.model.classes() > 0 && known.is_empty() {
            *known = names.to_vec();
        }
        config
    }

    /// Warns where a run began with classes of other names.
    fn warn_of_other_classes(&self, names: &[String], watch: &mut dyn FnMut(Event)) {
        let known = &self.config.sample.class_names;
        if self.config.model.classes() > 0 && !known.is_empty() && *known != names {
            let [began, are] = [&known[..], names].map(|names| names.join(", "));
            watch(Event::Warning(&format!("the run's classes are called {began}; those of the data {are}")));
        }
    }

    /// Adds what is left and what to do to the error of a full disk.
    fn explained(&self, error: &Error) -> Error {
        let dir = self.dir.path();
        let last = checkpoint::list(&self.dir.checkpoints()).ok().and_then(|mut all| all.pop());
        let stays = last.map_or(String::new(), |(step, _)| format!("the checkpoint of step {step} stays; "));
        let go_on = invocation::resume(dir);
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

    fn outcome(&self, step: u64, validations: &EarlyStopping) -> Result<Outcome> {
        let steps = self.config.train.steps;
        let records = read_evaluations(&self.dir.evaluations())?;
        let lacks = evaluation::is_due(&self.config.train, step) && !records.iter().any(|record| record.step == step);
        let finished = (step >= steps || validations.is_over()) && !lacks;
        let best_samples = evaluation::best_in_words(&records).filter(|_| self.dir.best_samples().exists());
        let best_step = validations.best_step().filter(|_| finished && self.dir.best().exists());
        let sheet = Some(self.dir.sheet(step, self.config.sample_kind())).filter(|path| path.exists());
        Ok(Outcome { step, steps, finished, best_step, best_samples, sheet, report: self.dir.report() })
    }
}

/// The data of a run, and its configuration with what they say.
struct Opened {
    dataset: Dataset,
    config: Config,
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
