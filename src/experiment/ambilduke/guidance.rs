//! `ens-guidance`: guidance by a classifier, which the paper describes, beside the classifier-free one, which it uses. Both
//! move the score of one network without a class, `S_0`, by `gamma` times a gradient of `ln p(class | z_t)`: that of a
//! classifier, or the difference that the same network with the class makes, `gamma = 1 + w`.

use super::guidance_claims::{Row, Way, judge};
use super::networks::{CLASSES, Network};
use crate::data::Split;
use crate::eval::NoisyClassifier;
use crate::eval::classifier::ClassifierConfig;
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::images::{Draw, dataset, draw, load, model_file};
use crate::experiment::judge::Judge;
use crate::experiment::numbers::percent;
use crate::experiment::page::Page;
use crate::experiment::settings::Need;
use crate::experiment::spread::Measured;
use crate::report::{Figure, Plot, Table, digits, grid};
use crate::sample::{ByClassifier, Request, Samples};
use crate::train::{Config, LoadedModel};
use anyhow::{Context as _, Result};

/// Digits 1, 2, 3 by the gradient of a classifier, and without one, over the scale.
pub const GUIDANCE: Experiment = Experiment {
    name: "ens-guidance",
    about: "Digits 1, 2, 3 by the gradient of a classifier, and without one, over the scale",
    source: "Ambilduke et al., section 3 (Dhariwal and Nichol 2021)",
    needs: Needs::Always(Need::Mnist),
    quick: "16x16, three networks of 0.6 M weights and their classifiers, 800 steps; about 6 minutes on two cores",
    full: Some("five networks of ens-table-1 and their classifiers; a GPU, hours"),
    run,
};

/// Scales gamma; the paper's w = 1 and 5 are 2 and 6.
pub(super) const SCALES: [f64; 4] = [1.0, 2.0, 4.0, 6.0];
/// Images of a class in the picture.
const COLUMNS: usize = 12;

/// The measures of both ways, and the first seed's samples in the order of the rows.
struct Results {
    rows: Vec<Row>,
    shown: Vec<Samples>,
    /// Accuracy of the guiding classifiers at times, each of which has a value for every seed.
    levels: Vec<(f64, Measured)>,
    topline: f64,
    judge_accuracy: f64,
}

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    let results = measure(context)?;
    show(page, &results);
    page.claims(judge(&results.rows)?);
    page.text(
        "Both ways share network, noise and judge. The judge is our classifier of clean images; the one that guides is another \
         network, trained on noisy images. Distances are Fréchet distances of the judge's features and compare only with each \
         other. Nothing is clipped.",
    );
    Ok(())
}

fn config(context: &Context) -> Result<Config> {
    let config = Network::Conditional.config(context)?;
    let quick = ["train.steps=800", "sample.steps=25"];
    Ok(if context.settings().quick { config.with_settings(&quick.map(String::from))? } else { config })
}

fn measure(context: &mut Context) -> Result<Results> {
    let base = config(context)?;
    let mut judge = Judge::new(context, &base, Need::Mnist)?;
    let n = context.size(150, 5000);
    let mut rows: Vec<Row> = Way::ALL.iter().flat_map(|&way| SCALES.map(|scale| Row::new(way, scale))).collect();
    let (mut shown, mut levels) = (Vec::new(), Vec::new());
    for repeat in 0..context.repeats(3) {
        let mut config = base.clone();
        config.train.seed += repeat;
        let mut free = load(context, &config)?;
        let (mut guided, classifier) = with_classifier(context, &config)?;
        if levels.is_empty() {
            levels = classifier.accuracy().iter().map(|level| (level.time, Measured::default())).collect();
        }
        levels.iter_mut().zip(classifier.accuracy()).for_each(|((_, shares), level)| shares.push(level.share));
        for row in &mut rows {
            context.note(&format!("samples {}, scale {}, seed {}", row.way.name(), row.scale, config.train.seed));
            let samples = match row.way {
                Way::Free => draw(context, &mut free, Draw { n, guidance: row.scale - 1.0, ..Draw::default() })?,
                Way::Classifier => draw_by_classifier(context, &mut guided, n, row.scale)?,
            };
            row.push(&judge.judge(&samples, Some(CLASSES))?);
            if repeat == 0 {
                shown.push(samples);
            }
        }
    }
    Ok(Results { rows, shown, levels, topline: judge.topline.grey, judge_accuracy: judge.accuracy() })
}

/// The network of a configuration beside a classifier of its noisy samples, which is kept in its run.
fn with_classifier(context: &mut Context, config: &Config) -> Result<(LoadedModel, NoisyClassifier)> {
    let run = context.trained(config)?;
    let mut model = model_file(run.path(), config)?;
    model.config.sample.guidance = 0.0;
    let data = [dataset(config, Split::Train)?, dataset(config, Split::Test)?];
    let defaults = ClassifierConfig::for_noisy(data[0].image_dims());
    let quick = ClassifierConfig { epochs: 2, channels: 16, ..defaults.clone() };
    let settings = ClassifierConfig { seed: config.train.seed, ..context.size(quick, defaults) };
    context.check_stop()?;
    context.note(&format!("a classifier of noisy images, seed {}", settings.seed));
    let (path, device) = (run.path().join("classifier.safetensors"), context.device()?);
    let schedule = &config.diffusion.schedule;
    let progress = &mut |done, total| context.progress(done, total);
    let classifier = NoisyClassifier::train_or_load(&settings, schedule, device, data.each_ref(), &path, progress)
        .context("a classifier of noisy images")?;
    let guide = classifier.guide(config.model.sample_dims(), &config.diffusion.process()?)?;
    Ok((LoadedModel::with_classifier(&model, context.device()?, &guide)?, classifier))
}

fn draw_by_classifier(context: &mut Context, model: &mut LoadedModel, n: usize, scale: f64) -> Result<Samples> {
    let (plan, seed) = (model.plan()?, context.settings().seed);
    let classifier = Some(ByClassifier { scale, class: None });
    let request = Request { classifier, class: Some(CLASSES), ..Request::new(&plan, n, seed) };
    Ok(model.sample(request, &mut |done, total| context.progress(done as u64, total as u64))?)
}

fn show(page: &mut Page, results: &Results) {
    let mut table = Table::new(&["guidance", "scale γ", "as asked", "valid", "diversity", "Fréchet", "binarised"]);
    for row in &results.rows {
        let percent = |shares: &Measured| format!("{} %", shares.map(|share| 100.0 * share).show(3));
        let numbers = [percent(&row.as_asked), percent(&row.valid), row.diversity.show(3)];
        let distances = [row.frechet.show(3), row.frechet_binarised.show(3)];
        let first = [row.way.name().to_owned(), row.scale.to_string()];
        table.row(first.into_iter().chain(numbers).chain(distances));
    }
    let caption = format!(
        "As asked: the image shows the class it was asked to, for our classifier ({} right on the test images); valid: some \
         class has a probability above 0.9; diversity: variance of the features within a class. Two halves of the data have \
         the distance {}.",
        percent(results.judge_accuracy),
        digits(results.topline, 3)
    );
    page.table("1", &caption, table);

    let mut levels = Table::new(&["t", "right on test images"]);
    for (time, share) in &results.levels {
        levels.row([time.to_string(), format!("{} %", share.map(|share| 100.0 * share).show(3))]);
    }
    page.table("classifiers", "The guiding classifiers at their noise levels. A third is right by chance.", levels);

    type Named<'a> = (&'a str, fn(&Row) -> f64);
    let plots: [Named; 3] = [
        ("share as asked", |row| row.as_asked.mean()),
        ("diversity", |row| row.diversity.mean()),
        ("Fréchet distance", |row| row.frechet.mean()),
    ];
    let panel = |(name, measure): Named| {
        Way::ALL.iter().fold(Plot::new("", "scale γ", name), |plot, way| {
            let of_way = results.rows.iter().filter(|row| row.way == *way);
            plot.beads(way.name(), of_way.map(|row| [row.scale, measure(row)]).collect())
        })
    };
    let figure = plots.into_iter().map(panel).fold(Figure::new("", 3), Figure::panel);
    page.plot("scales", "Both ways over the scale, mean over the seeds.", &figure);

    let [_, h, w, c] = results.shown[0].dims;
    let pictures = |way: Way| {
        let of_way = results.rows.iter().zip(&results.shown).filter(move |(row, _)| row.way == way);
        let mut images = Vec::new();
        for class in 0..CLASSES {
            for (_, samples) in of_way.clone() {
                let cells = samples.images.chunks_exact(h * w * c).skip(class).step_by(CLASSES).take(COLUMNS);
                images.extend(cells.flatten().copied());
            }
        }
        grid(&images, [CLASSES * SCALES.len() * COLUMNS, h, w, c], Some(COLUMNS))
    };
    for (stem, way) in [("by-classifier", Way::Classifier), ("free", Way::Free)] {
        let caption = format!("{}: digits 1, 2 and 3, each at the scales 1, 2, 4 and 6 from the top.", way.name());
        page.picture(stem, &caption, &pictures(way));
    }
}
