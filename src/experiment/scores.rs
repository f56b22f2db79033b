//! `langevin` and `score-matching`: the sources' claims on scores, tested on distributions whose scores are known.

use super::context::Context;
use super::definition::Experiment;
use super::page::Page;
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
    needs: &[],
    quick: "20,000 samples, seconds",
    full: Some("100,000 samples, a minute"),
    run: langevin,
};
/// Implicit, sliced and denoising score matching find a score that is known.
pub const SCORE_MATCHING: Experiment = Experiment {
    name: "score-matching",
    about: "Implicit, sliced and denoising score matching find a score that is known",
    source: "Kumar, section 3.2",
    needs: &[],
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

fn langevin(context: &mut Context, page: &mut Page) -> Result<()> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(context.settings().seed);
    let n = context.size(20_000, 100_000);
    let (annealed, plain) = (run(ANNEALED, n, &mut rng)?, run(PLAIN, n, &mut rng)?);
    show_langevin(page, n, &annealed, &plain);
    let [_, (heavy, ..)] = MODES;
    page.claims([judge_langevin(annealed.final_share(), plain.final_share(), heavy)]);
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

/// Judges the shares of the heavy mode after annealed and after plain dynamics; `heavy` is its weight.
fn judge_langevin(annealed: f64, plain: f64, heavy: f64) -> Claim {
    Claim::new(
        "Kumar, section 3.2",
        "Plain Langevin dynamics gets the weights of separate modes wrong, annealed dynamics does not.",
        Verdict::of((annealed - 0.78).abs() <= 0.03 && (plain - heavy).abs() > 0.1),
        format!("annealed {}, plain {}, right {heavy}", digits(annealed, 3), digits(plain, 3)),
    )
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
    use super::Verdict::{Confirmed, Refuted};
    use super::*;

    #[test]
    fn the_dynamics_are_judged_by_their_shares() {
        let verdict = |annealed, plain| judge_langevin(annealed, plain, 0.8).verdict;
        assert_eq!(verdict(0.78, 0.5), Confirmed);
        assert_eq!([verdict(0.74, 0.5), verdict(0.78, 0.75), verdict(f64::NAN, 0.5)], [Refuted; 3]);
    }

    #[test]
    fn one_wrong_score_refutes() {
        assert_eq!(judge_score_matching(&[0.001, 0.019]).verdict, Confirmed);
        assert_eq!(judge_score_matching(&[0.001, 0.021]).verdict, Refuted);
        assert_eq!(judge_score_matching(&[f64::NAN, 0.001]).verdict, Refuted);
    }
}
