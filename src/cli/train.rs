//! `ddpm train`

use super::config::{ConfigArgs, check_resumable};
use super::features;
use super::progress::Progress;
use super::signals::Stop;
use super::terminal::{draws_bars, exit_code, in_words, megabytes, open_device, say};
use crate::Error;
use crate::data::Dataset;
use crate::engine::device::Device;
use crate::invocation;
use crate::ranks::{self, Order, Ranks, Seat};
use crate::report::EvaluationRecord;
use crate::train::config::Precision;
use crate::train::evaluation::MakeEvaluator;
use crate::train::event::Event;
use crate::train::run::{Outcome, Run};
use crate::train::share::Share;
use crate::train::{Config, ModelFile, RunDir, Trainer, Which};
use anyhow::{Context, Result};
use rayon::ThreadPoolBuilder;
use std::io::stderr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  ddpm train
  ddpm train --preset mnist-small --data data/mnist --steps 3000 --batch-size 32
  ddpm train --config runs/quickstart-001/config.toml --set train.seed=1
  ddpm train --resume --out runs/quickstart-001
  ddpm train --resume --steps 4000                  the newest run, to more steps";

/// Time that rank 0 has to report an error and end the job, before another rank does.
const PATIENCE: Duration = Duration::from_secs(5);

/// The folder of runs that are not given another place.
const RUNS: &str = "runs";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Updates of the weights (short for --set train.steps=...)
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Passes over the data, instead of a number of steps (short for --set train.epochs=...)
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    epochs: Option<f64>,
    /// Seed of everything random but the samples (short for --set train.seed=...)
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The run directory to make [default: runs/NAME-001, or the next free number]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in --out, or with the newest run, from its last checkpoint; begin the one in --out where there
    /// is none
    #[arg(long)]
    resume: bool,
    /// Begin with the weights of a run, a checkpoint or a diffusers model folder
    #[arg(long, value_name = "MODEL")]
    init: Option<PathBuf>,
}

pub fn run(args: Args, device: &str) -> Result<ExitCode> {
    // The threads of MPI, too, leave signals to the one that waits for them.
    let stop = Stop::on_signals()?;
    let ranks = ranks::open(report)?;
    let done = seat(&ranks, device).and_then(|device| run_on(&ranks, args, &device, &stop));
    if let Err(error) = &done
        && ranks.size() > 1
    {
        // The others would wait for this rank.
        if matches!(error.downcast_ref(), Some(Error::Elsewhere)) {
            thread::sleep(PATIENCE);
        } else {
            let rank = if ranks.leads() { String::new() } else { format!("rank {}: ", ranks.rank()) };
            eprintln!("error: {rank}{}", in_words(error));
        }
        ranks.abort(exit_code(error));
    }
    done
}

/// Says why a rank ends the job.
fn report(text: &str) {
    eprintln!("error: {text}");
}

/// Takes this rank's place on its machine: its share of the cores, and the name of its device.
fn seat(ranks: &Ranks, device: &str) -> Result<String> {
    if ranks.size() == 1 {
        return Ok(device.into());
    }
    let Seat { local_rank, threads } = ranks.seat()?;
    ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    Ok(match device {
        "cuda" => format!("cuda:{local_rank}"),
        // Where there is any GPU, each rank has one.
        "auto" if Device::open("cuda").is_ok() => format!("cuda:{local_rank}"),
        device => device.into(),
    })
}

fn run_on(ranks: &Ranks, mut args: Args, device: &str, stop: &Stop) -> Result<ExitCode> {
    let prepared = prepare(ranks, &mut args);
    let Prepared { begun, config, init } = ranks.together(prepared)?;
    if !ranks.leads() {
        if ranks.next_order()? == Order::Begin {
            let dir = RunDir::new(Path::new(RUNS));
            let run = Run {
                dir: &dir,
                config: &config,
                begun: begun.as_ref(),
                init: None,
                evaluator: None,
                stop: &stop.flag,
                ranks,
            };
            let opened = Device::open(device).map(|(device, _note)| device);
            run.follow(ranks.together(opened)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let dir = match &args.out {
        Some(path) => RunDir::new(path),
        None => RunDir::numbered(Path::new(RUNS), &args.config.name())?,
    };
    let evaluator: &MakeEvaluator = &|config, dataset| features::evaluator(config, dataset, device);
    let run = Run {
        dir: &dir,
        config: &config,
        begun: begun.as_ref(),
        init: init.as_ref(),
        evaluator: Some(evaluator),
        stop: &stop.flag,
        ranks,
    };
    if let Some(outcome) = run.finished()? {
        say(format!("already finished after {} of {} steps", outcome.step, outcome.steps));
        print_outcome(&outcome, &dir);
        ranks.order(Order::End)?;
        return Ok(ExitCode::SUCCESS);
    }
    ranks.order(Order::Begin)?;
    let outcome = ranks.together(open_device(device)).and_then(|device| train(&run, device));
    if outcome.is_err() && args.out.is_none() {
        dir.remove_if_empty();
    }
    let outcome = outcome?;
    ranks.order(Order::End)?;
    if !outcome.finished {
        say(format!("stopped after step {}; go on with: {}", outcome.step, invocation::resume(dir.path())));
        return Ok(ExitCode::from(stop.exit_code()));
    }
    if outcome.step < outcome.steps {
        say(format!("ended    after step {}: validation no longer improved", outcome.step));
    }
    print_outcome(&outcome, &dir);
    Ok(ExitCode::SUCCESS)
}

/// The wishes of the user, as every rank understands them.
struct Prepared {
    begun: Option<Config>,
    config: Config,
    init: Option<ModelFile>,
}

fn prepare(ranks: &Ranks, args: &mut Args) -> Result<Prepared> {
    args.settle(ranks)?;
    let begun = if args.resume { args.out.as_ref().map_or(Ok(None), |out| RunDir::new(out).begun())? } else { None };
    let config = configuration(args, begun.as_ref())?;
    config.validate()?;
    Share::new(&config.train, ranks)?;
    let init = args.init.as_ref().filter(|_| ranks.leads());
    let init = init.map(|path| ModelFile::open(path, &Which::Average)).transpose().context("--init")?;
    Ok(Prepared { begun, config, init })
}

impl Args {
    /// Turns what is short for something into it.
    fn settle(&mut self, ranks: &Ranks) -> Result<()> {
        let [steps, seed] = [self.steps, self.seed].map(|value| value.map(|value| value.to_string()));
        let short = [("steps", steps), ("epochs", self.epochs.map(|value| format!("{value:?}"))), ("seed", seed)];
        self.config.prefer(short.into_iter().filter_map(|(key, value)| Some(format!("train.{key}={}", value?))));
        if self.resume && self.out.is_none() {
            let name = self.config.is_chosen().then(|| self.config.name());
            let newest = RunDir::newest(Path::new(RUNS), name.as_deref())?;
            if ranks.leads() {
                say(format!("resume   {}", newest.path().display()));
            }
            self.out = Some(newest.path().into());
        }
        Ok(())
    }
}

/// The configuration of a new run, or of the one to go on with.
fn configuration(args: &Args, begun: Option<&Config>) -> Result<Config> {
    let mut config = args.config.resolve(begun)?;
    match (begun, &args.out) {
        (Some(begun), out) => {
            if config.train.precision == Precision::Auto {
                config.train.precision = begun.train.precision;
            }
            check_resumable(begun, &config, out.as_deref().unwrap_or(Path::new("")))?;
        }
        (None, Some(out)) => RunDir::new(out).refuse_contents(args.resume)?,
        (None, None) => {}
    }
    Ok(config)
}

/// Trains, and shows how far it is.
fn train(run: &Run, device: Device) -> Result<Outcome> {
    let mut progress: Option<Progress> = None;
    let mut last_sheet = None;
    let note = |progress: &mut Option<Progress>, text: String| match progress {
        Some(progress) => progress.note(&text),
        None => eprintln!("{text}"),
    };
    let outcome = run.train(device, &mut |event| match (event, &mut progress) {
        (Event::Ready { trainer, dataset }, progress) => {
            announce(run.dir, trainer, dataset);
            last_sheet = Some(run.dir.sheet(trainer.config().train.steps, run.config.sample_kind()));
            *progress = Some(visible_progress(trainer.config(), trainer.updates()));
        }
        (Event::Step(record), Some(progress)) => progress.update(record.step, record.loss),
        (Event::Sheet(path), _) if last_sheet.as_deref() == Some(path) => {}
        (Event::Sheet(path), progress) => note(progress, format!("samples  {}", path.display())),
        (Event::Evaluated { record, is_best, share }, progress) => note(progress, measured(record, is_best, share)),
        (Event::Warning(text), progress) => note(progress, format!("warning: {text}")),
        (Event::Step(_), None) => unreachable!("no step is made before all is ready"),
    });
    if let Some(progress) = &mut progress {
        progress.finish();
    }
    Ok(outcome?)
}

/// A measurement of samples, its result and its cost.
fn measured(record: &EvaluationRecord, is_best: bool, share: f64) -> String {
    let EvaluationRecord { step, n, seconds, .. } = record;
    let result = if record.distances.is_empty() { "not finite".into() } else { record.in_words() };
    let best = if is_best { ", the best so far" } else { "" };
    let percent = 100.0 * share;
    format!("measured after step {step}: {result}{best} ({n} samples in {seconds:.1} s, {percent:.0} % of the time)")
}

fn announce(dir: &RunDir, trainer: &Trainer, dataset: &Dataset) {
    let (config, [h, w, c]) = (trainer.config(), dataset.image_dims());
    let (fixed, activations) = trainer.memory_bytes();
    let precision = if config.train.precision == Precision::Bf16 { "bf16" } else { "f32" };
    say(format!("run      {}", dir.path().display()));
    say(format!("data     {}: {} images of {h}x{w}x{c}", dataset.name(), dataset.len()));
    dataset.notes().iter().for_each(|note| say(format!("         {note}")));
    say(format!(
        "model    U-Net, {:.2} M parameters, {:.1} GFLOP per step of {} images",
        trainer.params().count() as f64 / 1e6,
        trainer.flops() as f64 / 1e9,
        config.train.batch_size
    ));
    say(format!("device   {}, {precision}", trainer.device_name()));
    if trainer.ranks().size() > 1 {
        say(format!("ranks    {}, each with 1 of these devices", trainer.ranks().size()));
    }
    say(format!("memory   weights and optimiser {}, activations {}", megabytes(fixed), megabytes(activations)));
    if trainer.updates() > 0 {
        say(format!("resumed  after step {}", trainer.updates()));
    }
}

fn visible_progress(config: &Config, first: u64) -> Progress {
    let (steps, images) = (config.train.steps, config.train.batch_size);
    if draws_bars() {
        Progress::bar(steps, first, images)
    } else {
        Progress::lines(steps, first, images, Box::new(stderr()))
    }
}

fn print_outcome(outcome: &Outcome, dir: &RunDir) {
    if let Some(step) = outcome.best_step {
        say(format!("best     validation after step {step}; samples are drawn with its weights"));
    }
    if let Some(best) = &outcome.best_samples {
        say(format!("best     {best}: ddpm sample {} --checkpoint best", dir.path().display()));
    }
    if let Some(sheet) = &outcome.sheet {
        say(format!("samples  {}", sheet.display()));
    }
    say(format!("curve    {}", dir.loss_curve().display()));
    say(format!("report   {}", outcome.report.display()));
    say(format!("more     {}", invocation::command(["sample", &dir.path().to_string_lossy()])));
}
