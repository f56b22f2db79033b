//! `thesis-samples-2d`: samples of every target and training beside the data.

use super::cell::{Cell, Training, describe, sets};
use super::measure::{energy, energy_floor, moments, samples};
use super::point_sets::{pairs, plane};
use super::targets::{self, PerTarget, TARGETS};
use crate::data::points::{DATA_SEED, PointSet, draw};
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, Needs};
use crate::experiment::page::Page;
use crate::experiment::spread::Measured;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Figure, Table};
use anyhow::Result;

/// Samples of every target and training beside the data.
pub const SAMPLES: Experiment = Experiment {
    name: "thesis-samples-2d",
    about: "Samples of every target and training beside the data",
    source: "Kumar, Fig. 4.12",
    needs: Needs::Nothing,
    quick: "clusters, three seeds, 4,000 samples by 512 steps",
    full: Some("four sets, five seeds, 10,000 samples by 512 steps"),
    run,
};

/// Points of a scatter plot.
pub(super) const SHOWN: usize = 2000;
/// Steps of the sampler.
const STEPS: usize = 512;

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    let n = context.size(2 * SHOWN, 10_000);
    for set in sets(context) {
        let mut panels = Vec::new();
        let figure = Figure::new("", TARGETS.len() + 1).panel_size(150.0, 150.0).shared_axes();
        let mut table = Table::new(&["training", "target", "mean distance", "covariance distance", "energy distance"]);
        let data = draw(set, DATA_SEED, 0, SHOWN, &set.standardisation());
        let mut energies = |training: Training| -> Result<PerTarget<Measured>> {
            let title = |name: &str| if training == Training::ALL[0] { name.to_owned() } else { String::new() };
            panels.push(plane(&title("data")).cloud("", pairs(&data)));
            PerTarget::try_from_fn(|target| {
                let (cell, name) = (Cell::new(set, target, training), targets::name(target));
                let [mut means, mut covariances, mut energies] = std::array::from_fn(|_| Measured::default());
                for cell in cell.repeated(context.repeats(3)) {
                    let mut model = cell.model(context)?;
                    let drawn = samples(context, &mut model, n, STEPS)?;
                    if cell.repeat == 0 {
                        panels.push(plane(&title(name)).cloud("", pairs(&drawn[..2 * SHOWN])));
                    }
                    let distances = moments(set, &drawn)?;
                    means.push(distances.mean);
                    covariances.push(distances.covariance);
                    energies.push(energy(set, &drawn)?);
                }
                let figures = [&means, &covariances, &energies].map(|distances| distances.show(3));
                table.row([training.name().into(), name.into()].into_iter().chain(figures));
                Ok(energies)
            })
        };
        let (weighted, nelbo) = (energies(Training::Weighted)?, energies(Training::Nelbo)?);
        let figure = panels.into_iter().fold(figure, Figure::panel);
        let names = Training::ALL.map(Training::name);
        page.heading(set.name());
        page.plot(
            &format!("samples-{}", set.name()),
            &format!("Kumar, Fig. 4.12: {SHOWN} points of the set and of samples by {STEPS} steps."),
            &figure.row_titles(&names),
        );
        page.table(
            &format!("samples-{}", set.name()),
            "Distances of the samples from the data, mean over seeds ± half the 95 % interval.",
            table,
        );
        page.claims([judge(set, &weighted, &nelbo, energy_floor(n))]);
    }
    Ok(())
}

/// Judges the energy distances of samples by either training; below `floor` they cannot be told apart.
fn judge(set: PointSet, weighted: &PerTarget<Measured>, nelbo: &PerTarget<Measured>, floor: f64) -> Claim {
    // In the logarithm, a factor and its inverse are equally far from 1.
    let ratio = |weighted: &Measured, nelbo: &Measured| weighted.zip(nelbo, |a, b| (a.max(floor) / b.max(floor)).ln());
    let ratios: Vec<Measured> = weighted.all().into_iter().zip(nelbo.all()).map(|(a, b)| ratio(a, b)).collect();
    let factor = 3f64.ln();
    let evidence = TARGETS.iter().zip(&ratios).map(|((name, _), ratio)| {
        let spread = ratio.interval().map_or(String::new(), |i| format!(" ({:.2} to {:.2})", i.lo.exp(), i.hi.exp()));
        format!("{name}: weighted over NELBO {:.2}{spread}", ratio.mean().exp())
    });
    Claim::new(
        "Kumar, section 4.4.2",
        format!(
            "{}: weighted and NELBO training give samples of similar quality (energy distance within a factor of 3).",
            set.name()
        ),
        Verdict::all(ratios.iter().map(|ratio| ratio.within(-factor..=factor))),
        evidence.collect::<Vec<_>>().join(", "),
    )
    .tested("ratio by seed, 95 % interval of its logarithm; one target beyond a factor of 3 would refute it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_must_agree_within_a_factor_but_for_noise() {
        let around = |mean: &f64| -> Measured { [0.99, 1.0, 1.01].into_iter().map(|factor| factor * mean).collect() };
        let equal = PerTarget { x: 0.02, eps: 0.01, v: 0.01, score: 0.05 };
        let judged = |weighted: PerTarget<f64>, nelbo: PerTarget<f64>| {
            judge(PointSet::Rings, &weighted.map(around), &nelbo.map(around), 5e-4).verdict
        };
        let verdict = |v: f64| judged(PerTarget { v, ..equal }, equal);
        assert_eq!([0.02, 0.004].map(verdict), [Verdict::Confirmed; 2]);
        assert_eq!([0.031, 0.003].map(verdict), [Verdict::Refuted; 2]);
        let noise = PerTarget { x: 1e-5, eps: -1e-5, v: 4e-4, score: 0.0 };
        assert_eq!(judged(noise, noise), Verdict::Confirmed);
        let spread: Measured = [0.01, 0.02, 0.06].into_iter().collect();
        let weighted = PerTarget { v: spread, ..equal.map(around) };
        assert_eq!(judge(PointSet::Rings, &weighted, &equal.map(around), 5e-4).verdict, Verdict::NotDecided);
    }
}
