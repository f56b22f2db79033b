//! `won-progress`: digits on their way from noise.

use super::claims::{FRAMES, judge_progress};
use super::networks::Network;
use crate::experiment::context::Context;
use crate::experiment::definition::Experiment;
use crate::experiment::images::{Draw, draw, load};
use crate::experiment::numbers::correlation;
use crate::experiment::page::Page;
use crate::experiment::settings::Need;
use anyhow::Result;

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

fn progress(context: &mut Context, page: &mut Page) -> Result<()> {
    let mut config = Network::Dm2.config(context)?;
    config.sample.steps = 0; // a step for every noise level
    let mut loaded = load(context, &config)?;
    let steps = loaded.plan()?.steps.len();
    let stages = FRAMES.map(|left| steps - left);
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
