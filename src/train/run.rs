//! A training run: data through the trainer into a run directory, from the first step or from the last checkpoint.

use super::checkpoint::{self, Checkpoint};
use super::config::Config;
use super::model_file::ModelFile;
use super::run_dir::RunDir;
use super::trainer::Trainer;
use crate::data::{self, Batch, Dataset, Loader};
use crate::device::Device;
use crate::report::{EventWriter, MetricsLog, Record, grid, write_run_report};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What a run tells whoever watches it.
pub enum Event<'a> {
    /// Everything is allocated; the first step follows.
    Ready { trainer: &'a Trainer, dataset: &'a Dataset },
    /// A step is done.
    Step(&'a Record),
    /// A sheet of samples was drawn.
    Sheet(&'a Path),
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Steps made, of those configured.
    pub step: u64,
    /// The last sheet of samples, if there is one.
    pub sheet: Option<PathBuf>,
    /// The page that shows the run.
    pub report: PathBuf,
}

/// What to train, and where.
pub struct Run<'a> {
    /// The run directory: new, or with a configuration and perhaps checkpoints.
    pub dir: &'a RunDir,
    /// The configuration.
    pub config: &'a Config,
    /// Weights to begin with instead of random ones.
    pub init: Option<&'a ModelFile>,
    /// Set by somebody else to end the run after the current step.
    pub stop: &'a AtomicBool,
}

impl Run<'_> {
    /// The last checkpoint's step and file, if one was written.
    fn last_checkpoint(&self) -> Result<Option<(u64, PathBuf)>> {
        Ok(checkpoint::list(&self.dir.checkpoints())?.pop())
    }

    /// Whether there is nothing left to do.
    ///
    /// # Errors
    /// A run directory that cannot be read.
    pub fn finished(&self) -> Result<Option<Outcome>> {
        let done = self.last_checkpoint()?.is_some_and(|(step, _)| step >= self.config.train.steps);
        Ok((done && self.dir.report().exists()).then(|| self.outcome(self.config.train.steps)))
    }

    fn outcome(&self, step: u64) -> Outcome {
        let sheet = Some(self.dir.sheet(step)).filter(|path| path.exists());
        Outcome { step, sheet, report: self.dir.report() }
    }

    /// Trains to the end, or until it is told to stop; either way a checkpoint of the last step is written.
    ///
    /// # Errors
    /// Data, device or disk that fail, or a step that is not finite. The last checkpoint stays.
    pub fn train(&self, device: Device, watch: &mut dyn FnMut(Event)) -> Result<Outcome> {
        let config = self.config;
        let dataset = open_data(config)?;
        let mut trainer = Trainer::new(device, config)?;
        let init = self.init.map(|model| model.values_for(trainer.params())).transpose()?;
        self.dir.create(trainer.config())?;
        checkpoint::tidy(&self.dir.checkpoints(), 0)?;
        match (self.last_checkpoint()?, &init) {
            (Some((_, path)), _) => {
                let state = Checkpoint::open(&path)?.state(trainer.params())?;
                trainer.restore(&state)?;
            }
            (None, Some(init)) => {
                trainer.start_from(init)?;
                // A resumed run must not depend on the other model's still being there.
                self.save(&mut trainer)?;
            }
            (None, None) => {}
        }
        let first = trainer.updates();
        let mut metrics = MetricsLog::resume(&self.dir.metrics(), first + 1)?;
        let mut events = EventWriter::create(self.dir.path(), if first == 0 { 0 } else { first + 1 })?;
        watch(Event::Ready { trainer: &trainer, dataset: &dataset });

        let mut feed = Feed::new(config, &dataset);
        let started = Instant::now();
        while trainer.updates() < config.train.steps && !self.stop.load(Ordering::Relaxed) {
            let record = feed.step(&mut trainer)?;
            metrics.write(&record)?;
            if record.step.is_multiple_of(config.train.log_every) {
                let scalars =
                    [("loss", record.loss), ("learning_rate", record.learning_rate), ("grad_norm", record.grad_norm)];
                events.scalars(record.step, &scalars)?;
            }
            watch(Event::Step(&record));
            self.after_step(&mut trainer, &mut events, watch)?;
        }
        let step = trainer.updates();
        if step == config.train.steps && config.sample.n > 0 && !self.dir.sheet(step).exists() {
            self.draw_sheet(&mut trainer, &mut events, watch)?;
        }
        self.write_report(&trainer, &dataset, step - first, started.elapsed().as_secs_f64())?;
        Ok(self.outcome(step))
    }

    /// Checkpoint and samples, where they are due.
    fn after_step(&self, trainer: &mut Trainer, events: &mut EventWriter, watch: &mut dyn FnMut(Event)) -> Result<()> {
        let (train, step) = (&self.config.train, trainer.updates());
        let due = |every: u64| every > 0 && step.is_multiple_of(every);
        if due(train.checkpoint_every) || step == train.steps || self.stop.load(Ordering::Relaxed) {
            self.save(trainer)?;
        }
        if self.config.sample.n > 0 && due(train.sample_every) && step < train.steps {
            self.draw_sheet(trainer, events, watch)?;
        }
        Ok(())
    }

    fn save(&self, trainer: &mut Trainer) -> Result<()> {
        let (folder, state) = (self.dir.checkpoints(), trainer.state()?);
        checkpoint::save(&folder, trainer.config(), trainer.params(), &state)?;
        checkpoint::tidy(&folder, self.config.train.keep_checkpoints)
    }

    /// A sheet of samples and the strip from noise to images.
    fn draw_sheet(&self, trainer: &mut Trainer, events: &mut EventWriter, watch: &mut dyn FnMut(Event)) -> Result<()> {
        let samples = trainer.sample()?;
        let (sheet, path) = (grid(&samples.images, samples.dims, None), self.dir.sheet(trainer.updates()));
        sheet.write_png(&path)?;
        samples.strip().write_png(&self.dir.strip())?;
        watch(Event::Sheet(&path));
        events.picture(trainer.updates(), "samples", &sheet)
    }

    fn write_report(&self, trainer: &Trainer, dataset: &Dataset, steps: u64, seconds: f64) -> Result<()> {
        let config = trainer.config();
        let (fixed, activations) = trainer.memory_bytes();
        let images = steps * config.train.batch_size as u64;
        let mut facts = vec![
            ("data", format!("{}, {} images", dataset.name(), dataset.len())),
            ("parameters", trainer.params().count().to_string()),
            ("device", trainer.device_name()),
            ("steps", format!("{} of {}", trainer.updates(), config.train.steps)),
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

/// The data of a configuration.
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

/// Hands batches to a trainer.
pub struct Feed<'a> {
    dataset: &'a Dataset,
    loader: Loader,
    conditional: bool,
    batch: Batch,
    images: Vec<f32>,
    labels: Vec<i32>,
}

impl<'a> Feed<'a> {
    /// Batches of `config` from a data set.
    pub fn new(config: &Config, dataset: &'a Dataset) -> Feed<'a> {
        let (n, limit) = (config.train.batch_size, config.data.limit);
        let images = if limit == 0 { dataset.len() } else { limit.min(dataset.len()) };
        Feed {
            dataset,
            loader: Loader::new(images, n, config.train.seed, config.data.flip),
            conditional: config.model.classes() > 0,
            batch: Batch::default(),
            images: vec![0.0; n * dataset.image_dims().iter().product::<usize>()],
            labels: vec![0; n],
        }
    }

    /// Makes the trainer's next step.
    ///
    /// # Errors
    /// Those of [`Trainer::step`].
    pub fn step(&mut self, trainer: &mut Trainer) -> Result<Record> {
        let started = Instant::now();
        self.loader.fill(trainer.updates(), &mut self.batch);
        self.dataset.fill_batch(&self.batch.indices, &self.batch.flips, &mut self.images);
        if self.conditional {
            self.dataset.fill_labels(&self.batch.indices, &mut self.labels);
        }
        let result = trainer.step(&self.images, &self.labels)?;
        let images_per_second = self.labels.len() as f64 / started.elapsed().as_secs_f64();
        Ok(Record {
            step: trainer.updates(),
            loss: result.loss,
            learning_rate: result.learning_rate as f32,
            grad_norm: result.grad_norm,
            images_per_second: Some(images_per_second as f32),
        })
    }
}
