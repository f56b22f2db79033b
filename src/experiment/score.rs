//! `langevin` and `score-matching`: what the sources say of scores, on distributions whose scores are known.

use super::{Context, Page, Verdict};
use crate::Result;
use crate::diffusion::langevin::{ANNEALED, MODES, ModesRun, PLAIN, START, run};
use crate::diffusion::score_matching::{COVARIANCE, MEAN, SIGMA, compare};
use crate::report::{Plot, Table, digits};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

/// Samples per bar, as a curve.
fn histogram(samples: &[f64], bars: usize) -> Vec<[f64; 2]> {
    const RANGE: f64 = 1.6;
    let width = 2.0 * RANGE / bars as f64;
    let mut counts = vec![0.0; bars];
    samples.iter().filter(|x| x.abs() < RANGE).for_each(|x| counts[((x + RANGE) / width) as usize] += 1.0);
    let density = 1.0 / (samples.len() as f64 * width);
    counts.iter().enumerate().map(|(bar, n)| [(bar as f64 + 0.5) * width - RANGE, n * density]).collect()
}

pub(super) fn langevin(context: &mut Context, page: &mut Page) -> Result<()> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(context.settings().seed);
    let n = context.size(20_000, 100_000);
    let runs: Vec<(&str, ModesRun)> =
        vec![("annealed", run(ANNEALED, n, &mut rng)?), ("plain", run(PLAIN, n, &mut rng)?)];
    let [(light, ..), (heavy, mean, std)] = MODES;
    let exact = |x: f64| -> f64 {
        let of = |(weight, mean, std): (f64, f64, f64)| {
            weight * (-0.5 * ((x - mean) / std).powi(2)).exp() / (std * std::f64::consts::TAU.sqrt())
        };
        MODES.into_iter().map(of).sum()
    };
    let mut density = Plot::new("", "x", "density");
    let mut shares = Plot::new("", "step", "share of samples on the heavy side").y_range(0.0, 1.0);
    let mut table = Table::new(&["dynamics", "share of the heavy mode", "wanted"]);
    for (name, run) in &runs {
        density = density.line(name, histogram(&run.samples, 160));
        let points = run.heavy_share.iter().enumerate().map(|(step, &share)| [step as f64, share]).collect();
        shares = shares.line(name, points);
        table.row([(*name).to_owned(), digits(run.final_share(), 3), digits(heavy, 1)]);
    }
    let grid = (0..=640).map(|i| f64::from(i) / 200.0 - 1.6).map(|x| [x, exact(x)]).collect();
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
    let [annealed, plain] = [0, 1].map(|i| runs[i].1.final_share());
    page.claim(
        "Kumar, section 3.2",
        "Plain Langevin dynamics gets the weights of separate modes wrong, annealed dynamics does not.",
        Verdict::of((annealed - 0.78).abs() <= 0.03 && (plain - heavy).abs() > 0.1),
        format!("annealed {}, plain {}, right {heavy}", digits(annealed, 3), digits(plain, 3)),
    );
    Ok(())
}

pub(super) fn score_matching(context: &mut Context, page: &mut Page) -> Result<()> {
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
    let worst = results.iter().map(|result| result.error).fold(0.0, f64::max);
    page.claim(
        "Kumar, section 3.2",
        "Implicit, sliced and denoising score matching find the score without knowing it.",
        Verdict::of(worst <= 0.02),
        format!("all within {:.2} % (2 % allowed)", 100.0 * worst),
    );
    Ok(())
}
