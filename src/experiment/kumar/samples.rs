//! `thesis-samples-2d`: samples of every target and training beside the data.

use super::cell::{Cell, Training, describe, sets};
use super::measure::{energy, energy_floor, moments, samples};
use super::point_sets::{pairs, plane};
use super::targets::{PerTarget, TARGETS};
use crate::data::points::{DATA_SEED, PointSet, draw};
use crate::experiment::context::Context;
use crate::experiment::definition::Experiment;
use crate::experiment::page::Page;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Figure, Table, digits};
use anyhow::Result;

/// Samples of every target and training beside the data.
pub const SAMPLES: Experiment = Experiment {
    name: "thesis-samples-2d",
    about: "Samples of every target and training beside the data",
    source: "Kumar, Fig. 4.12",
    needs: &[],
    quick: "clusters, 4,000 samples by 512 steps",
    full: Some("four sets, 10,000 samples by 512 steps"),
    run: run,
};

/// Points of a scatter plot.
pub(super) const SHOWN: usize = 2000;
/// Steps of the sampler.
const STEPS: usize = 512;

fn run(context: &mut Context, page: &mut Page) -> Result<()> {
    describe(context, page);
    let n = context.size(2 * SHOWN, 10_000);
    for set in sets(context) {
        let mut figure = Figure::new("", TARGETS.len() + 1).panel_size(150.0, 150.0).shared_axes();
        let mut table = Table::new(&["training", "target", "mean distance", "covariance distance", "energy distance"]);
        let data = draw(set, DATA_SEED, 0, SHOWN, &set.standardisation());
        let mut energies = |training: Training| {
            let title = |name: &str| if training == Training::ALL[0] { name.to_owned() } else { String::new() };
            let mut panels = vec![plane(&title("data")).cloud("", pairs(&data))];
            let energies = PerTarget::try_from_fn(|target| -> Result<f64> {
                let mut model = Cell::new(set, target, training).model(context)?;
                let name = super::targets::name(target);
                let drawn = samples(context, &mut model, n, STEPS)?;
                panels.push(plane(&title(name)).cloud("", pairs(&drawn[..2 * SHOWN])));
                let (distances, energy) = (moments(set, &drawn)?, energy(set, &drawn)?);
                let figures = [distances.mean, distances.covariance, energy].map(|value| digits(value, 3));
                table.row([training.name().into(), name.into()].into_iter().chain(figures));
                Ok(energy)
            });
            energies.map(|energies| (panels, energies))
        };
        let (first, weighted) = energies(Training::Weighted)?;
        let (second, nelbo) = energies(Training::Nelbo)?;
        figure = first.into_iter().chain(second).fold(figure, Figure::panel);
        let names = Training::ALL.map(Training::name);
        page.heading(set.name());
        page.plot(
            &format!("samples-{}", set.name()),
            &format!("Kumar, Fig. 4.12: {SHOWN} points of the set and of samples by {STEPS} steps."),
            &figure.row_titles(&names),
        );
        page.table(&format!("samples-{}", set.name()), "Distances of the samples from the data.", table);
        page.claims([judge(set, weighted, nelbo, energy_floor(n))]);
    }
    Ok(())
}

/// Judges the energy distances of samples by either training; below `floor` they cannot be told apart.
fn judge(set: PointSet, weighted: PerTarget<f64>, nelbo: PerTarget<f64>, floor: f64) -> Claim {
    let [weighted, nelbo] = [weighted, nelbo].map(|energies| energies.map(|energy| energy.max(floor)));
    let ratios: Vec<f64> = weighted.all().into_iter().zip(nelbo.all()).map(|(a, b)| a / b).collect();
    let evidence =
        TARGETS.iter().zip(&ratios).map(|((name, _), ratio)| format!("{name}: weighted over NELBO {ratio:.2}"));
    Claim::new(
        "Kumar, section 4.4.2",
        format!(
            "{}: weighted and NELBO training give samples of similar quality (energy distance within a factor of 3).",
            set.name()
        ),
        Verdict::of(ratios.iter().all(|ratio| (1.0 / 3.0..=3.0).contains(ratio))),
        evidence.collect::<Vec<_>>().join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_must_agree_within_a_factor_but_for_noise() {
        let equal = PerTarget { x: 0.02, eps: 0.01, v: 0.01, score: 0.05 };
        let verdict = |weighted: f64| judge(PointSet::Rings, PerTarget { v: weighted, ..equal }, equal, 5e-4).verdict;
        assert_eq!([0.02, 0.004].map(verdict), [Verdict::Confirmed; 2]);
        assert_eq!([0.031, 0.003].map(verdict), [Verdict::Refuted; 2]);
        let noise = PerTarget { x: 1e-5, eps: -1e-5, v: 4e-4, score: 0.0 };
        assert_eq!(judge(PointSet::Rings, noise, noise, 5e-4).verdict, Verdict::Confirmed);
    }
}
