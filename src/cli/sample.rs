//! `ddpm sample`

use super::terminal::{bar, open_device, open_model, say};
use crate::report::sample_sheet;
use crate::sample::{Request, Samples};
use crate::train::{LoadedModel, ModelFile};
use crate::{Error, SampleKind};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::str::FromStr;

const EXAMPLES: &str = "\
Examples:
  ddpm sample runs/quickstart-001
  ddpm sample runs/quickstart-001 --n 16 --sampler ddim --steps 20 --seed 3 --out digits.png
  ddpm sample runs/mnist-123-001 --class 2 --guidance 1 --sampler dpm-solver --steps 20
  ddpm sample path/to/ddpm-cifar10-32 --n 4 --steps 100 --strip denoising.png";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A run, a checkpoint, a diffusers model folder, or a checkpoint of improved-diffusion
    model: PathBuf,
    /// Number of samples [default: that of the run]
    #[arg(long)]
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
    /// The class to draw, of a conditional model, or "none"; otherwise the classes take turns
    #[arg(long)]
    class: Option<Class>,
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
    /// Use the weights themselves, not their moving average
    #[arg(long)]
    raw: bool,
    /// The sheet to write [default: sample-001.png in the run, or the next free number]
    #[arg(long, value_name = "FILE.png")]
    out: Option<PathBuf>,
    /// Also write the way of the first samples from noise to image
    #[arg(long, value_name = "FILE.png")]
    strip: Option<PathBuf>,
}

/// The label that samples are drawn with.
#[derive(Clone, Copy, Debug)]
enum Class {
    Number(usize),
    None,
}

impl FromStr for Class {
    type Err = String;

    fn from_str(text: &str) -> Result<Class, String> {
        match text {
            "none" => Ok(Class::None),
            _ => text.parse().map(Class::Number).map_err(|_| "wanted a class number, or none".into()),
        }
    }
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
    let model = open_model(&args.model, args.raw, &args.settings()?)?;
    model.config.diffusion.validate()?;
    if model.config.sample.n == 0 {
        bail!(Error::Config("sample.n = 0: at least one sample is needed; give --n".into()));
    }
    let classes = model.config.model.classes();
    let class = args.class.map(|class| match class {
        Class::Number(class) if class < classes => Ok(class),
        Class::Number(class) => Err(Error::Config(format!("--class {class}: the model knows {classes} classes"))),
        Class::None if classes > 0 && !model.config.model.has_null_class() => Err(Error::Config(format!(
            "--class none: the model knows its {classes} classes alone, not the lack of one"
        ))),
        Class::None if classes == 0 => Err(Error::Config("--class none: the model knows no classes anyway".into())),
        Class::None => Ok(classes),
    });
    let samples = draw(&model, class.transpose()?, device)?;
    let out = args.out.unwrap_or_else(|| default_path(&args.model));
    sample_sheet(&samples.images, samples.dims).write_png(&out)?;
    say(format!("{}: {} samples, {}", out.display(), samples.dims[0], model.origin));
    if let Some(strip) = &args.strip {
        if samples.kind() == SampleKind::Points {
            bail!(Error::Config("--strip: points of the plane have no strip; look at the sheet".into()));
        }
        samples.strip().write_png(strip)?;
        say(format!("{}: from noise to images", strip.display()));
    }
    Ok(())
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

/// In a run: `sample-001.png` or the next free number; elsewhere the same in the current folder.
fn default_path(model: &Path) -> PathBuf {
    let folder = if model.join("config.toml").exists() { model } else { Path::new("") };
    let path = |i| folder.join(format!("sample-{i:03}.png"));
    (1..).map(path).find(|p| !p.exists()).expect("some number is free")
}
