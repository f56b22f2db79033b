//! Plots of a run and of its data.

use super::figure::Figure;
use super::panel::Plot;
use crate::data::Dataset;
use crate::report::metrics::Record;

/// Moving average over about `window` values around each, fewer towards the ends: at the start, where a loss falls
/// steeply, the window stays symmetric.
pub fn smooth(values: &[f64], window: usize) -> Vec<f64> {
    let mut sums = vec![0.0];
    sums.extend(values.iter().scan(0.0, |sum, value| {
        *sum += value;
        Some(*sum)
    }));
    let average = |i: usize| {
        let half = i.min(window / 2);
        let (first, end) = (i - half, (i + half + 1).min(values.len()));
        (sums[end] - sums[first]) / (end - first) as f64
    };
    (0..values.len()).map(average).collect()
}

/// The loss against the step: every value, and a moving average over a twenty-fifth of the run.
pub fn loss_curve(records: &[Record]) -> Plot {
    let raw: Vec<[f64; 2]> = records.iter().map(|record| [record.step as f64, f64::from(record.loss)]).collect();
    let losses: Vec<f64> = raw.iter().map(|point| point[1]).collect();
    let smoothed = smooth(&losses, records.len() / 25);
    let smoothed = raw.iter().zip(smoothed).map(|(point, loss)| [point[0], loss]).collect();
    Plot::new("Training loss", "step", "loss").log_y().faint_line(raw).line("smoothed", smoothed)
}

/// The points of a data set at `indices`, a series for each class.
///
/// # Panics
/// If the data set holds images.
pub fn data_scatter(dataset: &Dataset, indices: &[usize]) -> Figure {
    let points = dataset.points().expect("the data set holds points");
    let mut classes = vec![Vec::new(); dataset.class_names().len().max(1)];
    for &i in indices {
        let class = dataset.labels().map_or(0, |labels| labels[i] as usize);
        classes[class].push([f64::from(points[2 * i]), f64::from(points[2 * i + 1])]);
    }
    let names = dataset.class_names().iter().map(String::as_str).chain([""]);
    let panel = Plot::new("", "x (standardised)", "y (standardised)").x_range(-2.6, 2.6).y_range(-2.6, 2.6);
    let panel = classes.into_iter().zip(names).fold(panel, |panel, (points, name)| panel.cloud(name, points));
    Figure::new(dataset.name(), 1).panel(panel).panel_size(480.0, 480.0)
}
