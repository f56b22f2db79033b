//! The verdicts on Table 4.1: functions of the measured rows.

use super::cell::Training;
use super::row::Row;
use crate::data::points::PointSet;
use crate::diffusion::PredictionTarget;
use crate::experiment::numbers::mean;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::digits;

/// A number of a row, as a fraction of another one, with the row's name.
struct Ratio {
    name: String,
    ratio: f64,
}

/// Percentages with their names, separated by commas.
fn list(ratios: &[Ratio]) -> String {
    let parts = ratios.iter().map(|Ratio { name, ratio }| format!("{name} {:+.1} %", 100.0 * ratio));
    parts.collect::<Vec<_>>().join(", ")
}

/// Judges the claims on losses and on moments.
pub(super) fn judge(rows: &[Row]) -> Vec<Claim> {
    let of = |training: Training| rows.iter().filter(|row| row.cell.training == training).collect::<Vec<&Row>>();
    let mut claims = Vec::from(judge_weighted(&of(Training::Weighted)));
    claims.push(judge_bound(&of(Training::Nelbo)));
    claims.extend(judge_moments(rows));
    claims
}

/// Judges the losses of weighted training.
fn judge_weighted(rows: &[&Row]) -> [Claim; 3] {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.cell.target != PredictionTarget::Score).copied().collect();
    let against = |of: fn(&Row) -> Option<f64>| -> Vec<Ratio> {
        let ratio = |row: &&Row| Some(Ratio { name: row.cell.name(), ratio: mean(&row.losses) / of(row)? - 1.0 });
        rows.iter().filter_map(ratio).collect()
    };
    let (to_least, to_thesis) = (against(|row| row.least), against(|row| Some(row.published.loss)));
    let loss = |set: PointSet, target: PredictionTarget| {
        let row = rows.iter().find(|row| row.cell.set == set && row.cell.target == target);
        row.map(|row| mean(&row.losses))
    };
    let gap = |set: PointSet| {
        let (x, eps) = (loss(set, PredictionTarget::X0)?, loss(set, PredictionTarget::Epsilon)?);
        let v = loss(set, PredictionTarget::V)?;
        Some(Ratio { name: set.name().into(), ratio: (v - x - eps) / v })
    };
    let gaps: Vec<Ratio> = PointSet::ALL.into_iter().filter_map(gap).collect();
    [
        Claim::new(
            "Kumar, Table 4.1, and the exact optimum",
            "Weighted training of x, ε and v comes within 3 % of the least possible losses, and not below them.",
            Verdict::of(to_least.iter().all(|to| (-0.01..=0.03).contains(&to.ratio))),
            format!("above the optimum: {}", list(&to_least)),
        ),
        Claim::new(
            "Kumar, Table 4.1",
            "The weighted losses of x, ε and v are those of the thesis (within 3 %).",
            Verdict::of(to_thesis.iter().all(|to| to.ratio.abs() <= 0.03)),
            format!("ours against the thesis: {}", list(&to_thesis)),
        ),
        Claim::new(
            "follows from v = aε - σx",
            "The losses of x and ε add up to that of v, although three networks were trained.",
            Verdict::of(gaps.iter().all(|gap| gap.ratio.abs() <= 0.02)),
            format!("L(v) - L(x) - L(ε) relative to L(v): {}", list(&gaps)),
        ),
    ]
}

/// Judges the bounds of NELBO training.
fn judge_bound(rows: &[&Row]) -> Claim {
    let ratio = |row: &&Row| Some(Ratio { name: row.cell.name(), ratio: mean(&row.losses) / row.least? - 1.0 });
    let above: Vec<Ratio> = rows.iter().filter_map(ratio).collect();
    let (verdict, evidence) = if above.is_empty() {
        (Verdict::NotDecided, "needs the full size: nothing was trained with NELBO".into())
    } else {
        (
            Verdict::of(above.iter().any(|above| above.ratio < -0.05)),
            format!(
                "with the exact weights all four have one optimum, which nothing can pass; above it: {}",
                list(&above)
            ),
        )
    };
    Claim::new(
        "Kumar, Table 4.1",
        "x and the score reach a NELBO of 0.7 to 1.0, ε and v only 2.4 to 2.7: in image space the likelihood is better.",
        verdict,
        evidence,
    )
}

/// Judges the moments of samples.
fn judge_moments(rows: &[Row]) -> [Claim; 2] {
    let good = |row: &&Row| matches!(row.cell.target, PredictionTarget::Epsilon | PredictionTarget::V);
    let distances = |row: &Row| {
        format!(
            "{} {}: {}, {}",
            row.cell.name(),
            row.cell.training.name(),
            digits(mean(&row.means), 2),
            digits(mean(&row.covariances), 2)
        )
    };
    let close: Vec<&Row> = rows.iter().filter(good).collect();
    let distance = |row: &Row| mean(&row.means) + mean(&row.covariances);
    let same = |a: &Row, b: &Row| a.cell.set == b.cell.set && a.cell.training == b.cell.training;
    let pairs = close.iter().flat_map(|row| {
        rows.iter().filter(move |other| !good(other) && same(row, other)).map(move |other| (row, other))
    });
    let better: Vec<bool> = pairs.map(|(row, other)| distance(row) < distance(other)).collect();
    let count = better.iter().filter(|better| **better).count();
    [
        Claim::new(
            "Kumar, Table 4.1",
            "Samples of ε and v have nearly the moments of the data: mean distance below 0.1, covariance distance below 0.15.",
            Verdict::of(close.iter().all(|row| mean(&row.means) < 0.1 && mean(&row.covariances) < 0.15)),
            close.iter().map(|row| distances(row)).collect::<Vec<_>>().join("; "),
        ),
        Claim::new(
            "Kumar, section 4.4.2",
            "ε and v give better moments than x and the score.",
            Verdict::of(count == better.len()),
            format!("mean plus covariance distance: better in {count} of {} pairs", better.len()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;
    use crate::experiment::kumar::cell::Cell;
    use crate::experiment::kumar::published::published;
    use crate::experiment::kumar::targets::TARGETS;
    use crate::experiment::verdict::verdicts;

    /// The rows of the clusters by one training, with losses a hundredth above the least possible.
    fn rows(training: Training) -> Vec<Row> {
        let row = |(_, target): (&str, PredictionTarget)| {
            let (least, distance) = match target {
                PredictionTarget::X0 => (0.47, 0.5),
                PredictionTarget::Epsilon => (0.35, 0.05),
                PredictionTarget::V => (0.82, 0.04),
                _ => (2.69, 0.3),
            };
            let least = if training == Training::Weighted { least } else { 3.36 };
            let cell = Cell::new(PointSet::Clusters, target, training);
            let published = published(&cell).unwrap();
            let [losses, means, covariances] = [1.01 * least, distance, distance].map(|value| vec![value]);
            Row { cell, losses, rescaled: vec![0.48], means, covariances, least: Some(least), published }
        };
        TARGETS.map(row).to_vec()
    }

    fn judged(training: Training, change: impl Fn(&mut [Row])) -> Vec<Verdict> {
        let mut rows = rows(training);
        change(&mut rows);
        verdicts(&judge(&rows))
    }

    #[test]
    fn weighted_losses_are_judged_on_both_sides() {
        let (x, eps, v) = (0, 1, 2);
        let judged = |change: &dyn Fn(&mut [Row])| judged(Training::Weighted, change)[..3].to_vec();
        assert_eq!(judged(&|_| ()), [Confirmed; 3]);
        assert_eq!(judged(&|rows| rows[x].losses = vec![0.5]), [Refuted, Refuted, Refuted]);
        assert_eq!(judged(&|rows| rows[eps].losses = vec![0.345]), [Refuted, Confirmed, Confirmed]);
        assert_eq!(judged(&|rows| rows[v].published.loss = 0.86), [Confirmed, Refuted, Confirmed]);
        assert_eq!(judged(&|rows| rows[v].losses = vec![f64::NAN]), [Refuted; 3]);
        // The score has no part in these claims.
        assert_eq!(judged(&|rows| rows[3].losses = vec![9.0]), [Confirmed; 3]);
    }

    #[test]
    fn the_bound_is_not_decided_without_networks_trained_by_it() {
        let bound = |training, loss: f64| judged(training, |rows| rows[0].losses = vec![loss])[3];
        assert_eq!(bound(Training::Weighted, 0.47), NotDecided);
        assert_eq!(bound(Training::Nelbo, 3.4), Refuted);
        assert_eq!(bound(Training::Nelbo, 0.68), Confirmed);
    }

    #[test]
    fn moments_are_judged_on_both_sides() {
        let moments = |change: &dyn Fn(&mut [Row])| judged(Training::Weighted, change)[4..].to_vec();
        assert_eq!(moments(&|_| ()), [Confirmed; 2]);
        assert_eq!(moments(&|rows| rows[1].covariances = vec![0.16]), [Refuted, Confirmed]);
        assert_eq!(moments(&|rows| rows[3].means = vec![0.0]), [Confirmed, Confirmed]);
        assert_eq!(
            moments(&|rows| (rows[3].means, rows[3].covariances) = (vec![0.0], vec![0.0])),
            [Confirmed, Refuted]
        );
    }
}
