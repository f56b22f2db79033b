//! Losses against time: `thesis-loss-by-t` and `thesis-loss-variance`.

use super::bayes::Optima;
use super::cell::{Cell, SCORE_FROM, Training, describe, own_range, sets};
use super::measure::losses;
use super::optima::{best_by_time, optima};
use super::targets::{self, PerTarget};
use crate::data::points::PointSet;
use crate::diffusion::PredictionTarget;
use crate::eval::time_losses::Bin;
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::numbers::spearman;
use crate::experiment::page::Page;
use crate::experiment::spread::Measured;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Figure, Plot, digits};
use crate::train::{LoadedModel, checkpoint};
use anyhow::Result;

/// Where in time the loss of each target lies, early in training and late.
pub const LOSS_BY_T: Experiment = Experiment {
    name: "thesis-loss-by-t",
    about: "Where in time the loss of each target lies, early in training and late",
    source: "Kumar, Fig. 4.14 and appendix 1 to 3",
    needs: Needs::Nothing,
    quick: "clusters, three seeds",
    full: Some("four sets, five seeds"),
    run: loss_by_time,
};
/// How much the loss of single points varies, against time.
pub const LOSS_VARIANCE: Experiment = Experiment {
    name: "thesis-loss-variance",
    about: "How much the loss of single points varies, against time",
    source: "Kumar, Fig. 4.11",
    needs: Needs::Nothing,
    quick: "clusters, three seeds",
    full: Some("four sets, five seeds"),
    run: variance_by_time,
};

/// The losses of a network by time, within the times that it was trained at.
fn trained_bins(context: &mut Context, model: &mut LoadedModel, cell: &Cell) -> Result<Vec<Bin>> {
    let points = context.size(200_000, 1_000_000);
    let [lo, hi] = own_range(cell.target);
    let losses = losses(context, model, cell, points)?;
    Ok(losses.by_time.into_iter().filter(|bin| (lo..=hi).contains(&bin.t)).collect())
}

/// The properties of a loss as a function of time that the thesis makes claims on, over seeds.
#[derive(Clone, Debug, Default)]
struct Shape {
    /// Rank correlation with time.
    correlation: Measured,
    /// The largest over the smallest value.
    spread: Measured,
    /// The loss at the first time over that half-way.
    start: Measured,
}

impl Shape {
    /// Adds the network of a further seed.
    fn push(&mut self, bins: &[Bin]) {
        let [t, loss] = [|bin: &Bin| bin.t, |bin: &Bin| bin.mean].map(|of| bins.iter().map(of).collect::<Vec<f64>>());
        let [lo, hi] = loss.iter().fold([f64::INFINITY, 0.0f64], |[lo, hi], loss| [lo.min(*loss), hi.max(*loss)]);
        self.correlation.push(spearman(&t, &loss));
        self.spread.push(hi / lo);
        self.start.push(loss[0] / loss[loss.len() / 2]);
    }
}

fn loss_by_time(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    for set in sets(context) {
        let mut panels = Vec::new();
        let shapes = PerTarget::try_from_fn(|target| -> Result<Shape> {
            let cell = Cell::new(set, target, Training::Weighted);
            panels.push(by_time_panel(context, &cell)?);
            let mut shape = Shape::default();
            for cell in cell.repeated(context.repeats(3)) {
                let mut model = cell.model(context)?;
                shape.push(&trained_bins(context, &mut model, &cell)?);
            }
            Ok(shape)
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

/// The losses of a cell's network early, half-way and at the end, as a panel.
fn by_time_panel(context: &mut Context, cell: &Cell) -> Result<Plot> {
    let run = cell.run(context)?;
    let kept = checkpoint::list(&run.checkpoints())?;
    let mut panel = Plot::new(targets::name(cell.target), "t", "squared error, mean over dimensions");
    if cell.target == PredictionTarget::Score {
        panel = panel.log_y();
    }
    for (name, i) in [("first kept", 0), ("half-way", kept.len() / 2), ("last", kept.len() - 1)] {
        let mut model = cell.open(context, &kept[i].1)?;
        let bins = trained_bins(context, &mut model, cell)?;
        panel = panel.line(name, bins.iter().map(|bin| [bin.t, bin.mean]).collect());
    }
    if cell.set == PointSet::Clusters {
        panel = panel.dashed_line("least possible", best_by_time(cell.target));
    }
    Ok(panel)
}

/// Judges the losses of a set's networks as functions of time.
fn judge_shapes(set: PointSet, shapes: &PerTarget<Shape>) -> [Claim; 3] {
    const SOURCE: &str = "Kumar, section 4.4.3 and Fig. 4.14";
    let PerTarget { x, eps, v, score } = shapes;
    [
        Claim::new(
            SOURCE,
            format!("{}: the weighted loss rises with t for x and falls for ε.", set.name()),
            Verdict::all([x.correlation.above(0.9), eps.correlation.below(-0.8)]),
            format!("rank correlation with t: {}", shapes.list(|shape| shape.correlation.show(3))),
        )
        .tested(
            "rank correlation, mean over seeds, 95 % interval; confirmed above 0.9 for x and below -0.8 for ε (that of the \
             exact optimum on the clusters is -0.86), refuted beyond either",
        ),
        Claim::new(
            SOURCE,
            format!("{}: the loss of v is flatter than those of x and ε.", set.name()),
            Verdict::all([x, eps].map(|other| other.spread.minus(&v.spread).above(0.0))),
            format!("largest over smallest: {}", shapes.list(|shape| shape.spread.show(2))),
        )
        .tested("difference of that ratio by seed, 95 % interval; one below 0 would refute it"),
        Claim::new(
            SOURCE,
            format!("{}: the loss of the score is huge at small t.", set.name()),
            score.start.above(10.0),
            format!("the loss at the first times over that half-way: {}", shapes.list(|shape| shape.start.show(2))),
        )
        .tested(format!(
            "that ratio for the score, which is trained from t = {SCORE_FROM} on, mean over seeds, 95 % interval; one below \
             10 would refute it"
        )),
    ]
}

fn variance_by_time(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    let mut figure = Figure::new("", 2).panel_size(380.0, 240.0);
    for set in sets(context) {
        let mut curves = Vec::new();
        let early = PerTarget::try_from_fn(|target| -> Result<Measured> {
            let mut early = Measured::default();
            for cell in Cell::new(set, target, Training::Weighted).repeated(context.repeats(3)) {
                let mut model = cell.model(context)?;
                let bins = trained_bins(context, &mut model, &cell)?;
                if cell.repeat == 0 {
                    let points = bins.iter().map(|bin| [bin.t, bin.variance]).collect();
                    curves.push((targets::name(target), points));
                }
                // The first twentieth of the times at which the network was trained.
                let first = bins.len().div_ceil(20);
                early.push(bins[..first].iter().map(|bin| bin.variance).sum::<f64>() / first as f64);
            }
            Ok(early)
        })?;
        let panel = Plot::new(set.name(), "t", "variance of a point's loss").log_y();
        figure = figure.panel(curves.into_iter().fold(panel, |panel, (name, points)| panel.line(name, points)));
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
fn judge_variances(set: PointSet, early: &PerTarget<Measured>) -> Claim {
    let PerTarget { x, eps, v, score } = early;
    let less = |few: &Measured, many: &Measured| many.minus(few).above(0.0);
    Claim::new(
        "Kumar, section 4.4.1 and Fig. 4.11",
        format!("{}: at small t the loss varies least for x, more for ε and v, most for the score.", set.name()),
        Verdict::all([less(x, eps), less(x, v), less(eps, score), less(v, score)]),
        early.list(|variance| variance.show(3)) + "; the score is trained from t = 0.075 on only",
    )
    .tested(
        "variance over points in the first twentieth of the times; differences by seed, 95 % interval; one below 0 would \
         refute it",
    )
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;
    use crate::experiment::verdict::verdicts;

    fn around(value: f64) -> Measured {
        [0.999, 1.0, 1.001].into_iter().map(|factor| factor * value).collect()
    }

    #[test]
    fn the_shape_of_a_loss_is_read_off_its_bins() {
        let bins: Vec<Bin> = (0..10).map(|i| Bin { t: f64::from(i), mean: f64::from(20 - i), variance: 0.0 }).collect();
        let mut shape = Shape::default();
        shape.push(&bins);
        let means = [shape.correlation.mean(), shape.spread.mean(), shape.start.mean()];
        assert_eq!(means, [-1.0, 20.0 / 11.0, 20.0 / 15.0]);
    }

    #[test]
    fn shapes_are_judged_on_both_sides() {
        let shape = |correlation, spread, start| {
            let [correlation, spread, start] = [correlation, spread, start].map(around);
            Shape { correlation, spread, start }
        };
        let shapes = PerTarget {
            x: shape(0.99, 900.0, 0.1),
            eps: shape(-0.9, 700.0, 9.0),
            v: shape(0.1, 3.0, 1.0),
            score: shape(-1.0, 1e4, 1e3),
        };
        let judged = |change: fn(&mut PerTarget<Shape>)| {
            let mut shapes = shapes.clone();
            change(&mut shapes);
            verdicts(&judge_shapes(PointSet::Rings, &shapes))
        };
        assert_eq!(judged(|_| ()), [Confirmed; 3]);
        assert_eq!(judged(|s| s.x.correlation = around(0.89)), [Refuted, Confirmed, Confirmed]);
        assert_eq!(judged(|s| s.eps.correlation = around(-0.79)), [Refuted, Confirmed, Confirmed]);
        assert_eq!(judged(|s| s.v.spread = around(705.0)), [Confirmed, Refuted, Confirmed]);
        assert_eq!(judged(|s| s.score.start = around(9.9)), [Confirmed, Confirmed, Refuted]);
        let one = |shape: &mut Shape| shape.correlation = [0.99].into_iter().collect();
        let mut single = shapes.clone();
        one(&mut single.x);
        assert_eq!(verdicts(&judge_shapes(PointSet::Rings, &single))[0], NotDecided);
    }

    #[test]
    fn variances_must_be_in_order() {
        let verdict = |x, eps, v, score| {
            judge_variances(PointSet::Rings, &PerTarget { x, eps, v, score }.map(|variance| around(*variance))).verdict
        };
        assert_eq!(verdict(0.1, 1.0, 0.9, 5.0), Confirmed);
        assert_eq!([verdict(0.95, 1.0, 0.9, 5.0), verdict(0.1, 1.0, 0.9, 0.95)], [Refuted; 2]);
        assert_eq!(verdict(f64::NAN, 1.0, 1.0, 5.0), NotDecided);
    }
}
