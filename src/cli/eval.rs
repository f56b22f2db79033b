//! `ddpm eval`

use super::features::{self, INCEPTION_BATCH, default_cache};
use super::sample;
use super::terminal::{bar, open_device, open_model, say};
use crate::Error;
use crate::SampleKind;
use crate::data::{self, DataOptions, Dataset, Split};
use crate::eval::inception::Inception;
use crate::eval::nll::{Nll, NllOptions, nll};
use crate::eval::{Classifier, Evaluation, Features, Metric, Moments, Set, npz};
use crate::files::check_writable;
use crate::nn::model_folder::ModelFolder;
use crate::train::run::open_data;
use crate::train::{Config, LoadedModel, ModelFile, RunDir};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  ddpm eval runs/mnist-small-001
  ddpm eval runs/mnist-small-001 --n 1000 --binarise --set sample.steps=20
  ddpm eval samples/ --data data/mnist --classes 1,2,3
  ddpm eval samples.npz photographs/ --metrics moments,kid
  ddpm eval runs/ddpm-cifar10-001 --inception inception.safetensors --n 50000
  ddpm eval runs/mnist-123-001 --metrics nll --nll-images 500
  ddpm eval --topline --data data/mnist --size 32      what two halves of real data give

Distances compare only with distances of the same features and, as they depend on it, of the same number of samples.";

/// Samples drawn where nothing else is said.
const DEFAULT_N: usize = 5000;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A run, a checkpoint or a diffusers model folder, or a folder or .npz of images
    #[arg(required_unless_present = "topline")]
    samples: Option<PathBuf>,
    /// Images to compare with: another folder or .npz (the same as --data)
    #[arg(value_name = "REAL", conflicts_with = "data")]
    real: Option<String>,
    /// Evaluate one half of the real data against the other: what the best model would reach
    #[arg(long)]
    topline: bool,
    /// Metrics to measure: frechet, kid, moments, energy, classes, nll [default: what suits the samples]
    #[arg(long, value_delimiter = ',')]
    metrics: Vec<Metric>,
    /// Number of samples [default: 5000, or all images of a folder or half]
    #[arg(short, long)]
    n: Option<usize>,
    /// Change a setting of the run, e.g. --set sample.steps=50; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Names the samples, and divides the data into halves [default: that of the run, or 0]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    weights: super::weights::WeightsArgs,
    /// The real data to compare with: a name, or the path of a file or folder [default: those of the run]
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Only these classes of the real data, e.g. 1,2,3 [default: as in the run]
    #[arg(long, value_delimiter = ',')]
    classes: Option<Vec<u32>>,
    /// Bring the images of --topline to this size
    #[arg(long, value_name = "PIXELS", value_parser = super::size::image_size, requires = "topline")]
    size: Option<[usize; 2]>,
    /// Turn colour images to grey
    #[arg(long)]
    grey: bool,
    /// Compare images in black and white, thresholded at the middle grey
    #[arg(long)]
    binarise: bool,
    /// Compare with the statistics in this file instead of the features of the real data
    #[arg(long, value_name = "FILE.npz")]
    reference: Option<PathBuf>,
    /// Write the statistics of the features of the real data, as pytorch-fid does
    #[arg(long, value_name = "FILE.npz", conflicts_with = "reference")]
    stats_out: Option<PathBuf>,
    /// Compare the features of Inception-v3, as papers do, with these weights: a file of scripts/inception-weights.py
    /// [default: the features of our own classifier of the data]
    #[arg(long, value_name = "FILE")]
    inception: Option<PathBuf>,
    /// Test images whose likelihood is taken, for nll
    #[arg(long, value_name = "N", default_value_t = 100)]
    nll_images: usize,
    /// Steps of the bound that are evaluated for each of them; the others are estimated from these
    #[arg(long, value_name = "N", default_value_t = 50)]
    nll_steps: usize,
    /// Where trained classifiers are kept [default: ddpm in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    /// The file of results to write [default: eval.json in the run]
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
}

/// Where the samples come from.
enum Subject {
    Model(Box<ModelFile>),
    Images(Dataset),
    Half,
}

/// The real data: both splits.
struct Real {
    train: Dataset,
    source: String,
    options: DataOptions,
}

pub fn run(mut args: Args, device: &str) -> Result<()> {
    args.data = args.real.take().or(args.data);
    if let Some(n) = args.n.filter(|&n| n < 2) {
        bail!(Error::Config(format!("--n {n}: a covariance needs at least 2 samples")));
    }
    for output in [&args.out, &args.stats_out].into_iter().flatten() {
        check_writable(output)?;
    }
    let (subject, real) = open(&args)?;
    let seed = args.seed.unwrap_or(0);
    let (given, reference) = match &subject {
        Subject::Half => {
            let [first, second] = Set::halves(&real.train, seed)?;
            (Some(first), second.in_reading_order())
        }
        Subject::Images(images) => (Some(whole(images)), whole(&real.train)),
        Subject::Model(_) => (None, whole(&real.train)),
    };
    let metrics = metrics(&args, &reference, &real)?;
    let known = args.reference.as_deref().map(npz::read).transpose().context("--reference")?;
    let mut networks = Networks::open(&args, &metrics, &real, device)?;
    let mut evaluation = Evaluation {
        reference: described(&args, &subject, &real),
        binarised: args.binarise,
        features: networks.features().map(|network| network.name().into()),
        ..Evaluation::default()
    };
    if let (Subject::Model(model), [Metric::Nll]) = (&subject, &metrics[..]) {
        evaluation.samples = model.origin.clone();
        evaluation.nll = Some(likelihood(&args, &subject, &real, device)?);
        return publish(&args, &evaluation);
    }
    let (samples, requested) = match (&subject, given) {
        (Subject::Model(model), _) => {
            evaluation.samples = model.origin.clone();
            evaluation.seed = model.config.sample.seed;
            drawn(model, device)?
        }
        (_, given) => {
            evaluation.samples = match &args.samples {
                Some(path) => path.display().to_string(),
                None => format!("half of {}", real.train.name()),
            };
            evaluation.seed = seed;
            let set =
                given.expect("images and halves are given").first(args.n.unwrap_or(usize::MAX)).in_reading_order();
            let classes = match &subject {
                Subject::Images(images) if images.class_names() != real.train.class_names() => None,
                _ => set.labels(),
            };
            (set, classes)
        }
    };
    let (samples, reference) =
        if args.binarise { (samples.binarised(), reference.binarised()) } else { (samples, reference) };
    evaluation.n = samples.len();
    check_dims(&samples, &reference)?;
    evaluation.compare_values(&metrics, &samples, &reference)?;
    if let Some(classifier) = &mut networks.classifier
        && metrics.contains(&Metric::Classes)
    {
        evaluation.classify(classifier, &samples, requested.as_deref())?;
    }
    if let Some(network) = networks.features()
        && (args.stats_out.is_some() || metrics.iter().any(|metric| metric.needs_features()))
    {
        compare_features(&args, &mut evaluation, &metrics, network, (&samples, &reference, known))?;
    }
    if metrics.contains(&Metric::Nll) {
        evaluation.nll = Some(likelihood(&args, &subject, &real, device)?);
    }
    publish(&args, &evaluation)
}

/// All samples of a data set.
fn whole(dataset: &Dataset) -> Set<'_> {
    Set::data(dataset, (0..dataset.len()).collect())
}

/// Samples of a model, and the class that each was drawn with where the model has classes: they take turns.
fn drawn(model: &ModelFile, device: &str) -> Result<(Set<'static>, Option<Vec<usize>>)> {
    let samples = sample::draw(model, None, device)?;
    let classes = model.config.model.classes();
    let requested = (classes > 0).then(|| (0..samples.dims[0]).map(|i| i % classes).collect());
    Ok((Set::samples(samples.images, samples.dims), requested))
}

fn check_dims(samples: &Set, reference: &Set) -> Result<(), Error> {
    let (ours, theirs) = (samples.dims(), reference.dims());
    if ours == theirs {
        return Ok(());
    }
    Err(Error::Config(format!("the samples are {ours:?} (height, width, channels), the real data {theirs:?}")))
}

/// The networks that an evaluation asks.
struct Networks {
    /// Classifier of the data, where a metric needs it.
    classifier: Option<Classifier>,
    /// With published weights, where these were given.
    inception: Option<Inception>,
}

impl Networks {
    fn open(args: &Args, metrics: &[Metric], real: &Real, device: &str) -> Result<Networks> {
        let classifier = classifier(args, metrics, real, device).context("classifier of the data")?;
        let inception = match &args.inception {
            Some(weights) => {
                Some(Inception::open(weights, open_device(device)?, INCEPTION_BATCH).context("--inception")?)
            }
            None => None,
        };
        Ok(Networks { classifier, inception })
    }

    /// The network whose features are compared: Inception where it is there.
    fn features(&mut self) -> Option<&mut dyn Features> {
        match &mut self.inception {
            Some(network) => Some(network),
            None => self.classifier.as_mut().map(|network| network as &mut dyn Features),
        }
    }
}

fn open(args: &Args) -> Result<(Subject, Real)> {
    let source = || {
        args.data.clone().ok_or_else(|| Error::Config("the real data to compare with are needed: give --data".into()))
    };
    let adapted = DataOptions {
        size: args.size,
        channels: args.grey.then_some(1),
        to_grey: args.grey,
        classes: args.classes.clone(),
        ..DataOptions::default()
    };
    let real = |source: String, options: DataOptions| -> Result<Real> {
        Ok(Real { train: data::open(&source, Split::Train, &options)?, source, options })
    };
    let Some(path) = &args.samples else { return Ok((Subject::Half, real(source()?, adapted)?)) };
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let is_packed = ["npz", "npy", "zip", "tar", "tgz", "gz"].contains(&extension.as_str());
    let is_model = (path.is_file() && !is_packed) || path.join("config.toml").exists() || ModelFolder::is_one(path);
    if !is_model && path.exists() {
        let images = data::open(&path.display().to_string(), Split::Train, &DataOptions { classes: None, ..adapted })?;
        let [h, w, c] = images.image_dims();
        let options = DataOptions {
            size: Some([h, w]),
            channels: Some(c),
            to_grey: args.grey,
            classes: args.classes.clone(),
            ..DataOptions::default()
        };
        return Ok((Subject::Images(images), real(source()?, options)?));
    }
    let seed = args.seed.map(|seed| format!("sample.seed={seed}"));
    let n = format!("sample.n={}", args.n.unwrap_or(DEFAULT_N));
    let settings: Vec<String> = seed.into_iter().chain([n]).chain(args.set.iter().cloned()).collect();
    let model = open_model(path, &args.weights, &settings)?;
    // A checkpoint does not say where its data lie; the run does.
    let begun = RunDir::new(path).begun()?;
    let mut config = Config { model: model.config.model.clone(), ..begun.clone().unwrap_or_default() };
    if begun.is_none() || args.data.is_some() {
        config.data.source = source()?;
    }
    config.data.classes = args.classes.clone().unwrap_or(config.data.classes);
    config.data.grey |= args.grey;
    let options = config.data.options(&config.model);
    let real = Real { train: open_data(&config)?, source: config.data.source, options };
    Ok((if args.topline { Subject::Half } else { Subject::Model(Box::new(model)) }, real))
}

/// The metrics to measure, checked against the samples and the reference.
fn metrics(args: &Args, reference: &Set, real: &Real) -> Result<Vec<Metric>> {
    let points = reference.kind() == SampleKind::Points;
    let metrics = match (args.metrics.is_empty(), &args.reference) {
        (false, _) => args.metrics.clone(),
        (true, Some(_)) => vec![Metric::Frechet],
        (true, None) if args.inception.is_some() => vec![Metric::Frechet, Metric::Kid],
        (true, None) => Metric::defaults(points, real.train.class_names().len() > 1),
    };
    metrics.iter().try_for_each(|metric| metric.check(points))?;
    if points && (args.binarise || args.stats_out.is_some() || args.inception.is_some()) {
        let message = "--binarise, --stats-out and --inception are for images, and the samples are points";
        bail!(Error::Config(message.into()));
    }
    if args.reference.is_some() && metrics.iter().any(|&metric| metric != Metric::Frechet) {
        bail!(Error::Config("--reference: statistics suffice for --metrics frechet only".into()));
    }
    Ok(metrics)
}

/// Bits per dimension of the test images.
fn likelihood(args: &Args, subject: &Subject, real: &Real, device: &str) -> Result<Nll> {
    let Subject::Model(model) = subject else {
        bail!(Error::Config("nll: images have no likelihood without a model; give a run".into()));
    };
    let test = data::open(&real.source, Split::Test, &real.options)?;
    let options = NllOptions { images: args.nll_images, steps: args.nll_steps, seed: model.config.sample.seed };
    if options.images == 0 {
        bail!(Error::Config("--nll-images 0: at least one image is needed".into()));
    }
    let mut loaded = LoadedModel::new(model, open_device(device)?)?;
    let bar = bar("evaluations for the likelihood");
    let result = nll(&mut loaded, &test, options, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    Ok(result?)
}

/// The classifier, where a metric needs one.
fn classifier(args: &Args, metrics: &[Metric], real: &Real, device: &str) -> Result<Option<Classifier>> {
    let compares = metrics.iter().any(|metric| metric.needs_features()) || args.stats_out.is_some();
    let needed = metrics.contains(&Metric::Classes) || (compares && args.inception.is_none());
    if !needed {
        return Ok(None);
    }
    let cache = args.cache.clone().map_or_else(default_cache, Ok)?;
    Ok(Some(features::classifier(open_device(device)?, &real.train, (&real.source, &real.options), &cache)?))
}

fn compare_features(
    args: &Args,
    evaluation: &mut Evaluation,
    metrics: &[Metric],
    network: &mut dyn Features,
    (samples, reference, known): (&Set, &Set, Option<Moments>),
) -> Result<()> {
    let dims = network.dims();
    if samples.len() <= dims && metrics.contains(&Metric::Frechet) {
        eprintln!("{} samples have a singular covariance of {dims} features: more would say more", samples.len());
    }
    let bar = bar("images looked at");
    bar.set_length((samples.len() + if known.is_none() { reference.len() } else { 0 }) as u64);
    let mut advance = |images: usize| bar.inc(images as u64);
    let x = samples.features(network, &mut advance)?;
    let compared = match known {
        Some(moments) => evaluation.compare_features(metrics, (&x, dims), (None, &moments)),
        None => {
            let y = reference.features(network, &mut advance)?;
            let moments = Moments::of(&y, dims)?;
            args.stats_out.as_deref().map_or(Ok(()), |path| npz::write(path, &moments))?;
            evaluation.compare_features(metrics, (&x, dims), (Some(&y), &moments))
        }
    };
    bar.finish_and_clear();
    Ok(compared?)
}

/// Description of the reference that the samples are compared with.
fn described(args: &Args, subject: &Subject, real: &Real) -> String {
    match (&args.reference, subject) {
        (Some(path), _) => path.display().to_string(),
        (None, Subject::Half) => format!("the other half of {}", real.train.name()),
        (None, _) => format!("{}, {} samples", real.train.name(), real.train.len()),
    }
}

/// Prints the results and writes them where a file was asked for, or into the run.
fn publish(args: &Args, evaluation: &Evaluation) -> Result<()> {
    let json = serde_json::to_string_pretty(evaluation).expect("plain data");
    if args.json {
        say(&json);
    } else {
        let (samples, n) = (&evaluation.samples, evaluation.n);
        let mut rows = vec![("samples".to_owned(), format!("{samples} ({n})"))];
        rows.push(("compared with".into(), evaluation.reference.clone()));
        rows.extend(evaluation.rows());
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        rows.iter().for_each(|(name, value)| say(format!("{name:width$}  {value}")));
    }
    let run = args.samples.as_deref().filter(|path| !args.topline && path.join("config.toml").exists());
    let path = args.out.clone().or_else(|| run.map(|run| run.join("eval.json")));
    path.map_or(Ok(()), |path: PathBuf| Ok(write(&path, &json)?))
}

fn write(path: &Path, json: &str) -> Result<(), Error> {
    fs::write(path, format!("{json}\n")).map_err(Error::io(path))
}
