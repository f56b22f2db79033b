//! `thesis-2d-data` and `thesis-2d-noising`: the sets of points, clean and noisy.

use crate::data::points::{DATA_SEED, POINTS, PointSet, Standardisation, draw};
use crate::diffusion::{Continuous, NoiseLevel};
use crate::engine::ops::noise_loss::NOISE;
use crate::engine::random::{Philox, RngState};
use crate::experiment::context::Context;
use crate::experiment::definition::{Experiment, INSTANT, Needs};
use crate::experiment::page::Page;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::{Figure, Plot, Table, digits};
use anyhow::Result;

/// The four sets of points of the plane.
pub const DATA: Experiment = Experiment {
    name: "thesis-2d-data",
    about: "The four sets of points of the plane",
    source: "Kumar, Fig. 4.1",
    needs: Needs::Nothing,
    quick: INSTANT,
    full: None,
    run: data,
};
/// How points become noise as time goes on.
pub const NOISING: Experiment = Experiment {
    name: "thesis-2d-noising",
    about: "How points become noise as time goes on",
    source: "Kumar, Fig. 4.2",
    needs: Needs::Nothing,
    quick: INSTANT,
    full: None,
    run: noising,
};

/// The generator of a set in words; the thesis states none.
fn generator(set: PointSet) -> &'static str {
    match set {
        PointSet::Clusters => "corners (±1, ±1) + 0.2 N",
        PointSet::Rings => "centres (±0.5, 0), radius 1 + 0.05 N",
        PointSet::SwissRoll => "φ = 1.5π(1 + 2u), (φ cos φ, φ sin φ) + 0.55 N",
        PointSet::Waves => "x uniform on (-π, π), y = sin 2x ± 0.5 + 0.2 N",
    }
}

/// The axes of every scatter plot.
pub(super) fn plane(title: &str) -> Plot {
    Plot::new(title, "x (standardised)", "y (standardised)").x_range(-3.0, 3.0).y_range(-3.0, 3.0)
}

/// Points `[n, 2]` as pairs.
pub(super) fn pairs(values: &[f32]) -> Vec<[f64; 2]> {
    values.chunks_exact(2).map(|p| [f64::from(p[0]), f64::from(p[1])]).collect()
}

fn data(_: &mut Context, page: &mut Page) -> Result<()> {
    const SHOWN: usize = 10_000;
    let mut figure = Figure::new("", 2).panel_size(300.0, 300.0).shared_axes();
    let mut table = Table::new(&["set", "generator", "points", "parts", "std of x before", "std of y before"]);
    let (mut worst, mut total) = (0.0f64, 0);
    for set in PointSet::ALL {
        let standardisation = set.standardisation();
        let points = pairs(&draw(set, DATA_SEED, 0, POINTS, &standardisation));
        let Standardisation { mean, std } = Standardisation::of(&points);
        let errors = mean.into_iter().map(f64::abs).chain(std.map(|std| (std - 1.0).abs()));
        worst = errors.fold(worst, f64::max);
        total += points.len();
        figure = figure.panel(plane(set.name()).cloud("", points[..SHOWN].to_vec()));
        table.row([
            set.name().into(),
            generator(set).into(),
            points.len().to_string(),
            set.class_names().len().max(1).to_string(),
            digits(standardisation.std[0], 4),
            digits(standardisation.std[1], 4),
        ]);
    }
    page.plot("2d-data", "Kumar, Fig. 4.1: the four sets, the first 10,000 of 50,000 points each.", &figure);
    page.table("2d-data", "The generators. The thesis gives no parameters; these make the best possible losses agree with those it reports.", table);
    page.claims([judge_data(worst, total)]);
    Ok(())
}

/// Judges the largest deviation of a mean from 0 or of a standard deviation from 1, and the number of points.
fn judge_data(worst: f64, total: usize) -> Claim {
    Claim::new(
        "Kumar, section 4.1.1",
        "Four sets of 50,000 points, standardised to mean 0 and variance 1 along each axis.",
        Verdict::of(worst <= 1e-6 && total == 4 * 50_000),
        format!("largest deviation of a mean from 0 or of a standard deviation from 1: {}", digits(worst, 2)),
    )
}

/// `z = a x + sigma eps` for points `[n, 2]`, with noise of this seed.
fn noised(x: &[f32], NoiseLevel { a, sigma }: NoiseLevel, seed: u64) -> Vec<f32> {
    let mut noise = vec![0.0; x.len()];
    Philox::new(RngState { seed, step: 0, first_image: 0 }, NOISE).fill_normal(0, 0, &mut noise);
    x.iter().zip(noise).map(|(&x, eps)| (a * f64::from(x) + sigma * f64::from(eps)) as f32).collect()
}

fn noising(context: &mut Context, page: &mut Page) -> Result<()> {
    const SHOWN: usize = 1500;
    const TIMES: [f64; 6] = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0];
    let names = PointSet::ALL.map(PointSet::name);
    let mut figure = Figure::new("", TIMES.len()).panel_size(140.0, 140.0).shared_axes().row_titles(&names);
    let mut table = Table::new(&[
        "set",
        "mean at t = 1",
        "std at t = 1",
        "correlation with the point",
        "E r⁴ / (E r²)² at t = 0",
        "at t = 1",
    ]);
    let seed = context.settings().seed;
    let mut worst = 0.0f64;
    for (row, set) in PointSet::ALL.into_iter().enumerate() {
        let x = draw(set, DATA_SEED, 0, POINTS, &set.standardisation());
        for t in TIMES {
            let z = noised(&x[..2 * SHOWN], Continuous::VpCosine.level(t), seed);
            let title = if row == 0 { format!("t = {t}") } else { String::new() };
            figure = figure.panel(plane(&title).cloud("", pairs(&z)));
        }
        let last = pairs(&noised(&x, Continuous::VpCosine.level(1.0), seed));
        let (moments, shape) = (Standardisation::of(&last), [kurtosis(&pairs(&x)), kurtosis(&last)]);
        let left = signal_left(&pairs(&x), &last);
        worst = worst.max(from_noise(&moments, shape[1], left));
        let pair = |values: [f64; 2]| format!("{:+.4}, {:+.4}", values[0], values[1]);
        let shapes = shape.map(|shape| digits(shape, 4));
        let cells = [set.name().into(), pair(moments.mean), pair(moments.std), format!("{left:+.4}")];
        table.row(cells.into_iter().chain(shapes));
    }
    page.plot("2d-noising", "Kumar, Fig. 4.2: 1,500 points of each set at times from 0 to 1 under VP-cosine.", &figure);
    page.table(
        "2d-noising",
        "All 50,000 points at t = 1. Of a standard normal in the plane, E r⁴ / (E r²)² is 2.",
        table,
    );
    page.claims([judge_noising(worst)]);
    Ok(())
}

/// Judges the largest deviation from a standard normal.
fn judge_noising(worst: f64) -> Claim {
    Claim::new(
        "Kumar, section 3.1",
        "At t = 1 the points are distributed as N(0, I), whatever the set.",
        Verdict::of(worst <= 0.02),
        format!(
            "largest deviation of mean, standard deviation, correlation with the clean point and (a quarter of) the fourth \
             moment: {}",
            digits(worst, 2)
        ),
    )
}

/// Largest deviation of noised points from a standard normal that knows nothing of the clean ones: of the moments, the
/// shape and the correlation. With its variance preserved a point keeps its mean and deviation however much of it is left.
fn from_noise(Standardisation { mean, std }: &Standardisation, shape: f64, left: f64) -> f64 {
    let moments = mean.iter().map(|m| m.abs()).chain(std.iter().map(|s| (s - 1.0).abs()));
    moments.chain([(shape - 2.0).abs() / 4.0, left.abs()]).fold(0.0, f64::max)
}

/// Correlation of noised points with the clean ones, over both axes.
fn signal_left(clean: &[[f64; 2]], noised: &[[f64; 2]]) -> f64 {
    let product = |a: &[[f64; 2]], b: &[[f64; 2]]| -> f64 {
        a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| a * b).sum()
    };
    product(clean, noised) / (product(clean, clean) * product(noised, noised)).sqrt()
}

/// The fourth moment of the distance from the origin over the square of the second.
fn kurtosis(points: &[[f64; 2]]) -> f64 {
    let moment =
        |power: i32| points.iter().map(|p| (p[0] * p[0] + p[1] * p[1]).powi(power)).sum::<f64>() / points.len() as f64;
    moment(2) / moment(1).powi(2)
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, Refuted};
    use super::*;

    #[test]
    fn sets_are_judged_on_both_sides() {
        let data = |worst, total| judge_data(worst, total).verdict;
        assert_eq!([data(1e-7, 200_000), data(1e-5, 200_000), data(1e-7, 199_999)], [Confirmed, Refuted, Refuted]);
        assert_eq!([0.01, 0.03, f64::NAN].map(|worst| judge_noising(worst).verdict), [Confirmed, Refuted, Refuted]);
    }

    /// At t = 1 nothing is left of the points; a process that stopped before, whose moments are the same, is found out.
    #[test]
    fn a_process_that_leaves_signal_is_refuted() {
        for set in PointSet::ALL {
            let x = draw(set, DATA_SEED, 0, POINTS, &set.standardisation());
            let verdict = |t: f64| {
                let z = pairs(&noised(&x, Continuous::VpCosine.level(t), 5));
                let deviation = from_noise(&Standardisation::of(&z), kurtosis(&z), signal_left(&pairs(&x), &z));
                judge_noising(deviation).verdict
            };
            assert_eq!([1.0, 0.97, 0.8].map(verdict), [Confirmed, Refuted, Refuted], "{}", set.name());
        }
    }
}
