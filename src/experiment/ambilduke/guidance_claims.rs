//! The verdicts on guidance by a classifier: functions of the measured rows.

use crate::experiment::judge::Judgement;
use crate::experiment::spread::Measured;
use crate::experiment::verdict::{Claim, Verdict};
use anyhow::{Context, Result};

/// A way to guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By the gradient of a classifier.
    Classifier,
    /// By the same network with the class.
    Free,
}

impl Way {
    pub const ALL: [Way; 2] = [Way::Classifier, Way::Free];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Way::Classifier => "by a classifier",
            Way::Free => "classifier-free",
        }
    }
}

/// The measures of the samples of one way at one scale, a value for each seed.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub way: Way,
    /// The scale gamma.
    pub scale: f64,
    /// Share of samples of the requested class.
    pub as_asked: Measured,
    /// Share of valid samples.
    pub valid: Measured,
    /// Variance of the features within a class.
    pub diversity: Measured,
    /// Fréchet distance from the training data.
    pub frechet: Measured,
    /// The same with both thresholded.
    pub frechet_binarised: Measured,
}

impl Row {
    /// A row without measures.
    pub fn new(way: Way, scale: f64) -> Row {
        let [as_asked, valid, diversity, frechet, frechet_binarised] = std::array::from_fn(|_| Measured::default());
        Row { way, scale, as_asked, valid, diversity, frechet, frechet_binarised }
    }

    /// Adds the samples of a further seed.
    pub fn push(&mut self, judgement: &Judgement) {
        self.as_asked.push(judgement.as_asked.unwrap_or(f64::NAN));
        self.valid.push(judgement.valid);
        self.diversity.push(judgement.diversity);
        self.frechet.push(judgement.frechet);
        self.frechet_binarised.push(judgement.frechet_binarised);
    }
}

/// Judges the claims.
///
/// # Errors
/// A row that was not measured.
pub(super) fn judge(rows: &[Row]) -> Result<[Claim; 4]> {
    let row = |way: Way, scale: f64| {
        let found = rows.iter().find(|row| row.way == way && row.scale == scale);
        found.with_context(|| format!("there is no row \"{}, {scale}\"", way.name()))
    };
    let [weak, twice, strong] = [1.0, 2.0, 6.0].map(|scale| row(Way::Classifier, scale));
    let (weak, twice, strong) = (weak?, twice?, strong?);
    let (free, free_twice) = (row(Way::Free, 1.0)?, row(Way::Free, 2.0)?);
    let list = |of: fn(&Row) -> &Measured| {
        format!("{} at γ = 1, {} at 2, {} at 6", of(weak).show(3), of(twice).show(3), of(strong).show(3))
    };
    Ok([
        Claim::new(
            "Ambilduke et al., section 3",
            "The conditional score is the unconditional one plus the classifier's: at γ = 1 a classifier draws the class as \
             often as the conditional network.",
            weak.as_asked.minus(&free.as_asked).within(-0.05..=0.05),
            format!("{} by a classifier, {} by the network with the class", weak.as_asked.show(3), free.as_asked.show(3)),
        )
        .tested("difference of the shares by seed, 95 % interval; one outside of ±0.05 would refute it"),
        Claim::new(
            "Dhariwal and Nichol, section 4.2",
            "A larger scale of the classifier draws the class more often.",
            strong.as_asked.minus(&weak.as_asked).above(0.0),
            list(|row| &row.as_asked),
        )
        .tested("difference of the shares between γ = 6 and 1 by seed, 95 % interval; one below 0 would refute it"),
        Claim::new(
            "Dhariwal and Nichol, section 4.3",
            "The larger scale costs diversity.",
            weak.diversity.minus(&strong.diversity).above(0.0),
            list(|row| &row.diversity),
        )
        .tested("difference between γ = 1 and 6 by seed, 95 % interval; one below 0 would refute it"),
        Claim::new(
            "Ambilduke et al., section 3",
            "A classifier that is right at all noise levels is hard to have, and guidance without one is better.",
            Verdict::all([
                twice.frechet.minus(&free_twice.frechet).above(0.0),
                free_twice.as_asked.minus(&twice.as_asked).above(0.0),
            ]),
            format!(
                "at γ = 2 a distance of {} by a classifier and {} without, {} and {} of the class",
                twice.frechet.show(3),
                free_twice.frechet.show(3),
                twice.as_asked.show(3),
                free_twice.as_asked.show(3)
            ),
        )
        .tested(
            "differences of distance and of share between the ways by seed, 95 % intervals; confirmed if classifier-free is \
             better in both, refuted if it is worse in one",
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;
    use crate::experiment::verdict::verdicts;

    fn around(value: f64) -> Measured {
        [0.999, 1.0, 1.001].into_iter().map(|factor| factor * value).collect()
    }

    fn row(way: Way, scale: f64, [as_asked, diversity, frechet]: [f64; 3]) -> Row {
        let [as_asked, diversity, frechet] = [as_asked, diversity, frechet].map(around);
        Row { as_asked, diversity, frechet, ..Row::new(way, scale) }
    }

    /// Numbers as the claims would have them.
    fn as_claimed() -> Vec<Row> {
        vec![
            row(Way::Classifier, 1.0, [0.90, 1.0, 9.0]),
            row(Way::Classifier, 2.0, [0.95, 0.9, 8.0]),
            row(Way::Classifier, 6.0, [0.99, 0.6, 12.0]),
            row(Way::Free, 1.0, [0.91, 1.0, 7.0]),
            row(Way::Free, 2.0, [0.99, 0.8, 6.0]),
        ]
    }

    #[test]
    fn each_claim_has_numbers_on_either_side() {
        assert_eq!(verdicts(&judge(&as_claimed()).unwrap()), [Confirmed; 4]);
        let changes: [fn(&mut [Row]); 4] = [
            |rows| rows[3].as_asked = around(0.99),
            |rows| rows[2].as_asked = around(0.88),
            |rows| rows[2].diversity = around(1.1),
            |rows| rows[1].frechet = around(5.0),
        ];
        for (claim, change) in changes.into_iter().enumerate() {
            let mut rows = as_claimed();
            change(&mut rows);
            let mut want = [Confirmed; 4];
            want[claim] = Refuted;
            assert_eq!(verdicts(&judge(&rows).unwrap()), want, "claim {claim}");
        }
    }

    #[test]
    fn a_wide_spread_or_two_seeds_decide_nothing() {
        let mut rows = as_claimed();
        for row in &mut rows {
            let two = |seeds: &Measured| -> Measured { [seeds.mean(); 2].into_iter().collect() };
            [row.as_asked, row.diversity, row.frechet] = [&row.as_asked, &row.diversity, &row.frechet].map(two);
        }
        assert_eq!(verdicts(&judge(&rows).unwrap()), [NotDecided; 4]);
        let mut rows = as_claimed();
        rows[2].diversity = [0.2, 0.6, 1.6].into_iter().collect();
        rows[3].as_asked = [0.8, 0.9, 0.99].into_iter().collect();
        rows[1].frechet = [5.0, 8.0, 11.0].into_iter().collect();
        assert_eq!(verdicts(&judge(&rows).unwrap()), [NotDecided, Confirmed, NotDecided, NotDecided]);
    }

    #[test]
    fn a_missing_row_is_an_error() {
        let message = judge(&as_claimed()[1..]).unwrap_err().to_string();
        assert_eq!(message, "there is no row \"by a classifier, 1\"");
    }
}
