//! `won-mnist`, `won-cifar` and `won-progress`: Vu Minh and Won, plain encoder-decoders of growing size on MNIST and
//! CIFAR-10.

use super::context::Context;
use super::definition::Experiment;
use super::images::{Draw, dataset, draw, images_at, load};
use super::judge::Judge;
use super::numbers::correlation;
use super::page::Page;
use super::settings::Need;
use super::verdict::{Claim, Verdict};
use crate::data::{Dataset, Split};
use crate::nn::summary::summary;
use crate::report::{Plot, Record, Table, digits, grid, read_metrics, smooth};
use crate::sample::Samples;
use crate::train::{Config, presets};
use anyhow::{Context as _, Result, bail};

/// Two plain networks on MNIST: samples, losses, distances.
pub const MNIST: Experiment = Experiment {
    name: "won-mnist",
    about: "Two plain networks on MNIST: samples, losses, distances",
    source: "Vu Minh and Won, Figs. 2 to 6",
    needs: &[Need::Mnist],
    quick: "5,000 digits, 600 steps of 32; about 5 minutes on two cores",
    full: Some("50 epochs each; a GPU, an hour"),
    run: mnist,
};
/// Three plain networks of growing size on CIFAR-10.
pub const CIFAR: Experiment = Experiment {
    name: "won-cifar",
    about: "Three plain networks of growing size on CIFAR-10",
    source: "Vu Minh and Won, Figs. 8 to 13",
    needs: &[Need::Cifar10],
    quick: "5,000 images, 300, 300 and 20 steps of 32; about 10 minutes on two cores",
    full: Some("60 epochs each; a GPU, hours"),
    run: cifar,
};
/// Digits on their way from noise at chosen times.
pub const PROGRESS: Experiment = Experiment {
    name: "won-progress",
    about: "Digits on their way from noise at chosen times",
    source: "Vu Minh and Won, Figs. 7 and 14",
    needs: &[Need::Mnist],
    quick: "a run of won-mnist, and seconds",
    full: Some("the same run, full size"),
    run: progress,
};

/// A network of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    Dm1,
    Dm2,
    C1,
    C2,
    C3,
}

impl Network {
    fn name(self) -> &'static str {
        match self {
            Network::Dm1 => "DM1",
            Network::Dm2 => "DM2",
            Network::C1 => "C1",
            Network::C2 => "C2",
            Network::C3 => "C3",
        }
    }

    /// The name in files.
    fn stem(self) -> &'static str {
        match self {
            Network::Dm1 => "dm1",
            Network::Dm2 => "dm2",
            Network::C1 => "c1",
            Network::C2 => "c2",
            Network::C3 => "c3",
        }
    }

    fn data(self) -> Need {
        match self {
            Network::Dm1 | Network::Dm2 => Need::Mnist,
            Network::C1 | Network::C2 | Network::C3 => Need::Cifar10,
        }
    }

    /// Updates in the quick size.
    fn quick_steps(self) -> u64 {
        match self {
            Network::Dm1 | Network::Dm2 => 600,
            Network::C1 | Network::C2 => 300,
            Network::C3 => 20,
        }
    }

    /// The report's training; quick: fewer updates, of 32 images, on a part of the data.
    fn config(self, context: &Context) -> Result<Config> {
        let mut settings = vec![
            format!("data.source={:?}", context.source(self.data())?),
            format!("train.seed={}", context.settings().seed),
        ];
        if context.settings().quick {
            let steps = self.quick_steps();
            settings.extend([
                "data.limit=5000".into(),
                "train.batch_size=32".into(),
                format!("train.steps={steps}"),
                format!("train.validate_every={}", (steps / 5).max(1)),
                "sample.steps=50".into(),
            ]);
        }
        let set = if self.data() == Need::Mnist { "mnist" } else { "cifar" };
        Ok(presets::get(&format!("{set}-{}", self.stem()))?.with_settings(&settings)?)
    }
}

/// Samples and real images side by side: odd columns real, even columns generated.
fn pairs(dataset: &Dataset, samples: &Samples) -> Vec<f32> {
    let n = samples.dims[0];
    let values = samples.images.len() / n;
    let real = images_at(dataset, &(0..n).collect::<Vec<_>>());
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

/// The measures of a model's samples.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    network: Network,
    /// Fréchet distance, where it was judged.
    frechet: Option<f64>,
    /// Share of the variance in the highest frequencies.
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

/// Trains and shows one model. Returns the measures of its samples.
fn model(context: &mut Context, page: &mut Page, network: Network, judge: Option<&mut Judge>) -> Result<Outcome> {
    let (name, stem, config) = (network.name(), network.stem(), network.config(context)?);
    let run = context.trained(&config)?;
    let mut loaded = load(context, &config)?;
    context.note(&format!("samples of {name}"));
    let samples = draw(context, &mut loaded, Draw { n: context.size(100, 5000), ..Draw::default() })?;
    let [_, h, w, c] = samples.dims;
    let first =
        |n: usize| Samples { images: samples.images[..n * h * w * c].to_vec(), dims: [n, h, w, c], ..samples.clone() };
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
    Ok(Outcome { network, frechet, roughness: roughness(&samples) })
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

fn table(page: &mut Page, results: &[Outcome]) {
    let mut table = Table::new(&["model", "Fréchet distance", "roughness of samples (white noise: 1)"]);
    for result in results {
        let frechet = result.frechet.map_or(String::new(), |v| digits(v, 3));
        table.row([result.network.name().to_owned(), frechet, digits(result.roughness, 3)]);
    }
    page.table("models", "Distance of samples by our own classifier's features, and how rough samples are.", table);
}

fn mnist(context: &mut Context, page: &mut Page) -> Result<()> {
    let base = Network::Dm1.config(context)?;
    let mut judge = Judge::new(context, &base, Need::Mnist)?;
    let one = model(context, page, Network::Dm1, Some(&mut judge))?;
    let two = model(context, page, Network::Dm2, Some(&mut judge))?;
    table(page, &[one, two]);
    page.claims([judge_mnist(one, two)?]);
    page.text(
        "T = 500 with the β of T = 1000 leaves 8 % of the image in z_T, while samples start from pure noise: part of what \
         these models do wrong is in the schedule.",
    );
    Ok(())
}

fn judge_mnist(one: Outcome, two: Outcome) -> Result<Claim> {
    let (one, two) = one.frechet.zip(two.frechet).context("the samples of DM1 and DM2 were not judged")?;
    Ok(Claim::new(
        "Vu Minh and Won, section 5",
        "DM2 draws clearer and more varied digits than DM1.",
        Verdict::of(two < one),
        format!("Fréchet distance {} for DM1, {} for DM2", digits(one, 3), digits(two, 3)),
    ))
}

fn cifar(context: &mut Context, page: &mut Page) -> Result<()> {
    let base = Network::C1.config(context)?;
    let mut judge = if context.settings().quick { None } else { Some(Judge::new(context, &base, Need::Cifar10)?) };
    let mut outcome = |network| model(context, page, network, judge.as_mut());
    let results = [outcome(Network::C1)?, outcome(Network::C2)?, outcome(Network::C3)?];
    table(page, &results);
    page.claims([judge_cifar(results)]);
    Ok(())
}

/// Judges C1, C2 and C3, in this order.
fn judge_cifar(results: [Outcome; 3]) -> Claim {
    let rough: Vec<String> =
        results.iter().map(|r| format!("{} {}", r.network.name(), digits(r.roughness, 3))).collect();
    let rough = rough.join(", ");
    let (verdict, evidence) = match results.map(|result| result.frechet) {
        [Some(c1), Some(c2), Some(c3)] => {
            (Verdict::of(c3 < c2 && c2 < c1), format!("by Fréchet distance; roughness: {rough}"))
        }
        _ => (
            Verdict::NotDecided,
            format!("needs the full size, 60 epochs on a GPU; after a few hundred steps, roughness: {rough}"),
        ),
    };
    let claim = "C3 draws best, C2 has clearer edges than C1, and C1 draws little more than coloured noise.";
    Claim::new("Vu Minh and Won, section 5", claim, verdict, evidence)
}

/// The steps that are left when a frame is taken, as the report numbers them.
const SHOWN: [usize; 7] = [499, 200, 100, 50, 10, 5, 0];

fn progress(context: &mut Context, page: &mut Page) -> Result<()> {
    let mut config = Network::Dm2.config(context)?;
    config.sample.steps = 0; // a step for every noise level
    let mut loaded = load(context, &config)?;
    let steps = loaded.plan()?.steps.len();
    let stages = SHOWN.map(|left| steps - left);
    let samples = draw(context, &mut loaded, Draw { n: 6, stages: &stages, ..Draw::default() })?;
    let caption = "DM2 on its way from noise, a sample a row: t = 499, 200, 100, 50, 10, 5, 0.";
    page.picture("progress", caption, &samples.strip());
    let [rows, columns] = samples.stage_grid;
    let [_, h, w, c] = samples.dims;
    let values = h * w * c;
    let frame = |row: usize, column: usize| &samples.stages[(row * columns + column) * values..][..values];
    let likeness = |column: usize| -> f64 {
        let of = |row: usize| correlation(frame(row, column), frame(row, columns - 1));
        (0..rows).map(of).sum::<f64>() / rows as f64
    };
    page.claims([judge_progress(&std::array::from_fn(likeness))]);
    Ok(())
}

/// Judges the mean correlation of each frame of [`SHOWN`] with the result.
fn judge_progress(likeness: &[f64; SHOWN.len()]) -> Claim {
    let [t499, _, t100, ..] = likeness;
    Claim::new(
        "Vu Minh and Won, section 5",
        "The shape of the digit can be recognised at about t = 100.",
        Verdict::of(*t100 > 0.5 && *t499 < 0.3),
        format!("mean correlation of a frame with the result, t = 499 to 0: {likeness:.2?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;

    fn outcome(network: Network, frechet: Option<f64>) -> Outcome {
        Outcome { network, frechet, roughness: 0.1 }
    }

    #[test]
    fn the_larger_network_of_digits_must_be_nearer() {
        let verdict =
            |one, two| judge_mnist(outcome(Network::Dm1, Some(one)), outcome(Network::Dm2, Some(two))).unwrap().verdict;
        assert_eq!([verdict(9.0, 8.0), verdict(8.0, 9.0), verdict(8.0, f64::NAN)], [Confirmed, Refuted, Refuted]);
        assert!(judge_mnist(outcome(Network::Dm1, None), outcome(Network::Dm2, Some(1.0))).is_err());
    }

    #[test]
    fn the_networks_of_photographs_must_be_in_order() {
        let verdict = |distances: [Option<f64>; 3]| {
            let [c1, c2, c3] = distances;
            judge_cifar([outcome(Network::C1, c1), outcome(Network::C2, c2), outcome(Network::C3, c3)]).verdict
        };
        assert_eq!(verdict([Some(9.0), Some(8.0), Some(7.0)]), Confirmed);
        assert_eq!(verdict([Some(9.0), Some(8.0), Some(8.5)]), Refuted);
        assert_eq!(verdict([Some(7.0), Some(8.0), Some(6.0)]), Refuted);
        assert_eq!(verdict([Some(9.0), None, Some(7.0)]), NotDecided);
    }

    #[test]
    fn the_shape_must_come_late_and_be_there_at_100() {
        let verdict = |t499, t100| judge_progress(&[t499, 0.3, t100, 0.8, 0.9, 0.99, 1.0]).verdict;
        assert_eq!([verdict(0.1, 0.6), verdict(0.4, 0.6), verdict(0.1, 0.5)], [Confirmed, Refuted, Refuted]);
    }
}
