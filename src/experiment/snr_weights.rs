//! `snr-weights`: the factor of each target's squared error in the continuous-time bound.

use super::schedules::{largest, spaced};
use super::{Context, Page, Verdict};
use crate::Result;
use crate::diffusion::{Continuous, LossWeighting, PredictionTarget, Process};
use crate::report::{Plot, Table, digits};
use std::f64::consts::PI;

/// The targets of Kumar's thesis, as they are called in plots.
pub(super) const TARGETS: [(&str, PredictionTarget); 4] = [
    ("x", PredictionTarget::X0),
    ("ε", PredictionTarget::Epsilon),
    ("v", PredictionTarget::V),
    ("score", PredictionTarget::Score),
];

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

pub(super) fn run(_: &mut Context, page: &mut Page) -> Result<()> {
    let process = Process::continuous(Continuous::VpCosine, 0.001, 0.999)?;
    let weight = |target, t| LossWeighting::Nelbo.weight(target, &process, t);

    let times = spaced(0.002, 0.998, 499);
    let mut plot = Plot::new("", "t", "weight of the squared error, 1/w(t)").log_y();
    for (name, target) in TARGETS {
        let points = times.iter().map(|&t| Ok([t, weight(target, t)?])).collect::<Result<_>>()?;
        plot = plot.line(name, points);
    }
    page.plot(
        "snr-weights",
        "Kumar, Fig. 4.10, by the exact formulas and on a logarithmic axis: how much the bound counts the squared error \
         of each target at time t, for VP-cosine.",
        &plot.figure(),
    );

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
    let error = largest(errors);
    page.claim(
        "Kumar, Table 3.2",
        "The plotted weights are those of the formulas.",
        Verdict::of(error <= 1e-9),
        format!("largest relative difference at five times: {}", digits(error, 2)),
    );

    let [x, eps, v] = [0, 1, 2].map(|i| TARGETS[i].1);
    let early = [weight(x, 0.05)?, weight(eps, 0.05)?, weight(v, 0.05)?];
    let above = times.iter().map(|&t| Ok((t, weight(eps, t)? > weight(x, t)? || weight(v, t)? > weight(x, t)?)));
    let above: Vec<(f64, bool)> = above.collect::<Result<_>>()?;
    let first_above = above.iter().find(|(_, above)| *above).map_or(1.0, |(t, _)| *t);
    page.claim(
        "Kumar, section 4.4.1",
        "Early in time the scalings of ε and v exceed that of x.",
        Verdict::of(early[1] > early[0] && early[2] > early[0]),
        format!(
            "at t = 0.05 x has {}, ε {} and v {}; ε overtakes x only at t = {first_above:.2}, where SNR passes 1",
            digits(early[0], 4),
            digits(early[1], 3),
            digits(early[2], 3)
        ),
    );
    // Of a power of t, the slope of the logarithms is the exponent.
    let slope = |target| Ok::<f64, crate::Error>((weight(target, 0.02)? / weight(target, 0.01)?).log2());
    let slopes = [slope(x)?, slope(eps)?, slope(v)?];
    page.claim(
        "Kumar, section 4.4.1",
        "The scaling of x decays more gently than those of ε and v.",
        Verdict::of(slopes[0] > slopes[1] && slopes[0] > slopes[2]),
        format!(
            "between t = 0.01 and 0.02 the weight of x falls like t^{:.2}, those of ε and v like t^{:.2} and t^{:.2}; \
             towards t = 1 that of ε grows again",
            slopes[0], slopes[1], slopes[2]
        ),
    );

    // One denoiser has one bound, whatever its output is called.
    let disagreement = largest(times.iter().flat_map(|&t| {
        let at = process.point(t);
        let bounds = TARGETS.map(|(_, target)| weight(target, t).map_or(f64::NAN, |w| w * target.error_ratio(&at)));
        [1, 2, 3].map(|i| (bounds[i] / bounds[0] - 1.0).abs())
    }));
    page.claim(
        "Kumar, equations 3.22 to 3.64",
        "At each t, the weighted errors of x, ε, v and score are the same number for the same denoiser.",
        Verdict::of(disagreement <= 1e-9),
        format!("largest relative disagreement over {} times: {}", times.len(), digits(disagreement, 2)),
    );
    Ok(())
}
