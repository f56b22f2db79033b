//! Trains, measures and shows one network of the report.

use super::networks::Network;
use crate::data::{Dataset, Split};
use crate::experiment::context::Context;
use crate::experiment::images::{Draw, dataset, draw, images_at, load};
use crate::experiment::judge::Judge;
use crate::experiment::page::Page;
use crate::experiment::spread::Measured;
use crate::nn::summary::summary;
use crate::report::{Plot, Record, Table, digits, grid, read_metrics, smooth};
use crate::sample::Samples;
use crate::train::Config;
use anyhow::{Result, bail};

/// Samples and real images side by side: odd columns real, even columns generated.
fn pairs(dataset: &Dataset, samples: &Samples) -> Result<Vec<f32>> {
    let n = samples.dims[0];
    let values = samples.images.len() / n;
    let real = images_at(dataset, &(0..n).collect::<Vec<_>>())?;
    let one = |i: usize| [&real[i * values..][..values], &samples.images[i * values..][..values]].concat();
    Ok((0..n).flat_map(one).collect())
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
        bail!("the run was not validated");
    }
    let line = validation.iter().map(|[x, y, _]| [*x, *y]).collect();
    let points = records.iter().zip(training).map(|(r, loss)| [epoch(r.step), loss]).collect();
    Ok(Plot::new("", "epoch", "mean squared error of ε")
        .log_y()
        .line("training", points)
        .beads("validation", line)
        .error_bars(validation.iter().map(|[x, y, error]| [*x, y - error, y + error]).collect()))
}

/// The measures of the samples of the networks that differ in their seed.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub network: Network,
    /// Fréchet distance, where it was judged.
    pub frechet: Option<Measured>,
    /// Share of the variance in the highest frequencies: 1 for white noise.
    pub roughness: Measured,
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

/// Trains and measures the networks of one kind, and shows the first.
pub(super) fn model(
    context: &mut Context,
    page: &mut Page,
    network: Network,
    mut judge: Option<&mut Judge>,
) -> Result<Outcome> {
    let frechet = judge.is_some().then(Measured::default);
    let mut outcome = Outcome { network, frechet, roughness: Measured::default() };
    for repeat in 0..context.repeats(1) {
        let mut config = network.config(context)?;
        config.train.seed += repeat;
        let mut loaded = load(context, &config)?;
        context.note(&format!("samples of {}, seed {}", network.name(), config.train.seed));
        let samples = draw(context, &mut loaded, Draw { n: context.size(100, 5000), ..Draw::default() })?;
        if repeat == 0 {
            show(context, page, network, &config, &samples)?;
        }
        if let (Some(distances), Some(judge)) = (&mut outcome.frechet, &mut judge) {
            distances.push(judge.judge(&samples, None)?.frechet);
        }
        outcome.roughness.push(roughness(&samples));
    }
    Ok(outcome)
}

fn show(context: &mut Context, page: &mut Page, network: Network, config: &Config, samples: &Samples) -> Result<()> {
    let (name, stem, run) = (network.name(), network.stem(), context.trained(config)?);
    let [_, h, w, c] = samples.dims;
    let first =
        |n: usize| Samples { images: samples.images[..n * h * w * c].to_vec(), dims: [n, h, w, c], ..samples.clone() };
    page.heading(name);
    page.table(&format!("{stem}-layers"), &format!("{name}: layers that learn, for one image."), layers(config)?);
    page.picture(
        &format!("{stem}-samples"),
        &format!("{name}: samples."),
        &grid(&first(64).images, [64, h, w, c], Some(8)),
    );
    let real = dataset(config, Split::Train)?;
    let both = pairs(&real, &first(32))?;
    let caption = format!("{name}: odd columns real, even columns generated (they are not pairs).");
    page.picture(&format!("{stem}-pairs"), &caption, &grid(&both, [64, h, w, c], Some(8)));
    let plot = curves(&read_metrics(&run.metrics())?, config, real.len())?;
    page.plot(&format!("{stem}-loss"), &format!("{name}: losses against the epoch."), &plot.figure());
    Ok(())
}

/// The layers that learn, which the report draws as a diagram.
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
