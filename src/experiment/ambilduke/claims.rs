//! The verdicts on Table 1 and its discussion: functions of the measured rows.

use super::networks::Network;
use super::results::{Likelihood, Results, Row, RowKey};
use crate::experiment::spread::Measured;
use crate::experiment::verdict::{Claim, Verdict};
use anyhow::{Context, Result};

/// Judges the claims of the paper.
///
/// # Errors
/// A row or a measure that a claim is about and that is missing.
pub(super) fn judge(results: &Results) -> Result<Vec<Claim>> {
    let network = |network| results.row(RowKey::plain(network));
    let targets = Targets {
        x0: network(Network::X0)?,
        epsilon: network(Network::Epsilon)?,
        score: network(Network::Score)?,
        scaled: network(Network::ScoreScaled)?,
    };
    let guided = |w| results.row(RowKey::guided(w));
    let guidance = Guidance { w0: guided(0.0)?, w1: guided(1.0)?, w5: guided(5.0)? };
    let mut claims = judge_targets(&targets);
    claims.push(judge_stretching(targets.epsilon));
    claims.extend(judge_variance(targets.epsilon, network(Network::Learned)?)?);
    claims.extend(judge_guidance(&guidance)?);
    Ok(claims)
}

/// The rows of the prediction targets.
struct Targets<'a> {
    x0: &'a Row,
    epsilon: &'a Row,
    score: &'a Row,
    scaled: &'a Row,
}

/// The rows of the strengths of guidance.
struct Guidance<'a> {
    w0: &'a Row,
    w1: &'a Row,
    w5: &'a Row,
}

/// The test of most claims.
const BY_SEED: &str = "differences by seed, 95 % interval; one below 0 would refute it";

/// Tests if one measure is less than another.
fn less(one: &Measured, other: &Measured) -> Verdict {
    other.minus(one).above(0.0)
}

fn judge_targets(Targets { x0, epsilon, score, scaled }: &Targets) -> Vec<Claim> {
    let list = |of: fn(&Row) -> &Measured| {
        format!("ε {}, x0 {}, score {}", of(epsilon).show(3), of(x0).show(3), of(score).show(3))
    };
    let [of_x0, of_epsilon, of_score] = [x0, epsilon, score].map(|row| &row.frechet_binarised);
    let apart = of_x0.zip(of_epsilon, |x0, epsilon| (x0 - epsilon).abs());
    let worse = of_score.minus(&of_x0.zip(of_epsilon, f64::max));
    vec![
        Claim::new(
            "Ambilduke et al., Table 1",
            "In grey, ε is best, then x0, then the score.",
            Verdict::all([less(&epsilon.frechet, &x0.frechet), less(&x0.frechet, &score.frechet)]),
            format!("{}; the paper: 15.75, 49.10, 78.83", list(|row| &row.frechet)),
        )
        .tested(BY_SEED),
        Claim::new(
            "Ambilduke et al., Table 1",
            "Binarised, x0 and ε are about equal, and the score is worse.",
            less(&apart, &worse),
            format!("{}; the paper: 10.13, 9.89, 17.36", list(|row| &row.frechet_binarised)),
        )
        .tested(
            "the distance of the score from the worse of x0 and ε, less that between these two, by seed, 95 % interval; one \
             below 0 would refute it",
        ),
        Claim::new(
            "Ambilduke et al., section 5",
            "The score is worse than ε because (1 - alpha_bar) weighs its loss down where noise is strong.",
            scaled.frechet.zip(&epsilon.frechet, |scaled, epsilon| scaled / epsilon).above(2.0),
            format!(
                "With that weight the loss is ε's exactly, for ε^ = -σ S^: a head of that scale reaches {} where ε reaches {}. The \
                 raw score, {}, differs from them by the range of its output alone",
                scaled.frechet.show(3),
                epsilon.frechet.show(3),
                score.frechet.show(3)
            ),
        )
        .tested("ratio of the scaled head's distance to ε's by seed, 95 % interval; confirmed above 2, refuted below"),
    ]
}

/// Judges a guess at the paper's code, which stretches every picture that it writes.
fn judge_stretching(epsilon: &Row) -> Claim {
    let ratio = epsilon.frechet_stretched.zip(&epsilon.frechet, |stretched, clamped| stretched / clamped);
    Claim::new(
        "Ambilduke et al., the code of sampling",
        "The distance in grey is an artefact of pictures that are stretched to their own extremes.",
        ratio.above(1.5),
        format!(
            "ε {} stretched, {} clamped, {} binarised: {} times; the paper: 15.75 in grey, 10.13 binarised",
            epsilon.frechet_stretched.show(3),
            epsilon.frechet.show(3),
            epsilon.frechet_binarised.show(3),
            ratio.show(3)
        ),
    )
    .tested("ratio of ε's distances, stretched to clamped, by seed, 95 % interval; confirmed above 1.5, refuted below")
}

fn judge_variance(epsilon: &Row, learned: &Row) -> Result<[Claim; 2]> {
    let likelihood = |row: &'_ Row| -> Result<Likelihood> {
        row.likelihood.clone().with_context(|| format!("{}: no likelihood was measured", row.key.name()))
    };
    let (fixed, learnt) = (likelihood(epsilon)?, likelihood(learned)?);
    Ok([
        Claim::new(
            "Ambilduke et al., Table 1",
            "Learned variance lowers the NLL.",
            Verdict::all([
                fixed.bits.minus(&learnt.bits).above(0.05),
                fixed.ambilduke.minus(&learnt.ambilduke).above(0.05),
            ]),
            format!(
                "{} instead of {} bits/dim; with the paper's formula {} instead of {} (the paper: 1.1 instead of 1.21)",
                learnt.bits.show(4),
                fixed.bits.show(4),
                learnt.ambilduke.show(4),
                fixed.ambilduke.show(4)
            ),
        )
        .tested("differences by seed, 95 % interval; confirmed above 0.05 bits/dim in both, refuted if one is below"),
        Claim::new(
            "Ambilduke et al., section 5",
            "Learned variance keeps the quality of samples.",
            learned.frechet.zip(&epsilon.frechet, |learned, epsilon| learned / epsilon).below(1.2),
            format!(
                "{} instead of {}; the paper's own table: 58.89 instead of 15.75",
                learned.frechet.show(3),
                epsilon.frechet.show(3)
            ),
        )
        .tested("ratio of the Fréchet distances by seed, 95 % interval; confirmed below 1.2, refuted above"),
    ])
}

fn judge_guidance(Guidance { w0, w1, w5 }: &Guidance) -> Result<[Claim; 3]> {
    let as_asked = |row: &Row| -> Result<Measured> {
        row.as_asked.clone().with_context(|| format!("{}: no class was requested", row.key.name()))
    };
    let shares = [as_asked(w0)?, as_asked(w1)?, as_asked(w5)?];
    let list = |at: [&Measured; 3]| {
        let [w0, w1, w5] = at.map(|measure| measure.show(3));
        format!("{w0} at w = 0, {w1} at w = 1, {w5} at w = 5")
    };
    Ok([
        Claim::new(
            "Ambilduke et al., section 4.3",
            "Guidance draws the class that is asked for.",
            Verdict::all([shares[1].above(0.95), shares[2].above(0.95)]),
            format!("share of samples of the class: {}", list(shares.each_ref())),
        )
        .tested("mean over seeds, 95 % interval; confirmed above 0.95 at w = 1 and 5, refuted if one is below"),
        Claim::new(
            "Ambilduke et al., section 5",
            "A stronger guidance costs diversity.",
            less(&w5.diversity, &w1.diversity),
            list([w0, w1, w5].map(|row| &row.diversity)),
        )
        .tested("difference between w = 1 and 5 by seed, 95 % interval; one below 0 would refute it"),
        Claim::new(
            "Ambilduke et al., section 5",
            "The lower w, the better the Fréchet distance: w = 1 before w = 5.",
            less(&w1.frechet, &w5.frechet),
            format!("{}; the paper: 61.91 at 1, 74.21 at 5", list([w0, w1, w5].map(|row| &row.frechet))),
        )
        .tested("difference between w = 5 and 1 by seed, 95 % interval; one below 0 would refute it"),
    ])
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;
    use crate::experiment::ambilduke::results::Published;
    use crate::experiment::judge::Topline;
    use crate::experiment::verdict::verdicts;

    fn around(value: f64) -> Measured {
        [0.999, 1.0, 1.001].into_iter().map(|factor| factor * value).collect()
    }

    /// A row with a grey and a binarised distance; unconditional rows have a likelihood of `bits`.
    fn row(key: RowKey, [frechet, frechet_binarised]: [f64; 2], bits: f64) -> Row {
        let mut row = Row::new(key, Published::default());
        [row.frechet, row.frechet_binarised, row.frechet_stretched, row.valid, row.diversity] =
            [frechet, frechet_binarised, 2.0 * frechet, 1.0, 1.0].map(around);
        row.as_asked = row.as_asked.map(|_| around(0.99));
        row.likelihood = row.likelihood.map(|_| Likelihood { bits: around(bits), ambilduke: around(bits + 0.5) });
        row
    }

    /// The table as the paper has it, with the scaled head as bad as the raw one.
    fn as_in_the_paper() -> Results {
        let plain = |network, distances, bits| row(RowKey::plain(network), distances, bits);
        let mut rows = vec![
            plain(Network::X0, [49.10, 9.89], 1.3),
            plain(Network::Epsilon, [15.75, 10.13], 1.21),
            plain(Network::Score, [78.83, 17.36], 1.3),
            plain(Network::ScoreScaled, [70.0, 17.0], 1.3),
            plain(Network::Learned, [16.0, 10.0], 1.1),
        ];
        rows.extend([(0.0, 60.0), (1.0, 61.91), (5.0, 74.21)].map(|(w, d)| row(RowKey::guided(w), [d, d], 0.0)));
        rows[7].diversity = around(0.5);
        Results { topline: Topline { grey: 1.12, binarised: 0.74 }, accuracy: 0.99, rows }
    }

    #[test]
    fn the_paper_s_own_numbers_confirm_it() {
        assert_eq!(verdicts(&judge(&as_in_the_paper()).unwrap()), [Confirmed; 9]);
    }

    #[test]
    fn each_claim_has_numbers_that_refute_it() {
        const X0: usize = 0;
        const EPSILON: usize = 1;
        const SCORE: usize = 2;
        const SCALED: usize = 3;
        const LEARNED: usize = 4;
        const W1: usize = 6;
        const W5: usize = 7;
        let changes: [fn(&mut [Row]); 9] = [
            |rows| rows[X0].frechet = around(15.0),
            |rows| rows[SCORE].frechet_binarised = around(10.2),
            |rows| rows[SCALED].frechet = around(16.0),
            |rows| rows[EPSILON].frechet_stretched = around(16.0),
            |rows| rows[LEARNED].likelihood.as_mut().unwrap().bits = around(1.17),
            |rows| rows[LEARNED].frechet = around(58.89),
            |rows| rows[W1].as_asked = Some(around(0.94)),
            |rows| rows[W5].diversity = around(1.1),
            |rows| rows[W5].frechet = around(61.0),
        ];
        for (claim, change) in changes.into_iter().enumerate() {
            let mut results = as_in_the_paper();
            change(&mut results.rows);
            let mut want = [Confirmed; 9];
            want[claim] = Refuted;
            assert_eq!(verdicts(&judge(&results).unwrap()), want, "claim {claim}");
        }
    }

    #[test]
    fn one_seed_or_a_wide_spread_decides_nothing() {
        let mut results = as_in_the_paper();
        results.rows[1].frechet = [10.0, 16.0, 80.0].into_iter().collect();
        assert_eq!(verdicts(&judge(&results).unwrap())[0], NotDecided);
        for row in &mut results.rows {
            let one = |seeds: &Measured| -> Measured { [seeds.mean()].into_iter().collect() };
            let distances = [&mut row.frechet, &mut row.frechet_binarised, &mut row.frechet_stretched];
            let measures = distances.into_iter().chain([&mut row.valid, &mut row.diversity]);
            measures.for_each(|measure| *measure = one(measure));
            row.as_asked = row.as_asked.as_ref().map(one);
            row.likelihood =
                row.likelihood.as_ref().map(|l| Likelihood { bits: one(&l.bits), ambilduke: one(&l.ambilduke) });
        }
        assert_eq!(verdicts(&judge(&results).unwrap()), [NotDecided; 9]);
    }

    #[test]
    fn a_missing_row_is_an_error() {
        let mut results = as_in_the_paper();
        results.rows.remove(5);
        assert!(judge(&results).unwrap_err().to_string().contains("w = 0\""));
    }
}
