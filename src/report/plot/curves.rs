//! Plots of a run and of its data.

use super::figure::Figure;
use super::marks::thin_out;
use super::panel::Plot;
use crate::data::Dataset;
use crate::report::metrics::Record;

/// Standard deviations around the mean that are shown of points.
const STANDARDISED: f64 = 2.6;
/// Width and height of a plot of samples that stands beside another.
pub const SCATTER: f64 = 300.0;

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

/// The course of the loss, step by step.
#[derive(Clone, Debug, Default)]
pub struct LossCurve {
    /// (step, loss)
    losses: Vec<[f64; 2]>,
    /// (step, mean loss, its standard error)
    validations: Vec<[f64; 3]>,
}

impl LossCurve {
    /// Adds a step.
    pub fn add(&mut self, record: &Record) {
        let step = record.step as f64;
        self.losses.push([step, f64::from(record.loss)]);
        if let Some(loss) = record.validation_loss {
            self.validations.push([step, f64::from(loss), f64::from(record.validation_error.unwrap_or(0.0))]);
        }
    }

    /// The mean over the last fiftieth of the steps, if there are any.
    pub fn last_loss(&self) -> Option<f64> {
        let last = &self.losses[self.losses.len() - self.losses.len().div_ceil(50)..];
        (!last.is_empty()).then(|| last.iter().map(|point| point[1]).sum::<f64>() / last.len() as f64)
    }

    /// The last validation and the lowest, if there are any.
    pub fn validations(&self) -> Option<[f64; 2]> {
        let losses = self.validations.iter().map(|point| point[1]);
        Some([losses.clone().next_back()?, losses.fold(f64::INFINITY, f64::min)])
    }

    /// The loss against the step: every value, and a moving average over a twenty-fifth of the run; validations with their
    /// standard errors.
    pub fn plot(&self) -> Plot {
        let values: Vec<f64> = self.losses.iter().map(|point| point[1]).collect();
        let smoothed = smooth(&values, values.len() / 25);
        let smoothed: Vec<[f64; 2]> = self.losses.iter().zip(smoothed).map(|(point, loss)| [point[0], loss]).collect();
        let (name, raw) = ("training, smoothed", thin_out(&self.losses));
        let plot = Plot::new("Loss", "step", "loss").log_y().faint_line(raw).line(name, thin_out(&smoothed));
        if self.validations.is_empty() {
            return plot;
        }
        let bars = self.validations.iter().map(|&[step, loss, error]| [step, loss - error, loss + error]).collect();
        let points = self.validations.iter().map(|&[step, loss, _]| [step, loss]).collect();
        plot.error_bars(bars).beads("validation", points)
    }

    /// The plot as SVG documents for broad and for narrow pages.
    pub fn svgs(&self) -> [String; 2] {
        broad_and_narrow(&self.plot())
    }
}

/// A plot as SVG documents for broad and for narrow pages.
pub fn broad_and_narrow(plot: &Plot) -> [String; 2] {
    [plot.svg(), plot.figure().panel_size(270.0, 220.0).svg()]
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
    let range = STANDARDISED;
    let panel = Plot::new("", "x (standardised)", "y (standardised)").x_range(-range, range).y_range(-range, range);
    let panel = classes.into_iter().zip(names).fold(panel, |panel, (points, name)| panel.cloud(name, points));
    Figure::new(dataset.name(), 1).panel(panel).panel_size(480.0, 480.0)
}

/// Samples of a model as a plot, on the data where they are known; both `[n, 1, 1, 2]`.
pub fn sample_scatter(title: &str, samples: &[f32], data: Option<&[f32]>) -> Figure {
    let (range, samples) = (STANDARDISED, plane(samples));
    // Negated, so that what is not a number is outside too.
    let outside = samples.iter().filter(|point| !point.iter().all(|value| value.abs() <= range)).count();
    let title = match outside {
        0 => title.to_owned(),
        _ => format!("{title} ({outside} of {} outside)", samples.len()).trim_start().to_owned(),
    };
    let panel = Plot::new("", "x (standardised)", "y (standardised)").x_range(-range, range).y_range(-range, range);
    let panel = match data {
        Some(data) => panel.backdrop("data", plane(data)),
        None => panel,
    };
    // Few points would be lost among the data.
    let panel = if samples.len() <= 300 { panel.scatter("model", samples) } else { panel.cloud("model", samples) };
    Figure::new(&title, 1).panel(panel).panel_size(SCATTER, SCATTER)
}

/// Points that lie in an order, `[n, 1, 1, 2]`, each a line with a name, on the data where they are known.
pub fn path_scatter(paths: &[(String, &[f32])], data: Option<&[f32]>) -> Figure {
    let range = STANDARDISED;
    let panel = Plot::new("", "x (standardised)", "y (standardised)").x_range(-range, range).y_range(-range, range);
    let panel = match data {
        Some(data) => panel.backdrop("data", plane(data)),
        None => panel,
    };
    let panel = paths.iter().fold(panel, |panel, (name, points)| panel.beads(name, plane(points)));
    Figure::new("", 1).panel(panel).panel_size(480.0, 480.0)
}

/// Values `[n, 1, 1, 2]` as points.
fn plane(values: &[f32]) -> Vec<[f64; 2]> {
    values.chunks_exact(2).map(|point| [f64::from(point[0]), f64::from(point[1])]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64, loss: f32) -> Record {
        Record { step, loss, ..Record::default() }
    }

    #[test]
    fn a_long_curve_keeps_its_peaks_and_stays_short() {
        let mut curve = LossCurve::default();
        (0..200_000).for_each(|step| curve.add(&record(step, if step == 777 { 900.0 } else { 0.5 })));
        curve.add(&Record { validation_loss: Some(0.25), validation_error: Some(0.01), ..record(200_000, 0.5) });
        curve.add(&Record { validation_loss: Some(0.75), ..record(200_001, 0.5) });
        assert_eq!((curve.last_loss(), curve.validations()), (Some(0.5), Some([0.75, 0.25])));
        let [broad, narrow] = curve.svgs();
        for svg in [&broad, &narrow] {
            assert!(svg.len() < 80_000 && svg.contains(">validation<"), "{} bytes", svg.len());
            assert!(svg.contains(">100</text>"), "the peak of 900 is in the range");
        }
        assert_eq!(LossCurve::default().last_loss(), None);
    }

    #[test]
    fn samples_stand_on_the_data_with_axes() {
        let svg = sample_scatter("step 7", &[0.0, 0.0, 1.0, 1.0], Some(&[0.5; 2000])).svg();
        for part in ["class=\"dots\"", "class=\"cloud backdrop\"", ">data<", ">model<", ">x (standardised)<", ">-2<"] {
            assert!(svg.contains(part), "{part} is missing");
        }
        let svg = sample_scatter("step 7", &[0.0, 0.0, f32::NAN, 1.0, 1.0, 3.0], None).svg();
        assert!(svg.contains(">step 7 (2 of 3 outside)<"), "{svg}");
        assert!(!sample_scatter("", &[0.0; 2000], None).svg().contains(">data<"));
    }
}
