//! A panel: its axes and the series drawn between them.

use super::axis::Axis;

/// A panel under construction: axes and what is drawn between them.
#[derive(Clone, Debug)]
pub struct Plot {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) mark: Mark,
    /// (x, y); of a band and of bars the middle of what they span.
    pub(super) points: Vec<[f64; 2]>,
    /// (low, high) of a band, of bars or of boxes, one a point. A box has two points, its left and its right edge.
    pub(super) spans: Vec<[f64; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Line,
    /// A line that is compared with: known values, a bound.
    Dashed,
    /// A line whose points are marked: few measurements.
    Beads,
    Dots,
    /// Thousands of points, each too small to have a shape.
    Cloud,
    /// The same, of what measurements are compared with.
    Backdrop,
    /// A thin line.
    Faint,
    /// An area between two curves.
    Band,
    /// Upright bars.
    Bars,
    /// Rectangles.
    Boxes,
}

impl Mark {
    /// True if it has the colour of the text instead of one of its own.
    pub(super) fn is_plain(self) -> bool {
        matches!(self, Mark::Dashed | Mark::Backdrop)
    }

    /// True if it only accompanies the next series: drawn in its colour, without an entry in the legend.
    pub(super) fn accompanies(self) -> bool {
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

    /// Adds thousands of (x, y) points with which others are compared.
    pub fn backdrop(self, name: &str, points: Vec<[f64; 2]>) -> Plot {
        self.with(name, Mark::Backdrop, points)
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

    /// Adds rectangles (x0, y0, x1, y1).
    pub fn boxes(mut self, name: &str, boxes: Vec<[f64; 4]>) -> Plot {
        let (points, spans) = boxes.iter().flat_map(|&[x0, y0, x1, y1]| [x0, x1].map(|x| ([x, y0], [y0, y1]))).unzip();
        self.series.push(Series { name: name.into(), mark: Mark::Boxes, points, spans });
        self
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
    pub(super) fn extent(&self) -> impl Iterator<Item = [f64; 2]> {
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
}
