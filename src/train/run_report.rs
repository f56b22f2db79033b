//! The page of a run while it is made: kept up to date with what is known, at little cost.
//!
//! A page takes a millisecond after 2,000 steps and 40 after 800,000, most of it for the moving average of the loss.

use super::config::Config;
use super::evaluation;
use super::history::{History, State, date_words, words};
use super::run_dir::RunDir;
use super::trainer::Trainer;
use crate::data::{Dataset, spread};
use crate::files::{replace_file, replace_unsynced};
use crate::report::{
    Content, Figure, LossCurve, Record, RunPage, SCATTER, Sheet, Status, broad_and_narrow, data_scatter, data_sheet,
    distance_curve, read_evaluations, read_metrics, read_sheets, sample_scatter,
};
use crate::version::version;
use crate::{Result, invocation};
use humantime::format_rfc3339_seconds;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Least time from one page to the next that is not asked for.
const LEAST_INTERVAL: Duration = Duration::from_secs(5);
/// Pages that are not asked for take at most one part in so many of the time.
const SHARE: u32 = 100;
/// Silence is allowed to last so many times as long as it ever did, and two minutes more.
const PATIENCE: (u32, Duration) = (4, Duration::from_secs(120));
/// Images of the data that are shown where the model draws none.
const DATA_IMAGES: usize = 64;
/// Points of the data that are shown.
const DATA_POINTS: usize = 2000;

/// Writer of the page of a run, of its loss curve and of its history.
pub struct RunReport {
    dir: RunDir,
    history: History,
    /// Facts that do not change: data, parameters, device, sampler, memory.
    facts: Vec<(String, String)>,
    data: Sheet,
    /// Some points of the data `[n, 1, 1, 2]`, where they are points.
    points: Option<Vec<f32>>,
    curve: LossCurve,
    config: String,
    steps: u64,
    step: u64,
    /// Images of this part, and the seconds that their steps took.
    trained: [f64; 2],
    images_per_step: f64,
    started: Instant,
    written: Instant,
    interval: Duration,
    longest_silence: Duration,
}

impl RunReport {
    /// Begins the page of a run that stands where the trainer does, and writes it.
    ///
    /// # Errors
    /// Files of the run that cannot be read or written.
    pub fn begin(dir: &RunDir, trainer: &Trainer, dataset: &Dataset) -> Result<RunReport> {
        let config = trainer.config();
        let mut curve = LossCurve::default();
        read_metrics(&dir.metrics())?.iter().for_each(|record| curve.add(record));
        let mut history = History::open(&dir.history())?;
        history.begin(trainer.device_name(), trainer.updates());
        let now = Instant::now();
        let mut report = RunReport {
            dir: dir.clone(),
            history,
            facts: facts(trainer, dataset)?,
            data: data(dataset, config)?,
            points: dataset.points().map(|points| some_points(dataset, points)),
            curve,
            config: config.to_toml(),
            steps: config.train.steps,
            step: trainer.updates(),
            trained: [0.0; 2],
            images_per_step: config.train.batch_size as f64,
            started: now,
            written: now,
            interval: LEAST_INTERVAL,
            longest_silence: Duration::ZERO,
        };
        report.refresh("the first step is under way");
        Ok(report)
    }

    /// Adds a step, and writes the page if it is old.
    pub fn step(&mut self, record: &Record) {
        self.step = record.step;
        self.curve.add(record);
        if let Some(speed) = record.images_per_second.filter(|speed| *speed > 0.0) {
            self.trained[0] += self.images_per_step;
            self.trained[1] += self.images_per_step / f64::from(speed);
        }
        self.beat("");
    }

    /// Writes the page if it is old: a sign of life from within something that takes long.
    pub fn beat(&mut self, doing: &str) {
        if self.written.elapsed() >= self.interval {
            self.refresh(doing);
        }
    }

    /// Writes the page of a run that goes on. A page that cannot be written is no reason to end the run: if that lasts, its
    /// end meets the same error.
    pub fn refresh(&mut self, doing: &str) {
        let began = Instant::now();
        self.longest_silence = self.longest_silence.max(self.written.elapsed());
        let _ = self.write_live(doing);
        self.written = Instant::now();
        self.interval = LEAST_INTERVAL.max(began.elapsed() * SHARE);
    }

    /// Plots samples that are points on the data.
    pub fn scatter(&self, step: u64, samples: &[f32]) -> Figure {
        sample_scatter(&format!("step {step}"), samples, self.points.as_deref())
    }

    fn write_live(&mut self, doing: &str) -> Result<()> {
        let doing = if doing.is_empty() { String::new() } else { format!("; {doing}") };
        let now = SystemTime::now();
        let (factor, patience) = PATIENCE;
        let status = Status::Training {
            done: format!("step {} of {}", self.step, self.steps),
            now: self.time_left() + &doing,
            written: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            every: self.interval.as_secs().max(1),
            patience: (self.longest_silence.max(self.interval) * factor + patience).as_secs(),
            date: date(now),
            go_on: invocation::resume(self.dir.path()),
        };
        self.history.note(self.step, self.started.elapsed().as_secs_f64(), State::Training)?;
        let page = self.page(status)?;
        replace_unsynced(&self.dir.loss_curve(), page.curve[0].as_bytes())?;
        replace_unsynced(&self.dir.report(), page.html().as_bytes())
    }

    /// Writes the last page of this part: of a run that came to its end, or that goes on some other time.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn end(&mut self, state: State, words: &str) -> Result<()> {
        let go_on = invocation::resume(self.dir.path());
        let status = match state {
            State::Finished => Status::Finished(words.into()),
            _ => Status::Ended { reason: words.into(), go_on },
        };
        let seconds = self.started.elapsed().as_secs_f64();
        self.history.note(self.step, seconds, State::Training)?;
        let page = self.page(status)?;
        replace_file(&self.dir.loss_curve(), page.curve[0].as_bytes())?;
        replace_file(&self.dir.report(), page.html().as_bytes())?;
        // Last of all: it tells that the page is the last one.
        self.history.note(self.step, seconds, state)
    }

    fn page(&self, status: Status) -> Result<RunPage> {
        let title = self.dir.path().file_name().map_or("run".into(), |name| name.to_string_lossy().into_owned());
        let strip = self.dir.strip();
        let measured = read_evaluations(&self.dir.evaluations())?;
        let best = evaluation::best_in_words(&measured).map(|best| ("best samples".to_owned(), best));
        Ok(RunPage {
            title,
            status,
            facts: self.changing_facts().into_iter().chain(best).chain(self.facts.clone()).collect(),
            data: Some(self.data.clone()),
            sheets: read_sheets(&self.dir.samples())?,
            strip: strip.exists().then(|| Sheet::read("from noise to samples", &strip)).transpose()?,
            curve: self.curve.svgs(),
            distances: distance_curve(&measured).map(|plot| broad_and_narrow(&plot)),
            parts: self.history.table(),
            config: self.config.clone(),
        })
    }

    fn changing_facts(&self) -> Vec<(String, String)> {
        let mut facts = vec![("steps", format!("{} of {}", self.step, self.steps))];
        facts.extend(self.curve.last_loss().map(|loss| ("loss, last steps", format!("{loss:.4}"))));
        facts.extend(
            self.curve.validations().map(|[last, best]| ("validation loss", format!("{last:.4}, best {best:.4}"))),
        );
        facts.push(("time", self.history.time()));
        facts.extend(self.speed().map(|speed| ("speed", format!("{speed:.1} images/s"))));
        facts.extend(self.history.began().map(|began| ("began", began)));
        facts.push(("written", date(SystemTime::now())));
        facts.into_iter().map(|(name, value)| (name.into(), value)).collect()
    }

    /// Images a second while this part trained.
    fn speed(&self) -> Option<f64> {
        let [images, seconds] = self.trained;
        (seconds > 0.0).then(|| images / seconds)
    }

    fn time_left(&self) -> String {
        let images = self.steps.saturating_sub(self.step) as f64 * self.images_per_step;
        self.speed().map_or(String::new(), |speed| format!(", about {} left", words(images / speed)))
    }
}

fn date(time: SystemTime) -> String {
    date_words(&format_rfc3339_seconds(time).to_string())
}

fn facts(trainer: &Trainer, dataset: &Dataset) -> Result<Vec<(String, String)>> {
    let config = trainer.config();
    let (fixed, activations) = trainer.memory_bytes();
    let precision = config.train.precision.dtype().suffix();
    let architecture = setting(config, "model.architecture");
    Ok([
        ("data", format!("{}, {} samples", dataset.name(), dataset.len())),
        ("model", format!("{}, {} parameters", architecture, trainer.params().count())),
        ("device", format!("{}, {precision}", trainer.device_name())),
        ("memory", format!("{:.0} MB", (fixed + activations) as f64 / 1e6)),
        ("sampler", sampler(config)?),
        ("version", version().into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into())
}

fn some_points(dataset: &Dataset, points: &[f32]) -> Vec<f32> {
    spread(dataset, DATA_POINTS).iter().flat_map(|&i| points[2 * i..][..2].iter().copied()).collect()
}

/// The sampler in words: `ddpm, variance fixed-large, 1000 evaluations`.
fn sampler(config: &Config) -> Result<String> {
    if config.sample.n == 0 {
        return Ok("no samples".into());
    }
    let mut words = vec![setting(config, "sample.sampler")];
    let own = ["sample.variance", "sample.eta"].map(|key| (key, setting(config, key)));
    let own = own.iter().filter(|(_, value)| !value.is_empty());
    words.extend(own.map(|(key, value)| format!("{} {value}", key.trim_start_matches("sample."))));
    if config.sample.guidance != 0.0 {
        words.push(format!("guidance {}", config.sample.guidance));
    }
    words.push(format!("{} evaluations", config.sample_plan()?.steps.len()));
    Ok(words.join(", "))
}

/// A setting as configurations write it; empty if there is none of this name.
fn setting(config: &Config, key: &str) -> String {
    let value = config.leaves().into_iter().find(|(name, _)| name == key).map(|(_, value)| value);
    value.map_or(String::new(), |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// A picture of the data, arranged as the model's samples are.
fn data(dataset: &Dataset, config: &Config) -> Result<Sheet> {
    let caption = format!("the data: {}", dataset.name());
    let content = match dataset.points() {
        Some(_) => {
            let plot = data_scatter(dataset, &spread(dataset, DATA_POINTS));
            Content::Svg(plot.panel_size(SCATTER, SCATTER).svg())
        }
        None => {
            let n = if config.sample.n > 0 { config.sample.n } else { DATA_IMAGES };
            Content::Png(data_sheet(dataset, &spread(dataset, n), None)?.png())
        }
    };
    Ok(Sheet { caption, content })
}
