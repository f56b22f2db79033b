//! `thesis-table-4.1`: losses and distances of samples, for each set, target and training.

use super::cell::{Cell, Training, describe, sets};
use super::measure::{losses, moments, samples};
use super::optima::{best_bound, best_own};
use super::published::published;
use super::row::Row;
use super::table_4_1_claims::{against_the_thesis, judge};
use super::targets::{self, TARGETS};
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::page::Page;
use crate::report::{Table, digits};
use anyhow::Result;

/// Losses and samples of networks that predict x, ε, v or the score of points, weighted or by the bound.
pub const TABLE_4_1: Experiment = Experiment {
    name: "thesis-table-4.1",
    about: "Losses and samples of networks that predict x, ε, v or the score of points, weighted or by the bound",
    source: "Kumar, Table 4.1",
    needs: Needs::Nothing,
    quick: "clusters, weighted, three seeds: 12 networks; about 8 minutes on two cores",
    full: Some("160 networks: some hours on 16 cores"),
    run,
};

/// The size of the measurement.
#[derive(Clone, Copy)]
struct Size {
    points: usize,
    samples: usize,
    steps: usize,
    repeats: u64,
}

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    let size = context.size(
        Size { points: 500_000, samples: 10_000, steps: 128, repeats: context.repeats(3) },
        Size { points: 1_000_000, samples: 50_000, steps: 512, repeats: context.repeats(3) },
    );
    page.fact(
        "measured",
        format!("losses on {} fresh points, moments of {} samples by {} steps", size.points, size.samples, size.steps),
    );
    let trainings = context.size(vec![Training::Weighted], Training::ALL.to_vec());
    let mut rows = Vec::new();
    for set in sets(context) {
        for &training in &trainings {
            for (_, target) in TARGETS {
                rows.push(measure(context, Cell::new(set, target, training), size)?);
            }
        }
    }
    show(page, &rows);
    page.claims(judge(&rows));
    page.text(against_the_thesis(&rows));
    Ok(())
}

/// Trains and measures the networks of a cell.
fn measure(context: &mut Context, cell: Cell, size: Size) -> Result<Row> {
    let least = match cell.training {
        Training::Weighted => best_own(cell.set, cell.target),
        Training::Nelbo => Some(best_bound(cell.set)),
    };
    let mut row = Row::new(cell, least, published(&cell)?);
    for cell in cell.repeated(size.repeats) {
        let mut model = cell.model(context)?;
        let found = losses(context, &mut model, &cell, size.points)?;
        row.losses.push(if cell.training == Training::Weighted { found.own } else { found.nelbo });
        row.rescaled.push(found.rescaled);
        let distances = moments(cell.set, &samples(context, &mut model, size.samples, size.steps)?)?;
        row.means.push(distances.mean);
        row.covariances.push(distances.covariance);
    }
    Ok(row)
}

fn show(page: &mut Page, rows: &[Row]) {
    for training in Training::ALL {
        let mut table = Table::new(&[
            "set",
            "target",
            if training == Training::Weighted { "weighted loss" } else { "NELBO on [0.05, 0.95]" },
            "least possible",
            "thesis",
            "mean distance",
            "thesis",
            "covariance distance",
            "thesis",
            "rescaled loss on [0.075, 0.95]",
        ]);
        for row in rows.iter().filter(|row| row.cell.training == training) {
            table.row([
                row.cell.set.name().into(),
                targets::name(row.cell.target).into(),
                row.losses.show(4),
                row.least.map_or("–".into(), |least| digits(least, 4)),
                row.published.loss.to_string(),
                row.means.show(4),
                row.published.mean.to_string(),
                row.covariances.show(4),
                row.published.covariance.to_string(),
                row.rescaled.show(4),
            ]);
        }
        if !table.rows().is_empty() {
            let stem = if training == Training::Weighted { "4.1-weighted" } else { "4.1-nelbo" };
            page.table(stem, &format!("Kumar, Table 4.1, {} training.", training.name()), table);
        }
    }
}
