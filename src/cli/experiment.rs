//! `ddpm experiment`

use super::signals::Stop;
use super::terminal::{COUNT_COLUMNS, bar_columns, bar_style, columns, draw_target, in_words, say};
use crate::Error;
use crate::data::points::PointSet;
use crate::experiment::{self, Context, Event, Experiment, Settings};
use anyhow::{Result, ensure};
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

const EXAMPLES: &str = "\
Examples:
  ddpm experiment list
  ddpm experiment schedules
  ddpm experiment thesis-2d-data --out pages
  ddpm experiment thesis-table-4.1 --points clusters,rings
  ddpm experiment all --quick";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The experiment, `list` for their names, or `all`
    name: String,
    /// Sizes for two CPU cores instead of those of the papers
    #[arg(long)]
    quick: bool,
    /// Only these sets in the experiments with points: clusters, rings, swiss-roll, waves
    #[arg(long, value_name = "SET", value_delimiter = ',', value_parser = points)]
    points: Vec<PointSet>,
    /// The folder of real data: MNIST's or CIFAR-10's files, or the folders mnist and cifar10
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The weights of Inception-v3, for Frechet distances as they are published
    #[arg(long, value_name = "FILE")]
    inception: Option<PathBuf>,
    /// Where pages and trained runs go
    #[arg(long, value_name = "DIR", default_value = "experiments")]
    out: PathBuf,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub fn run(args: Args, device: &str) -> Result<()> {
    let Args { name, quick, points, data, inception, out, seed } = args;
    if name == "list" {
        list();
        return Ok(());
    }
    let chosen = match name.as_str() {
        "all" => experiment::ALL.iter().collect(),
        name => vec![experiment::find(name)?],
    };
    let settings = Settings { quick, seed, points, data, inception, out: out.clone(), device: device.into() };
    let stop = Stop::on_signals()?;
    let mut failures = Vec::new();
    for experiment in &chosen {
        match run_one(experiment, settings.clone(), &stop.flag) {
            Ok(page) => say(format!("page     {}", page.display())),
            // One that lacks data or fails is no reason to leave out the others.
            Err(error) if chosen.len() > 1 && !matches!(error.downcast_ref(), Some(Error::Stopped)) => {
                say(format!("left out {}", in_words(&error)));
                failures.push(experiment.name);
            }
            Err(error) => return Err(error),
        }
    }
    if out.is_dir() {
        say(format!("index    {}", experiment::write_index(&out)?.display()));
    }
    ensure!(failures.is_empty(), Error::Config(format!("not all could be run: {}", failures.join(", "))));
    Ok(())
}

fn points(name: &str) -> Result<PointSet, String> {
    PointSet::from_name(name).ok_or_else(|| format!("the sets are {}", PointSet::ALL.map(PointSet::name).join(", ")))
}

fn list() {
    let needs = |experiment: &Experiment| match experiment.needs.words() {
        words if words.is_empty() => words,
        words => format!("; needs {words}"),
    };
    for experiment in experiment::ALL {
        say(format!("{:22} {} ({}{})", experiment.name, experiment.about, experiment.source, needs(experiment)));
    }
}

/// Runs one experiment under a bar that shows how far its present part is.
fn run_one(experiment: &Experiment, settings: Settings, stop: &AtomicBool) -> Result<PathBuf> {
    say(format!("{}: {}", experiment.name, experiment.about));
    let style = bar_style("         ", "{pos}/{len}  {eta} left", bar_columns(columns(), COUNT_COLUMNS));
    let bar = ProgressBar::with_draw_target(Some(0), draw_target(5)).with_style(style);
    let mut watch = |event: Event| match event {
        Event::Note(text) => bar.suspend(|| say(format!("         {text}"))),
        Event::Progress { done, total } => {
            if bar.length() != Some(total) || done < bar.position() {
                bar.reset();
                bar.set_length(total);
            }
            bar.set_position(done);
        }
    };
    let page = experiment.run(&mut Context::new(settings, stop, &mut watch));
    bar.finish_and_clear();
    page
}
