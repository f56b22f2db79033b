//! `thesis-table-4.2`: x, ε and v on CIFAR-10, by the weighted loss and by the bound.

use super::cell::{BOUND_RANGE, TIMES, Training};
use super::measure::{FRESH_SEED, Losses, Totals, time};
use super::targets;
use crate::data::{Dataset, Split};
use crate::diffusion::PredictionTarget;
use crate::engine::random::RngState;
use crate::eval::features::Features;
use crate::eval::frechet::frechet_distance;
use crate::eval::inception::Inception;
use crate::eval::moments::Moments;
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::images::{Draw, dataset, draw, images_at, load};
use crate::experiment::page::Page;
use crate::experiment::settings::Need;
use crate::experiment::spread::Measured;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Table, grid};
use crate::sample::Samples;
use crate::train::config::Loss;
use crate::train::{Config, LoadedModel, presets};
use anyhow::{Context as _, Result, bail};

/// x, ε and v on CIFAR-10, weighted and by the bound: losses and samples.
pub const TABLE_4_2: Experiment = Experiment {
    name: "thesis-table-4.2",
    about: "x, ε and v on CIFAR-10, weighted and by the bound: losses and samples",
    source: "Kumar, Table 4.2 and Figs. 4.3, 4.15 to 4.17",
    needs: Needs::Always(Need::Cifar10),
    quick: "six networks of a hundredth of the weights, 400 steps each; about 15 minutes on two cores",
    full: Some("six networks of 58 M weights, three seeds; a GPU, weeks"),
    run: run,
};

/// The targets of the table; the thesis leaves out the score.
const TARGETS: [PredictionTarget; 3] = [PredictionTarget::X0, PredictionTarget::Epsilon, PredictionTarget::V];

/// The thesis' numbers of a row: the loss or NELBO, and FID.
struct Published {
    loss: &'static str,
    fid: &'static str,
}

fn published(target: PredictionTarget, training: Training) -> Result<Published> {
    let (loss, fid) = match (target, training) {
        (PredictionTarget::X0, Training::Weighted) => ("0.05", "16.96"),
        (PredictionTarget::X0, Training::Nelbo) => ("0.09", "13.54"),
        (PredictionTarget::Epsilon, Training::Weighted) => ("0.06", "13.75"),
        (PredictionTarget::Epsilon, Training::Nelbo) => ("0.84", "24.26"),
        (PredictionTarget::V, Training::Weighted) => ("0.12", "18.24"),
        (PredictionTarget::V, Training::Nelbo) => ("0.86", "18.18"),
        _ => bail!("Kumar's Table 4.2 has no row for {}", targets::name(target)),
    };
    Ok(Published { loss, fid })
}

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
        config.diffusion.loss = Loss::Nelbo;
        [config.diffusion.t_min, config.diffusion.t_max] = BOUND_RANGE;
    }
    Ok(config)
}

/// A row of the table, over seeds.
#[derive(Clone, Debug)]
struct Row {
    target: PredictionTarget,
    training: Training,
    /// The mean error of the target over all times, the mean over the dimensions.
    own: Measured,
    /// The bound over [`BOUND_RANGE`].
    nelbo: Measured,
    fid: Option<Measured>,
}

impl Row {
    fn name(&self) -> String {
        format!("{} {}", targets::name(self.target), self.training.name())
    }
}

/// The losses of `n` test images.
fn losses(context: &mut Context, model: &mut LoadedModel, test: &Dataset, n: usize) -> Result<Losses> {
    let dims = model.config().model.sample_len();
    let mut totals = Totals::new(model, n)?;
    for first in (0..n).step_by(model.chunk()) {
        context.check_stop()?;
        let indices: Vec<usize> = (first..n.min(first + model.chunk())).collect();
        let x = images_at(test, &indices);
        let times: Vec<f64> = indices.iter().map(|&i| time(i, n)).collect();
        let rng = RngState { seed: FRESH_SEED, step: 0, first_image: first as u32 };
        let answers = model.ask(&x, &times, &[], rng)?;
        let of_image = x.chunks_exact(dims).zip(answers.eps.chunks_exact(dims)).zip(answers.out.chunks_exact(dims));
        for (&t, ((x, eps), out)) in times.iter().zip(of_image) {
            totals.add(t, [x, eps, out]);
        }
    }
    Ok(totals.losses())
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
            features.extend(network.features(&images_at(train, &indices), [indices.len(), h, w, c])?);
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

/// Samples for a FID that can be compared with published ones.
const FID_SAMPLES: usize = 50_000;

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

/// Finds a row.
fn row(rows: &[Row], target: PredictionTarget, training: Training) -> Result<&Row> {
    let found = rows.iter().find(|row| row.target == target && row.training == training);
    found.with_context(|| format!("Table 4.2 has no row {} {}", targets::name(target), training.name()))
}

/// Judges the weighted losses.
fn judge_sum(rows: &[Row]) -> Result<Claim> {
    let own = |target| row(rows, target, Training::Weighted).map(|row| &row.own);
    let (x, epsilon, v) = (own(PredictionTarget::X0)?, own(PredictionTarget::Epsilon)?, own(PredictionTarget::V)?);
    let gap = v.minus(x).minus(epsilon).zip(v, |gap, v| gap / v);
    Ok(Claim::new(
        "Kumar, Table 4.2",
        "The weighted losses of x and ε add up to that of v, as they do for one and the same denoiser.",
        gap.within(-0.15..=0.15),
        format!("{} + {} against {}; the thesis: 0.05 + 0.06 against 0.12", x.show(3), epsilon.show(3), v.show(3)),
    )
    .tested("gap relative to the loss of v by seed, 95 % interval; one beyond 15 % would refute it"))
}

/// Judges FID, of `samples` samples.
fn judge_fid(rows: &[Row], samples: usize) -> Result<Claim> {
    let epsilon = row(rows, PredictionTarget::Epsilon, Training::Weighted)?;
    let x = row(rows, PredictionTarget::X0, Training::Nelbo)?;
    let is = |one: &Row, other: &Row| one.target == other.target && one.training == other.training;
    let better = |best: &Row, others: &mut dyn Iterator<Item = &Row>| {
        Verdict::all(others.filter(|other| !is(best, other)).map(|other| match (&best.fid, &other.fid) {
            (Some(best), Some(other)) => other.minus(best).above(0.0),
            _ => Verdict::NotDecided,
        }))
    };
    let of_weighted = better(epsilon, &mut rows.iter().filter(|row| row.training == Training::Weighted));
    let of_all = better(x, &mut rows.iter());
    let measured = rows.iter().filter_map(|row| Some(format!("{} {}", row.name(), row.fid.as_ref()?.show(4))));
    let measured = measured.collect::<Vec<_>>().join(", ");
    let (verdict, evidence) = match samples {
        _ if measured.is_empty() => (Verdict::NotDecided, "needs --inception FILE".into()),
        0..FID_SAMPLES => (Verdict::NotDecided, format!("needs {FID_SAMPLES} samples; FID of {samples}: {measured}")),
        _ => (Verdict::all([of_weighted, of_all]), format!("FID: {measured}")),
    };
    Ok(Claim::new(
        "Kumar, Table 4.2",
        "Weighted ε has the best FID of the weighted trainings, x by the bound the best of all.",
        verdict,
        evidence,
    )
    .tested("differences of FID by seed, 95 % interval; one training better than the one named best would refute it"))
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;

    fn around(value: f64) -> Measured {
        [0.999, 1.0, 1.001].into_iter().map(|factor| factor * value).collect()
    }

    /// The thesis' own numbers.
    fn rows() -> Vec<Row> {
        let number = |text: &str| around(text.parse().unwrap());
        let row = |training, target| {
            let Published { loss, fid } = published(target, training).unwrap();
            Row { target, training, own: number(loss), nelbo: number(loss), fid: Some(number(fid)) }
        };
        Training::ALL.into_iter().flat_map(|training| TARGETS.map(|target| row(training, target))).collect()
    }

    #[test]
    fn losses_must_add_up() {
        let verdict = |v: Measured| {
            let mut rows = rows();
            rows[2].own = v;
            judge_sum(&rows).unwrap().verdict
        };
        assert_eq!(verdict(around(0.12)), Confirmed);
        assert_eq!([around(0.14), around(0.09)].map(verdict), [Refuted; 2]);
        assert_eq!(verdict([0.09, 0.12, 0.14].into_iter().collect()), NotDecided);
        assert!(judge_sum(&rows()[1..]).unwrap_err().to_string().contains("no row x weighted"));
    }

    #[test]
    fn the_best_fid_is_found_where_it_was_measured() {
        let judged = |samples, change: &dyn Fn(&mut [Row])| {
            let mut rows = rows();
            change(&mut rows);
            judge_fid(&rows, samples).unwrap()
        };
        assert_eq!(judged(50_000, &|_| ()).verdict, Confirmed);
        assert_eq!(judged(50_000, &|rows| rows[0].fid = Some(around(13.6))).verdict, Refuted);
        assert_eq!(judged(50_000, &|rows| rows[5].fid = Some(around(13.0))).verdict, Refuted);
        assert_eq!(
            judged(50_000, &|rows| rows[0].fid = Some([13.0, 14.0, 16.0].into_iter().collect())).verdict,
            NotDecided
        );
        let few = judged(100, &|_| ());
        assert!(few.verdict == NotDecided && few.evidence.contains("50000 samples"), "{}", few.evidence);
        let none = judged(50_000, &|rows| rows.iter_mut().for_each(|row| row.fid = None));
        assert!(none.verdict == NotDecided && none.evidence.contains("--inception"), "{}", none.evidence);
    }
}
