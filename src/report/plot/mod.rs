//! Small plots as SVG, readable on light and dark pages: a [`Plot`] is one panel of curves or points, a [`Figure`] a
//! grid of them.
//!
//! ```text
//! mod.rs     what a panel shows
//! axis.rs    ranges, scales, ticks
//! marks.rs   lines, bands, dots, clouds of points
//! figure.rs  where panels, titles, tick labels and the legend lie
//! ```

mod axis;
mod figure;
mod marks;

use std::{fmt::Write, path::Path};

use axis::Axis;
pub use figure::Figure;

use super::Record;
use crate::{Result, data::Dataset};

/// Distinguishable also without full colour vision (Okabe and Ito), darkest first.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// A panel under construction: axes and what is drawn between them.
#[derive(Clone, Debug)]
pub struct Plot {
    title: String,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    mark: Mark,
    /// (x, y); of a band and of bars the middle of what they span.
    points: Vec<[f64; 2]>,
    /// (low, high) of a band or of bars, one a point.
    spans: Vec<[f64; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Line,
    /// A line that is compared with: known values, a bound.
    Dashed,
    /// A line whose points are marked: few measurements.
    Beads,
    Dots,
    /// Thousands of points, each too small to have a shape.
    Cloud,
    /// A thin line.
    Faint,
    /// An area between two curves.
    Band,
    /// Upright bars.
    Bars,
}

impl Mark {
    /// Whether it only accompanies the next series: drawn in its colour, without an entry in the legend.
    fn accompanies(self) -> bool {
        matches!(self, Mark::Faint | Mark::Band | Mark::Bars)
    }
}

impl Plot {
    /// An empty panel with its axes' labels, which name the units.
    pub fn new(title: &str, x_label: &str, y_label: &str) -> Plot {
        Plot { title: title.into(), x: Axis::new(x_label), y: Axis::new(y_label), series: Vec::new() }
    }

    /// A logarithmic x axis; points at or left of 0 are left out.
    pub fn log_x(mut self) -> Plot {
        self.x.log = true;
        self
    }

    /// A logarithmic y axis; points at or below 0 are left out.
    pub fn log_y(mut self) -> Plot {
        self.y.log = true;
        self
    }

    /// Shows this range of x whatever the data; what lies outside is left out.
    pub fn x_range(mut self, lo: f64, hi: f64) -> Plot {
        self.x.range = Some((lo, hi));
        self
    }

    /// Shows this range of y whatever the data; what lies outside is left out.
    pub fn y_range(mut self, lo: f64, hi: f64) -> Plot {
        self.y.range = Some((lo, hi));
        self
    }

    /// Adds a line through (x, y) points.
    pub fn line(self, name: &str, points: Vec<[f64; 2]>) -> Plot {
        self.with(name, Mark::Line, points)
    }

    /// Adds a dashed line through (x, y) points, for what measurements are compared with.
    pub fn dashed_line(self, name: &str, points: Vec<[f64; 2]>) -> Plot {
        self.with(name, Mark::Dashed, points)
    }

    /// Adds a line through (x, y) points that are marked.
    pub fn beads(self, name: &str, points: Vec<[f64; 2]>) -> Plot {
        self.with(name, Mark::Beads, points)
    }

    /// Adds dots at (x, y) points.
    pub fn scatter(self, name: &str, points: Vec<[f64; 2]>) -> Plot {
        self.with(name, Mark::Dots, points)
    }

    /// Adds thousands of (x, y) points.
    pub fn cloud(self, name: &str, points: Vec<[f64; 2]>) -> Plot {
        self.with(name, Mark::Cloud, points)
    }

    /// Adds the raw data behind the series that is added next.
    pub fn faint_line(self, points: Vec<[f64; 2]>) -> Plot {
        self.with("", Mark::Faint, points)
    }

    /// Adds an area (x, low, high) behind the series that is added next.
    pub fn band(self, points: Vec<[f64; 3]>) -> Plot {
        self.with_spans(Mark::Band, points)
    }

    /// Adds bars (x, low, high) behind the series that is added next.
    pub fn error_bars(self, points: Vec<[f64; 3]>) -> Plot {
        self.with_spans(Mark::Bars, points)
    }

    fn with(mut self, name: &str, mark: Mark, points: Vec<[f64; 2]>) -> Plot {
        self.series.push(Series { name: name.into(), mark, points, spans: Vec::new() });
        self
    }

    fn with_spans(mut self, mark: Mark, points: Vec<[f64; 3]>) -> Plot {
        let spans = points.iter().map(|&[_, low, high]| [low, high]).collect();
        let points = points.into_iter().map(|[x, low, high]| [x, 0.5 * (low + high)]).collect();
        self.series.push(Series { name: String::new(), mark, points, spans });
        self
    }

    /// Everything between the axes, as (x, y) points.
    fn extent(&self) -> impl Iterator<Item = [f64; 2]> {
        let ends = |s: &'_ Series| {
            let ends: Vec<[f64; 2]> = match s.spans.is_empty() {
                true => s.points.clone(),
                false => s.points.iter().zip(&s.spans).flat_map(|(p, span)| span.map(|y| [p[0], y])).collect(),
            };
            ends
        };
        let shown = |p: &[f64; 2]| self.x.shows(p[0]) && self.y.shows(p[1]);
        self.series.iter().flat_map(ends).filter(shown)
    }

    /// The panel alone as an SVG document, which may also stand inside an HTML page. Points that are not finite break a
    /// line.
    pub fn svg(&self) -> String {
        self.figure().svg()
    }

    /// Writes [`Plot::svg`] to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.figure().write(path)
    }

    /// The panel as a figure whose title is that of the panel.
    pub fn figure(&self) -> Figure {
        let panel = Plot { title: String::new(), ..self.clone() };
        Figure::new(&self.title, 1).panel(panel).panel_size(670.0, 306.0)
    }
}

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

fn text(svg: &mut String, class: &str, [x, y]: [f64; 2], anchor: &str, content: &str) {
    let content = escape(content);
    add(svg, format_args!("<text{class} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>"));
}

fn add(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("a string takes every write");
    svg.push('\n');
}

/// Text as it must stand in SVG and HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
