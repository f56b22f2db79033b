//! Losses against epochs: `thesis-loss-curves` and `thesis-nelbo-curves`.

use super::cell::{BOUND_RANGE, Cell, RESCALED_RANGE, Training, describe, epoch_of, sets};
use super::measure::{Losses, losses};
use super::optima::{best_bound, best_own, best_rescaled};
use super::published::published;
use super::targets::{PerTarget, TARGETS};
use crate::data::points::PointSet;
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::page::Page;
use crate::experiment::spread::Measured;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Figure, Plot, Table, digits};
use crate::train::checkpoint;
use anyhow::{Result, ensure};

/// Weighted and rescaled test losses against the epoch.
pub const LOSS_CURVES: Experiment = Experiment {
    name: "thesis-loss-curves",
    about: "Weighted and rescaled test losses against the epoch",
    source: "Kumar, Fig. 4.8",
    needs: Needs::Nothing,
    quick: "clusters, three seeds",
    full: Some("four sets, five seeds"),
    run: loss_curves,
};
/// The variational bound against the epoch, and how near it comes to the best that is possible.
pub const NELBO_CURVES: Experiment = Experiment {
    name: "thesis-nelbo-curves",
    about: "The variational bound against the epoch, and how near it comes to the best that is possible",
    source: "Kumar, Fig. 4.9",
    needs: Needs::Nothing,
    quick: "clusters, three seeds",
    full: Some("four sets, five seeds"),
    run: nelbo_curves,
};

/// The losses of a cell's networks after an epoch, one for each seed.
struct Epoch {
    epoch: f64,
    losses: Vec<Losses>,
}

impl Epoch {
    /// A loss, over the seeds.
    fn seeds(&self, of: fn(&Losses) -> f64) -> Measured {
        self.losses.iter().map(of).collect()
    }
}

/// The losses of a cell's networks at every checkpoint; there is at least one.
struct History(Vec<Epoch>);

impl History {
    /// Trains the networks of a cell and measures their checkpoints.
    fn measure(context: &mut Context, cell: Cell) -> Result<History> {
        let points = context.size(20_000, 40_000);
        let mut epochs: Vec<Epoch> = Vec::new();
        for cell in cell.repeated(context.repeats(3)) {
            let run = cell.run(context)?;
            for (i, (step, path)) in checkpoint::list(&run.checkpoints())?.into_iter().enumerate() {
                let mut model = cell.open(context, &path)?;
                let losses = losses(context, &mut model, &cell, points)?;
                match epochs.get_mut(i) {
                    Some(epoch) => epoch.losses.push(losses),
                    None => epochs.push(Epoch { epoch: epoch_of(step), losses: vec![losses] }),
                }
            }
        }
        ensure!(!epochs.is_empty(), "{}: the run has no checkpoint", cell.name());
        Ok(History(epochs))
    }

    /// A loss against the epoch, the mean over the seeds.
    fn curve(&self, of: fn(&Losses) -> f64) -> Vec<[f64; 2]> {
        self.0.iter().map(|epoch| [epoch.epoch, epoch.seeds(of).mean()]).collect()
    }

    fn last(&self) -> &Epoch {
        &self.0[self.0.len() - 1]
    }
}

/// Adds a dashed level to a panel whose epochs end at `last`.
fn level(plot: Plot, name: &str, value: f64, last: f64) -> Plot {
    plot.dashed_line(name, vec![[0.0, value], [last, value]])
}

/// The rescaled losses of a set after the last epoch.
struct Rescaled {
    set: PointSet,
    losses: PerTarget<Measured>,
    /// The least possible one, where it is known.
    least: Option<f64>,
}

fn loss_curves(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    let mut figure = Figure::new("", 2).panel_size(380.0, 240.0);
    let mut table =
        Table::new(&["set", "target", "weighted loss at the end", "rescaled loss at the end", "least possible"]);
    let (sets, mut ends) = (sets(context), Vec::new());
    for &set in &sets {
        let titles = if ends.is_empty() { ["weighted", "rescaled"] } else { ["", ""] };
        let [mut weighted, mut rescaled] =
            titles.map(|title| Plot::new(title, "epoch", "test loss, mean over dimensions").log_y());
        let histories =
            PerTarget::try_from_fn(|target| History::measure(context, Cell::new(set, target, Training::Weighted)))?;
        for ((name, target), history) in TARGETS.into_iter().zip(histories.all()) {
            let (last, best) = (history.last(), best_own(set, target));
            weighted = weighted.line(name, history.curve(|l| l.own));
            if let Some(best) = best {
                weighted = level(weighted, "", best, last.epoch);
            }
            rescaled = rescaled.line(name, history.curve(|l| l.rescaled));
            let ends = [last.seeds(|l| l.own), last.seeds(|l| l.rescaled)].map(|loss| loss.show(4));
            let least = best.map_or("–".into(), |best| digits(best, 4));
            table.row([set.name().into(), name.into()].into_iter().chain(ends).chain([least]));
        }
        figure = figure.panel(weighted).panel(rescaled);
        let losses = histories.map(|history| history.last().seeds(|l| l.rescaled));
        ends.push(Rescaled { set, losses, least: best_rescaled(set) });
    }
    let names: Vec<&str> = sets.iter().map(|set| set.name()).collect();
    page.plot(
        "loss-curves",
        &format!(
            "Kumar, Fig. 4.8: test loss against epoch, left of the weighted losses, right of the rescaled ones on t in \
             [{}, {}]. Dashed: the least possible loss.",
            RESCALED_RANGE[0], RESCALED_RANGE[1]
        ),
        &figure.row_titles(&names),
    );
    page.table("loss-curves", "The losses after the last epoch.", table);
    page.claims([judge_rescaled(&ends)]);
    Ok(())
}

fn judge_rescaled(ends: &[Rescaled]) -> Claim {
    let within = |one: &Measured, other: &Measured, range| one.zip(other, |one, other| one / other - 1.0).within(range);
    let close = |PerTarget { x, eps, v, score }: &PerTarget<Measured>| {
        Verdict::all([
            within(eps, x, -0.1..=0.1),
            within(v, x, -0.1..=0.1),
            within(v, eps, -0.1..=0.1),
            within(score, x, -0.3..=0.3),
        ])
    };
    let evidence = ends.iter().map(|Rescaled { set, losses, least }| {
        let least = least.map_or(String::new(), |least| format!("; least possible {}", digits(least, 4)));
        format!("{}: {}{least}", set.name(), losses.list(|loss| loss.show(4)))
    });
    Claim::new(
        "Kumar, Fig. 4.8 and section 4.4.1",
        "Rescaled to the error of the image, the losses of the four targets coincide after training (x, ε, v within 10 %, \
         the score within 30 %).",
        Verdict::all(ends.iter().map(|end| close(&end.losses))),
        evidence.collect::<Vec<_>>().join(". "),
    )
    .tested(
        "ratios of losses by seed, 95 % interval: each pair of x, ε and v, and the score to x; one interval beyond its bound \
         would refute it",
    )
}

/// The distance of a bound from the least possible one, as a fraction of it.
struct Gap {
    cell: Cell,
    gap: Measured,
}

fn gap_in_percent(gap: &Measured) -> String {
    format!("{} %", gap.map(|gap| 100.0 * gap).show(2))
}

fn nelbo_curves(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    let mut figure = Figure::new("", 2).panel_size(380.0, 240.0);
    let mut table = Table::new(&["set", "target", "NELBO at the end", "least possible", "gap", "thesis"]);
    let mut gaps = Vec::new();
    for set in sets(context) {
        let best = best_bound(set);
        let mut panel = Plot::new(set.name(), "epoch", "NELBO without its ½, per dimension").log_y();
        let mut last = 1.0;
        for (name, target) in TARGETS {
            let cell = Cell::new(set, target, Training::Nelbo);
            let history = History::measure(context, cell)?;
            panel = panel.line(name, history.curve(|l| l.nelbo));
            let end = history.last().seeds(|l| l.nelbo);
            last = history.last().epoch;
            let gap = end.map(|end| end / best - 1.0);
            let [published, shown] = [published(&cell)?.loss.to_string(), gap_in_percent(&gap)];
            table.row([set.name().into(), name.into(), end.show(4), digits(best, 4), shown, published]);
            gaps.push(Gap { cell, gap });
        }
        figure = figure.panel(level(panel, "least possible", best, last));
    }
    page.plot(
        "nelbo-curves",
        &format!(
            "Kumar, Fig. 4.9: NELBO on fresh points against epoch, on t in [{}, {}].",
            BOUND_RANGE[0], BOUND_RANGE[1]
        ),
        &figure,
    );
    page.table(
        "nelbo-curves",
        "The bound after the last epoch, and its gap to the best that any denoiser can do.",
        table,
    );
    page.claims(judge_bounds(&gaps));
    Ok(())
}

fn judge_bounds(gaps: &[Gap]) -> [Claim; 2] {
    let figures = gaps.iter().map(|Gap { cell, gap }| format!("{} {}", cell.name(), gap_in_percent(gap)));
    let figures = figures.collect::<Vec<_>>().join(", ");
    [
        Claim::new(
            "follows from the exact weights",
            "No target's NELBO falls below that of the exact posterior mean.",
            Verdict::all(gaps.iter().map(|gap| gap.gap.above(-0.01))),
            format!("above it: {figures}"),
        )
        .tested("gap, mean over seeds, 95 % interval; one below -1 %, the error of the measurement, would refute it"),
        Claim::new(
            "Kumar, Fig. 4.9",
            "x and the score level off at a third of the NELBO of ε and v.",
            Verdict::any(gaps.iter().map(|gap| gap.gap.below(-0.3))),
            format!("all four approach one value from above: {figures}"),
        )
        .tested(
            "gap to the least possible bound, mean over seeds, 95 % interval; a target below it by more than 30 % would \
             confirm the claim, none refutes it",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;
    use crate::diffusion::PredictionTarget;
    use crate::experiment::verdict::verdicts;

    fn around(value: f64) -> Measured {
        [0.999, 1.0, 1.001].into_iter().map(|factor| factor * value).collect()
    }

    #[test]
    fn rescaled_losses_must_coincide() {
        let verdict = |x, eps, v, score| {
            let losses = PerTarget { x, eps, v, score }.map(|loss| around(*loss));
            judge_rescaled(&[Rescaled { set: PointSet::Clusters, losses, least: Some(0.48) }]).verdict
        };
        assert_eq!(verdict(0.48, 0.5, 0.49, 0.6), Confirmed);
        assert_eq!(verdict(0.48, 0.54, 0.49, 0.5), Refuted);
        assert_eq!(verdict(0.48, 0.5, 0.49, 0.63), Refuted);
        assert_eq!(verdict(0.48, f64::NAN, 0.49, 0.5), NotDecided);
        assert_eq!(judge_rescaled(&[]).verdict, NotDecided);
    }

    #[test]
    fn bounds_are_judged_by_their_distance_from_the_least_possible() {
        let gap = |target, gap| Gap { cell: Cell::new(PointSet::Rings, target, Training::Nelbo), gap };
        let found = |x: Measured| {
            verdicts(&judge_bounds(&[gap(PredictionTarget::X0, x), gap(PredictionTarget::V, around(0.02))]))
        };
        assert_eq!(found(around(0.03)), [Confirmed, Refuted]);
        assert_eq!(found(around(-0.02)), [Refuted, Refuted]);
        assert_eq!(found(around(-0.7)), [Refuted, Confirmed]);
        assert_eq!(found([-0.03, 0.0, 0.02].into_iter().collect()), [NotDecided, Refuted]);
        assert_eq!(found([-0.7].into_iter().collect()), [NotDecided, NotDecided]);
    }
}
