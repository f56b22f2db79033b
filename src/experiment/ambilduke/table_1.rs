//! `ens-table-1`: measures and shows Table 1.

use super::claims::judge;
use super::networks::{CLASSES, Network};
use super::results::{Likelihood, Published, Results, Row, RowKey};
use crate::data::Split;
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::images::{Draw, NllSize, dataset, draw, likelihood, load};
use crate::experiment::judge::Judge;
use crate::experiment::numbers::percent;
use crate::experiment::page::Page;
use crate::experiment::settings::Need;
use crate::experiment::spread::Measured;
use crate::report::{Table, digits};
use anyhow::Result;

/// Digits 1, 2, 3: what the prediction target, learned variance and guidance do to samples and likelihood.
pub const TABLE_1: Experiment = Experiment {
    name: "ens-table-1",
    about: "Digits 1, 2, 3: what the prediction target, learned variance and guidance do to samples and likelihood",
    source: "Ambilduke et al., Table 1",
    needs: Needs::Always(Need::Mnist),
    quick: "16x16, networks of 0.6 M weights, 2,000 steps; about 25 minutes on two cores",
    full: Some("the paper's; a GPU, hours"),
    run,
};

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    let results = measure(context)?;
    show(page, &results);
    page.claims(judge(&results)?);
    page.text(
        "The distances are Fréchet distances of the features of our own classifier of these digits: they compare only with \
         each other, not with the paper's, whose features are Inception's. NLL is the full bound with the discretised \
         decoder; beside it the paper's own formula, whose last term is a constant half bit without a variance. The paper \
         trained the conditional models with the raw score; here they have the scaled head, the same loss in a better \
         range. Images are clamped to [-1, 1]; 'stretched' is the distance in grey of the same samples, each stretched to \
         its own extremes, as the paper's program writes its pictures.",
    );
    if context.settings().quick {
        page.text(
            "Quick: images of 16x16, a network of a hundredth of the paper's weights, 2,000 steps of 32 images instead of \
             about 29,000, 50 sampling steps instead of 1,000, 600 images instead of 5,000 and 100 test images at 51 of the \
             1,000 terms of the bound instead of all.",
        );
    }
    Ok(())
}

/// Strengths of the guidance; the paper has 1 and 5.
const GUIDANCE: [f64; 5] = [0.0, 0.5, 1.0, 2.0, 5.0];

/// The numbers of the paper's Table 1.
fn published(key: RowKey) -> Published {
    match (key.network, key.guidance) {
        (Network::X0, _) => Published::fids("49.10", "9.89"),
        (Network::Epsilon, _) => Published { bits_per_dim: Some("1.21"), ..Published::fids("15.75", "10.13") },
        (Network::Score, _) => Published::fids("78.83", "17.36"),
        (Network::Learned, _) => Published { bits_per_dim: Some("1.1"), ..Published::fids("58.89", "14.45") },
        (Network::Conditional, Some(1.0)) => Published::fids("61.91", "15.69"),
        (Network::Conditional, Some(5.0)) => Published::fids("74.21", "25.16"),
        (Network::ScoreScaled | Network::Conditional, _) => Published::default(),
    }
}

fn measure(context: &mut Context) -> Result<Results> {
    let base = Network::Epsilon.config(context)?;
    let mut judge = Judge::new(context, &base, Need::Mnist)?;
    let test = dataset(&base, Split::Test)?;
    let n = context.size(600, 5000);
    let nll_size = context.size(NllSize { images: 100, steps: 50 }, NllSize { images: 3177, steps: 999 });
    let new = |key| Row::new(key, published(key));
    let mut rows: Vec<Row> = Vec::new();
    for network in [Network::X0, Network::Epsilon, Network::Score, Network::ScoreScaled, Network::Learned] {
        let mut row = new(RowKey::plain(network));
        for repeat in 0..context.repeats(1) {
            let mut config = network.config(context)?;
            config.train.seed += repeat;
            let mut loaded = load(context, &config)?;
            context.note(&format!("samples of {}, seed {}", network.name(), config.train.seed));
            let samples = draw(context, &mut loaded, Draw { n, ..Draw::default() })?;
            row.push(&judge.judge(&samples, None)?);
            context.note(&format!("likelihood of {}", network.name()));
            row.push_nll(&likelihood(context, &mut loaded, &test, nll_size)?);
        }
        rows.push(row);
    }
    let mut guided = GUIDANCE.map(|w| new(RowKey::guided(w)));
    for repeat in 0..context.repeats(1) {
        let mut config = Network::Conditional.config(context)?;
        config.train.seed += repeat;
        let mut loaded = load(context, &config)?;
        for (guidance, row) in GUIDANCE.into_iter().zip(&mut guided) {
            context.note(&format!("samples with guidance w = {guidance}, seed {}", config.train.seed));
            let samples = draw(context, &mut loaded, Draw { n, guidance, ..Draw::default() })?;
            row.push(&judge.judge(&samples, Some(CLASSES))?);
        }
    }
    rows.extend(guided);
    Ok(Results { topline: judge.topline, accuracy: judge.accuracy(), rows })
}

fn show(page: &mut Page, results: &Results) {
    let header = [
        "model",
        "Fréchet",
        "binarised",
        "stretched",
        "valid",
        "as asked",
        "diversity",
        "NLL, bits/dim",
        "NLL, paper's formula",
        "paper: FID",
        "paper: binarised",
        "paper: NLL",
    ];
    let mut table = Table::new(&header);
    let topline = [results.topline.grey, results.topline.binarised].map(|distance| digits(distance, 3));
    let cells = std::iter::once("two halves of the data".into()).chain(topline);
    let paper = Published::fids("1.12", "0.74").cells();
    table.row(cells.chain(std::iter::repeat_n(String::new(), 6)).chain(paper));
    for row in &results.rows {
        let bits = |of: fn(&Likelihood) -> &Measured| {
            row.likelihood.as_ref().map_or(String::new(), |likelihood| of(likelihood).show(4))
        };
        let percent = |shares: &Measured| format!("{} %", shares.map(|share| 100.0 * share).show(3));
        let cells = [
            row.key.name(),
            row.frechet.show(3),
            row.frechet_binarised.show(3),
            row.frechet_stretched.show(3),
            percent(&row.valid),
            row.as_asked.as_ref().map_or(String::new(), percent),
            row.diversity.show(3),
            bits(|likelihood| &likelihood.bits),
            bits(|likelihood| &likelihood.ambilduke),
        ];
        table.row(cells.into_iter().chain(row.published.cells()));
    }
    let caption = format!(
        "Digits 1, 2 and 3. Valid: some class has a probability above 0.9 for our classifier ({} right on the test \
         images); as asked: the image shows the class it was asked to; diversity: variance of the features within a class.",
        percent(results.accuracy)
    );
    page.table("1", &caption, table);
}
