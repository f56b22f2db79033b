//! Losses against time: `thesis-loss-by-t` and `thesis-loss-variance`.

use super::bayes::Optima;
use super::cell::{Cell, SCORE_FROM, Training, describe, own_range, sets};
use super::measure::{Bin, losses};
use super::optima::{best_by_time, optima};
use super::targets::{PerTarget, TARGETS};
use crate::data::points::PointSet;
use crate::diffusion::PredictionTarget;
use crate::experiment::context::Context;
use crate::experiment::definition::Experiment;
use crate::experiment::numbers::spearman;
use crate::experiment::page::Page;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Figure, Plot, digits};
use crate::train::{LoadedModel, checkpoint};
use anyhow::Result;

/// Where in time the loss of each target lies, early in training and late.
pub const LOSS_BY_T: Experiment = Experiment {
    name: "thesis-loss-by-t",
    about: "Where in time the loss of each target lies, early in training and late",
    source: "Kumar, Fig. 4.14 and appendix 1 to 3",
    needs: &[],
    quick: "clusters",
    full: Some("four sets"),
    run: loss_by_time,
};
/// How much the loss of single points varies, against time.
pub const LOSS_VARIANCE: Experiment = Experiment {
    name: "thesis-loss-variance",
    about: "How much the loss of single points varies, against time",
    source: "Kumar, Fig. 4.11",
    needs: &[],
    quick: "clusters",
    full: Some("four sets"),
    run: variance_by_time,
};

/// The losses of a network by time, within the times that it was trained at.
fn trained_bins(context: &mut Context, model: &mut LoadedModel, cell: &Cell) -> Result<Vec<Bin>> {
    let points = context.size(200_000, 1_000_000);
    let [lo, hi] = own_range(cell.target);
    let losses = losses(context, model, cell, points)?;
    Ok(losses.by_time.into_iter().filter(|bin| (lo..=hi).contains(&bin.t)).collect())
}

/// The properties of a loss as a function of time that the thesis makes claims on.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Rank correlation with time.
    correlation: f64,
    /// The largest over the smallest value.
    spread: f64,
    /// The first time, and the loss there.
    first: [f64; 2],
    /// The loss half-way.
    middle: f64,
}

impl Shape {
    fn of(bins: &[Bin]) -> Shape {
        let [t, loss] = [|bin: &Bin| bin.t, |bin: &Bin| bin.mean].map(|of| bins.iter().map(of).collect::<Vec<f64>>());
        let [lo, hi] = loss.iter().fold([f64::INFINITY, 0.0f64], |[lo, hi], loss| [lo.min(*loss), hi.max(*loss)]);
        let (correlation, middle) = (spearman(&t, &loss), loss[loss.len() / 2]);
        Shape { correlation, spread: hi / lo, first: [t[0], loss[0]], middle }
    }
}

fn loss_by_time(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    for set in sets(context) {
        let mut panels = Vec::new();
        let shapes = PerTarget::try_from_fn(|target| -> Result<Shape> {
            let cell = Cell::new(set, target, Training::Weighted);
            let (panel, bins) = by_time_panel(context, &cell)?;
            panels.push(panel);
            Ok(Shape::of(&bins))
        })?;
        let figure = panels.into_iter().fold(Figure::new("", 2).panel_size(380.0, 220.0), Figure::panel);
        page.heading(&format!("{}: weighted loss against time after training on it", set.name()));
        page.plot(
            &format!("loss-by-t-{}", set.name()),
            &format!(
                "Kumar, Fig. 4.14 and appendix: the error of each target against time, early, half-way and at the end. \
                 The score is trained and shown from t = {SCORE_FROM} on, on a logarithmic axis."
            ),
            &figure,
        );
        page.claims(judge_shapes(set, &shapes));
    }
    Ok(())
}

/// The losses of a cell's network early, half-way and at the end, as a panel; and those at the end.
fn by_time_panel(context: &mut Context, cell: &Cell) -> Result<(Plot, Vec<Bin>)> {
    let run = cell.run(context)?;
    let kept = checkpoint::list(&run.checkpoints())?;
    let mut panel = Plot::new(super::targets::name(cell.target), "t", "squared error, mean over dimensions");
    if cell.target == PredictionTarget::Score {
        panel = panel.log_y();
    }
    let mut bins = Vec::new();
    for (name, i) in [("first kept", 0), ("half-way", kept.len() / 2), ("last", kept.len() - 1)] {
        let mut model = cell.open(context, &kept[i].1)?;
        bins = trained_bins(context, &mut model, cell)?;
        panel = panel.line(name, bins.iter().map(|bin| [bin.t, bin.mean]).collect());
    }
    if cell.set == PointSet::Clusters {
        panel = panel.dashed_line("least possible", best_by_time(cell.target));
    }
    Ok((panel, bins))
}

/// Judges the losses of a set's networks as functions of time.
fn judge_shapes(set: PointSet, shapes: &PerTarget<Shape>) -> [Claim; 2] {
    const SOURCE: &str = "Kumar, section 4.4.3 and Fig. 4.14";
    let PerTarget { x, eps, v, score } = shapes;
    [
        Claim::new(
            SOURCE,
            format!(
                "{}: the weighted loss rises with t for x and falls for ε (rank correlation above 0.9, below -0.8).",
                set.name()
            ),
            Verdict::of(x.correlation > 0.9 && eps.correlation < -0.8),
            format!("rank correlation with t: {}", shapes.list(|shape| format!("{:.3}", shape.correlation))),
        ),
        Claim::new(
            SOURCE,
            format!("{}: the loss of v is flatter than the others'; that of the score is huge at small t.", set.name()),
            Verdict::of(v.spread < x.spread.min(eps.spread) && score.first[1] > 10.0 * score.middle),
            format!(
                "largest over smallest: x {:.0}, ε {:.0}, v {:.1}; the score has {} at t = {:.2}, {} half-way",
                x.spread,
                eps.spread,
                v.spread,
                digits(score.first[1], 3),
                score.first[0],
                digits(score.middle, 3)
            ),
        ),
    ]
}

fn variance_by_time(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    let mut figure = Figure::new("", 2).panel_size(380.0, 240.0);
    for set in sets(context) {
        let bins = PerTarget::try_from_fn(|target| {
            let cell = Cell::new(set, target, Training::Weighted);
            let mut model = cell.model(context)?;
            trained_bins(context, &mut model, &cell)
        })?;
        let mut panel = Plot::new(set.name(), "t", "variance of a point's loss").log_y();
        for ((name, _), bins) in TARGETS.into_iter().zip(bins.all()) {
            panel = panel.line(name, bins.iter().map(|bin| [bin.t, bin.variance]).collect());
        }
        figure = figure.panel(panel);
        // The first twentieth of the times at which the network was trained.
        let early = bins.map(|bins| {
            let first = bins.len().div_ceil(20);
            bins[..first].iter().map(|bin| bin.variance).sum::<f64>() / first as f64
        });
        page.claims([judge_variances(set, &early)]);
        let Optima { x0, epsilon, v } = optima(set);
        let [x0, epsilon, v] = [x0, epsilon, v].map(|least| digits(least, 4));
        page.text(format!(
            "{}: the least possible weighted losses are {x0} (x), {epsilon} (ε) and {v} (v).",
            set.name()
        ));
    }
    page.plot(
        "loss-variance",
        "Kumar, Fig. 4.11: variance of the weighted loss of single points against time.",
        &figure,
    );
    Ok(())
}

/// Judges the variances of single points' losses at small t.
fn judge_variances(set: PointSet, early: &PerTarget<f64>) -> Claim {
    let PerTarget { x, eps, v, score } = early;
    Claim::new(
        "Kumar, section 4.4.3 and Fig. 4.11",
        format!("{}: at small t the loss varies least for x, more for ε and v, most for the score.", set.name()),
        Verdict::of(x < eps && x < v && eps < score && v < score),
        early.list(|value| digits(*value, 3)) + "; the score is trained from t = 0.075 on only",
    )
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, Refuted};
    use super::*;
    use crate::experiment::verdict::verdicts;

    #[test]
    fn the_shape_of_a_loss_is_read_off_its_bins() {
        let bins: Vec<Bin> = (0..10).map(|i| Bin { t: f64::from(i), mean: f64::from(20 - i), variance: 0.0 }).collect();
        let Shape { correlation, spread, first, middle } = Shape::of(&bins);
        assert_eq!((correlation, spread, first, middle), (-1.0, 20.0 / 11.0, [0.0, 20.0], 15.0));
    }

    #[test]
    fn shapes_are_judged_on_both_sides() {
        let shape = |correlation, spread, first| Shape { correlation, spread, first: [0.1, first], middle: 1.0 };
        let shapes = PerTarget {
            x: shape(0.99, 900.0, 0.1),
            eps: shape(-0.9, 700.0, 9.0),
            v: shape(0.1, 3.0, 1.0),
            score: shape(-1.0, 1e4, 1e3),
        };
        let judged = |change: fn(&mut PerTarget<Shape>)| {
            let mut shapes = shapes;
            change(&mut shapes);
            verdicts(&judge_shapes(PointSet::Rings, &shapes))
        };
        assert_eq!(judged(|_| ()), [Confirmed, Confirmed]);
        assert_eq!(judged(|s| s.x.correlation = 0.89), [Refuted, Confirmed]);
        assert_eq!(judged(|s| s.eps.correlation = -0.79), [Refuted, Confirmed]);
        assert_eq!(judged(|s| s.v.spread = 701.0), [Confirmed, Refuted]);
        assert_eq!(judged(|s| s.score.first[1] = 9.9), [Confirmed, Refuted]);
    }

    #[test]
    fn variances_must_be_in_order() {
        let verdict = |x, eps, v, score| judge_variances(PointSet::Rings, &PerTarget { x, eps, v, score }).verdict;
        assert_eq!(verdict(0.1, 1.0, 0.9, 5.0), Confirmed);
        for (x, eps, v, score) in [(0.95, 1.0, 0.9, 5.0), (0.1, 1.0, 0.9, 0.95), (f64::NAN, 1.0, 1.0, 5.0)] {
            assert_eq!(verdict(x, eps, v, score), Refuted);
        }
    }
}
