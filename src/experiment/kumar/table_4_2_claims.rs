//! The verdicts on Table 4.2: functions of the measured rows.

use super::cell::Training;
use super::row_4_2::Row;
use super::targets;
use crate::diffusion::PredictionTarget;
use crate::experiment::verdict::{Claim, Verdict};
use anyhow::{Context as _, Result};

/// Samples for a FID that can be compared with published ones.
pub(super) const FID_SAMPLES: usize = 50_000;

/// Finds a row.
fn row(rows: &[Row], target: PredictionTarget, training: Training) -> Result<&Row> {
    let found = rows.iter().find(|row| row.target == target && row.training == training);
    found.with_context(|| format!("Table 4.2 has no row {} {}", targets::name(target), training.name()))
}

/// Judges the weighted losses.
pub(super) fn judge_sum(rows: &[Row]) -> Result<Claim> {
    let own = |target| row(rows, target, Training::Weighted).map(|row| &row.own);
    let (x, epsilon, v) = (own(PredictionTarget::X0)?, own(PredictionTarget::Epsilon)?, own(PredictionTarget::V)?);
    let gap = v.minus(x).minus(epsilon).zip(v, |gap, v| gap / v);
    Ok(Claim::new(
        "Kumar, Table 4.2",
        "The weighted losses of x and ε add up to that of v, as they do for one and the same denoiser.",
        gap.within(-0.15..=0.15),
        format!("{} + {} against {}; the thesis: 0.05 + 0.06 against 0.12", x.show(3), epsilon.show(3), v.show(3)),
    )
    .tested("gap relative to the loss of v by seed, 95 % interval; one beyond 15 % would refute it"))
}

/// Judges FID, of `samples` samples.
pub(super) fn judge_fid(rows: &[Row], samples: usize) -> Result<Claim> {
    let epsilon = row(rows, PredictionTarget::Epsilon, Training::Weighted)?;
    let x = row(rows, PredictionTarget::X0, Training::Nelbo)?;
    let is = |one: &Row, other: &Row| one.target == other.target && one.training == other.training;
    let better = |best: &Row, others: &mut dyn Iterator<Item = &Row>| {
        Verdict::all(others.filter(|other| !is(best, other)).map(|other| match (&best.fid, &other.fid) {
            (Some(best), Some(other)) => other.minus(best).above(0.0),
            _ => Verdict::NotDecided,
        }))
    };
    let of_weighted = better(epsilon, &mut rows.iter().filter(|row| row.training == Training::Weighted));
    let of_all = better(x, &mut rows.iter());
    let measured = rows.iter().filter_map(|row| Some(format!("{} {}", row.name(), row.fid.as_ref()?.show(4))));
    let measured = measured.collect::<Vec<_>>().join(", ");
    let (verdict, evidence) = match samples {
        _ if measured.is_empty() => (Verdict::NotDecided, "needs --inception FILE".into()),
        0..FID_SAMPLES => (Verdict::NotDecided, format!("needs {FID_SAMPLES} samples; FID of {samples}: {measured}")),
        _ => (Verdict::all([of_weighted, of_all]), format!("FID: {measured}")),
    };
    Ok(Claim::new(
        "Kumar, Table 4.2",
        "Weighted ε has the best FID of the weighted trainings, x by the bound the best of all.",
        verdict,
        evidence,
    )
    .tested("differences of FID by seed, 95 % interval; one training better than the one named best would refute it"))
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;
    use crate::experiment::kumar::row_4_2::{Published, TARGETS, published};
    use crate::experiment::spread::Measured;

    fn around(value: f64) -> Measured {
        [0.999, 1.0, 1.001].into_iter().map(|factor| factor * value).collect()
    }

    /// The thesis' own numbers.
    fn rows() -> Vec<Row> {
        let number = |text: &str| around(text.parse().unwrap());
        let row = |training, target| {
            let Published { loss, fid } = published(target, training).unwrap();
            Row { target, training, own: number(loss), nelbo: number(loss), fid: Some(number(fid)) }
        };
        Training::ALL.into_iter().flat_map(|training| TARGETS.map(|target| row(training, target))).collect()
    }

    #[test]
    fn losses_must_add_up() {
        let verdict = |v: Measured| {
            let mut rows = rows();
            rows[2].own = v;
            judge_sum(&rows).unwrap().verdict
        };
        assert_eq!(verdict(around(0.12)), Confirmed);
        assert_eq!([around(0.14), around(0.09)].map(verdict), [Refuted; 2]);
        assert_eq!(verdict([0.09, 0.12, 0.14].into_iter().collect()), NotDecided);
        assert!(judge_sum(&rows()[1..]).unwrap_err().to_string().contains("no row x weighted"));
    }

    #[test]
    fn the_best_fid_is_found_where_it_was_measured() {
        let judged = |samples, change: &dyn Fn(&mut [Row])| {
            let mut rows = rows();
            change(&mut rows);
            judge_fid(&rows, samples).unwrap()
        };
        assert_eq!(judged(50_000, &|_| ()).verdict, Confirmed);
        assert_eq!(judged(50_000, &|rows| rows[0].fid = Some(around(13.6))).verdict, Refuted);
        assert_eq!(judged(50_000, &|rows| rows[5].fid = Some(around(13.0))).verdict, Refuted);
        assert_eq!(
            judged(50_000, &|rows| rows[0].fid = Some([13.0, 14.0, 16.0].into_iter().collect())).verdict,
            NotDecided
        );
        let few = judged(100, &|_| ());
        assert!(few.verdict == NotDecided && few.evidence.contains("50000 samples"), "{}", few.evidence);
        let none = judged(50_000, &|rows| rows.iter_mut().for_each(|row| row.fid = None));
        assert!(none.verdict == NotDecided && none.evidence.contains("--inception"), "{}", none.evidence);
    }
}
