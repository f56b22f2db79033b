//! `schedules`: the discrete schedules in figures, and log SNR of the continuous ones against time.

use super::{Context, Page, Verdict};
use crate::Result;
use crate::diffusion::{Continuous, NoiseLevel, Schedule};
use crate::report::{Plot, Table, digits};

/// The continuous schedules with their constants, of which Kumar states none.
pub(super) const CONTINUOUS: [(&str, Continuous); 3] = [
    ("VP-linear", Continuous::VpLinear { b0: 0.1, b1: 20.0 }),
    ("VP-cosine", Continuous::VpCosine),
    ("VE", Continuous::Ve { sigma_min: 0.01, sigma_max: 50.0 }),
];

/// Evenly spaced numbers from `lo` to `hi`, both included.
pub(super) fn spaced(lo: f64, hi: f64, n: usize) -> Vec<f64> {
    (0..n).map(|i| lo + (hi - lo) * i as f64 / (n - 1) as f64).collect()
}

/// The largest of some errors; not a number wins.
pub(super) fn largest(errors: impl IntoIterator<Item = f64>) -> f64 {
    errors.into_iter().fold(0.0, |worst: f64, error| if error <= worst { worst } else { error })
}

/// `KL(q(z_T | x_0) || N(0, I))` in bits for a dimension whose square is `x2` (Ho et al. 2020, L_T).
fn prior_bits(level: NoiseLevel, x2: f64) -> f64 {
    let signal = level.a * level.a;
    0.5 * (signal * x2 - signal - (1.0 - signal).ln()) / std::f64::consts::LN_2
}

pub(super) fn run(_: &mut Context, page: &mut Page) -> Result<()> {
    discrete(page)?;
    continuous(page);
    Ok(())
}

fn discrete(page: &mut Page) -> Result<()> {
    let schedules = [
        ("linear 1e-3 to 0.02, T = 1000", "Ambilduke et al.", Schedule::linear(1000, 1e-3, 0.02)?),
        ("linear 1e-4 to 0.02, T = 1000", "Ho et al.; Vu Minh, Won (C2, C3)", Schedule::linear(1000, 1e-4, 0.02)?),
        ("linear 1e-4 to 0.02, T = 500", "Vu Minh, Won (MNIST, C1)", Schedule::linear(500, 1e-4, 0.02)?),
        ("cosine, T = 1000", "Nichol, Dhariwal", Schedule::cosine(1000)?),
    ];
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
    for (name, user, schedule) in &schedules {
        let last = schedule.steps();
        let half = (1..=last).find(|&t| schedule.alpha_bar(t) <= 0.5).unwrap_or(last);
        let figures = [
            schedule.alpha_bar(1),
            schedule.alpha_bar(last),
            schedule.level(last).a,
            schedule.level(1).log_snr(),
            schedule.level(last).log_snr(),
        ];
        let mut row = vec![(*name).to_owned(), (*user).to_owned()];
        row.extend(figures.map(|value| digits(value, 5)));
        row.push(half.to_string());
        row.push(digits(schedule.clipped_posterior_variance(2), 5));
        row.push(digits(prior_bits(schedule.level(last), 1.0), 3));
        table.row(row);
    }
    page.heading("Discrete schedules");
    page.table("schedules", "What the tables of β come to, in double precision.", table);

    let [ho, short] = [1, 2].map(|i| (&schedules[i].2, schedules[i].2.steps()));
    let bits = |(schedule, last): (&Schedule, usize)| prior_bits(schedule.level(last), 1.0);
    page.claim(
        "Ho et al. 2020 and the notes on it",
        "The bits of the last latent, KL(q(x_T|x_0)‖N(0,I)), are about 1e-5 per dimension for T = 1000.",
        Verdict::of((3e-6..=5e-5).contains(&bits(ho))),
        format!("{} bits/dim at x² = 1 for β from 1e-4 to 0.02; less where x² < 1", digits(bits(ho), 3)),
    );
    let survives = short.0.level(short.1).a;
    page.claim(
        "Vu Minh, Won, section 2, with the T = 500 of section 5",
        "ᾱ_T ≈ 0: at the last step nothing but noise is left.",
        Verdict::of(survives <= 0.02),
        format!(
            "with β up to 0.02 but T = 500, √ᾱ_T = {}: that part of every image's mean survives, while samples start \
             from N(0, I); the prior costs {} bits/dim, {:.0} times that of T = 1000",
            digits(survives, 3),
            digits(bits(short), 3),
            bits(short) / bits(ho)
        ),
    );
    let curve = |schedule: &Schedule| {
        let last = schedule.steps();
        (1..=last).map(|t| [t as f64 / last as f64, schedule.level(t).log_snr()]).collect::<Vec<_>>()
    };
    let plot = Plot::new("", "t / T", "log SNR (nats)").y_range(-15.0, 10.0);
    let plot = schedules.iter().fold(plot, |plot, (name, _, schedule)| plot.line(name, curve(schedule)));
    page.plot("discrete-log-snr", "Log SNR of the discrete schedules.", &plot.figure());
    Ok(())
}

fn continuous(page: &mut Page) {
    let times = spaced(0.002, 0.998, 499);
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

    // The formulas once more, each in another form than the schedule's own.
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
    let error = largest(errors);
    page.claim(
        "Kumar, Fig. 3.2",
        "The plotted curves are those of the formulas.",
        Verdict::of(error <= 1e-9),
        format!("largest difference at five times: {}", digits(error, 2)),
    );
    let falls = CONTINUOUS.iter().all(|(_, schedule)| {
        times.windows(2).all(|pair| schedule.level(pair[1]).log_snr() < schedule.level(pair[0]).log_snr())
    });
    page.claim(
        "Kumar, section 3.1",
        "The signal-to-noise ratio falls strictly in time under all three schedules.",
        Verdict::of(falls),
        format!("at {} times from {} to {}", times.len(), times[0], times[times.len() - 1]),
    );
}
