//! `thesis-steps-sweep`: samples by few steps and by many.

use super::cell::{Cell, Training, describe, sets};
use super::measure::{energy, energy_floor, samples};
use super::point_sets::pairs;
use super::samples::SHOWN;
use super::targets::{PerTarget, TARGETS};
use crate::data::points::PointSet;
use crate::experiment::context::Context;
use crate::experiment::definition::Experiment;
use crate::experiment::page::Page;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Figure, Plot, Table, digits};
use anyhow::Result;

/// Samples by 4 to 512 steps for every target.
pub const STEPS_SWEEP: Experiment = Experiment {
    name: "thesis-steps-sweep",
    about: "Samples by 4 to 512 steps for every target",
    source: "Kumar, Fig. 4.13 and appendix 4 to 6",
    needs: &[],
    quick: "clusters, weighted, 4,000 samples",
    full: Some("four sets, both trainings, 10,000 samples"),
    run: run,
};

/// Steps of the sweep; the thesis states none.
const STEPS: [usize; 8] = [4, 8, 16, 32, 64, 128, 256, 512];

/// Energy distances of samples, one for each of [`STEPS`].
type Sweep = [f64; STEPS.len()];

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    page.text("The thesis does not say which numbers of steps it shows; here each is twice the one before.");
    for set in sets(context) {
        page.heading(set.name());
        for training in context.size(vec![Training::Weighted], Training::ALL.to_vec()) {
            let (scatters, sweeps) = measure(context, set, training)?;
            show(page, set, training, context.size(4000, 10_000), &scatters, &sweeps);
            page.claims(judge(&format!("{}, {}", set.name(), training.name()), &sweeps));
        }
    }
    Ok(())
}

/// Samples by every number of steps: scatter plots and energy distances.
fn measure(context: &mut Context, set: PointSet, training: Training) -> Result<(Figure, PerTarget<Sweep>)> {
    let n = context.size(4000, 10_000);
    let mut panels = Vec::new();
    let sweeps = PerTarget::try_from_fn(|target| -> Result<Sweep> {
        let mut model = Cell::new(set, target, training).model(context)?;
        let mut energies = [0.0; STEPS.len()];
        for (steps, distance) in STEPS.into_iter().zip(&mut energies) {
            let drawn = samples(context, &mut model, n, steps)?;
            let title = if panels.len() < STEPS.len() { steps.to_string() } else { String::new() };
            panels.push(small_plane(&title).cloud("", pairs(&drawn[..SHOWN])));
            *distance = energy(set, &drawn)?;
        }
        Ok(energies)
    })?;
    let figure = Figure::new("", STEPS.len()).panel_size(110.0, 110.0).shared_axes();
    Ok((panels.into_iter().fold(figure, Figure::panel), sweeps))
}

fn show(page: &mut Page, set: PointSet, training: Training, n: usize, scatters: &Figure, sweeps: &PerTarget<Sweep>) {
    let floor = energy_floor(n);
    let mut curve = Plot::new("", "steps", "energy distance").log_x().log_y();
    let mut table = Table::new(&["target", "4", "8", "16", "32", "64", "128", "256", "512"]);
    for ((name, _), energies) in TARGETS.into_iter().zip(sweeps.all()) {
        let points = STEPS.iter().zip(energies).map(|(&steps, &e)| [steps as f64, e.max(floor)]).collect();
        curve = curve.beads(name, points);
        table.row(std::iter::once(name.to_owned()).chain(energies.iter().map(|&energy| digits(energy, 3))));
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
        &scatters.clone().row_titles(&names),
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
}

/// A panel too small for the words of [`plane`](super::point_sets::plane).
fn small_plane(title: &str) -> Plot {
    Plot::new(title, "x", "y").x_range(-3.0, 3.0).y_range(-3.0, 3.0)
}

/// Judges the sweeps of one training on one set, which `place` names.
fn judge(place: &str, sweeps: &PerTarget<Sweep>) -> [Claim; 3] {
    const SOURCE: &str = "Kumar, section 4.4.2 and Fig. 4.13";
    let PerTarget { x: first_x, eps: first_eps, v: first_v, score: first_score } = sweeps.map(|sweep| sweep[0]);
    let last = sweeps.map(|sweep| sweep[STEPS.len() - 1]);
    let few = sweeps.list(|sweep| digits(sweep[0], 3));
    let many = last.list(|energy| digits(*energy, 3));
    let x = &sweeps.x;
    let best = (0..STEPS.len()).min_by(|&i, &j| x[i].total_cmp(&x[j])).unwrap_or(0);
    [
        Claim::new(
            SOURCE,
            format!("{place}: more steps make the samples of ε and v better: at 512 less than half the distance at 4."),
            Verdict::of(last.eps < 0.5 * first_eps && last.v < 0.5 * first_v),
            format!("energy distance at 4 steps: {few}; at 512: {many}"),
        ),
        Claim::new(
            SOURCE,
            format!("{place}: with few steps x is best and ε worst; v is good throughout."),
            Verdict::of(
                first_x <= first_v.min(first_score) && first_eps >= first_v.max(first_score) && first_v < first_eps,
            ),
            format!("energy distance at 4 steps: {few}"),
        ),
        Claim::new(
            SOURCE,
            format!("{place}: the samples of x become worse with more steps."),
            Verdict::of(last.x > first_x),
            format!(
                "energy distance by 4 to 512 steps: {}; best at {} steps, {:.1} times as far at 512",
                x.iter().map(|&energy| digits(energy, 3)).collect::<Vec<_>>().join(", "),
                STEPS[best],
                last.x / x[best].max(1e-9)
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
    fn sweeps_are_judged_on_both_sides() {
        // From a value at 4 steps to one at 512, in equal ratios.
        let sweep = |from: f64, to: f64| std::array::from_fn(|i| from * (to / from).powf(i as f64 / 7.0));
        let judged = |x, eps, v, score| verdicts(&judge("rings, weighted", &PerTarget { x, eps, v, score }));
        let (x, eps, v, score) = (sweep(0.01, 0.02), sweep(0.5, 0.01), sweep(0.1, 0.01), sweep(0.2, 0.1));
        assert_eq!(judged(x, eps, v, score), [Confirmed; 3]);
        assert_eq!(judged(x, sweep(0.5, 0.3), v, score), [Refuted, Confirmed, Confirmed]);
        assert_eq!(judged(x, eps, v, sweep(0.6, 0.1)), [Confirmed, Refuted, Confirmed]);
        assert_eq!(judged(sweep(0.05, 0.02), eps, v, score), [Confirmed, Confirmed, Refuted]);
        assert_eq!(judged(sweep(0.3, 0.4), eps, v, score), [Confirmed, Refuted, Confirmed]);
    }
}
