//! Measures of a model's network on test data, which `ddpm eval` takes beside those of samples.

use super::terminal::{bar, open_device};
use crate::Error;
use crate::data::Dataset;
use crate::diffusion::Process;
use crate::engine::random::RngState;
use crate::eval::coding::Coding;
use crate::eval::flow::{Flow, FlowLikelihood, FlowOptions};
use crate::eval::nll::{Chain, Nll, NllOptions, nll};
use crate::eval::time_losses::{Cuts, TimeLosses, Totals};
use crate::eval::{Evaluation, Metric};
use crate::files::{check_writable, replace_file};
use crate::train::{LoadedModel, ModelFile};
use anyhow::{Result, bail};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct MeasureArgs {
    /// Test samples whose likelihood is taken, for nll, ode and coding
    #[arg(long, value_name = "N", default_value_t = 100)]
    nll_images: usize,
    /// Steps of the bound that are evaluated for each of them; the others are estimated from these
    #[arg(long, value_name = "N", default_value_t = 50)]
    nll_steps: usize,
    /// The curve of rate and distortion of coding: a plot .svg, or numbers .csv; may be repeated [default: coding.svg and
    /// coding.csv in the run]
    #[arg(long, value_name = "FILE")]
    curve: Vec<PathBuf>,
    /// Evaluations of nelbo, weighted and rescaled, each of a test sample at a time of its own
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    loss_samples: usize,
    /// The times from which and up to which nelbo, weighted and rescaled are taken, e.g. 0.05,0.95 [default: those of the
    /// run, t_min and t_max]
    #[arg(long, value_name = "FROM,TO", value_delimiter = ',')]
    loss_times: Vec<f64>,
    /// Steps along the probability flow are doubled until ode changes by less, in bits per dimension
    #[arg(long, value_name = "BITS", default_value_t = 0.01)]
    ode_tolerance: f64,
    /// Random probes of the divergence, for ode of images
    #[arg(long, value_name = "N", default_value_t = 1)]
    ode_probes: usize,
}

/// A model, and the data that it is measured on.
pub struct Subject<'a> {
    pub model: &'a ModelFile,
    pub test: &'a Dataset,
    pub seed: u64,
}

impl MeasureArgs {
    /// Checks the options against a model, before anything is computed; gives the files of the curve. `path` is that of the
    /// model.
    ///
    /// # Errors
    /// Measures that the model does not have, numbers that are none, and files that cannot be written.
    pub fn check(&self, metrics: &[Metric], model: &ModelFile, path: &Path) -> Result<Vec<PathBuf>> {
        let refuse = |reason: String| -> Result<Vec<PathBuf>> { Err(Error::Config(reason).into()) };
        let process = model.config.diffusion.process()?;
        if let (Some(metric), Process::Discrete(_)) = (metrics.iter().find(|metric| metric.is_time_loss()), &process) {
            return refuse(format!(
                "{metric}: a loss over continuous time; the model has a discrete schedule, whose bound is nll"
            ));
        }
        for (option, number) in [
            ("--nll-images", self.nll_images),
            ("--loss-samples", self.loss_samples),
            ("--ode-probes", self.ode_probes),
        ] {
            if number == 0 {
                return refuse(format!("{option} 0: at least one is needed"));
            }
        }
        if self.ode_tolerance.is_nan() || self.ode_tolerance <= 0.0 {
            return refuse(format!("--ode-tolerance {}: a positive number of bits is wanted", self.ode_tolerance));
        }
        if metrics.iter().any(|metric| metric.is_time_loss()) {
            let [first, _] = self.loss_range(&process)?;
            if first == 0.0 && metrics.contains(&Metric::Nelbo) {
                return refuse(
                    "nelbo: it grows without bound towards t = 0; choose a time above 0, --loss-times 0.05,0.95".into(),
                );
            }
        }
        if !metrics.contains(&Metric::Coding) {
            return if self.curve.is_empty() {
                Ok(Vec::new())
            } else {
                refuse("--curve: it is of --metrics coding".into())
            };
        }
        let curve = match self.curve.is_empty() && path.join("config.toml").exists() {
            true => ["svg", "csv"].map(|extension| path.join("coding").with_extension(extension)).to_vec(),
            false => self.curve.clone(),
        };
        for file in &curve {
            if CurveFile::of(file).is_none() {
                return refuse(format!("--curve {}: a plot .svg or numbers .csv are written", file.display()));
            }
            check_writable(file)?;
        }
        Ok(curve)
    }

    /// The range of times of the losses.
    fn loss_range(&self, process: &Process) -> Result<[f64; 2]> {
        let Process::Continuous { t_min, t_max, .. } = *process else { unreachable!("refused before") };
        match self.loss_times[..] {
            [] => Ok([t_min, t_max]),
            [first, last] if t_min <= first && first < last && last <= t_max => Ok([first, last]),
            _ => bail!(Error::Config(format!(
                "--loss-times: wanted two times from {t_min} to {t_max}, those that the network was trained at, not {:?}",
                self.loss_times
            ))),
        }
    }

    /// Takes those of the measures that are of the network.
    ///
    /// # Errors
    /// Data of another size, or what the device reports.
    pub fn take(
        &self,
        metrics: &[Metric],
        subject: &Subject,
        curve: &[PathBuf],
        device: &str,
        evaluation: &mut Evaluation,
    ) -> Result<()> {
        let is_asked = |metric| metrics.contains(&metric);
        if !metrics.iter().any(|metric| metric.is_of_network()) {
            return Ok(());
        }
        subject.check()?;
        if is_asked(Metric::Ode) {
            evaluation.ode = Some(self.ode(subject, device)?);
        }
        let mut loaded = LoadedModel::new(subject.model, open_device(device)?)?;
        // The bound stands beside the likelihood, which it bounds.
        if is_asked(Metric::Nll) || is_asked(Metric::Ode) {
            evaluation.nll = Some(self.bound(subject, &mut loaded)?);
        }
        if is_asked(Metric::Coding) {
            let coding = self.coding(subject, &mut loaded)?;
            evaluation.coding = Some(coding.summary());
            for file in curve {
                match CurveFile::of(file) {
                    Some(CurveFile::Plot) => coding.figure().write(file)?,
                    _ => replace_file(file, coding.csv().as_bytes())?,
                }
                // Standard output may be JSON.
                eprintln!("{}: rate and distortion at {} times", file.display(), coding.times.len());
            }
        }
        if metrics.iter().any(|metric| metric.is_time_loss()) {
            evaluation.losses = Some(self.losses(metrics, subject, &mut loaded)?);
        }
        Ok(())
    }

    fn bound(&self, subject: &Subject, loaded: &mut LoadedModel) -> Result<Nll> {
        let options = NllOptions { images: self.nll_images, steps: self.nll_steps, seed: subject.seed };
        let bar = bar("evaluations for the bound");
        let found = nll(loaded, subject.test, options, &mut |done, total| show(&bar, done, total));
        bar.finish_and_clear();
        Ok(found?)
    }

    fn ode(&self, subject: &Subject, device: &str) -> Result<FlowLikelihood> {
        let options = FlowOptions {
            samples: self.nll_images,
            tolerance: self.ode_tolerance,
            probes: self.ode_probes,
            seed: subject.seed,
        };
        let mut flow = Flow::new(subject.model, open_device(device)?, self.nll_images)?;
        let bar = bar("evaluations along the probability flow");
        let found = flow.likelihood(subject.test, options, &mut |done, total| show(&bar, done, total));
        bar.finish_and_clear();
        Ok(found?)
    }

    fn coding(&self, subject: &Subject, loaded: &mut LoadedModel) -> Result<Coding> {
        let chain = Chain::new(loaded)?;
        let indices: Vec<usize> = (0..self.nll_images.min(subject.test.len())).collect();
        let (images, labels) = samples(subject, &indices)?;
        let bar = bar("images sent");
        let along = (&chain.bound, &chain.times[..]);
        let found = Coding::measure(loaded, along, (&images, &labels), subject.seed, &mut |done, total| {
            show(&bar, done, total);
            Ok(())
        });
        bar.finish_and_clear();
        Ok(found?)
    }

    fn losses(&self, metrics: &[Metric], subject: &Subject, loaded: &mut LoadedModel) -> Result<TimeLosses> {
        let (cuts, n) = (Cuts::all(self.loss_range(loaded.process())?), self.loss_samples);
        let (mut totals, len) = (Totals::new(loaded, cuts)?, subject.model.config.model.sample_len());
        let bar = bar("evaluations for the losses");
        for first in (0..n).step_by(loaded.chunk()) {
            let places: Vec<usize> = (first..n.min(first + loaded.chunk())).collect();
            let indices: Vec<usize> = places.iter().map(|i| i % subject.test.len()).collect();
            let times: Vec<f64> = places.iter().map(|&i| cuts.time(i, n)).collect();
            let (x, labels) = samples(subject, &indices)?;
            let rng = RngState { seed: subject.seed, step: 0, first_image: first as u32 };
            let answers = loaded.ask(&x, &times, &labels, rng)?;
            let outputs = answers.out.chunks_exact(answers.out.len() / times.len());
            let of_each = x.chunks_exact(len).zip(answers.eps.chunks_exact(len)).zip(outputs);
            times.iter().zip(of_each).for_each(|(&t, ((x, eps), out))| totals.add(t, [x, eps, out]));
            show(&bar, (first + places.len()) as u64, n as u64);
        }
        bar.finish_and_clear();
        let found = totals.losses();
        let asked = |metric, loss| metrics.contains(&metric).then_some(loss);
        Ok(TimeLosses {
            samples: n,
            times: cuts.times,
            nelbo: asked(Metric::Nelbo, found.nelbo),
            weighted: asked(Metric::Weighted, found.own),
            rescaled: asked(Metric::Rescaled, found.rescaled),
        })
    }
}

impl Subject<'_> {
    /// Checks that the data suit the model.
    fn check(&self) -> Result<()> {
        let (config, name) = (&self.model.config.model, self.test.name());
        let (found, wanted) = (self.test.image_dims(), config.sample_dims());
        if found != wanted {
            bail!(Error::Config(format!(
                "{name} has samples of {found:?} (height, width, channels), the model {wanted:?}"
            )));
        }
        let (known, there) = (config.classes(), self.test.class_names().len());
        if known > 0 && known != there {
            bail!(Error::Config(format!("the model knows {known} classes, and {name} has {there}")));
        }
        Ok(())
    }
}

/// Test samples as the model sees them, with their labels, zeros where the model has no classes.
fn samples(subject: &Subject, indices: &[usize]) -> Result<(Vec<f32>, Vec<i32>)> {
    let config = &subject.model.config.model;
    let mut values = vec![0.0; indices.len() * config.sample_len()];
    subject.test.fill_batch(indices, &vec![false; indices.len()], &mut values)?;
    let mut labels = vec![0; indices.len()];
    if config.classes() > 0 {
        subject.test.fill_labels(indices, &mut labels);
    }
    Ok((values, labels))
}

fn show(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}

/// A way to write a curve, by the name of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CurveFile {
    Plot,
    Table,
}

impl CurveFile {
    fn of(path: &Path) -> Option<CurveFile> {
        match path.extension()?.to_string_lossy().to_lowercase().as_str() {
            "svg" => Some(CurveFile::Plot),
            "csv" => Some(CurveFile::Table),
            _ => None,
        }
    }
}
