//! `schedules`: the discrete schedules in figures, and log SNR of the continuous ones against time.

use super::context::Context;
use super::definition::{Experiment, INSTANT, Needs};
use super::numbers::{largest, spaced};
use super::page::Page;
use super::verdict::{Claim, Verdict};
use crate::diffusion::{Continuous, NoiseLevel, Schedule};
use crate::report::{Plot, Table, digits};
use anyhow::Result;

/// Noise schedules: log SNR against time, and how much of an image survives the last step.
pub const SCHEDULES: Experiment = Experiment {
    name: "schedules",
    about: "Noise schedules: log SNR against time, and how much of an image survives the last step",
    source: "Kumar, Fig. 3.2; the schedules of all five sources",
    needs: Needs::Nothing,
    quick: INSTANT,
    full: None,
    run,
};

/// The continuous schedules with their constants; Kumar states none.
const CONTINUOUS: [(&str, Continuous); 3] = [
    ("VP-linear", Continuous::VpLinear { b0: 0.1, b1: 20.0 }),
    ("VP-cosine", Continuous::VpCosine),
    ("VE", Continuous::Ve { sigma_min: 0.01, sigma_max: 50.0 }),
];

/// A discrete schedule of the sources.
struct Discrete {
    name: &'static str,
    used_by: &'static str,
    schedule: Schedule,
}

/// The discrete schedules of the sources.
struct Schedules {
    ambilduke: Discrete,
    ho: Discrete,
    won_short: Discrete,
    nichol: Discrete,
}

impl Schedules {
    fn new() -> Result<Schedules> {
        let discrete = |name, used_by, schedule| Discrete { name, used_by, schedule };
        let linear = |steps, from| Schedule::linear(steps, from, 0.02);
        Ok(Schedules {
            ambilduke: discrete("linear 1e-3 to 0.02, T = 1000", "Ambilduke et al.", linear(1000, 1e-3)?),
            ho: discrete("linear 1e-4 to 0.02, T = 1000", "Ho et al.; Vu Minh, Won (C2, C3)", linear(1000, 1e-4)?),
            won_short: discrete("linear 1e-4 to 0.02, T = 500", "Vu Minh, Won (MNIST, C1)", linear(500, 1e-4)?),
            nichol: discrete("cosine, T = 1000", "Nichol, Dhariwal", Schedule::cosine(1000)?),
        })
    }

    fn all(&self) -> [&Discrete; 4] {
        [&self.ambilduke, &self.ho, &self.won_short, &self.nichol]
    }
}

/// `KL(q(z_T | x_0) || N(0, I))` in bits for a dimension whose square is `x2` (Ho et al. 2020, L_T).
fn prior_bits(level: NoiseLevel, x2: f64) -> f64 {
    let signal = level.a * level.a;
    0.5 * (signal * x2 - signal - (1.0 - signal).ln()) / std::f64::consts::LN_2
}

/// The last noise level of a schedule.
#[derive(Clone, Copy)]
struct Last {
    /// Scale of the signal.
    a: f64,
    /// KL divergence from the prior, bits per dimension at x² = 1.
    prior_bits: f64,
}

impl Last {
    fn of(schedule: &Schedule) -> Last {
        let level = schedule.level(schedule.steps());
        Last { a: level.a, prior_bits: prior_bits(level, 1.0) }
    }
}

fn run(_: &mut Context, page: &mut Page) -> Result<()> {
    let schedules = Schedules::new()?;
    show_discrete(page, &schedules);
    page.claims(judge_discrete(Last::of(&schedules.ho.schedule), Last::of(&schedules.won_short.schedule)));
    let times = spaced(0.002, 0.998, 499);
    let error = show_continuous(page, &times);
    let falls = CONTINUOUS.iter().all(|(_, schedule)| {
        times.windows(2).all(|pair| schedule.level(pair[1]).log_snr() < schedule.level(pair[0]).log_snr())
    });
    page.claims(judge_continuous(error, falls, &times));
    Ok(())
}

fn show_discrete(page: &mut Page, schedules: &Schedules) {
    let mut table = Table::new(&[
        "schedule",
        "used by",
        "ᾱ_1",
        "ᾱ_T",
        "√ᾱ_T",
        "log SNR_1",
        "log SNR_T",
        "first t with ᾱ ≤ 1/2",
        "β̃_2",
        "prior KL, bits/dim at x² = 1",
    ]);
    let mut plot = Plot::new("", "t / T", "log SNR (nats)").y_range(-15.0, 10.0);
    for Discrete { name, used_by, schedule } in schedules.all() {
        let last = schedule.steps();
        let half = (1..=last).find(|&t| schedule.alpha_bar(t) <= 0.5).unwrap_or(last);
        let figures = [
            schedule.alpha_bar(1),
            schedule.alpha_bar(last),
            schedule.level(last).a,
            schedule.level(1).log_snr(),
            schedule.level(last).log_snr(),
        ];
        let mut row = vec![(*name).to_owned(), (*used_by).to_owned()];
        row.extend(figures.map(|value| digits(value, 5)));
        row.push(half.to_string());
        row.push(digits(schedule.clipped_posterior_variance(2), 5));
        row.push(digits(prior_bits(schedule.level(last), 1.0), 3));
        table.row(row);
        let curve = (1..=last).map(|t| [t as f64 / last as f64, schedule.level(t).log_snr()]);
        plot = plot.line(name, curve.collect());
    }
    page.heading("Discrete schedules");
    page.table("schedules", "What the tables of β come to, in double precision.", table);
    page.plot("discrete-log-snr", "Log SNR of the discrete schedules.", &plot.figure());
}

/// Judges the ends of the schedules of Ho et al. and of Vu Minh and Won.
fn judge_discrete(ho: Last, short: Last) -> [Claim; 2] {
    [
        Claim::new(
            "Ho et al. 2020 and the notes on it",
            "The bits of the last latent, KL(q(x_T|x_0)‖N(0,I)), are about 1e-5 per dimension for T = 1000.",
            Verdict::of((3e-6..=5e-5).contains(&ho.prior_bits)),
            format!("{} bits/dim at x² = 1 for β from 1e-4 to 0.02; less where x² < 1", digits(ho.prior_bits, 3)),
        ),
        Claim::new(
            "Vu Minh, Won, section 2, with the T = 500 of section 5",
            "ᾱ_T ≈ 0: at the last step nothing but noise is left.",
            Verdict::of(short.a <= 0.02),
            format!(
                "with β up to 0.02 but T = 500, √ᾱ_T = {}: that part of every image's mean survives, while samples start \
                 from N(0, I); the prior costs {} bits/dim, {:.0} times that of T = 1000",
                digits(short.a, 3),
                digits(short.prior_bits, 3),
                short.prior_bits / ho.prior_bits
            ),
        ),
    ]
}

/// Shows the continuous schedules. Returns the largest difference of their curves from the formulas, which are computed
/// again in another form.
fn show_continuous(page: &mut Page, times: &[f64]) -> f64 {
    let plot = Plot::new("", "t", "log SNR (nats)").y_range(-12.0, 12.0);
    let plot = CONTINUOUS.iter().fold(plot, |plot, (name, schedule)| {
        plot.line(name, times.iter().map(|&t| [t, schedule.level(t).log_snr()]).collect())
    });
    page.heading("Continuous schedules");
    page.plot(
        "log-snr",
        "Kumar, Fig. 3.2: log SNR against time. VP-linear has b from 0.1 to 20, VE σ from 0.01 to 50; the thesis states \
         neither.",
        &plot.figure(),
    );

    let formulas: [fn(f64) -> f64; 3] = [
        |t| -(0.1 * t + 9.95 * t * t).exp_m1().ln(),
        |t| -2.0 * (std::f64::consts::FRAC_PI_2 * t).tan().ln(),
        |t| -2.0 * (0.01f64.ln() + t * 5000f64.ln()),
    ];
    let mut table = Table::new(&["t", "VP-linear", "formula", "VP-cosine", "formula", "VE", "formula"]);
    let mut errors = Vec::new();
    for t in [0.05, 0.25, 0.5, 0.75, 0.95] {
        let mut row = vec![t.to_string()];
        for ((_, schedule), formula) in CONTINUOUS.iter().zip(formulas) {
            let (plotted, exact) = (schedule.level(t).log_snr(), formula(t));
            errors.push((plotted - exact).abs());
            row.extend([plotted, exact].map(|value| format!("{value:.6}")));
        }
        table.row(row);
    }
    page.table("log-snr", "Values of the curves, and of the formulas in another form.", table);
    largest(errors)
}

/// Judges the continuous schedules at `times`: the largest difference from the formulas, and if SNR falls throughout.
fn judge_continuous(error: f64, falls: bool, times: &[f64]) -> [Claim; 2] {
    [
        Claim::new(
            "Kumar, Fig. 3.2",
            "The plotted curves are those of the formulas.",
            Verdict::of(error <= 1e-9),
            format!("largest difference at five times: {}", digits(error, 2)),
        ),
        Claim::new(
            "Kumar, section 3.1",
            "The signal-to-noise ratio falls strictly in time under all three schedules.",
            Verdict::of(falls),
            format!("at {} times from {} to {}", times.len(), times[0], times[times.len() - 1]),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, Refuted};
    use super::*;
    use crate::experiment::verdict::verdicts;

    #[test]
    fn the_ends_of_the_schedules_are_judged() {
        let last = |a, prior_bits| Last { a, prior_bits };
        assert_eq!(verdicts(&judge_discrete(last(0.006, 2.9e-5), last(0.08, 4.6e-3))), [Confirmed, Refuted]);
        assert_eq!(verdicts(&judge_discrete(last(0.006, 6e-5), last(0.019, 1e-4))), [Refuted, Confirmed]);
        assert_eq!(verdicts(&judge_discrete(last(0.006, 1e-6), last(f64::NAN, 1e-4))), [Refuted, Refuted]);
    }

    #[test]
    fn curves_off_their_formulas_or_rising_are_refuted() {
        assert_eq!(verdicts(&judge_continuous(1e-12, true, &[0.1, 0.9])), [Confirmed, Confirmed]);
        assert_eq!(verdicts(&judge_continuous(1e-8, false, &[0.1, 0.9])), [Refuted, Refuted]);
        assert_eq!(verdicts(&judge_continuous(f64::NAN, true, &[0.1, 0.9])), [Refuted, Confirmed]);
    }
}
