//! `thesis-steps-sweep`: samples by few steps and by many.

use super::cell::{Cell, Training, describe, sets};
use super::measure::{energy, energy_floor, samples};
use super::point_sets::pairs;
use super::samples::SHOWN;
use super::targets::{PerTarget, TARGETS};
use crate::data::points::PointSet;
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::page::Page;
use crate::experiment::spread::Measured;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Figure, Plot, Table, digits};
use anyhow::Result;

/// Samples by 4 to 512 steps for every target.
pub const STEPS_SWEEP: Experiment = Experiment {
    name: "thesis-steps-sweep",
    about: "Samples by 4 to 512 steps for every target",
    source: "Kumar, Fig. 4.13 and appendix 4 to 6",
    needs: Needs::Nothing,
    quick: "clusters, weighted, three seeds, 4,000 samples",
    full: Some("four sets, both trainings, five seeds, 10,000 samples"),
    run,
};

/// Steps of the sweep; the thesis states none.
const STEPS: [usize; 8] = [4, 8, 16, 32, 64, 128, 256, 512];

/// Energy distances of samples, for each of [`STEPS`] those of the networks of all seeds.
type Sweep = [Measured; STEPS.len()];

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    page.text("The thesis does not say which numbers of steps it shows; here each is twice the one before.");
    let n = context.size(4000, 10_000);
    for set in sets(context) {
        page.heading(set.name());
        for training in context.size(vec![Training::Weighted], Training::ALL.to_vec()) {
            let (scatters, sweeps) = measure(context, set, training, n)?;
            show(page, set, training, n, &scatters, &sweeps);
            page.claims(judge(&format!("{}, {}", set.name(), training.name()), &sweeps, energy_floor(n)));
        }
    }
    Ok(())
}

/// Draws by every number of steps: scatter plots of the first seed's samples, and energy distances of all seeds'.
fn measure(context: &mut Context, set: PointSet, training: Training, n: usize) -> Result<(Figure, PerTarget<Sweep>)> {
    let mut panels = Vec::new();
    let sweeps = PerTarget::try_from_fn(|target| -> Result<Sweep> {
        let mut sweep: Sweep = Default::default();
        for cell in Cell::new(set, target, training).repeated(context.repeats(3)) {
            let mut model = cell.model(context)?;
            for (steps, energies) in STEPS.into_iter().zip(&mut sweep) {
                let drawn = samples(context, &mut model, n, steps)?;
                energies.push(energy(set, &drawn)?);
                if cell.repeat == 0 {
                    let title = if panels.len() < STEPS.len() { steps.to_string() } else { String::new() };
                    panels.push(small_plane(&title).cloud("", pairs(&drawn[..SHOWN])));
                }
            }
        }
        Ok(sweep)
    })?;
    let figure = Figure::new("", STEPS.len()).panel_size(110.0, 110.0).shared_axes();
    Ok((panels.into_iter().fold(figure, Figure::panel), sweeps))
}

fn show(page: &mut Page, set: PointSet, training: Training, n: usize, scatters: &Figure, sweeps: &PerTarget<Sweep>) {
    let floor = energy_floor(n);
    let mut curve = Plot::new("", "steps", "energy distance, mean over seeds").log_x().log_y();
    let mut table = Table::new(&["target", "4", "8", "16", "32", "64", "128", "256", "512"]);
    for ((name, _), sweep) in TARGETS.into_iter().zip(sweeps.all()) {
        let points = STEPS.iter().zip(sweep).map(|(&steps, energies)| [steps as f64, energies.mean().max(floor)]);
        curve = curve.beads(name, points.collect());
        table.row(std::iter::once(name.to_owned()).chain(sweep.iter().map(|energies| energies.show(3))));
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
    page.table(
        &stem,
        "Energy distance by target and number of steps, mean over seeds ± half the 95 % interval.",
        table,
    );
}

/// A panel too small for the words of [`plane`](super::point_sets::plane).
fn small_plane(title: &str) -> Plot {
    Plot::new(title, "x", "y").x_range(-3.0, 3.0).y_range(-3.0, 3.0)
}

const SOURCE: &str = "Kumar, section 4.4.3 and Fig. 4.13";

/// Judges the sweeps of one training on one set, which `place` names. Energy distances below `floor` cannot be told apart.
fn judge(place: &str, sweeps: &PerTarget<Sweep>, floor: f64) -> [Claim; 5] {
    let show = |step: usize| sweeps.list(|sweep| sweep[step].show(3));
    let (fewest, last) = (0, STEPS.len() - 1);
    let PerTarget { x, eps, v, score } = sweeps;
    let improves = |sweep: &Sweep| sweep[fewest].minus(&sweep[last]).above(0.0);
    let nearer = |sweep: &Sweep, other: &Sweep, step: usize| other[step].minus(&sweep[step]).above(0.0);
    let few = [0, 1];
    [
        Claim::new(
            SOURCE,
            format!("{place}: more steps make the samples of ε, v and the score better."),
            Verdict::all([eps, v, score].map(improves)),
            format!("energy distance at 4 steps: {}; at 512: {}", show(fewest), show(last)),
        )
        .tested("difference between 4 and 512 steps by seed, 95 % interval; one below 0 would refute it"),
        Claim::new(
            SOURCE,
            format!("{place}: with few steps, 4 and 8, x is better than the other targets."),
            Verdict::all(few.into_iter().flat_map(|step| [eps, v, score].map(|other| nearer(x, other, step)))),
            format!("energy distance at 4 steps: {}; at 8: {}", show(0), show(1)),
        )
        .tested("difference by seed, 95 % interval, from each target at 4 and at 8 steps; one below 0 would refute it"),
        Claim::new(
            SOURCE,
            format!("{place}: v is good even with few steps: at 4, better than ε and the score."),
            Verdict::all([eps, score].map(|other| nearer(v, other, fewest))),
            format!("energy distance at 4 steps: {}", show(fewest)),
        )
        .tested("difference by seed, 95 % interval; one below 0 would refute it"),
        judge_decline(place, x),
        Claim::new(
            SOURCE,
            format!("{place}: the samples of the score are not good even with many steps."),
            score[last].minus(&v[last]).above(floor),
            format!("energy distance at 512 steps: {}", show(last)),
        )
        .tested(format!(
            "difference from v at 512 steps by seed, 95 % interval; confirmed above {}, the least that can be told apart, \
             refuted below it",
            digits(floor, 1)
        )),
    ]
}

/// Judges if the samples of x become worse with more steps: from some number of steps on, at each doubling.
fn judge_decline(place: &str, x: &Sweep) -> Claim {
    /// Doublings at the end that must be worse; the thesis does not say where the decline begins.
    const LATE: usize = 3;
    let worse: Vec<Verdict> = x.windows(2).map(|pair| pair[1].minus(&pair[0]).above(0.0)).collect();
    let declining = worse.iter().rev().take_while(|verdict| **verdict == Verdict::Confirmed).count();
    let verdict = match worse.last() {
        _ if declining >= LATE => Verdict::Confirmed,
        Some(Verdict::Refuted) => Verdict::Refuted,
        _ => Verdict::NotDecided,
    };
    let distances: Vec<String> = x.iter().map(|energies| digits(energies.mean(), 3)).collect();
    let from = worse.len() - declining;
    let decline = match declining {
        0 => "not worse with the last doubling".into(),
        _ => format!(
            "worse with every doubling from {} steps on, {:.1} times as far at 512",
            STEPS[from],
            x[STEPS.len() - 1].mean() / x[from].mean()
        ),
    };
    Claim::new(
        SOURCE,
        format!("{place}: the samples of x become worse with more steps."),
        verdict,
        format!("energy distance by 4 to 512 steps: {}; {decline}", distances.join(", ")),
    )
    .tested(format!(
        "difference at each doubling by seed, 95 % interval; confirmed if the last {LATE} or more are above 0, refuted if \
         the last is below 0"
    ))
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;
    use crate::experiment::verdict::verdicts;

    /// Three seeds a thousandth apart at every number of steps.
    fn sweep(means: [f64; 8]) -> Sweep {
        means.map(|mean| [0.999, 1.0, 1.001].into_iter().map(|factor| factor * mean).collect())
    }

    /// The means fall from 4 steps to 512 in equal ratios, or rise.
    fn line(from: f64, to: f64) -> Sweep {
        sweep(std::array::from_fn(|i| from * (to / from).powf(i as f64 / 7.0)))
    }

    #[test]
    fn sweeps_are_judged_on_both_sides() {
        let judged = |x, eps, v, score| verdicts(&judge("rings, weighted", &PerTarget { x, eps, v, score }, 5e-4));
        let (x, eps, v, score) = (line(0.01, 0.02), line(0.5, 0.01), line(0.1, 0.01), line(0.2, 0.1));
        let with_x = |x| judged(x, eps.clone(), v.clone(), score.clone());
        assert_eq!(with_x(x.clone()), [Confirmed; 5]);
        assert_eq!(with_x(line(0.05, 0.02)), [Confirmed, Confirmed, Confirmed, Refuted, Confirmed]);
        assert_eq!(with_x(line(0.3, 0.4)), [Confirmed, Refuted, Confirmed, Confirmed, Confirmed]);
        let with_eps = |eps| judged(x.clone(), eps, v.clone(), score.clone());
        assert_eq!(with_eps(line(0.5, 0.6)), [Refuted, Confirmed, Confirmed, Confirmed, Confirmed]);
        assert_eq!(with_eps(line(0.09, 0.01)), [Confirmed, Confirmed, Refuted, Confirmed, Confirmed]);
        let good_score = judged(x.clone(), eps.clone(), v.clone(), line(0.2, 0.01));
        assert_eq!(good_score, [Confirmed, Confirmed, Confirmed, Confirmed, Refuted]);
    }

    #[test]
    fn a_decline_after_the_first_steps_is_one() {
        let verdict = |means| judge_decline("clusters", &sweep(means)).verdict;
        let measured = [0.0238, 0.00382, 0.00284, 0.00381, 0.00537, 0.00777, 0.0114, 0.0151];
        assert_eq!(verdict(measured), Confirmed);
        assert_eq!(verdict([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 4.0, 5.0]), NotDecided);
        assert_eq!(verdict([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 6.0]), Refuted);
        let evidence = judge_decline("clusters", &sweep(measured)).evidence;
        assert!(evidence.contains("from 16 steps on, 5.3 times as far"), "{evidence}");
    }

    #[test]
    fn one_seed_decides_nothing() {
        let one = || line(0.2, 0.1).map(|energies| [energies.mean()].into_iter().collect());
        let sweeps = PerTarget { x: one(), eps: one(), v: one(), score: one() };
        assert_eq!(verdicts(&judge("rings", &sweeps, 5e-4)), [NotDecided; 5]);
    }
}
