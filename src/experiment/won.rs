//! `won-mnist`, `won-cifar` and `won-progress`: Vu Minh and Won, plain encoder-decoders of growing size on MNIST and
//! CIFAR-10.

use super::images::{Draw, Judge, dataset, draw, load};
use super::{Context, Need, Page, Verdict};
use crate::data::{Dataset, Split};
use crate::diffusion::Process;
use crate::nn::summary::summary;
use crate::report::{Plot, Record, Table, digits, grid, read_metrics, smooth};
use crate::sample::Samples;
use crate::train::{Config, presets};
use crate::{Error, Result};

/// A preset on the context's data. Quick: `steps` updates of 32 images on a part of the data.
fn config(context: &Context, preset: &str, need: Need, steps: u64) -> Result<Config> {
    let mut settings = vec![
        format!("data.source={:?}", context.source(need)?),
        format!("train.seed={}", context.settings().seed),
        "sample.n=0".into(),
        "train.sample_every=0".into(),
    ];
    if context.settings().quick {
        settings.extend([
            "data.limit=5000".into(),
            "train.batch_size=32".into(),
            format!("train.steps={steps}"),
            format!("train.validate_every={}", (steps / 5).max(1)),
            "sample.steps=50".into(),
        ]);
    }
    presets::get(preset)?.with_settings(&settings)
}

/// Samples and real images side by side: odd columns real, even columns generated.
fn pairs(dataset: &Dataset, samples: &Samples) -> Vec<f32> {
    let n = samples.dims[0];
    let values = samples.images.len() / n;
    let mut real = vec![0.0; samples.images.len()];
    dataset.fill_batch(&(0..n).collect::<Vec<_>>(), &vec![false; n], &mut real);
    let one = |i: usize| [&real[i * values..][..values], &samples.images[i * values..][..values]].concat();
    (0..n).flat_map(one).collect()
}

/// Training loss, smoothed, and validation loss with its standard error.
fn curves(records: &[Record], config: &Config, images: usize) -> Result<Plot> {
    let images = if config.data.limit == 0 { images } else { images.min(config.data.limit) };
    let per_epoch = images as f64 * (1.0 - config.train.validation_fraction);
    let epoch = |step: u64| step as f64 * config.train.batch_size as f64 / per_epoch;
    let losses: Vec<f64> = records.iter().map(|r| f64::from(r.loss)).collect();
    let training = smooth(&losses, losses.len().div_ceil(100));
    let validation: Vec<[f64; 3]> = records
        .iter()
        .filter_map(|r| {
            let (loss, error) = (f64::from(r.validation_loss?), f64::from(r.validation_error?));
            Some([epoch(r.step), loss, error])
        })
        .collect();
    if validation.is_empty() {
        return Err(Error::Config("the run was not validated".into()));
    }
    let line = validation.iter().map(|[x, y, _]| [*x, *y]).collect();
    let points = records.iter().zip(training).map(|(r, loss)| [epoch(r.step), loss]).collect();
    Ok(Plot::new("", "epoch", "mean squared error of ε")
        .log_y()
        .line("training", points)
        .beads("validation", line)
        .error_bars(validation.iter().map(|[x, y, error]| [*x, y - error, y + error]).collect()))
}

/// What a model of the report gave.
struct Outcome {
    name: &'static str,
    frechet: Option<f64>,
    /// Share of the variance of samples in their highest frequencies.
    roughness: f64,
}

/// Mean squared difference of neighbouring pixels, relative to twice the variance: 1 for white noise, small for images.
fn roughness(samples: &Samples) -> f64 {
    let [_, _, w, c] = samples.dims;
    let values: Vec<f64> = samples.images.iter().map(|&v| f64::from(v)).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    let rows = values.chunks_exact(w * c);
    let differences: Vec<f64> = rows.flat_map(|row| row.windows(c + 1).map(|at| (at[c] - at[0]).powi(2))).collect();
    differences.iter().sum::<f64>() / differences.len() as f64 / (2.0 * variance)
}

/// Trains, draws and shows one model.
fn model(
    context: &mut Context,
    page: &mut Page,
    (name, preset, steps): (&'static str, &str, u64),
    need: Need,
    judge: Option<&mut Judge>,
) -> Result<Outcome> {
    let config = config(context, preset, need, steps)?;
    let run = context.trained(&config)?;
    let mut loaded = load(context, &config, false)?;
    context.note(&format!("samples of {name}"));
    let samples = draw(context, &mut loaded, Draw { n: context.size(100, 5000), ..Draw::default() })?;
    let [_, h, w, c] = samples.dims;
    let first =
        |n: usize| Samples { images: samples.images[..n * h * w * c].to_vec(), dims: [n, h, w, c], ..samples.clone() };
    let stem = preset.rsplit('-').next().unwrap_or(preset);
    page.heading(name);
    page.table(&format!("{stem}-layers"), &format!("{name}: layers that learn, for one image."), layers(&config)?);
    page.picture(
        &format!("{stem}-samples"),
        &format!("{name}: samples."),
        &grid(&first(64).images, [64, h, w, c], Some(8)),
    );
    let real = dataset(&config, Split::Train)?;
    let both = pairs(&real, &first(32));
    let caption = format!("{name}: odd columns real, even columns generated (they are not pairs).");
    page.picture(&format!("{stem}-pairs"), &caption, &grid(&both, [64, h, w, c], Some(8)));
    let plot = curves(&read_metrics(&run.metrics())?, &config, real.len())?;
    page.plot(&format!("{stem}-loss"), &format!("{name}: losses against the epoch."), &plot.figure());
    let frechet = judge.map(|judge| judge.judge(&samples, None)).transpose()?.map(|j| j.frechet);
    Ok(Outcome { name, frechet, roughness: roughness(&samples) })
}

/// What the report draws as a diagram.
fn layers(config: &Config) -> Result<Table> {
    let mut table = Table::new(&["layer", "output", "parameters", "MFLOP"]);
    let rows = summary(&config.model)?;
    let [parameters, flops] =
        [rows.iter().map(|row| row.parameters as u64).sum(), rows.iter().map(|row| row.flops).sum()];
    let cells = |name: &str, dims: &[usize], parameters: u64, flops: u64| {
        let dims = dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
        [name.to_owned(), dims, parameters.to_string(), digits(flops as f64 / 1e6, 3)]
    };
    for row in rows.iter().filter(|row| row.parameters > 0) {
        table.row(cells(&row.name, &row.dims[1..], row.parameters as u64, row.flops));
    }
    table.row(cells("all", &[], parameters, flops));
    Ok(table)
}

fn table(page: &mut Page, results: &[Outcome]) {
    let mut table = Table::new(&["model", "Fréchet distance", "roughness of samples (white noise: 1)"]);
    for result in results {
        let frechet = result.frechet.map_or(String::new(), |v| digits(v, 3));
        table.row([result.name.to_owned(), frechet, digits(result.roughness, 3)]);
    }
    page.table("models", "Distance of samples by our own classifier's features, and how rough samples are.", table);
}

pub(super) fn mnist(context: &mut Context, page: &mut Page) -> Result<()> {
    let base = config(context, "mnist-dm1", Need::Mnist, 1)?;
    let mut judge = Judge::new(context, &base, Need::Mnist)?;
    let models = [("DM1", "mnist-dm1", 600), ("DM2", "mnist-dm2", 600)];
    let results: Vec<Outcome> =
        models.into_iter().map(|m| model(context, page, m, Need::Mnist, Some(&mut judge))).collect::<Result<_>>()?;
    table(page, &results);
    let [one, two] = [0, 1].map(|i| results[i].frechet.expect("it was judged"));
    page.claim(
        "Vu Minh and Won, section 5",
        "DM2 draws clearer and more varied digits than DM1.",
        Verdict::of(two < one),
        format!("Fréchet distance {} for DM1, {} for DM2", digits(one, 3), digits(two, 3)),
    );
    page.text(
        "T = 500 with the β of T = 1000 leaves 8 % of the image in z_T, while samples start from pure noise: part of what \
         these models do wrong is in the schedule.",
    );
    Ok(())
}

pub(super) fn cifar(context: &mut Context, page: &mut Page) -> Result<()> {
    let base = config(context, "cifar-c1", Need::Cifar10, 1)?;
    let mut judge = if context.settings().quick { None } else { Some(Judge::new(context, &base, Need::Cifar10)?) };
    let models = [("C1", "cifar-c1", 300), ("C2", "cifar-c2", 300), ("C3", "cifar-c3", 20)];
    let results: Vec<Outcome> =
        models.into_iter().map(|m| model(context, page, m, Need::Cifar10, judge.as_mut())).collect::<Result<_>>()?;
    table(page, &results);
    let claim = "C3 draws best, C2 has clearer edges than C1, and C1 draws little more than coloured noise.";
    let rough = results.iter().map(|r| format!("{} {}", r.name, digits(r.roughness, 3))).collect::<Vec<_>>().join(", ");
    let verdict = match results[..] {
        [Outcome { frechet: Some(c1), .. }, Outcome { frechet: Some(c2), .. }, Outcome { frechet: Some(c3), .. }] => {
            Verdict::of(c3 < c2 && c2 < c1)
        }
        _ => Verdict::NotDecided,
    };
    let evidence = match verdict {
        Verdict::NotDecided => {
            format!("needs the full size, 60 epochs on a GPU; after a few hundred steps, roughness: {rough}")
        }
        _ => format!("by Fréchet distance; roughness: {rough}"),
    };
    page.claim("Vu Minh and Won, section 5", claim, verdict, evidence);
    Ok(())
}

pub(super) fn progress(context: &mut Context, page: &mut Page) -> Result<()> {
    let config = config(context, "mnist-dm2", Need::Mnist, 600)?;
    let Process::Discrete(schedule) = config.diffusion.process()? else { unreachable!("the preset's is discrete") };
    let steps = schedule.steps();
    let mut loaded = load(context, &config, false)?;
    // The report numbers the steps 0 to 499: what is left to do when a frame is taken.
    let shown = [499, 200, 100, 50, 10, 5, 0];
    let stages: Vec<usize> = shown.iter().map(|t| steps - t).collect();
    let samples = draw(context, &mut loaded, Draw { n: 6, stages: &stages, every_step: true, ..Draw::default() })?;
    let caption = "DM2 on its way from noise, a sample a row: t = 499, 200, 100, 50, 10, 5, 0.";
    page.picture("progress", caption, &samples.strip());
    let [rows, columns] = samples.stage_grid;
    let [_, h, w, c] = samples.dims;
    let values = h * w * c;
    let frame = |row: usize, column: usize| &samples.stages[(row * columns + column) * values..][..values];
    // How alike a frame and the result are, beside what any two of them have in common.
    let correlation = |column: usize| -> f64 {
        let of = |row: usize| correlation(frame(row, column), frame(row, columns - 1));
        (0..rows).map(of).sum::<f64>() / rows as f64
    };
    let found: Vec<f64> = (0..columns).map(correlation).collect();
    page.claim(
        "Vu Minh and Won, section 5",
        "The shape of the digit can be recognised at about t = 100.",
        Verdict::of(found[2] > 0.5 && found[0] < 0.3),
        format!("mean correlation of a frame with the result, t = 499 to 0: {found:.2?}"),
    );
    Ok(())
}

/// Pearson's correlation of the pixels of two images.
fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let n = a.len() as f64;
    let mean = |v: &[f32]| v.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sums = a.iter().zip(b).fold([0.0; 3], |[ab, aa, bb], (&a, &b)| {
        let (a, b) = (f64::from(a) - mean_a, f64::from(b) - mean_b);
        [ab + a * b, aa + a * a, bb + b * b]
    });
    sums[0] / (sums[1] * sums[2]).sqrt()
}
