//! `ddpm interpolate`

use super::sampling::{Pieces, SamplingArgs, data_of, default_path, drawn_class, one_class};
use super::terminal::{bar, open_device, say};
use crate::data::picture::{self, Fit};
use crate::data::{Dataset, Split};
use crate::diffusion::{Process, SamplePlan};
use crate::engine::ops::sampler_step::StepNoise;
use crate::report::{ClassedSamples, SampleFile, path_scatter};
use crate::sample::{Request, mixtures, noised};
use crate::train::{LoadedModel, ModelFile};
use crate::{Error, SampleKind};
use anyhow::{Result, bail};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  ddpm interpolate runs/quickstart-001 --between 3 8             two samples of the test data, by their numbers
  ddpm interpolate runs/quickstart-001 --between seed:1 seed:2   two samples that the model draws
  ddpm interpolate runs/ddpm-cifar10-001 --between cat.png dog.png --times 250,500,750 --out between.png
  ddpm interpolate runs/points-2d-001 --between 0 1 --sampler ddim --steps 50

Both are noised to the same time, mixed there, (1 - κ) of one and κ of the other, and taken back by the run's sampler, with
the same noise for every κ (Ho et al. 2020, section 4.3). A row of the sheet is a time; first and last are the two themselves,
between them the mixtures from κ = 0, which is what becomes of the first alone, to κ = 1. Few steps that add noise leave little
of where they began, and a row at the end of the way is then alike throughout: --sampler ddim --eta 0 adds none.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A run, a checkpoint, a diffusers model folder, or a checkpoint of improved-diffusion
    model: PathBuf,
    /// The two to mix, each a number of a sample of the data, an image file, or seed:N for a sample of the model
    #[arg(long, num_args = 2, value_names = ["A", "B"], required = true)]
    between: Vec<String>,
    /// The part of the data that numbers mean: train or test
    #[arg(long, default_value = "test")]
    split: Split,
    /// The data that numbers mean: a name, or the path of a file or folder [default: those of the run]
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Times at which they are mixed, a row each [default: 1/8, 1/4, 1/2, 3/4 and all of the way to noise]
    #[arg(long, value_name = "T,..", value_delimiter = ',')]
    times: Vec<f64>,
    /// Mixtures in a row, evenly spread from κ = 0 to 1
    #[arg(long, value_name = "N", default_value_t = 9)]
    mixtures: usize,
    /// The class to draw, of a conditional model: its name, or else its number from 0, or "none" [default: that which both
    /// have, or none]
    #[arg(long)]
    class: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// The output: a sheet .png (of points a plot .svg), arrays .npz (8 bits) or .npy (as drawn), points .csv, or a folder/ of
    /// single images [default: interpolation-001.png in the run, or the next free number]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// One of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Number(usize),
    Seed(u64),
    File(PathBuf),
}

impl Source {
    fn of(text: &str) -> Result<Source> {
        if let Some(seed) = text.strip_prefix("seed:") {
            let wrong = |_| Error::Config(format!("--between {text}: a seed is a whole number"));
            return Ok(Source::Seed(seed.parse().map_err(wrong)?));
        }
        Ok(text.parse().map_or_else(|_| Source::File(text.into()), Source::Number))
    }
}

/// An image, where it is there before anything is drawn, and its class.
struct Read {
    image: Option<Vec<f32>>,
    class: Option<usize>,
}

/// A row of the sheet: the time of the mixtures, and the way from there.
struct Row {
    time: f64,
    plan: SamplePlan,
}

pub fn run(args: Args, device: &str) -> Result<()> {
    if args.mixtures < 2 {
        bail!(Error::Config(format!("--mixtures {}: at least the two ends are needed", args.mixtures)));
    }
    let sources = args.between.iter().map(|text| Source::of(text)).collect::<Result<Vec<Source>>>()?;
    let model = args.sampling.open(&args.model, &[])?;
    let kind = SampleKind::of(model.config.model.sample_dims());
    let out = args.out.clone().unwrap_or_else(|| default_path(&args.model, "interpolation", kind));
    let file = SampleFile::at(&out, kind)?;
    let rows = rows(&model, &args.times)?;
    let needs_data = sources.iter().any(|source| matches!(source, Source::Number(_)));
    let data = needs_data.then(|| data_of(&args.model, &model, args.data.as_deref(), args.split)).transpose()?;
    let read = sources.iter().map(|source| read(source, &model, data.as_ref())).collect::<Result<Vec<Read>>>()?;
    let shared = read[0].class.filter(|_| read[0].class == read[1].class);
    let class = one_class(&model.config, args.class.as_deref(), shared)?;

    let [h, w, c] = model.config.model.sample_dims();
    let values = draw(&args, &model, (&sources, read), (&rows, class), device)?;
    let columns = args.mixtures + 2;
    let dims = [rows.len() * columns, h, w, c];
    if file == SampleFile::Plot {
        let names = rows.iter().map(|row| format!("t = {}", row.time));
        let paths: Vec<(String, &[f32])> = names.zip(values.chunks_exact(columns * h * w * c)).collect();
        path_scatter(&paths, data.as_ref().and_then(Dataset::points)).write(&out)?;
    } else {
        let classes = class.map_or(Vec::new(), |class| vec![class; dims[0]]);
        let samples = ClassedSamples { values: &values, dims, classes: &classes, columns: Some(columns) };
        file.write(&out, samples)?;
    }
    let times: Vec<String> = rows.iter().map(|row| row.time.to_string()).collect();
    let (of, between) = (drawn_class(&model.config, class), args.between.join(" and "));
    let what = format!("{} mixtures{of} between {between} at each t of {}", args.mixtures, times.join(", "));
    say(format!("{}: {what}; {}", out.display(), model.origin));
    Ok(())
}

/// The rows at these times, or at parts of the whole, each at a time that the sampler visits.
fn rows(model: &ModelFile, times: &[f64]) -> Result<Vec<Row>> {
    let process = model.config.diffusion.process()?;
    let last = process.last_time();
    let whole = |t: f64| if matches!(process, Process::Discrete(_)) { t.round().max(1.0) } else { t };
    let times = match times {
        [] => [0.125, 0.25, 0.5, 0.75, 1.0].map(|part| whole(part * last)).to_vec(),
        times => times.to_vec(),
    };
    let mut rows: Vec<Row> = Vec::new();
    for t in times {
        if !(t > 0.0 && t <= last) {
            bail!(Error::Config(format!("--times {t}: the model has times above 0 and up to {last}")));
        }
        let plan = model.config.sample_plan_from(t)?;
        // Few steps visit few times.
        if rows.iter().all(|row| row.time != plan.times[0]) {
            rows.push(Row { time: plan.times[0], plan });
        }
    }
    Ok(rows)
}

fn read(source: &Source, model: &ModelFile, data: Option<&Dataset>) -> Result<Read> {
    let dims = model.config.model.sample_dims();
    match source {
        Source::Seed(_) => Ok(Read { image: None, class: None }),
        Source::File(path) if SampleKind::of(dims) == SampleKind::Points => {
            let message = format!("--between {}: the model draws points; give numbers or seed:N", path.display());
            bail!(Error::Config(message))
        }
        Source::File(path) => Ok(Read { image: Some(picture::read(path, dims, Fit::Cropped)?), class: None }),
        Source::Number(number) => {
            let data = data.expect("opened for numbers");
            if *number >= data.len() {
                let (name, n) = (data.name(), data.len());
                bail!(Error::Config(format!("--between {number}: {name} has {n} samples here, numbered from 0")));
            }
            let mut image = vec![0.0; dims.iter().product()];
            data.fill_batch(&[*number], &[false], &mut image)?;
            let class = data.labels().map(|labels| labels[*number] as usize);
            Ok(Read { image: Some(image), class: class.filter(|class| *class < model.config.model.classes()) })
        }
    }
}

/// The cells of the sheet `[rows * (mixtures + 2), h, w, c]`.
fn draw(
    args: &Args,
    model: &ModelFile,
    (sources, read): (&[Source], Vec<Read>),
    (rows, class): (&[Row], Option<usize>),
    device: &str,
) -> Result<Vec<f32>> {
    let settings = &model.config.sample;
    let whole = model.config.sample_plan()?;
    let mut loaded = LoadedModel::with_noise(model, open_device(device)?, StepNoise::Shared)?;
    let bar = bar("evaluations");
    let drawn_first = sources.iter().filter(|source| matches!(source, Source::Seed(_))).count();
    let chunks = args.mixtures.div_ceil(loaded.chunk());
    let total = rows.iter().map(|row| row.plan.steps.len() * chunks).sum::<usize>() + drawn_first * whole.steps.len();
    let mut pieces = Pieces::new(&bar, total);
    let request = |plan, n, seed| Request { class, guidance: settings.guidance, ..Request::new(plan, n, seed) };
    let mut ends = Vec::new();
    for (source, read) in sources.iter().zip(read) {
        ends.push(match (read.image, source) {
            (Some(image), _) => image,
            (None, Source::Seed(seed)) => {
                pieces.do_one(|progress| loaded.sample(request(&whole, 1, *seed), progress))?.images
            }
            (None, _) => unreachable!("files and numbers are read"),
        });
    }
    let (len, both) = (ends[0].len(), ends.concat());
    let mut cells = Vec::new();
    for Row { time, plan } in rows {
        let z = noised(&both, len, loaded.process().level(*time), settings.seed);
        let start = mixtures(&z[..len], &z[len..], args.mixtures);
        let request = Request { start: Some(&start), ..request(plan, args.mixtures, settings.seed) };
        let decoded = pieces.do_one(|progress| loaded.sample(request, progress))?.images;
        cells.extend([&ends[0][..], &decoded, &ends[1]].concat());
    }
    bar.finish_and_clear();
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_numbers_seeds_and_files() {
        assert_eq!(Source::of("7").unwrap(), Source::Number(7));
        assert_eq!(Source::of("seed:7").unwrap(), Source::Seed(7));
        assert_eq!(Source::of("7.png").unwrap(), Source::File("7.png".into()));
        assert!(Source::of("seed:x").unwrap_err().to_string().contains("seed:x"));
    }
}
