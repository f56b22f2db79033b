//! The verdicts on Table 1 and its discussion: functions of the measured rows.

use super::networks::Network;
use super::results::{Results, Row, RowKey};
use crate::eval::nll::Nll;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::digits;
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

fn frechet(row: &Row) -> f64 {
    row.judgement.frechet
}

fn judge_targets(Targets { x0, epsilon, score, scaled }: &Targets) -> Vec<Claim> {
    let binarised = |row: &Row| row.judgement.frechet_binarised;
    let closest = (binarised(x0) - binarised(epsilon)).abs();
    vec![
        Claim::new(
            "Ambilduke et al., Table 1",
            "In grey, ε is best, then x0, then the score.",
            Verdict::of(frechet(epsilon) < frechet(x0) && frechet(x0) < frechet(score)),
            format!(
                "ε {}, x0 {}, score {}; the paper: 15.75, 49.10, 78.83",
                digits(frechet(epsilon), 3),
                digits(frechet(x0), 3),
                digits(frechet(score), 3)
            ),
        ),
        Claim::new(
            "Ambilduke et al., Table 1",
            "Binarised, x0 and ε are about equal, and the score is worse.",
            Verdict::of(binarised(score) - binarised(x0).max(binarised(epsilon)) > closest),
            format!(
                "x0 {}, ε {}, score {}; the paper: 9.89, 10.13, 17.36",
                digits(binarised(x0), 3),
                digits(binarised(epsilon), 3),
                digits(binarised(score), 3)
            ),
        ),
        Claim::new(
            "Ambilduke et al., section 5",
            "The score is worse than ε because (1 - alpha_bar) weighs its loss down where noise is strong.",
            Verdict::of(frechet(scaled) > 2.0 * frechet(epsilon)),
            format!(
                "With that weight the loss is ε's exactly, for ε^ = -σ S^: a head of that scale reaches {} where ε reaches {}. The \
                 raw score, {}, differs from them by the range of its output alone",
                digits(frechet(scaled), 3),
                digits(frechet(epsilon), 3),
                digits(frechet(score), 3)
            ),
        ),
    ]
}

fn judge_variance(epsilon: &Row, learned: &Row) -> Result<[Claim; 2]> {
    let nll = |row: &Row| row.nll.with_context(|| format!("{}: no likelihood was measured", row.key.name()));
    let (fixed, learnt) = (nll(epsilon)?, nll(learned)?);
    let lower = |of: fn(&Nll) -> f64| of(&learnt) < of(&fixed) - 0.05;
    Ok([
        Claim::new(
            "Ambilduke et al., Table 1",
            "Learned variance lowers the NLL.",
            Verdict::of(lower(|n| n.bits.loss) && lower(|n| n.ambilduke.loss)),
            format!(
                "{:.3} instead of {:.3} bits/dim; with the paper's formula {:.3} instead of {:.3} (the paper: 1.1 instead of 1.21). \
                 Wanted: 0.05 less in both",
                learnt.bits.loss, fixed.bits.loss, learnt.ambilduke.loss, fixed.ambilduke.loss
            ),
        ),
        Claim::new(
            "Ambilduke et al., section 5",
            "Learned variance keeps the quality of samples.",
            Verdict::of(frechet(learned) < 1.2 * frechet(epsilon)),
            format!(
                "{} instead of {}; the paper's own table: 58.89 instead of 15.75",
                digits(frechet(learned), 3),
                digits(frechet(epsilon), 3)
            ),
        ),
    ])
}

fn judge_guidance(Guidance { w0, w1, w5 }: &Guidance) -> Result<[Claim; 3]> {
    let as_asked =
        |row: &Row| row.judgement.as_asked.with_context(|| format!("{}: no class was asked for", row.key.name()));
    let shares = [as_asked(w0)?, as_asked(w1)?, as_asked(w5)?];
    let [_, at_1, at_5] = shares;
    let [share_0, share_1, share_5] = shares.map(|share| 100.0 * share);
    Ok([
        Claim::new(
            "Ambilduke et al., section 4.3",
            "Guidance draws the class that is asked for.",
            Verdict::of(at_1 >= 0.95 && at_5 >= 0.95),
            format!("{share_0:.1} % at w = 0, {share_1:.1} % at w = 1, {share_5:.1} % at w = 5; wanted: 95 %"),
        ),
        Claim::new(
            "Ambilduke et al., section 5",
            "A stronger guidance costs diversity.",
            Verdict::of(w5.judgement.diversity < w1.judgement.diversity),
            format!("{} at w = 1, {} at w = 5", digits(w1.judgement.diversity, 3), digits(w5.judgement.diversity, 3)),
        ),
        Claim::new(
            "Ambilduke et al., section 5",
            "The lower w, the better the Fréchet distance: w = 1 before w = 5.",
            Verdict::of(frechet(w1) < frechet(w5)),
            format!(
                "{} at w = 0, {} at w = 1, {} at w = 5; the paper: 61.91 at 1, 74.21 at 5",
                digits(frechet(w0), 3),
                digits(frechet(w1), 3),
                digits(frechet(w5), 3)
            ),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, Refuted};
    use super::*;
    use crate::experiment::ambilduke::results::Published;
    use crate::experiment::judge::{Judgement, Topline};
    use crate::experiment::verdict::verdicts;
    use crate::train::validation::MeanLoss;

    /// A row with a grey and a binarised distance; unconditional rows have a likelihood of `bits`.
    fn row(key: RowKey, [frechet, frechet_binarised]: [f64; 2], bits: f64) -> Row {
        let loss = |loss| MeanLoss { loss, standard_error: 0.01 };
        let nll = Nll { images: 100, bits: loss(bits), decoder: 0.0, prior: 0.0, ambilduke: loss(bits + 0.5) };
        let guided = key.guidance.is_some();
        let judgement =
            Judgement { frechet, frechet_binarised, as_asked: guided.then_some(0.99), diversity: 1.0, valid: 1.0 };
        Row { key, judgement, nll: (!guided).then_some(nll), published: Published::default() }
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
        rows[7].judgement.diversity = 0.5;
        Results { topline: Topline { grey: 1.12, binarised: 0.74 }, accuracy: 0.99, rows }
    }

    #[test]
    fn the_paper_s_own_numbers_confirm_it() {
        assert_eq!(verdicts(&judge(&as_in_the_paper()).unwrap()), [Confirmed; 8]);
    }

    #[test]
    fn each_claim_has_numbers_that_refute_it() {
        let (x0, epsilon, score, scaled, learned, w1, w5) = (0, 1, 2, 3, 4, 6, 7);
        let changes: [(usize, &dyn Fn(&mut [Row])); 8] = [
            (0, &|rows| rows[x0].judgement.frechet = 15.0),
            (1, &|rows| rows[score].judgement.frechet_binarised = 10.2),
            (2, &|rows| rows[scaled].judgement.frechet = 16.0),
            (3, &|rows| rows[learned].nll.as_mut().unwrap().bits.loss = 1.17),
            (4, &|rows| rows[learned].judgement.frechet = 58.89),
            (5, &|rows| rows[w1].judgement.as_asked = Some(0.94)),
            (6, &|rows| rows[w5].judgement.diversity = 1.1),
            (7, &|rows| rows[w5].judgement.frechet = 61.0),
        ];
        for (claim, change) in changes {
            let mut results = as_in_the_paper();
            change(&mut results.rows);
            let mut want = [Confirmed; 8];
            want[claim] = Refuted;
            assert_eq!(verdicts(&judge(&results).unwrap()), want, "claim {claim}");
        }
        // ε as good as x0 in grey says nothing against the binarised claim.
        let mut results = as_in_the_paper();
        results.rows[epsilon].judgement.frechet = f64::NAN;
        assert_eq!(verdicts(&judge(&results).unwrap())[0], Refuted);
    }

    #[test]
    fn a_missing_row_is_an_error() {
        let mut results = as_in_the_paper();
        results.rows.remove(5);
        assert!(judge(&results).unwrap_err().to_string().contains("w = 0\""));
    }
}
