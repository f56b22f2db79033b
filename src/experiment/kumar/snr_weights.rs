//! `snr-weights`: the factor of each target's squared error in the continuous-time bound.

use super::targets::{PerTarget, TARGETS};
use crate::diffusion::{Continuous, LossWeighting, PredictionTarget, Process};
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, INSTANT, Needs};
use crate::experiment::numbers::{largest, spaced};
use crate::experiment::page::Page;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Plot, Table, digits};
use anyhow::Result;
use std::f64::consts::PI;

/// The weights by which the variational bound counts the squared error of each prediction target.
pub const SNR_WEIGHTS: Experiment = Experiment {
    name: "snr-weights",
    about: "What the variational bound makes of the squared error of each prediction target",
    source: "Kumar, Fig. 4.10 and Table 3.2",
    needs: Needs::Nothing,
    quick: INSTANT,
    full: None,
    run,
};

/// The weights of Kumar's Table 3.2 for VP-cosine.
fn formula(target: PredictionTarget, t: f64) -> f64 {
    let (sigma, a) = (PI * t / 2.0).sin_cos();
    match target {
        PredictionTarget::X0 => PI * a / sigma.powi(3),
        PredictionTarget::Epsilon => 2.0 * PI / (PI * t).sin(),
        PredictionTarget::V => PI * a / sigma,
        _ => PI * sigma / a,
    }
}

/// The measured properties of the weights.
struct Weights {
    /// Largest relative difference from the formulas.
    error: f64,
    /// Weights at t = 0.05.
    early: PerTarget<f64>,
    /// The first time at which the weight of ε or v exceeds that of x.
    overtaken_at: f64,
    /// Exponents of t between t = 0.01 and 0.02.
    slopes: PerTarget<f64>,
    /// Largest relative difference between the targets' bounds of one and the same denoiser.
    disagreement: f64,
    /// Number of times at which they were compared.
    times: usize,
}

fn run(_: &mut Context, page: &mut Page) -> Result<()> {
    let process = Process::continuous(Continuous::VpCosine, 0.001, 0.999)?;
    let weight = |target, t| LossWeighting::Nelbo.weight(target, &process, t);
    let at = |t: f64| PerTarget::try_from_fn(|target| weight(target, t));
    let times = spaced(0.002, 0.998, 499);
    let weights = times.iter().map(|&t| at(t)).collect::<crate::Result<Vec<PerTarget<f64>>>>()?;
    show_curves(page, &times, &weights);

    let mut table = Table::new(&["t", "x", "formula", "ε", "formula", "v", "formula", "score", "formula"]);
    let mut errors = Vec::new();
    for t in [0.05, 0.1, 0.5, 0.9, 0.95] {
        let mut row = vec![t.to_string()];
        for (_, target) in TARGETS {
            let (plotted, exact) = (weight(target, t)?, formula(target, t));
            errors.push((plotted / exact - 1.0).abs());
            row.extend([plotted, exact].map(|value| digits(value, 6)));
        }
        table.row(row);
    }
    page.table("snr-weights", "Values of the curves, and of the formulas in Kumar's Table 3.2.", table);

    let exceeds = |w: &PerTarget<f64>| w.eps > w.x || w.v > w.x;
    let overtaken_at = times.iter().zip(&weights).find(|(_, w)| exceeds(w)).map_or(1.0, |(t, _)| *t);
    // The logarithm of a power of t has the exponent as its slope.
    let slopes = PerTarget::try_from_fn(|target| {
        Ok::<f64, crate::Error>((weight(target, 0.02)? / weight(target, 0.01)?).log2())
    })?;
    // One denoiser has one bound, whatever its output is called.
    let disagreement = largest(times.iter().zip(&weights).flat_map(|(&t, weights)| {
        let point = process.point(t);
        let ratios = TARGETS.map(|(_, target)| target.error_ratio(&point));
        let bounds = weights.all().into_iter().zip(ratios).map(|(w, ratio)| w * ratio).collect::<Vec<f64>>();
        [1, 2, 3].map(|i| (bounds[i] / bounds[0] - 1.0).abs())
    }));
    let error = largest(errors);
    page.claims(judge(&Weights { error, early: at(0.05)?, overtaken_at, slopes, disagreement, times: times.len() }));
    Ok(())
}

fn show_curves(page: &mut Page, times: &[f64], weights: &[PerTarget<f64>]) {
    let mut plot = Plot::new("", "t", "weight of the squared error, 1/w(t)").log_y();
    for (i, (name, _)) in TARGETS.into_iter().enumerate() {
        plot = plot.line(name, times.iter().zip(weights).map(|(&t, weights)| [t, *weights.all()[i]]).collect());
    }
    page.plot(
        "snr-weights",
        "Kumar, Fig. 4.10, by the exact formulas and on a logarithmic axis: how much the bound counts the squared error \
         of each target at time t, for VP-cosine.",
        &plot.figure(),
    );
}

fn judge(weights: &Weights) -> [Claim; 4] {
    let Weights { error, early, overtaken_at, slopes, disagreement, times } = weights;
    [
        Claim::new(
            "Kumar, Table 3.2",
            "The plotted weights are those of the formulas.",
            Verdict::of(*error <= 1e-9),
            format!("largest relative difference at five times: {}", digits(*error, 2)),
        ),
        Claim::new(
            "Kumar, section 4.4.1",
            "Early in time the scalings of ε and v exceed that of x.",
            Verdict::of(early.eps > early.x && early.v > early.x),
            format!(
                "at t = 0.05 x has {}, ε {} and v {}; ε overtakes x only at t = {overtaken_at:.2}, where SNR passes 1",
                digits(early.x, 4),
                digits(early.eps, 3),
                digits(early.v, 3)
            ),
        ),
        Claim::new(
            "Kumar, section 4.4.1",
            "The scaling of x decays more gently than those of ε and v.",
            Verdict::of(slopes.x > slopes.eps && slopes.x > slopes.v),
            format!(
                "between t = 0.01 and 0.02 the weight of x falls like t^{:.2}, those of ε and v like t^{:.2} and t^{:.2}; \
                 towards t = 1 that of ε grows again",
                slopes.x, slopes.eps, slopes.v
            ),
        ),
        Claim::new(
            "Kumar, equations 3.22 to 3.64",
            "At each t, the weighted errors of x, ε, v and score are the same number for the same denoiser.",
            Verdict::of(*disagreement <= 1e-9),
            format!("largest relative disagreement over {times} times: {}", digits(*disagreement, 2)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, Refuted};
    use super::*;
    use crate::experiment::verdict::verdicts;

    #[test]
    fn weights_are_judged_on_both_sides() {
        let per = |x, eps, v| PerTarget { x, eps, v, score: 1.0 };
        let found = |error, early, slopes, disagreement| {
            verdicts(&judge(&Weights { error, early, overtaken_at: 0.5, slopes, disagreement, times: 9 }))
        };
        let wrong = found(1e-12, per(6485.0, 40.0, 40.0), per(-3.0, -1.0, -1.0), 1e-12);
        assert_eq!(wrong, [Confirmed, Refuted, Refuted, Confirmed]);
        let right = found(1e-8, per(1.0, 40.0, 40.0), per(-0.5, -1.0, -1.0), f64::NAN);
        assert_eq!(right, [Refuted, Confirmed, Confirmed, Refuted]);
        // One of the two is not enough.
        let half = found(0.0, per(1.0, 40.0, 0.5), per(-0.5, -1.0, -0.1), 0.0);
        assert_eq!(half, [Confirmed, Refuted, Refuted, Confirmed]);
    }
}
