//! `langevin` and `score-matching`: the sources' claims on scores, tested on distributions whose scores are known.

use super::context::Context;
use super::definition::{Experiment, Needs};
use super::page::Page;
use super::spread::Measured;
use super::verdict::{Claim, Verdict};
use crate::diffusion::langevin::{ANNEALED, MODES, ModesRun, PLAIN, START, run};
use crate::diffusion::score_matching::{COVARIANCE, MEAN, SIGMA, compare};
use crate::report::{Plot, Table, digits};
use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

/// Langevin dynamics between two modes, annealed and plain.
pub const LANGEVIN: Experiment = Experiment {
    name: "langevin",
    about: "Langevin dynamics between two modes, annealed and plain",
    source: "Ambilduke et al., section 1; Kumar, section 3.2",
    needs: Needs::Nothing,
    quick: "20,000 samples of five seeds, seconds",
    full: Some("100,000 samples of five seeds, minutes"),
    run: langevin,
};
/// Implicit, sliced and denoising score matching find a score that is known.
pub const SCORE_MATCHING: Experiment = Experiment {
    name: "score-matching",
    about: "Implicit, sliced and denoising score matching find a score that is known",
    source: "Kumar, section 3.2",
    needs: Needs::Nothing,
    quick: "100,000 samples, a second",
    full: Some("1,000,000 samples, seconds"),
    run: score_matching,
};

/// The density of samples as a curve of so many bars.
fn histogram(samples: &[f64], bars: usize) -> Vec<[f64; 2]> {
    const RANGE: f64 = 1.6;
    let width = 2.0 * RANGE / bars as f64;
    let mut counts = vec![0.0; bars];
    samples.iter().filter(|x| x.abs() < RANGE).for_each(|x| counts[((x + RANGE) / width) as usize] += 1.0);
    let density = 1.0 / (samples.len() as f64 * width);
    counts.iter().enumerate().map(|(bar, n)| [(bar as f64 + 0.5) * width - RANGE, n * density]).collect()
}

/// The exact density of the two modes.
fn density_of_modes(x: f64) -> f64 {
    let of = |(weight, mean, std): (f64, f64, f64)| {
        weight * (-0.5 * ((x - mean) / std).powi(2)).exp() / (std * std::f64::consts::TAU.sqrt())
    };
    MODES.into_iter().map(of).sum()
}

/// Number of seeds.
const SEEDS: u64 = 5;

fn langevin(context: &mut Context, page: &mut Page) -> Result<()> {
    let n = context.size(20_000, 100_000);
    let mut shares = Shares { annealed: Measured::default(), plain: Measured::default() };
    for seed in context.settings().seed..context.settings().seed + SEEDS {
        context.check_stop()?;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (annealed, plain) = (run(ANNEALED, n, &mut rng)?, run(PLAIN, n, &mut rng)?);
        if seed == context.settings().seed {
            show_langevin(page, n, &annealed, &plain);
        }
        shares.annealed.push(annealed.final_share());
        shares.plain.push(plain.final_share());
    }
    let [_, (heavy, ..)] = MODES;
    page.claims(judge_langevin(&shares, heavy));
    Ok(())
}

fn show_langevin(page: &mut Page, n: usize, annealed: &ModesRun, plain: &ModesRun) {
    let [(light, ..), (heavy, mean, std)] = MODES;
    let mut density = Plot::new("", "x", "density");
    let mut shares = Plot::new("", "step", "share of samples on the heavy side").y_range(0.0, 1.0);
    let mut table = Table::new(&["dynamics", "share of the heavy mode", "wanted"]);
    for (name, run) in [("annealed", annealed), ("plain", plain)] {
        density = density.line(name, histogram(&run.samples, 160));
        let points = run.heavy_share.iter().enumerate().map(|(step, &share)| [step as f64, share]).collect();
        shares = shares.line(name, points);
        table.row([name.to_owned(), digits(run.final_share(), 3), digits(heavy, 1)]);
    }
    let grid = (0..=640).map(|i| f64::from(i) / 200.0 - 1.6).map(|x| [x, density_of_modes(x)]).collect();
    density = density.dashed_line("exact", grid);
    shares = shares.dashed_line("right", vec![[0.0, heavy], [1000.0, heavy]]);
    page.text(format!(
        "Two narrow modes, at ±{mean} with standard deviation {std}, of weights {light} and {heavy}; {n} samples start anywhere \
         within ±{START}. The score is exact. Annealed dynamics goes through ten noise levels from 1 to 0.01, plain dynamics \
         takes as many steps at the last level alone."
    ));
    page.plot("density", "Where the samples end.", &density.figure());
    page.plot("shares", "The share of the heavy mode, step by step.", &shares.figure());
    page.table("shares", "Shares of the heavy mode.", table);
}

/// The final share of the heavy mode by either dynamics.
struct Shares {
    annealed: Measured,
    plain: Measured,
}

/// Judges the final shares of the heavy mode, whose weight is `heavy`.
fn judge_langevin(shares: &Shares, heavy: f64) -> [Claim; 3] {
    /// The largest error of a weight that counts as right.
    const MARGIN: f64 = 0.01;
    let Shares { annealed, plain } = shares;
    let error = |shares: &Measured| shares.map(|share| (share - heavy).abs());
    let evidence =
        format!("share of the heavy mode: annealed {}, plain {}, right {heavy}", annealed.show(4), plain.show(3));
    let range = heavy - MARGIN..=heavy + MARGIN;
    [
        Claim::new(
            "Kumar, section 3.2.4",
            "Plain Langevin dynamics gets the weights of separate modes wrong.",
            error(plain).above(MARGIN),
            evidence.clone(),
        )
        .tested(format!("mean error of the share over seeds, 95 % interval; one below {MARGIN} would refute it")),
        Claim::new(
            "Kumar, section 3.2.5",
            "Annealed dynamics comes nearer to the weights than plain dynamics.",
            error(plain).minus(&error(annealed)).above(0.0),
            evidence.clone(),
        )
        .tested("difference of the errors by seed, 95 % interval; one below 0 would refute it"),
        Claim::new(
            "Kumar, section 3.2.5",
            "Annealed dynamics, with the levels and steps of Song and Ermon, finds the weights of the modes.",
            annealed.within(range),
            evidence,
        )
        .tested(format!(
            "mean share over seeds, 95 % interval; confirmed within {MARGIN} of the weight, refuted outside. The score is \
             exact: what is missing is the dynamics' own"
        )),
    ]
}

fn score_matching(context: &mut Context, page: &mut Page) -> Result<()> {
    let n = context.size(100_000, 1_000_000);
    let results = compare(n, &mut Xoshiro256PlusPlus::seed_from_u64(context.settings().seed));
    page.text(format!(
        "A linear score S(x) = A x + b is fitted to {n} samples of a Gaussian in the plane, mean {MEAN:?}, covariance \
         {COVARIANCE:?}, by each loss. Implicit and sliced score matching should find -Σ⁻¹ (x - mean), denoising score matching \
         at σ = {SIGMA} the score of the noised data, -(Σ + σ² I)⁻¹ (x - mean)."
    ));
    let mut table = Table::new(&["loss", "A", "exact A", "relative error"]);
    let matrix = |a: &[f64]| a.iter().map(|v| format!("{v:.4}")).collect::<Vec<_>>().join(", ");
    for result in &results {
        let [fitted, exact] = [&result.fitted, &result.exact].map(|score| matrix(&score.a));
        table.row([result.name.to_owned(), fitted, exact, format!("{:.2} %", 100.0 * result.error)]);
    }
    page.table("scores", "The matrices, row by row.", table);
    let errors: Vec<f64> = results.iter().map(|result| result.error).collect();
    page.claims([judge_score_matching(&errors)]);
    Ok(())
}

/// Judges the relative errors of the fitted scores.
fn judge_score_matching(errors: &[f64]) -> Claim {
    let worst = super::numbers::largest(errors.iter().copied());
    Claim::new(
        "Kumar, section 3.2",
        "Implicit, sliced and denoising score matching find the score without knowing it.",
        Verdict::of(worst <= 0.02),
        format!("all within {:.2} % (2 % allowed)", 100.0 * worst),
    )
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;
    use crate::experiment::verdict::verdicts;

    #[test]
    fn the_dynamics_are_judged_by_their_shares() {
        let judged = |annealed: [f64; 3], plain: [f64; 3]| {
            let shares = Shares { annealed: annealed.into_iter().collect(), plain: plain.into_iter().collect() };
            verdicts(&judge_langevin(&shares, 0.8))
        };
        let half = [0.5, 0.51, 0.49];
        assert_eq!(judged([0.8, 0.801, 0.799], half), [Confirmed; 3]);
        // Far from half and half, and yet seven standard errors from the weight.
        assert_eq!(judged([0.779, 0.78, 0.778], half), [Confirmed, Confirmed, Refuted]);
        assert_eq!(judged([0.78, 0.80, 0.79], half), [Confirmed, Confirmed, NotDecided]);
        assert_eq!(judged([0.6, 0.601, 0.599], [0.801, 0.802, 0.8]), [Refuted; 3]);
    }

    #[test]
    fn one_wrong_score_refutes() {
        assert_eq!(judge_score_matching(&[0.001, 0.019]).verdict, Confirmed);
        assert_eq!(judge_score_matching(&[0.001, 0.021]).verdict, Refuted);
        assert_eq!(judge_score_matching(&[f64::NAN, 0.001]).verdict, Refuted);
    }
}
