//! `thesis-table-4.2`: x, ε and v on CIFAR-10, by the weighted loss and by the bound.

use super::cell::{BOUND_RANGE, TIMES, Training};
use super::measure::{FRESH_SEED, Losses, cuts};
use super::row_4_2::{Row, TARGETS, published};
use super::table_4_2_claims::{FID_SAMPLES, judge_fid, judge_sum};
use super::targets;
use crate::data::{Dataset, Split};
use crate::diffusion::{LossWeighting, NoiseSchedule, PredictionTarget};
use crate::engine::random::RngState;
use crate::eval::features::Features;
use crate::eval::frechet::frechet_distance;
use crate::eval::inception::Inception;
use crate::eval::moments::Moments;
use crate::eval::time_losses::Totals;
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::images::{Draw, dataset, draw, images_at, load};
use crate::experiment::page::Page;
use crate::experiment::settings::Need;
use crate::experiment::spread::Measured;
use crate::report::{Table, grid};
use crate::sample::Samples;
use crate::train::{Config, LoadedModel, presets};
use anyhow::Result;

/// x, ε and v on CIFAR-10, weighted and by the bound: losses and samples.
pub const TABLE_4_2: Experiment = Experiment {
    name: "thesis-table-4.2",
    about: "x, ε and v on CIFAR-10, weighted and by the bound: losses and samples",
    source: "Kumar, Table 4.2 and Figs. 4.3, 4.15 to 4.17",
    needs: Needs::Always(Need::Cifar10),
    quick: "six networks of a hundredth of the weights, 400 steps each; about 15 minutes on two cores",
    full: Some("six networks of 58 M weights, three seeds; a GPU, weeks"),
    run,
};

/// The thesis' network; quick: a hundredth of its weights, and minutes of training.
fn config(context: &Context, target: PredictionTarget, training: Training) -> Result<Config> {
    let mut settings = vec![
        format!("data.source={:?}", context.source(Need::Cifar10)?),
        format!("train.seed={}", context.settings().seed),
    ];
    if context.settings().quick {
        let quick = [
            "model.channels=[16, 16, 32, 32, 32]",
            "model.mid_channels=[32, 32]",
            "model.layers_per_block=1",
            "train.batch_size=32",
            "train.steps=400",
            "train.learning_rate=1e-3",
            "sample.steps=30",
        ];
        settings.extend(quick.map(String::from));
    }
    let mut config = presets::get("cifar-thesis")?.with_settings(&settings)?;
    config.diffusion.target = target;
    if training == Training::Nelbo {
        config.diffusion.loss = LossWeighting::Nelbo;
        let [t_min, t_max] = BOUND_RANGE;
        config.diffusion.schedule = NoiseSchedule::vp_cosine(t_min, t_max);
    }
    Ok(config)
}

/// The losses of `n` test images.
fn losses(context: &mut Context, model: &mut LoadedModel, test: &Dataset, n: usize) -> Result<Losses> {
    let dims = model.config().model.sample_len();
    let cuts = cuts(model.config().diffusion.target);
    let mut totals = Totals::new(model, cuts)?;
    for first in (0..n).step_by(model.chunk()) {
        context.check_stop()?;
        let indices: Vec<usize> = (first..n.min(first + model.chunk())).collect();
        let x = images_at(test, &indices)?;
        let times: Vec<f64> = indices.iter().map(|&i| cuts.time(i, n)).collect();
        let rng = RngState { seed: FRESH_SEED, step: 0, first_image: first as u32 };
        let answers = model.ask(&x, &times, &[], rng)?;
        let of_image = x.chunks_exact(dims).zip(answers.eps.chunks_exact(dims)).zip(answers.out.chunks_exact(dims));
        for (&t, ((x, eps), out)) in times.iter().zip(of_image) {
            totals.add(t, [x, eps, out]);
        }
    }
    Ok(totals.losses().into())
}

/// Inception's features of the training images, to compare samples with.
struct Reference {
    network: Inception,
    real: Moments,
}

impl Reference {
    /// The features of the training images, if the weights of Inception were given.
    fn new(context: &Context, train: &Dataset) -> Result<Option<Reference>> {
        let Some(weights) = &context.settings().inception else { return Ok(None) };
        let mut network = Inception::open(weights, context.device()?, 16)?;
        let [h, w, c] = train.image_dims();
        let mut features = Vec::new();
        for first in (0..train.len()).step_by(1000) {
            let indices: Vec<usize> = (first..train.len().min(first + 1000)).collect();
            features.extend(network.features(&images_at(train, &indices)?, [indices.len(), h, w, c])?);
        }
        let real = Moments::of(&features, network.dims())?;
        Ok(Some(Reference { network, real }))
    }

    /// FID of samples.
    fn fid(&mut self, samples: &Samples) -> Result<f64> {
        let features = self.network.features(&samples.images, samples.dims)?;
        Ok(frechet_distance(&self.real, &Moments::of(&features, self.network.dims())?)?)
    }
}

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    let drawn = context.size(100, FID_SAMPLES);
    let rows = measure(context, page, drawn)?;
    show(page, &rows)?;
    page.claims([judge_sum(&rows)?, judge_fid(&rows, drawn)?]);
    page.text(
        "The thesis' NELBO of x, 0.09 beside 0.84 for ε, cannot stand on one footing with the others: with the exact weights \
         all targets have one optimum, and the weight of ε is at least 2π at every time.",
    );
    Ok(())
}

/// Trains and measures the networks; shows samples of the first of each row.
fn measure(context: &mut Context, page: &mut Page, drawn: usize) -> Result<Vec<Row>> {
    let (tested, repeats) = (context.size(1000, 10_000), context.size(1, 3));
    let base = config(context, PredictionTarget::X0, Training::Weighted)?;
    let test = dataset(&base, Split::Test)?;
    let mut reference = Reference::new(context, &dataset(&base, Split::Train)?)?;
    let mut rows = Vec::new();
    for training in Training::ALL {
        for target in TARGETS {
            let (own, nelbo, fid) =
                (Measured::default(), Measured::default(), reference.as_ref().map(|_| Measured::default()));
            let mut row = Row { target, training, own, nelbo, fid };
            for repeat in 0..repeats {
                let mut config = config(context, target, training)?;
                config.train.seed += repeat;
                context.note(&format!("{}, seed {}", row.name(), config.train.seed));
                let mut model = load(context, &config)?;
                let losses = losses(context, &mut model, &test, tested)?;
                row.own.push(losses.own);
                row.nelbo.push(losses.nelbo);
                let samples = draw(context, &mut model, Draw { n: drawn, ..Draw::default() })?;
                if repeat == 0 {
                    show_samples(page, &row, &samples);
                }
                if let (Some(fids), Some(reference)) = (&mut row.fid, &mut reference) {
                    fids.push(reference.fid(&samples)?);
                }
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

fn show_samples(page: &mut Page, row: &Row, samples: &Samples) {
    let [_, h, w, c] = samples.dims;
    let (name, training) = (targets::name(row.target), row.training.name());
    let sheet = grid(&samples.images[..100 * h * w * c], [100, h, w, c], Some(10));
    page.picture(&format!("samples-{name}-{training}"), &format!("{name}, {training}: samples."), &sheet);
}

fn show(page: &mut Page, rows: &[Row]) -> Result<()> {
    let header = ["target", "training", "loss of the target", "NELBO", "FID", "thesis: loss or NELBO", "thesis: FID"];
    let mut table = Table::new(&header);
    for row in rows {
        let published = published(row.target, row.training)?;
        table.row([
            targets::name(row.target).into(),
            row.training.name().to_owned(),
            // Training by the bound leaves out the ends of time.
            if row.training == Training::Weighted { row.own.show(3) } else { "–".into() },
            row.nelbo.show(3),
            row.fid.as_ref().map_or(String::new(), |fid| fid.show(4)),
            published.loss.into(),
            published.fid.into(),
        ]);
    }
    let caption = format!(
        "CIFAR-10, test images, the mean over the dimensions: losses of the target over t in [{}, {}], NELBO over [{}, {}].",
        TIMES[0], TIMES[1], BOUND_RANGE[0], BOUND_RANGE[1]
    );
    page.table("4.2", &caption, table);
    Ok(())
}
