//! `ens-table-1`: measures and shows Table 1.

use super::claims::judge;
use super::networks::{CLASSES, Network};
use super::results::{Published, Results, Row, RowKey};
use crate::data::Split;
use crate::eval::nll::Nll;
use crate::experiment::context::Context;
use crate::experiment::definition::Experiment;
use crate::experiment::images::{Draw, NllSize, dataset, draw, likelihood, load};
use crate::experiment::judge::Judge;
use crate::experiment::numbers::percent;
use crate::experiment::page::Page;
use crate::experiment::settings::Need;
use crate::report::{Table, digits};
use crate::train::validation::MeanLoss;
use anyhow::Result;

/// Digits 1, 2, 3: what the prediction target, learned variance and guidance do to samples and likelihood.
pub const TABLE_1: Experiment = Experiment {
    name: "ens-table-1",
    about: "Digits 1, 2, 3: what the prediction target, learned variance and guidance do to samples and likelihood",
    source: "Ambilduke et al., Table 1",
    needs: &[Need::Mnist],
    quick: "16x16, networks of 0.6 M weights, 2,000 steps; about 25 minutes on two cores",
    full: Some("the paper's; a GPU, hours"),
    run: run,
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
         range. Images are clamped to [-1, 1], not stretched to their own extremes.",
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
    let mut rows: Vec<Row> = Vec::new();
    for network in [Network::X0, Network::Epsilon, Network::Score, Network::ScoreScaled, Network::Learned] {
        let config = network.config(context)?;
        let mut loaded = load(context, &config)?;
        context.note(&format!("samples of {}", network.name()));
        let samples = draw(context, &mut loaded, Draw { n, ..Draw::default() })?;
        context.note(&format!("likelihood of {}", network.name()));
        let nll = Some(likelihood(context, &mut loaded, &test, nll_size)?);
        let (key, judgement) = (RowKey::plain(network), judge.judge(&samples, None)?);
        rows.push(Row { key, judgement, nll, published: published(key) });
    }
    let config = Network::Conditional.config(context)?;
    let mut loaded = load(context, &config)?;
    for w in [0.0, 0.5, 1.0, 2.0, 5.0] {
        context.note(&format!("samples with guidance w = {w}"));
        let samples = draw(context, &mut loaded, Draw { n, guidance: w, ..Draw::default() })?;
        let (key, judgement) = (RowKey::guided(w), judge.judge(&samples, Some(CLASSES))?);
        rows.push(Row { key, judgement, nll: None, published: published(key) });
    }
    Ok(Results { topline: judge.topline, accuracy: judge.accuracy(), rows })
}

fn show(page: &mut Page, results: &Results) {
    let header = [
        "model",
        "Fréchet",
        "binarised",
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
    table.row(cells.chain(std::iter::repeat_n(String::new(), 5)).chain(paper));
    for Row { key, judgement, nll, published } in &results.rows {
        let bits = |of: fn(&Nll) -> MeanLoss| {
            nll.as_ref().map(of).map_or(String::new(), |m| format!("{:.3} ± {:.3}", m.loss, m.standard_error))
        };
        let cells = [
            key.name(),
            digits(judgement.frechet, 3),
            digits(judgement.frechet_binarised, 3),
            percent(judgement.valid),
            judgement.as_asked.map_or(String::new(), percent),
            digits(judgement.diversity, 3),
            bits(|nll| nll.bits),
            bits(|nll| nll.ambilduke),
        ];
        table.row(cells.into_iter().chain(published.cells()));
    }
    let caption = format!(
        "Digits 1, 2 and 3. Valid: some class has a probability above 0.9 for our classifier ({} right on the test \
         images); as asked: the image shows the class it was asked to; diversity: variance of the features within a class.",
        percent(results.accuracy)
    );
    page.table("1", &caption, table);
}
