//! Losses against epochs and against time: `thesis-loss-curves`, `thesis-nelbo-curves`, `thesis-loss-by-t` and
//! `thesis-loss-variance`.

use super::measure::{Bin, Losses, losses, spearman};
use super::{
    BOUND_RANGE, Cell, RESCALED_RANGE, SCORE_FROM, Training, best_bound, best_own, describe, epoch_of, open, optima,
    own_range, sets,
};
use crate::Result;
use crate::data::points::PointSet;
use crate::diffusion::{Continuous, PredictionTarget, Process};
use crate::experiment::bayes::Clusters;
use crate::experiment::schedules::spaced;
use crate::experiment::snr_weights::TARGETS;
use crate::experiment::{Context, Page, Verdict};
use crate::report::{Figure, Plot, Table, digits};
use crate::train::checkpoint;

/// Fresh points on which every checkpoint is measured, and those for the finished networks.
const POINTS_AT_CHECKPOINTS: [usize; 2] = [20_000, 40_000];
const POINTS_BY_TIME: [usize; 2] = [200_000, 1_000_000];

/// The losses of a network after the steps whose weights were kept.
fn history(context: &mut Context, cell: &Cell) -> Result<Vec<(f64, Losses)>> {
    let dir = cell.run(context)?;
    let points = context.size(POINTS_AT_CHECKPOINTS[0], POINTS_AT_CHECKPOINTS[1]);
    let mut history = Vec::new();
    for (step, path) in checkpoint::list(&dir.checkpoints())? {
        let mut model = open(context, &path)?;
        let found = losses(context, &mut model, cell.set, own_range(cell.target), points)?;
        history.push((epoch_of(step), found));
    }
    Ok(history)
}

/// The average over networks that differ in their seed only, checkpoint by checkpoint.
fn average_history(context: &mut Context, cell: &Cell, of: fn(&Losses) -> f64) -> Result<Vec<[f64; 2]>> {
    Ok(histories(context, cell)?.iter().map(|(epoch, losses)| [*epoch, mean(losses, of)]).collect())
}

/// For every kept epoch the losses of each seed.
fn histories(context: &mut Context, cell: &Cell) -> Result<Vec<(f64, Vec<Losses>)>> {
    let mut all: Vec<(f64, Vec<Losses>)> = Vec::new();
    for repeat in 0..context.size(1, 3) {
        for (i, (epoch, losses)) in history(context, &Cell { repeat, ..*cell })?.into_iter().enumerate() {
            match all.get_mut(i) {
                Some((_, of_epoch)) => of_epoch.push(losses),
                None => all.push((epoch, vec![losses])),
            }
        }
    }
    Ok(all)
}

fn mean(losses: &[Losses], of: fn(&Losses) -> f64) -> f64 {
    losses.iter().map(of).sum::<f64>() / losses.len() as f64
}

/// A dashed level across a panel whose epochs end at `last`.
fn level(plot: Plot, value: f64, last: f64) -> Plot {
    plot.dashed_line("", vec![[0.0, value], [last, value]])
}

pub(in crate::experiment) fn loss_curves(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    let mut figure = Figure::new("", 2).panel_size(380.0, 240.0);
    let mut table =
        Table::new(&["set", "target", "weighted loss at the end", "rescaled loss at the end", "least possible"]);
    let (mut ends, mut names) = (Vec::new(), Vec::new());
    for (row, set) in sets(context).into_iter().enumerate() {
        let titles = if row == 0 { ["weighted", "rescaled"] } else { ["", ""] };
        let mut panels = titles.map(|title| Plot::new(title, "epoch", "test loss, mean over dimensions").log_y());
        let mut of_set = Vec::new();
        for (name, target) in TARGETS {
            let cell = Cell { set, target, training: Training::Weighted, repeat: 0 };
            let history = histories(context, &cell)?;
            let curve = |of: fn(&Losses) -> f64| -> Vec<[f64; 2]> {
                history.iter().map(|(epoch, losses)| [*epoch, mean(losses, of)]).collect()
            };
            let (own, rescaled) = (curve(|l| l.own[0]), curve(|l| l.rescaled));
            let last = own.last().map_or(1.0, |p| p[0]);
            let [weighted_panel, rescaled_panel] = panels;
            let weighted_panel = weighted_panel.line(name, own.clone());
            panels = [
                match best_own(set, target) {
                    Some(best) => level(weighted_panel, best, last),
                    None => weighted_panel,
                },
                rescaled_panel.line(name, rescaled.clone()),
            ];
            let [own, rescaled] = [own, rescaled].map(|curve| curve.last().map_or(f64::NAN, |p| p[1]));
            let least = best_own(set, target).map_or("–".into(), |best| digits(best, 4));
            table.row([set.name().into(), name.into(), digits(own, 4), digits(rescaled, 4), least]);
            of_set.push((name, rescaled));
        }
        panels.into_iter().for_each(|panel| figure = std::mem::replace(&mut figure, Figure::new("", 1)).panel(panel));
        names.push(set.name());
        ends.push((set, of_set));
    }
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
    judge_rescaled(page, &ends);
    Ok(())
}

fn judge_rescaled(page: &mut Page, ends: &[(PointSet, Vec<(&str, f64)>)]) {
    let spread = |values: &[(&str, f64)]| {
        let [lo, hi] = values.iter().fold([f64::INFINITY, 0.0f64], |[lo, hi], (_, v)| [lo.min(*v), hi.max(*v)]);
        hi / lo - 1.0
    };
    let close = |of_set: &Vec<(&str, f64)>| spread(&of_set[..3]) <= 0.1 && spread(of_set) <= 0.3;
    let evidence = ends.iter().map(|(set, of_set)| {
        let figures = of_set.iter().map(|(name, loss)| format!("{name} {}", digits(*loss, 4))).collect::<Vec<_>>();
        let best = match set {
            PointSet::Clusters => {
                let best = Clusters::new(&set.standardisation()).optima(Continuous::VpCosine, RESCALED_RANGE).x0;
                format!("; least possible {}", digits(best, 4))
            }
            _ => String::new(),
        };
        format!("{}: {}{best}", set.name(), figures.join(", "))
    });
    page.claim(
        "Kumar, Fig. 4.8 and section 4.4.1",
        "Rescaled to the error of the image, the losses of the four targets coincide after training (x, ε, v within 10 %, \
         the score within 30 %).",
        Verdict::of(ends.iter().all(|(_, of_set)| close(of_set))),
        evidence.collect::<Vec<_>>().join(". "),
    );
}

pub(in crate::experiment) fn nelbo_curves(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    let mut figure = Figure::new("", 2).panel_size(380.0, 240.0);
    let mut table = Table::new(&["set", "target", "NELBO at the end", "least possible", "gap", "thesis"]);
    let mut gaps = Vec::new();
    for set in sets(context) {
        let best = best_bound(set);
        let mut panel = Plot::new(set.name(), "epoch", "NELBO without its ½, per dimension").log_y();
        for (name, target) in TARGETS {
            let cell = Cell { set, target, training: Training::Nelbo, repeat: 0 };
            let curve = average_history(context, &cell, |l| l.nelbo)?;
            let end = curve.last().map_or(f64::NAN, |p| p[1]);
            let last = curve.last().map_or(1.0, |p| p[0]);
            panel = panel.line(name, curve);
            if target == TARGETS[TARGETS.len() - 1].1 {
                panel = panel.dashed_line("least possible", vec![[0.0, best], [last, best]]);
            }
            gaps.push((format!("{} {name}", set.name()), end / best - 1.0));
            let published = super::table::published(set, target)[0].to_string();
            let gap = format!("{:+.1} %", 100.0 * (end / best - 1.0));
            table.row([set.name().into(), name.into(), digits(end, 4), digits(best, 4), gap, published]);
        }
        figure = figure.panel(panel);
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
    let figures = gaps.iter().map(|(name, gap)| format!("{name} {:+.1} %", 100.0 * gap)).collect::<Vec<_>>().join(", ");
    page.claim(
        "follows from the exact weights",
        "No target's NELBO falls below that of the exact posterior mean.",
        Verdict::of(gaps.iter().all(|(_, gap)| *gap >= -0.01)),
        format!("above it: {figures}"),
    );
    page.claim(
        "Kumar, Fig. 4.9",
        "x and the score level off at a third of the NELBO of ε and v.",
        Verdict::of(gaps.iter().any(|(_, gap)| *gap <= -0.3)),
        format!("all four approach one value from above: {figures}"),
    );
    Ok(())
}

/// The finished network's losses by time.
fn finished(context: &mut Context, cell: &Cell) -> Result<Losses> {
    let points = context.size(POINTS_BY_TIME[0], POINTS_BY_TIME[1]);
    let mut model = cell.model(context)?;
    losses(context, &mut model, cell.set, own_range(cell.target), points)
}

/// The bins within the times that a network was trained at.
fn trained_bins(losses: &Losses, target: PredictionTarget) -> Vec<Bin> {
    let [lo, hi] = own_range(target);
    losses.by_time.iter().filter(|bin| (lo..=hi).contains(&bin.t)).copied().collect()
}

/// The least possible error of a target against time, for the clusters.
fn best_by_time(target: PredictionTarget) -> Vec<[f64; 2]> {
    let clusters = Clusters::new(&PointSet::Clusters.standardisation());
    let [lo, hi] = own_range(target);
    let process = Process::Continuous { schedule: Continuous::VpCosine, t_min: lo, t_max: hi };
    let error = |t: f64| target.error_ratio(&process.point(t)) * clusters.image_error(process.level(t));
    spaced(lo, hi, 120).into_iter().map(|t| [t, error(t)]).collect()
}

pub(in crate::experiment) fn loss_by_time(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    for set in sets(context) {
        let mut figure = Figure::new("", 2).panel_size(380.0, 220.0);
        let mut correlations = Vec::new();
        for (name, target) in TARGETS {
            let cell = Cell { set, target, training: Training::Weighted, repeat: 0 };
            let dir = cell.run(context)?;
            let kept = checkpoint::list(&dir.checkpoints())?;
            let mut panel = Plot::new(name, "t", "squared error, mean over dimensions");
            if target == PredictionTarget::Score {
                panel = panel.log_y();
            }
            let mut bins = Vec::new();
            for (name, i) in [("first kept", 0), ("half-way", kept.len() / 2), ("last", kept.len() - 1)] {
                let mut model = open(context, &kept[i].1)?;
                let points = context.size(POINTS_BY_TIME[0], POINTS_BY_TIME[1]);
                bins = trained_bins(&losses(context, &mut model, set, own_range(target), points)?, target);
                panel = panel.line(name, bins.iter().map(|bin| [bin.t, bin.mean]).collect());
            }
            if set == PointSet::Clusters {
                panel = panel.dashed_line("least possible", best_by_time(target));
            }
            figure = figure.panel(panel);
            let [t, loss] = [|bin: &Bin| bin.t, |bin: &Bin| bin.mean].map(|of| bins.iter().map(of).collect::<Vec<_>>());
            correlations.push((name, spearman(&t, &loss), bins));
        }
        let heading = format!("{}: weighted loss against time after training on it", set.name());
        page.heading(&heading);
        page.plot(
            &format!("loss-by-t-{}", set.name()),
            &format!(
                "Kumar, Fig. 4.14 and appendix: the error of each target against time, early, half-way and at the end. \
                 The score is trained and shown from t = {SCORE_FROM} on, on a logarithmic axis."
            ),
            &figure,
        );
        let [x, eps, v, score] = [0, 1, 2, 3].map(|i| &correlations[i]);
        page.claim(
            "Kumar, section 4.4.3 and Fig. 4.14",
            &format!(
                "{}: the weighted loss rises with t for x and falls for ε (rank correlation above 0.9, below -0.8).",
                set.name()
            ),
            Verdict::of(x.1 > 0.9 && eps.1 < -0.8),
            format!("rank correlation with t: x {:.3}, ε {:.3}, v {:.3}, score {:.3}", x.1, eps.1, v.1, score.1),
        );
        let spread = |bins: &[Bin]| {
            let [lo, hi] =
                bins.iter().fold([f64::INFINITY, 0.0f64], |[lo, hi], bin| [lo.min(bin.mean), hi.max(bin.mean)]);
            hi / lo
        };
        page.claim(
            "Kumar, section 4.4.3 and Fig. 4.14",
            &format!(
                "{}: the loss of v is flatter than the others'; that of the score is huge at small t.",
                set.name()
            ),
            Verdict::of(
                spread(&v.2) < spread(&x.2).min(spread(&eps.2))
                    && score.2[0].mean > 10.0 * score.2[score.2.len() / 2].mean,
            ),
            format!(
                "largest over smallest: x {:.0}, ε {:.0}, v {:.1}; the score has {} at t = {:.2}, {} half-way",
                spread(&x.2),
                spread(&eps.2),
                spread(&v.2),
                digits(score.2[0].mean, 3),
                score.2[0].t,
                digits(score.2[score.2.len() / 2].mean, 3)
            ),
        );
    }
    Ok(())
}

pub(in crate::experiment) fn variance_by_time(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    let mut figure = Figure::new("", 2).panel_size(380.0, 240.0);
    for set in sets(context) {
        let mut panel = Plot::new(set.name(), "t", "variance of a point's loss").log_y();
        let mut early = Vec::new();
        for (name, target) in TARGETS {
            let cell = Cell { set, target, training: Training::Weighted, repeat: 0 };
            let bins = trained_bins(&finished(context, &cell)?, target);
            panel = panel.line(name, bins.iter().map(|bin| [bin.t, bin.variance]).collect());
            // The first twentieth of the times at which the network was trained.
            let first = bins.len().div_ceil(20);
            early.push((name, bins[..first].iter().map(|bin| bin.variance).sum::<f64>() / first as f64));
        }
        figure = figure.panel(panel);
        let [x, eps, v, score] = [0, 1, 2, 3].map(|i| early[i].1);
        page.claim(
            "Kumar, section 4.4.3 and Fig. 4.11",
            &format!("{}: at small t the loss varies least for x, more for ε and v, most for the score.", set.name()),
            Verdict::of(x < eps && x < v && eps < score && v < score),
            early.iter().map(|(name, value)| format!("{name} {}", digits(*value, 3))).collect::<Vec<_>>().join(", ")
                + "; the score is trained from t = 0.075 on only",
        );
        let least = optima(set);
        page.text(format!(
            "{}: the least possible weighted losses are {} (x), {} (ε) and {} (v).",
            set.name(),
            digits(least.x0, 4),
            digits(least.epsilon, 4),
            digits(least.v, 4)
        ));
    }
    page.plot(
        "loss-variance",
        "Kumar, Fig. 4.11: variance of the weighted loss of single points against time.",
        &figure,
    );
    Ok(())
}
