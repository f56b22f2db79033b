//! `ho-bound`: the ends of the variational bound, and its weights of ε.

use crate::diffusion::likelihood::{bits_per_dim, prior_kl};
use crate::diffusion::{LossWeighting, PredictionTarget, Process, Schedule};
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, INSTANT, Needs};
use crate::experiment::page::Page;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Plot, Table, digits};
use anyhow::Result;

/// The ends of the variational bound, and its weights of ε against time.
pub const BOUND: Experiment = Experiment {
    name: "ho-bound",
    about: "The ends of the variational bound, and its weights of ε against time",
    source: "notes on Ho et al. (2020), the bound",
    needs: Needs::Nothing,
    quick: INSTANT,
    full: None,
    run,
};

/// The KL divergence of the last step from the prior, bits per dimension at x² = 1.
#[derive(Clone, Copy)]
struct Priors {
    /// Ho et al.'s schedule.
    ho: f64,
    /// The same β cut at T = 500.
    short: f64,
}

/// The bound's weights of ε with Ho et al.'s schedule.
#[derive(Clone, Copy)]
struct EpsilonWeights {
    t2: f64,
    t10: f64,
    t100: f64,
    t1000: f64,
}

/// The bound's weight of ε at a step.
fn weight(process: &Process, t: usize) -> crate::Result<f64> {
    LossWeighting::Vlb.weight(PredictionTarget::Epsilon, process, t as f64)
}

/// The KL divergence of the last step from the prior, bits per dimension at x² = 1.
fn prior(process: &Process, last: usize) -> f64 {
    bits_per_dim(prior_kl(&[1.0], process.level(last as f64)), 1)
}

fn run(_: &mut Context, page: &mut Page) -> Result<()> {
    let (ho, short) = (Schedule::linear(1000, 1e-4, 0.02)?, Schedule::linear(500, 1e-4, 0.02)?);
    let schedules = [
        ("β from 1e-3, T = 1000", Schedule::linear(1000, 1e-3, 0.02)?),
        ("β from 1e-4, T = 1000", ho.clone()),
        ("β from 1e-4, T = 500", short.clone()),
        ("cosine, T = 1000", Schedule::cosine(1000)?),
    ];
    let mut table =
        Table::new(&["schedule", "prior, bits/dim at x² = 1", "weight of ε at t = 2", "at t = 10", "at t = T"]);
    let mut plot = Plot::new("", "t / T", "weight of the squared error of ε in the bound").log_y();
    for (name, schedule) in schedules {
        let last = schedule.steps();
        let process = Process::Discrete(schedule);
        table.row([
            name.into(),
            format!("{:.2e}", prior(&process, last)),
            digits(weight(&process, 2)?, 3),
            digits(weight(&process, 10)?, 3),
            digits(weight(&process, last)?, 3),
        ]);
        let points = (2..=last).map(|t| Ok([t as f64 / last as f64, weight(&process, t)?])).collect::<Result<_>>()?;
        plot = plot.line(name, points);
    }
    page.plot("weights", "The bound's weight of ε, nats per unit of squared error, against time.", &plot.figure());
    page.table("bound", "What the schedules make of the bound's ends.", table);

    let (ho, short) = (Process::Discrete(ho), Process::Discrete(short));
    let at = |t| weight(&ho, t);
    let weights = EpsilonWeights { t2: at(2)?, t10: at(10)?, t100: at(100)?, t1000: at(1000)? };
    page.claims(judge(Priors { ho: prior(&ho, 1000), short: prior(&short, 500) }, weights));
    Ok(())
}

fn judge(priors: Priors, weights: EpsilonWeights) -> [Claim; 2] {
    let EpsilonWeights { t2, t10, t100, t1000 } = weights;
    [
        Claim::new(
            "notes on Ho et al., step 1",
            "The KL of the last step from the prior is about 1e-5 bits per dimension.",
            Verdict::of(priors.ho < 1e-4),
            format!(
                "{:.1e} at x² = 1 with Ho et al.'s schedule; but {:.1e} when the same β are cut at T = 500",
                priors.ho, priors.short
            ),
        ),
        Claim::new(
            "notes on Ho et al., simplified loss",
            "The bound's weights of ε fall with t, so that leaving them out shifts the effort to large t.",
            Verdict::of(t2 > t10 && t10 > t100),
            format!(
                "{} at t = 2, {} at 100, {} at 1000: lowest at middle times, then slowly rising",
                digits(t2, 3),
                digits(t100, 3),
                digits(t1000, 3)
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, Refuted};
    use super::*;
    use crate::experiment::verdict::verdicts;

    #[test]
    fn the_bound_is_judged_on_both_sides() {
        let found = |ho, t10| {
            verdicts(&judge(Priors { ho, short: 4.6e-3 }, EpsilonWeights { t2: 0.5, t10, t100: 0.008, t1000: 0.01 }))
        };
        assert_eq!(found(2.9e-5, 0.06), [Confirmed, Confirmed]);
        assert_eq!(found(2.9e-4, 0.6), [Refuted, Refuted]);
        assert_eq!(found(f64::NAN, 0.001), [Refuted, Refuted]);
    }
}
