//! `ddpm inpaint`

use super::sampling::{SamplingArgs, default_path, drawn_class, one_class};
use super::terminal::{bar, open_device, say};
use crate::data::picture::{self, Fit, Mask};
use crate::diffusion::inpainting::{Resampling, Walk};
use crate::report::{ClassedSamples, SampleFile};
use crate::sample::{Known, Request};
use crate::train::{LoadedModel, ModelFile};
use crate::{Error, SampleKind};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  ddpm inpaint runs/quickstart-001 digit.png --mask hole.png
  ddpm inpaint runs/ddpm-cifar10-001 cat.png --mask hole.png -n 16 --out cats.png
  ddpm inpaint runs/quickstart-001 digit.png --mask hole.png --steps 50 --jump 5 --repeats 3     faster

What is white in the mask is drawn; what is black, or transparent, stays as it is in the image. After every step the known part
is put in place at that noise level; every --jump steps are taken back and drawn again, --repeats times in all (RePaint,
Lugmayr et al. 2022). The sheet shows the image with its hole, then the samples.";

/// Evaluations on the way, not counting what is drawn again, of the paper.
const STEPS: usize = 250;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A run, a checkpoint, a diffusers model folder, or a checkpoint of improved-diffusion
    model: PathBuf,
    /// The image, in the size that the model draws
    image: PathBuf,
    /// The mask, in the size of the image: white is drawn, black stays, and so does what is transparent
    #[arg(long, value_name = "MASK.png")]
    mask: PathBuf,
    /// Number of samples
    #[arg(short, long, default_value_t = 8)]
    n: usize,
    /// Steps that are taken back and drawn again
    #[arg(long, value_name = "STEPS", default_value_t = Resampling::default().jump)]
    jump: usize,
    /// How often every part of the way is drawn; 1: nothing is drawn again
    #[arg(long, value_name = "TIMES", default_value_t = Resampling::default().repeats)]
    repeats: usize,
    /// The class to draw, of a conditional model: its name, or else its number from 0, or "none" [default: none]
    #[arg(long)]
    class: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// The output: a sheet .png, arrays .npz (8 bits) or .npy (as drawn), or a folder/ of single images [default:
    /// inpainting-001.png in the run, or the next free number]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: Args, device: &str) -> Result<()> {
    if args.n == 0 {
        bail!(Error::Config("-n 0: at least one sample is needed".into()));
    }
    let mut model = args.sampling.open(&args.model, &[])?;
    let dims @ [h, w, c] = model.config.model.sample_dims();
    let kind = SampleKind::of(dims);
    if kind == SampleKind::Points {
        bail!(Error::Config(format!("{}: a model of points; a part of an image can be drawn", args.model.display())));
    }
    let out = args.out.clone().unwrap_or_else(|| default_path(&args.model, "inpainting", kind));
    let file = SampleFile::at(&out, kind)?;
    let image = picture::read(&args.image, dims, Fit::Exact)?;
    let mask = read_mask(&args.mask, [h, w])?;
    let class = one_class(&model.config, args.class.as_deref(), None)?;
    if args.sampling.steps.is_none() {
        shorten(&mut model)?;
    }
    let plan = model.config.sample_plan()?;
    let process = model.config.diffusion.process()?;
    let walk = Walk::new(&plan, &process, Resampling { jump: args.jump, repeats: args.repeats })?;

    let mut loaded = LoadedModel::new(&model, open_device(device)?)?;
    let bar = bar("evaluations");
    let settings = &model.config.sample;
    let request = Request { class, guidance: settings.guidance, ..Request::new(&plan, args.n, settings.seed) };
    let known = Known { image: &image, drawn: &mask.is_within };
    let samples = loaded.inpaint(request, (known, &walk), &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let mut samples = samples?;
    if file == SampleFile::Sheet {
        let with_hole = image.iter().enumerate().map(|(k, &x)| if mask.is_within[k / c] { 0.0 } else { x });
        samples.images.splice(0..0, with_hole);
        samples.dims[0] += 1;
    }
    let classes = class.map_or(Vec::new(), |class| vec![class; samples.dims[0]]);
    let classed = ClassedSamples { values: &samples.images, dims: samples.dims, classes: &classes, columns: None };
    file.write(&out, classed)?;
    let (of, hole) = (drawn_class(&model.config, class), mask.is_within.iter().filter(|drawn| **drawn).count());
    let what = format!("{} samples{of}, {hole} of {} pixels drawn", args.n, h * w);
    say(format!("{}: {what} in {} evaluations each, {}", out.display(), walk.evaluations(), model.origin));
    Ok(())
}

/// A mask of this height and width with something in it.
fn read_mask(path: &Path, [h, w]: [usize; 2]) -> Result<Mask> {
    let mask = picture::read_mask(path)?;
    if [mask.height, mask.width] != [h, w] {
        let found = format!("a mask of {}x{} pixels for an image of {w}x{h}", mask.width, mask.height);
        bail!(Error::format(path, found));
    }
    if !mask.is_within.contains(&true) {
        bail!(Error::format(path, "nothing is white in the mask, so there is nothing to draw"));
    }
    Ok(mask)
}

/// Takes the paper's number of steps where the run's sampler takes more.
fn shorten(model: &mut ModelFile) -> Result<()> {
    if model.config.sample_plan()?.steps.len() > STEPS {
        model.config.sample.steps = STEPS;
    }
    Ok(())
}
