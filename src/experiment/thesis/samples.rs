//! Samples of the networks, and what fewer steps make of them: `thesis-samples-2d` and `thesis-steps-sweep`.

use super::measure::{energy, energy_floor, moments, samples};
use super::{Cell, Training, describe, sets};
use crate::Result;
use crate::data::points::{DATA_SEED, PointSet, draw};
use crate::diffusion::PredictionTarget;
use crate::experiment::points_2d::{pairs, plane};
use crate::experiment::snr_weights::TARGETS;
use crate::experiment::{Context, Page, Verdict};
use crate::report::{Figure, Plot, Table, digits};

/// Points of a scatter plot.
const SHOWN: usize = 2000;
/// Steps of the sweep, of which the thesis names none.
const STEPS: [usize; 8] = [4, 8, 16, 32, 64, 128, 256, 512];

pub(in crate::experiment) fn samples_2d(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    let (steps, n) = (512, context.size(2 * SHOWN, 10_000));
    for set in sets(context) {
        let mut figure = Figure::new("", TARGETS.len() + 1).panel_size(150.0, 150.0).shared_axes();
        let mut table = Table::new(&["training", "target", "mean distance", "covariance distance", "energy distance"]);
        let data = draw(set, DATA_SEED, 0, SHOWN, &set.standardisation());
        let mut energies = Vec::new();
        for (row, training) in Training::ALL.into_iter().enumerate() {
            let title = |name: &str| if row == 0 { name.to_owned() } else { String::new() };
            figure = figure.panel(plane(&title("data")).cloud("", pairs(&data)));
            for (name, target) in TARGETS {
                let mut model = Cell { set, target, training, repeat: 0 }.model(context)?;
                let drawn = samples(context, &mut model, n, steps)?;
                figure = figure.panel(plane(&title(name)).cloud("", pairs(&drawn[..2 * SHOWN])));
                let (distances, energy) = (moments(set, &drawn)?, energy(set, &drawn)?);
                energies.push((training, name, energy));
                let figures = [distances.mean, distances.covariance, energy].map(|value| digits(value, 3));
                let [mean, covariance, energy] = figures;
                table.row([training.name().into(), name.into(), mean, covariance, energy]);
            }
        }
        let names = Training::ALL.map(Training::name);
        page.heading(set.name());
        page.plot(
            &format!("samples-{}", set.name()),
            &format!("Kumar, Fig. 4.12: {SHOWN} points of the set and of samples by {steps} steps."),
            &figure.row_titles(&names),
        );
        page.table(&format!("samples-{}", set.name()), "Distances of the samples from the data.", table);
        let of = |training| {
            energies.iter().filter(move |(t, ..)| *t == training).map(move |(.., energy)| energy.max(energy_floor(n)))
        };
        let pairs: Vec<f64> = of(Training::Weighted).zip(of(Training::Nelbo)).map(|(a, b)| a / b).collect();
        page.claim(
            "Kumar, section 4.4.2",
            &format!("{}: weighted and NELBO training give samples of similar quality (energy distance within a factor of 3).", set.name()),
            Verdict::of(pairs.iter().all(|ratio| (1.0 / 3.0..=3.0).contains(ratio))),
            TARGETS.iter().zip(&pairs).map(|((name, _), ratio)| format!("{name}: weighted over NELBO {ratio:.2}")).collect::<Vec<_>>().join(", "),
        );
    }
    Ok(())
}

pub(in crate::experiment) fn steps_sweep(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    page.text("The thesis does not say which numbers of steps it shows; here each is twice the one before.");
    let n = context.size(4000, 10_000);
    let floor = energy_floor(n);
    for set in sets(context) {
        page.heading(set.name());
        for training in context.size(vec![Training::Weighted], Training::ALL.to_vec()) {
            let mut scatters = Figure::new("", STEPS.len()).panel_size(110.0, 110.0).shared_axes();
            let mut curve = Plot::new("", "steps", "energy distance").log_x().log_y();
            let mut table = Table::new(&["target", "4", "8", "16", "32", "64", "128", "256", "512"]);
            let mut found = Vec::new();
            for (row, (name, target)) in TARGETS.into_iter().enumerate() {
                let mut model = Cell { set, target, training, repeat: 0 }.model(context)?;
                let mut energies = Vec::new();
                for steps in STEPS {
                    let drawn = samples(context, &mut model, n, steps)?;
                    let title = if row == 0 { steps.to_string() } else { String::new() };
                    scatters = scatters.panel(small_plane(&title).cloud("", pairs(&drawn[..SHOWN])));
                    energies.push(energy(set, &drawn)?);
                }
                curve = curve.beads(
                    name,
                    STEPS.iter().zip(&energies).map(|(&steps, &e)| [steps as f64, e.max(floor)]).collect(),
                );
                table.row(std::iter::once(name.to_owned()).chain(energies.iter().map(|&energy| digits(energy, 3))));
                found.push((target, energies));
            }
            let stem = format!("steps-{}-{}", set.name(), training.name().to_lowercase());
            let names = TARGETS.map(|(name, _)| name);
            page.plot(
                &stem,
                &format!(
                    "Kumar, Fig. 4.13 and appendix, {}: samples after so many steps, {} training.",
                    set.name(),
                    training.name()
                ),
                &scatters.row_titles(&names),
            );
            page.plot(
                &format!("{stem}-energy"),
                &format!(
                    "Energy distance of {n} samples from fresh points. Below {}, where curves end, they cannot be told apart.",
                    digits(floor, 1)
                ),
                &curve.figure(),
            );
            page.table(&stem, "Energy distance by target and number of steps.", table);
            judge_sweep(page, set, training, &found);
        }
    }
    Ok(())
}

/// A panel too small for the words of [`plane`].
fn small_plane(title: &str) -> Plot {
    Plot::new(title, "x", "y").x_range(-3.0, 3.0).y_range(-3.0, 3.0)
}

fn judge_sweep(page: &mut Page, set: PointSet, training: Training, found: &[(PredictionTarget, Vec<f64>)]) {
    let of = |target| found.iter().find(|(t, _)| *t == target).map_or(&[][..], |(_, energies)| energies);
    let [x, eps, v, score] = TARGETS.map(|(_, target)| of(target));
    let (first, last) = (|e: &[f64]| e[0], |e: &[f64]| e[e.len() - 1]);
    let place = format!("{}, {}", set.name(), training.name());
    let figures = |of: fn(&[f64]) -> f64| {
        TARGETS
            .iter()
            .zip([x, eps, v, score])
            .map(|((name, _), e)| format!("{name} {}", digits(of(e), 3)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    page.claim(
        "Kumar, section 4.4.2 and Fig. 4.13",
        &format!("{place}: more steps make the samples of ε and v better: at 512 less than half the distance at 4."),
        Verdict::of(last(eps) < 0.5 * first(eps) && last(v) < 0.5 * first(v)),
        format!("energy distance at 4 steps: {}; at 512: {}", figures(first), figures(last)),
    );
    page.claim(
        "Kumar, section 4.4.2 and Fig. 4.13",
        &format!("{place}: with few steps x is best and ε worst; v is good throughout."),
        Verdict::of(
            first(x) <= first(v).min(first(score)) && first(eps) >= first(v).max(first(score)) && first(v) < first(eps),
        ),
        format!("energy distance at 4 steps: {}", figures(first)),
    );
    let best = (0..STEPS.len()).min_by(|&i, &j| x[i].total_cmp(&x[j])).unwrap_or(0);
    page.claim(
        "Kumar, section 4.4.2 and Fig. 4.13",
        &format!("{place}: the samples of x become worse with more steps."),
        Verdict::of(last(x) > first(x)),
        format!(
            "energy distance by 4 to 512 steps: {}; best at {} steps, {:.1} times as far at 512",
            x.iter().map(|&energy| digits(energy, 3)).collect::<Vec<_>>().join(", "),
            STEPS[best],
            last(x) / x[best].max(1e-9)
        ),
    );
}
