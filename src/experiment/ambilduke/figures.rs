//! `ens-figures` and `ens-strip`: samples of the networks of Table 1.

use super::networks::{CLASSES, Network};
use crate::eval::set::binarise;
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::images::{Draw, draw, load};
use crate::experiment::page::Page;
use crate::experiment::settings::Need;
use crate::report::grid;
use crate::sample::Samples;
use anyhow::Result;

/// Samples of the same models, a row each, in grey and binarised.
pub const FIGURES: Experiment = Experiment {
    name: "ens-figures",
    about: "Samples of the same models, a row each, in grey and binarised",
    source: "Ambilduke et al., Figs. 1 and 2, and the poster",
    needs: Needs::Always(Need::Mnist),
    quick: "the runs of ens-table-1, and a minute",
    full: Some("the same runs, full size"),
    run: figures,
};
/// A digit on its way from noise, every hundredth step.
pub const STRIP: Experiment = Experiment {
    name: "ens-strip",
    about: "A digit on its way from noise, every hundredth step",
    source: "the example strips of Ambilduke et al.'s program",
    needs: Needs::Always(Need::Mnist),
    quick: "a run of ens-table-1, and seconds",
    full: Some("the same run, full size"),
    run: strip,
};

/// Images of a row.
const COLUMNS: usize = 10;

/// A row of a figure.
struct Row {
    name: String,
    samples: Samples,
}

fn figures(context: &mut Context, page: &mut Page) -> Result<()> {
    let [x0, epsilon, score, learned] = [Network::X0, Network::Epsilon, Network::Score, Network::Learned]
        .map(|network| unconditional(context, network));
    let [x0, epsilon, score, learned] = [x0?, epsilon?, score?, learned?];
    let config = Network::Conditional.config(context)?;
    let mut loaded = load(context, &config)?;
    let mut guided = |guidance: f64, class: usize| -> Result<Row> {
        let request = Draw { n: COLUMNS, guidance, class: Some(class), ..Draw::default() };
        let samples = draw(context, &mut loaded, request)?;
        let shown = if class == CLASSES { "no digit".into() } else { format!("digit {}", class + 1) };
        Ok(Row { name: format!("{shown}, w = {guidance}"), samples })
    };
    let weak = (0..CLASSES).map(|class| guided(1.0, class)).collect::<Result<Vec<Row>>>()?;
    let strong = (0..=CLASSES).map(|class| guided(5.0, class)).collect::<Result<Vec<Row>>>()?;

    let plain = [&x0, &epsilon, &score, &learned];
    picture(page, "figure-1a", "Figure 1 (a): unconditional models.", &plain, false);
    picture(page, "figure-1b", "Figure 1 (b): guidance w = 1.", &weak.iter().collect::<Vec<_>>(), false);
    picture(page, "figure-1c", "Figure 1 (c): guidance w = 5.", &strong.iter().collect::<Vec<_>>(), false);
    picture(page, "figure-2", "Figure 2: binarised.", &[&epsilon, &x0, &score, &learned], true);
    let all: Vec<&Row> = plain.into_iter().chain(&weak).chain(&strong).collect();
    picture(page, "poster", "The poster's grid: all of them.", &all, false);
    Ok(())
}

fn unconditional(context: &mut Context, network: Network) -> Result<Row> {
    let config = network.config(context)?;
    let mut loaded = load(context, &config)?;
    let samples = draw(context, &mut loaded, Draw { n: COLUMNS, ..Draw::default() })?;
    Ok(Row { name: network.name().into(), samples })
}

fn picture(page: &mut Page, stem: &str, what: &str, rows: &[&Row], binary: bool) {
    let mut images: Vec<f32> = rows.iter().flat_map(|row| row.samples.images.clone()).collect();
    if binary {
        binarise(&mut images);
    }
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    let [_, h, w, c] = rows[0].samples.dims;
    let sheet = grid(&images, [COLUMNS * rows.len(), h, w, c], Some(COLUMNS));
    page.picture(stem, &format!("{what} Rows from the top: {}.", names.join("; ")), &sheet);
}

fn strip(context: &mut Context, page: &mut Page) -> Result<()> {
    let mut config = Network::Epsilon.config(context)?;
    config.sample.steps = 0; // a step for every noise level
    let mut loaded = load(context, &config)?;
    let stages: Vec<usize> = std::iter::once(0).chain((100..=1000).step_by(100)).collect();
    let samples = draw(context, &mut loaded, Draw { n: 4, stages: &stages, ..Draw::default() })?;
    page.picture(
        "strip",
        "From noise to digits, a sample a row: z_t before the first step, then after every hundredth, the last one at t = 0.",
        &samples.strip(),
    );
    Ok(())
}
