//! `ddpm sample`

use super::classifier::{Chosen, GuideArgs};
use super::sampling::{SamplingArgs, class_number, default_path, drawn_class};
use super::terminal::{bar, open_device, say};
use crate::diffusion::SamplePlan;
use crate::eval::set::stretch;
use crate::files::check_writable;
use crate::report::{ClassedSamples, SampleFile};
use crate::sample::{Request, Samples, StageView};
use crate::train::{Config, LoadedModel, ModelFile};
use crate::{Error, SampleKind};
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  ddpm sample runs/quickstart-001
  ddpm sample runs/quickstart-001 --n 16 --sampler ddim --steps 20 --seed 3 --out digits.png
  ddpm sample runs/mnist-123-001 --class 2 --guidance 1 --sampler dpm-solver --steps 20
  ddpm sample runs/quickstart-001 -n 5000 --out samples/      single images; samples.npz: for evaluation elsewhere
  ddpm sample path/to/ddpm-cifar10-32 --n 4 --steps 100 --strip denoising.png
  ddpm sample runs/quickstart-001 -n 4 --strip way.png --strip-times 1000,750,500,250,100,0 --strip-of z,x0
  ddpm sample runs/mnist-123-001 --classifier runs/mnist-123-001/classifier.safetensors --class 3 --classifier-scale 2
  ddpm sample runs/quickstart-001 --sampler langevin --langevin-levels 20 --langevin-steps 50";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A run, a checkpoint, a diffusers model folder, or a checkpoint of improved-diffusion
    model: PathBuf,
    /// Number of samples [default: that of the run]
    #[arg(short, long)]
    n: Option<usize>,
    /// The class to draw, of a conditional model or of a classifier: its name, or else its number from 0, or "none";
    /// otherwise the classes take turns
    #[arg(long)]
    class: Option<String>,
    #[command(flatten)]
    guide: GuideArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// The output: a sheet .png (of points a plot .svg), arrays .npz (8 bits) or .npy (as drawn), points .csv, or a folder/ of single images
    /// [default: sample-001.png in the run, or the next free number]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Stretch each image to its own extremes instead of clamping it, as some programs write theirs; for comparison with
    /// those
    #[arg(long)]
    stretched: bool,
    /// Also write the way of the first samples from noise to image
    #[arg(long, value_name = "FILE.png")]
    strip: Option<PathBuf>,
    /// Times that the strip shows, e.g. 1000,500,100,10,0; of continuous time 0.9,0.5,0 [default: ten, evenly spread]
    #[arg(long, value_name = "T,..", value_delimiter = ',', requires = "strip")]
    strip_times: Vec<f64>,
    /// Views of each sample on the strip: z, the sample on its way; x0, the image that the network sees in it; z,x0: both
    #[arg(long, value_name = "VIEW,..", value_delimiter = ',', default_value = "z", requires = "strip")]
    strip_of: Vec<View>,
}

#[derive(Clone, Copy, ValueEnum)]
enum View {
    Z,
    X0,
}

pub fn run(args: Args, device: &str) -> Result<()> {
    let n = args.n.map(|n| format!("sample.n={n}"));
    let further: Vec<String> = n.into_iter().chain(args.guide.settings()).collect();
    let model = args.sampling.open(&args.model, &further)?;
    if model.config.sample.n == 0 {
        bail!(Error::Config("sample.n = 0: at least one sample is needed; give --n".into()));
    }
    let classifier = args.guide.open(&model, args.class.as_deref())?;
    let class = match &classifier {
        Some(chosen) => class_beside(&model.config, chosen.by.class),
        None => args.class.as_deref().map(|class| class_number(&model.config, class)).transpose()?,
    };
    let kind = SampleKind::of(model.config.model.sample_dims());
    if args.stretched && kind == SampleKind::Points {
        bail!(Error::Config("--stretched: points of the plane have no black and white".into()));
    }
    let out = args.out.clone().unwrap_or_else(|| default_path(&args.model, "sample", kind));
    let file = SampleFile::at(&out, kind)?;
    let stages = match &args.strip {
        Some(strip) => {
            check_strip(strip, kind)?;
            stages(&model.config.sample_plan()?, &args.strip_times)?
        }
        None => Vec::new(),
    };
    let views: Vec<StageView> = args.strip_of.iter().map(|view| view.shown()).collect();
    let drawing = Draw { class, stages: &stages, views: &views, classifier: classifier.as_ref() };
    let mut samples = draw(&model, drawing, device)?;
    if args.stretched {
        stretch(&mut samples.images, samples.dims[1..].iter().product());
    }
    let classes = match &classifier {
        Some(chosen) => classes_in_turn(samples.dims[0], chosen.class_names.len(), chosen.by.class),
        None => classes_in_turn(samples.dims[0], model.config.model.classes(), class),
    };
    let classed = ClassedSamples { values: &samples.images, dims: samples.dims, classes: &classes, columns: None };
    file.write(&out, classed)?;
    let of = match &classifier {
        Some(chosen) => chosen.in_words(),
        None => drawn_class(&model.config, class),
    };
    say(format!("{}: {} samples{of}, {}", out.display(), samples.dims[0], model.origin));
    if let Some(strip) = &args.strip {
        samples.strip().write_png(strip)?;
        say(format!("{}: from noise to images", strip.display()));
    }
    Ok(())
}

impl View {
    fn shown(self) -> StageView {
        match self {
            View::Z => StageView::Sample,
            View::X0 => StageView::Estimate,
        }
    }
}

/// Numbers of steps after which a sample is at these times, ascending.
fn stages(plan: &SamplePlan, times: &[f64]) -> Result<Vec<usize>> {
    let stage = |&t: &f64| {
        let (first, last) = (plan.times[0], plan.times[plan.times.len() - 1]);
        plan.stage_at(t).ok_or_else(|| {
            Error::Config(format!(
                "--strip-times {t}: the samples are on their way from t = {first} to {last}, and at 0"
            ))
        })
    };
    let mut stages = times.iter().map(stage).collect::<Result<Vec<usize>, Error>>()?;
    stages.sort_unstable();
    stages.dedup();
    Ok(stages)
}

/// The class of every sample, as they are drawn: one, or all in turn; none without classes.
fn classes_in_turn(n: usize, classes: usize, class: Option<usize>) -> Vec<usize> {
    let count = if classes == 0 { 0 } else { n };
    (0..count).map(|i| class.unwrap_or_else(|| i % classes)).collect()
}

/// The class that the model is asked for where a classifier guides: none, or the classifier's if it knows no lack of one.
fn class_beside(config: &Config, of_classifier: Option<usize>) -> Option<usize> {
    match config.model.classes() {
        0 => None,
        classes if config.model.has_null_class() => Some(classes),
        _ => of_classifier,
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

/// Choices of a drawing beside the settings of the `sample` section.
#[derive(Clone, Copy, Default)]
pub(super) struct Draw<'a> {
    /// The class of all samples; `None`: the classes take turns.
    pub class: Option<usize>,
    /// Numbers of steps after which a strip shows the samples; empty: some, evenly spread.
    pub stages: &'a [usize],
    /// Views of each sample on the strip; empty: the sample itself.
    pub views: &'a [StageView],
    /// A classifier that guides.
    pub classifier: Option<&'a Chosen>,
}

/// Draws samples as the `sample` section of the model's configuration describes.
pub(super) fn draw(model: &ModelFile, draw: Draw, device: &str) -> Result<Samples> {
    let settings = &model.config.sample;
    let plan = model.config.sample_plan()?;
    let device = open_device(device)?;
    let mut loaded = match draw.classifier {
        Some(chosen) => LoadedModel::with_classifier(model, device, &chosen.guide)?,
        None => LoadedModel::new(model, device)?,
    };

    let bar = bar("evaluations");
    let from_noise = Request::new(&plan, settings.n, settings.seed);
    let views = if draw.views.is_empty() { from_noise.views } else { draw.views };
    let request = Request {
        class: draw.class,
        guidance: settings.guidance,
        classifier: draw.classifier.map(|chosen| chosen.by),
        stages: draw.stages,
        views,
        ..from_noise
    };
    let samples = loaded.sample(request, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    Ok(samples?)
}
