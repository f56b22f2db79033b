//! `ddpm sample`

use super::terminal::{bar, open_device, open_model, say};
use crate::files::check_writable;
use crate::report::{ClassedSamples, SampleFile};
use crate::sample::{Request, Samples};
use crate::train::{Config, LoadedModel, ModelFile};
use crate::{Error, SampleKind};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  ddpm sample runs/quickstart-001
  ddpm sample runs/quickstart-001 --n 16 --sampler ddim --steps 20 --seed 3 --out digits.png
  ddpm sample runs/mnist-123-001 --class 2 --guidance 1 --sampler dpm-solver --steps 20
  ddpm sample runs/quickstart-001 -n 5000 --out samples/      single images; samples.npz: for evaluation elsewhere
  ddpm sample path/to/ddpm-cifar10-32 --n 4 --steps 100 --strip denoising.png";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A run, a checkpoint, a diffusers model folder, or a checkpoint of improved-diffusion
    model: PathBuf,
    /// Number of samples [default: that of the run]
    #[arg(short, long)]
    n: Option<usize>,
    /// The rule for the way back from noise: ddpm, ddim, dpm-solver, heun or langevin [default: that of the run]
    #[arg(long)]
    sampler: Option<String>,
    /// Network evaluations per sample; 0: one for every noise level [default: that of the run]
    #[arg(long)]
    steps: Option<usize>,
    /// Noise of the DDIM sampler, from 0 to 1 [default: that of the run]
    #[arg(long)]
    eta: Option<f64>,
    /// Variance of the ancestral sampler's noise: fixed-small, fixed-large or learned [default: that of the run]
    #[arg(long)]
    variance: Option<String>,
    /// Clip the predicted image in every step [default: as in the run]
    #[arg(long)]
    clip_x0: Option<bool>,
    /// Seed of the samples: the same seed and number give the same sample [default: that of the run]
    #[arg(long)]
    seed: Option<u64>,
    /// The class to draw, of a conditional model: its name, or else its number from 0, or "none"; otherwise the classes take
    /// turns
    #[arg(long)]
    class: Option<String>,
    /// Strength w of classifier-free guidance, (1 + w) with label - w without [default: that of the run]
    #[arg(long, value_name = "W", allow_negative_numbers = true)]
    guidance: Option<f64>,
    /// The prediction target of the network, if the model does not say or says it wrong: epsilon, x0, v, ...
    #[arg(long)]
    target: Option<String>,
    /// The noise schedule of the network, if the model does not say or says it wrong: linear, cosine, ...
    #[arg(long)]
    schedule: Option<String>,
    /// Change a setting of the sample or the diffusion section, e.g. --set sample.langevin_steps=50; or say what a checkpoint
    /// of improved-diffusion does not, e.g. --set model.heads=1; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    weights: super::weights::WeightsArgs,
    /// The output: a sheet .png (of points a plot .svg), arrays .npz (8 bits) or .npy (as drawn), points .csv, or a folder/ of single images
    /// [default: sample-001.png in the run, or the next free number]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Also write the way of the first samples from noise to image
    #[arg(long, value_name = "FILE.png")]
    strip: Option<PathBuf>,
}

impl Args {
    /// The options as settings of the `sample` and the `diffusion` section.
    fn settings(&self) -> Result<Vec<String>> {
        let own = ["sample.", "diffusion.", "model."];
        if let Some(other) = self.set.iter().find(|s| !own.iter().any(|own| s.starts_with(own))) {
            bail!(Error::Config(format!("--set {other}: only settings of sample and diffusion can change here")));
        }
        let settings = [
            ("diffusion.target", self.target.clone()),
            ("diffusion.schedule", self.schedule.clone()),
            ("sample.n", self.n.map(|v| v.to_string())),
            ("sample.sampler", self.sampler.clone()),
            ("sample.steps", self.steps.map(|v| v.to_string())),
            ("sample.eta", self.eta.map(|v| format!("{v:?}"))),
            ("sample.variance", self.variance.clone()),
            ("sample.clip_x0", self.clip_x0.map(|v| v.to_string())),
            ("sample.guidance", self.guidance.map(|v| format!("{v:?}"))),
            ("sample.seed", self.seed.map(|v| v.to_string())),
        ];
        let options = settings.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        Ok(options.chain(self.set.iter().cloned()).collect())
    }
}

pub fn run(args: Args, device: &str) -> Result<()> {
    let model = open_model(&args.model, &args.weights, &args.settings()?)?;
    model.config.diffusion.validate()?;
    if model.config.sample.n == 0 {
        bail!(Error::Config("sample.n = 0: at least one sample is needed; give --n".into()));
    }
    let class = args.class.as_deref().map(|class| class_number(&model.config, class)).transpose()?;
    let kind = SampleKind::of(model.config.model.sample_dims());
    let out = args.out.unwrap_or_else(|| default_path(&args.model, kind));
    let file = SampleFile::at(&out, kind)?;
    if let Some(strip) = &args.strip {
        check_strip(strip, kind)?;
    }
    let samples = draw(&model, class, device)?;
    let classes = classes_of(&model.config, samples.dims[0], class);
    file.write(&out, ClassedSamples { values: &samples.images, dims: samples.dims, classes: &classes })?;
    let of = drawn_class(&model.config, class);
    say(format!("{}: {} samples{of}, {}", out.display(), samples.dims[0], model.origin));
    if let Some(strip) = &args.strip {
        samples.strip().write_png(strip)?;
        say(format!("{}: from noise to images", strip.display()));
    }
    Ok(())
}

/// The number of the class that was asked for; "none" has the one after the last.
fn class_number(config: &Config, asked: &str) -> Result<usize> {
    let classes = config.model.classes();
    let wrong = |reason: String| Error::Config(format!("--class {asked}: {reason}"));
    if classes == 0 {
        bail!(wrong("the model knows no classes".into()));
    }
    if asked == "none" {
        let knows = format!("the model knows its {classes} classes alone, not the lack of one");
        return if config.model.has_null_class() { Ok(classes) } else { Err(wrong(knows).into()) };
    }
    Ok(config.sample.class(asked, classes).map_err(|e| Error::Config(format!("--{e}")))?)
}

/// The class of every sample, as they are drawn: one, or all in turn; none of a model without classes.
fn classes_of(config: &Config, n: usize, class: Option<usize>) -> Vec<usize> {
    match config.model.classes() {
        0 => Vec::new(),
        classes => (0..n).map(|i| class.unwrap_or(i % classes)).collect(),
    }
}

/// The class that was drawn, as words to follow "samples".
fn drawn_class(config: &Config, class: Option<usize>) -> String {
    match (class, config.model.classes()) {
        (_, 0) => String::new(),
        (None, classes) => format!(" of {classes} classes in turn"),
        (Some(class), classes) if class == classes => " of no class".into(),
        (Some(class), _) => format!(" of {}", config.sample.class_in_words(class)),
    }
}

/// Refuses, before anything is drawn, a strip that could not be written.
fn check_strip(path: &Path, kind: SampleKind) -> Result<()> {
    if kind == SampleKind::Points {
        bail!(Error::Config("--strip: points of the plane have no strip; look at the sheet".into()));
    }
    if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("png")) {
        bail!(Error::Config(format!("--strip {}: a .png is written", path.display())));
    }
    Ok(check_writable(path)?)
}

/// Draws samples as the `sample` section of the model's configuration describes.
pub(super) fn draw(model: &ModelFile, class: Option<usize>, device: &str) -> Result<Samples> {
    let settings = &model.config.sample;
    let plan = model.config.sample_plan()?;
    let mut loaded = LoadedModel::new(model, open_device(device)?)?;

    let bar = bar("evaluations");
    let from_noise = Request::new(&plan, settings.n, settings.seed);
    let request = Request { class, guidance: settings.guidance, ..from_noise };
    let samples = loaded.sample(request, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    Ok(samples?)
}

/// In a run: `sample-001.png`, of points `.svg`, or the next free number; elsewhere the same in the current folder.
fn default_path(model: &Path, kind: SampleKind) -> PathBuf {
    let folder = if model.join("config.toml").exists() { model } else { Path::new("") };
    let extension = if kind == SampleKind::Points { "svg" } else { "png" };
    let path = |i| folder.join(format!("sample-{i:03}.{extension}"));
    (1..).map(path).find(|p| !p.exists()).expect("some number is free")
}
