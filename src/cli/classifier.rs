//! `ddpm classifier`, and the options of commands whose samples a classifier guides.

use super::sampling::data_of;
use super::terminal::{bar, open_device, open_model, say};
use super::weights::WeightsArgs;
use crate::Error;
use crate::data::Split;
use crate::eval::NoisyClassifier;
use crate::eval::classifier::ClassifierConfig;
use crate::files::check_writable;
use crate::sample::{ByClassifier, GuidingClassifier};
use crate::train::ModelFile;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  ddpm classifier runs/quickstart-001
  ddpm classifier runs/mnist-123-001 --epochs 20 --seed 1 --out other.safetensors
  ddpm classifier path/to/ddpm-cifar10-32 --data data/cifar10 --out cifar10.safetensors
  ddpm sample runs/mnist-123-001 --classifier runs/mnist-123-001/classifier.safetensors --class 3 --classifier-scale 2

The classifier learns ln p(class | z_t) at all noise levels of the model, from the data of the run. It guides any model
of that size with those noise levels, of classes or not.";

/// The file in a run.
const FILE: &str = "classifier.safetensors";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A run, a checkpoint or a diffusers model folder: the model whose samples are to be guided
    model: PathBuf,
    /// The labelled data to learn from [default: those of the run]
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Passes over the data [default: 10, of colour images 20]
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The file to write [default: classifier.safetensors in the run]
    #[arg(long, value_name = "FILE.safetensors")]
    out: Option<PathBuf>,
}

pub fn run(args: Args, device: &str) -> Result<()> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None if args.model.join("config.toml").exists() => args.model.join(FILE),
        None => bail!(Error::Config(format!("--out: {} is no run; where to?", args.model.display()))),
    };
    check_writable(&out)?;
    let model = open_model(&args.model, &WeightsArgs::default(), &[])?;
    let data = |split| data_of(&args.model, &model, args.data.as_deref(), split);
    let [train, test] = [data(Split::Train)?, data(Split::Test)?];
    let mut config = ClassifierConfig { seed: args.seed, ..ClassifierConfig::for_noisy(train.image_dims()) };
    config.epochs = args.epochs.unwrap_or(config.epochs);
    let bar = bar("batches");
    let schedule = &model.config.diffusion.schedule;
    let trained =
        NoisyClassifier::train(&config, schedule, open_device(device)?, [&train, &test], &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
    bar.finish_and_clear();
    let trained = trained?;
    trained.save(&out)?;
    let classes = trained.class_names().len();
    say(format!("{}: a classifier of {classes} classes of {}", out.display(), train.name()));
    let accuracy = trained.accuracy().iter().map(|a| format!("{:.1} % at t = {}", 100.0 * a.share, a.time));
    say(format!("right on test samples: {}", accuracy.collect::<Vec<_>>().join(", ")));
    Ok(())
}

/// The options of a classifier that guides.
#[derive(clap::Args)]
pub struct GuideArgs {
    /// A classifier to guide the samples (see `ddpm classifier`); a model with classes is asked without one, where it can
    /// be
    #[arg(long, value_name = "FILE", conflicts_with = "guidance")]
    classifier: Option<PathBuf>,
    /// The scale of the classifier's gradient; 1: Bayes' rule [default: 1]
    #[arg(long, value_name = "GAMMA", requires = "classifier", allow_negative_numbers = true)]
    classifier_scale: Option<f64>,
}

/// A classifier that was chosen, and how it guides.
pub struct Chosen {
    /// The network.
    pub guide: GuidingClassifier,
    /// The scale, and the class.
    pub by: ByClassifier,
    /// The names of the classes.
    pub class_names: Vec<String>,
}

impl Chosen {
    /// The class that is drawn, as words to follow what was drawn.
    pub fn in_words(&self) -> String {
        let class = match self.by.class {
            Some(class) => self.class_names[class].clone(),
            None => format!("{} classes in turn", self.class_names.len()),
        };
        format!(" of {class}, guided by a classifier at scale {}", self.by.scale)
    }
}

impl GuideArgs {
    /// Settings of the model's sampler that go with a classifier.
    pub fn settings(&self) -> Option<String> {
        self.classifier.as_ref().map(|_| "sample.guidance=0".into())
    }

    /// The classifier, if one was chosen, towards a class by its name or number.
    ///
    /// # Errors
    /// A file that is no classifier or none of this model's samples, a scale that is no number, an unknown class.
    pub fn open(&self, model: &ModelFile, class: Option<&str>) -> Result<Option<Chosen>> {
        let Some(path) = &self.classifier else { return Ok(None) };
        let scale = self.classifier_scale.unwrap_or(1.0);
        if !scale.is_finite() {
            bail!(Error::Config(format!("--classifier-scale {scale} is not a number")));
        }
        let classifier = NoisyClassifier::open(path).context("--classifier")?;
        let dims = model.config.model.sample_dims();
        let guide = classifier.guide(dims, &model.config.diffusion.process()?).context("--classifier")?;
        let class_names = classifier.class_names().to_vec();
        let class = class.map(|class| class_of(&class_names, class)).transpose()?;
        Ok(Some(Chosen { guide, by: ByClassifier { scale, class }, class_names }))
    }
}

/// The number of a class by its name, or else its number from 0.
fn class_of(class_names: &[String], asked: &str) -> Result<usize, Error> {
    let by_name = class_names.iter().position(|name| name.eq_ignore_ascii_case(asked));
    let by_number = || asked.parse().ok().filter(|&number: &usize| number < class_names.len());
    by_name
        .or_else(by_number)
        .ok_or_else(|| Error::Config(format!("--class {asked}: the classifier knows {}", class_names.join(", "))))
}
