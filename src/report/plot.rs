//! Small line and scatter plots as SVG, readable on light and dark pages.

use std::{fmt::Write, path::Path};

use super::{Record, replace_file};
use crate::{Result, data::Dataset};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 50.0;
/// More points of a line than this cannot be told apart.
const MAX_POINTS: usize = 1200;
/// Distinguishable also without full colour vision (Okabe and Ito), darkest first.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const STYLE: &str = "\
.plot{font:13px system-ui,sans-serif;color:#222;background:#fff}.plot text{fill:currentColor}.plot .title{font-size:16px;font-weight:600}\
.plot .frame,.plot .tick{stroke:currentColor;fill:none;stroke-width:1}.plot .tick{opacity:.14}.plot .line{fill:none;stroke-width:2;stroke-linejoin:round}\
.plot .faint{stroke-width:1;opacity:.3}@media(prefers-color-scheme:dark){.plot{color:#ddd;background:#181a1d}.plot .line{filter:brightness(1.4)}.plot .faint{opacity:.45}}";

/// A plot under construction.
#[derive(Clone, Debug)]
pub struct Plot {
    title: String,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
}

#[derive(Clone, Debug, Default)]
struct Axis {
    label: String,
    log: bool,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    mark: Mark,
    points: Vec<[f64; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Line,
    /// A thin line behind the next series, in its colour and without an entry in the legend.
    Faint,
    Dots,
}

impl Plot {
    /// An empty plot with its axes' labels.
    pub fn new(title: &str, x_label: &str, y_label: &str) -> Plot {
        let axis = |label: &str| Axis { label: label.into(), log: false };
        Plot { title: title.into(), x: axis(x_label), y: axis(y_label), series: Vec::new() }
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

    /// Adds a line through (x, y) points.
    pub fn line(self, name: &str, points: Vec<[f64; 2]>) -> Plot {
        self.with(name, Mark::Line, points)
    }

    /// Adds the raw data behind the line that is added next.
    pub fn faint_line(self, points: Vec<[f64; 2]>) -> Plot {
        self.with("", Mark::Faint, points)
    }

    /// Adds dots at (x, y) points.
    pub fn scatter(self, name: &str, points: Vec<[f64; 2]>) -> Plot {
        self.with(name, Mark::Dots, points)
    }

    fn with(mut self, name: &str, mark: Mark, points: Vec<[f64; 2]>) -> Plot {
        self.series.push(Series { name: name.into(), mark, points });
        self
    }

    /// The plot as an SVG document, which may also stand inside an HTML page. Points that are not finite break a line.
    pub fn svg(&self) -> String {
        let shown = |point: &&[f64; 2]| self.x.shows(point[0]) && self.y.shows(point[1]);
        let points: Vec<[f64; 2]> = self.series.iter().flat_map(|s| s.points.iter().filter(shown)).copied().collect();
        let scale =
            |axis: &Axis, k: usize, from: f64, to: f64| Scale::new(axis.log, points.iter().map(|p| p[k]), from, to);
        let x = scale(&self.x, 0, LEFT, WIDTH - RIGHT);
        let y = scale(&self.y, 1, HEIGHT - BOTTOM, TOP);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\
             <style>{STYLE}</style>\n<title>{title}</title>\n<text class=\"title\" x=\"{LEFT}\" y=\"24\">{title}</text>\n",
            title = escape(&self.title),
        );
        self.draw_axes(&mut svg, &x, &y);
        if points.is_empty() {
            text(&mut svg, [(LEFT + WIDTH - RIGHT) / 2.0, HEIGHT / 2.0], "middle", "no data yet");
        }
        let mut colour = 0;
        for series in &self.series {
            let stroke = COLOURS[colour % COLOURS.len()];
            self.draw_series(&mut svg, series, stroke, &x, &y);
            colour += usize::from(series.mark != Mark::Faint);
        }
        self.draw_legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    /// Writes [`Plot::svg`] to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        replace_file(path, self.svg().as_bytes())
    }

    fn draw_axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, label) in x.ticks() {
            let at = x.place(value);
            add(svg, format_args!("<path class=\"tick\" d=\"M{at:.1} {TOP}V{bottom}\"/>"));
            text(svg, [at, bottom + 18.0], "middle", &label);
        }
        for (value, label) in y.ticks() {
            let at = y.place(value);
            add(svg, format_args!("<path class=\"tick\" d=\"M{LEFT} {at:.1}H{right}\"/>"));
            text(svg, [LEFT - 8.0, at + 4.5], "end", &label);
        }
        add(svg, format_args!("<path class=\"frame\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>"));
        text(svg, [(LEFT + right) / 2.0, HEIGHT - 12.0], "middle", &self.x.label);
        let middle = (TOP + bottom) / 2.0;
        let label = escape(&self.y.label);
        add(
            svg,
            format_args!("<text transform=\"translate(16 {middle})rotate(-90)\" text-anchor=\"middle\">{label}</text>"),
        );
    }

    fn draw_series(&self, svg: &mut String, series: &Series, colour: &str, x: &Scale, y: &Scale) {
        let mut path = String::new();
        match series.mark {
            Mark::Dots => {
                for &[px, py] in series.points.iter().filter(|p| self.x.shows(p[0]) && self.y.shows(p[1])) {
                    add(&mut path, format_args!("M{:.1} {:.1}h0", x.place(px), y.place(py)));
                }
                let style = "fill=\"none\" stroke-width=\"3\" stroke-linecap=\"round\" opacity=\".6\"";
                add(svg, format_args!("<path {style} stroke=\"{colour}\" d=\"{}\"/>\n", path.replace('\n', "")));
            }
            mark => {
                let mut pen_down = false;
                for [px, py] in thin_out(&series.points) {
                    let shown = self.x.shows(px) && self.y.shows(py);
                    if shown {
                        let command = if pen_down { 'L' } else { 'M' };
                        add(&mut path, format_args!("{command}{:.1} {:.1}", x.place(px), y.place(py)));
                    }
                    pen_down = shown;
                }
                let class = if mark == Mark::Faint { "line faint" } else { "line" };
                add(
                    svg,
                    format_args!("<path class=\"{class}\" stroke=\"{colour}\" d=\"{}\"/>\n", path.replace('\n', "")),
                );
            }
        }
    }

    /// One entry per named series, right-aligned beside the title.
    fn draw_legend(&self, svg: &mut String) {
        let named: Vec<&str> = self.series.iter().filter(|s| s.mark != Mark::Faint).map(|s| s.name.as_str()).collect();
        let mut right = WIDTH - RIGHT;
        for (i, name) in named.iter().enumerate().rev().filter(|(_, name)| !name.is_empty()) {
            text(svg, [right, 24.0], "end", name);
            right -= 7.8 * name.chars().count() as f64 + 24.0;
            let colour = COLOURS[i % COLOURS.len()];
            add(svg, format_args!("<path stroke=\"{colour}\" stroke-width=\"3\" d=\"M{right:.1} 20h16\"/>"));
            right -= 14.0;
        }
    }
}

impl Axis {
    fn shows(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || value > 0.0)
    }
}

/// The way from values to places on the page.
struct Scale {
    log: bool,
    /// The range shown; of the logarithms on a logarithmic axis.
    range: (f64, f64),
    from: f64,
    to: f64,
}

impl Scale {
    fn new(log: bool, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Scale {
        let values = values.map(|value| if log { value.log10() } else { value });
        let (lo, hi) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
        let range = if lo > hi {
            (0.0, 1.0)
        } else if hi - lo <= 1e-9 * lo.abs().max(hi.abs()) {
            let around = if log { 0.5 } else { 0.5 * lo.abs() };
            (lo - around.max(1e-9), hi + around.max(1e-9))
        } else {
            // Air above and below the data; x starts where the data do.
            let air = if from > to { 0.04 * (hi - lo) } else { 0.0 };
            (lo - air, hi + air)
        };
        Scale { log, range, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        self.from + (value - self.range.0) / (self.range.1 - self.range.0) * (self.to - self.from)
    }

    /// Round values in the range, with their labels.
    fn ticks(&self) -> Vec<(f64, String)> {
        let (lo, hi) = self.range;
        if !self.log {
            let step = nice_step((hi - lo) / 6.0);
            let decimals = (-step.log10().floor()).max(0.0) as usize;
            let first = (lo / step).ceil() as i64;
            let ticks = (first..).map(|i| i as f64 * step).take_while(|&value| value <= hi + 1e-9 * step);
            return ticks.map(|value| (value, number(value, decimals))).collect();
        }
        let within: &[f64] = match hi - lo {
            decades if decades > 2.5 => &[1.0],
            decades if decades > 0.7 => &[1.0, 2.0, 5.0],
            _ => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        };
        let every = ((hi - lo) / 8.0).ceil().max(1.0) as usize;
        let decades = (lo.floor() as i32..=hi.ceil() as i32).step_by(every);
        let ticks = decades.flat_map(|decade| within.iter().map(move |factor| factor * 10f64.powi(decade)));
        ticks
            .filter(|value| (lo - 1e-9..=hi + 1e-9).contains(&value.log10()))
            .map(|value| (value, if (1e-4..1e6).contains(&value) { plain(value) } else { format!("{value:.0e}") }))
            .collect()
    }
}

/// The 1, 2 or 5 times a power of ten that is not below `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|&nice| nice * power >= step * (1.0 - 1e-9)).unwrap_or(10.0)
}

fn number(value: f64, decimals: usize) -> String {
    let value = if value == 0.0 { 0.0 } else { value };
    if value.abs() >= 1e6 {
        format!("{}M", plain(value / 1e6))
    } else if value.abs() >= 1e4 {
        format!("{}k", plain(value / 1e3))
    } else {
        format!("{value:.decimals$}")
    }
}

/// Up to six decimals, without trailing zeros.
fn plain(value: f64) -> String {
    format!("{value:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// At most [`MAX_POINTS`] points that look like all of them: the lowest and the highest of each stretch, in order.
fn thin_out(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    if points.len() <= MAX_POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MAX_POINTS / 2);
    let extremes = points.chunks(stretch).flat_map(|part| {
        let by_y = |a: &usize, b: &usize| part[*a][1].total_cmp(&part[*b][1]);
        let low = (0..part.len()).min_by(by_y).unwrap_or(0);
        let high = (0..part.len()).max_by(by_y).unwrap_or(0);
        [part[low.min(high)], part[low.max(high)]]
    });
    extremes.collect()
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
pub fn data_scatter(dataset: &Dataset, indices: &[usize]) -> Plot {
    let points = dataset.points().expect("the data set holds points");
    let mut classes = vec![Vec::new(); dataset.class_names().len().max(1)];
    for &i in indices {
        let class = dataset.labels().map_or(0, |labels| labels[i] as usize);
        classes[class].push([f64::from(points[2 * i]), f64::from(points[2 * i + 1])]);
    }
    let names = dataset.class_names().iter().map(String::as_str).chain([""]);
    let plot = Plot::new(dataset.name(), "x (standardised)", "y (standardised)");
    classes.into_iter().zip(names).fold(plot, |plot, (points, name)| plot.scatter(name, points))
}

fn text(svg: &mut String, [x, y]: [f64; 2], anchor: &str, content: &str) {
    let content = escape(content);
    add(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>"));
}

fn add(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("a string takes every write");
    svg.push('\n');
}

/// Text as it must stand in SVG and HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(log: bool, lo: f64, hi: f64) -> Vec<String> {
        Scale::new(log, [lo, hi].into_iter(), 0.0, 100.0).ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_within_the_range() {
        assert_eq!(labels(false, 0.0, 2000.0), ["0", "500", "1000", "1500", "2000"]);
        assert_eq!(labels(false, 0.0, 1.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(false, -0.013, 0.021), ["-0.01", "0.00", "0.01", "0.02"]);
        assert_eq!(labels(false, 0.0, 250_000.0), ["0", "50k", "100k", "150k", "200k", "250k"]);
        assert_eq!(labels(true, 0.02, 1.0), ["0.02", "0.05", "0.1", "0.2", "0.5", "1"]);
        assert_eq!(labels(true, 1e-6, 1e2).len(), 9);
        assert_eq!(labels(false, 3.0, 3.0).len(), 7);
    }

    #[test]
    fn a_plot_is_well_formed_and_leaves_out_what_cannot_be_drawn() {
        let points = vec![[0.0, 1.0], [1.0, f64::NAN], [2.0, 0.5], [3.0, -1.0], [4.0, 0.25]];
        let svg = Plot::new("a < b", "step", "loss").log_y().faint_line(points.clone()).line("loss", points).svg();
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg.matches("<path class=\"line\"").count(), 1);
        assert_eq!(svg.matches(COLOURS[0]).count(), 3);
        assert!(Plot::new("", "", "").svg().contains("no data yet"));
        assert!(Plot::new("", "", "").scatter("data", vec![[1.0, 2.0]]).svg().contains("h0"));
    }

    #[test]
    fn thinning_keeps_the_extremes() {
        let mut points: Vec<[f64; 2]> = (0..100_000).map(|i| [f64::from(i), f64::from(i % 7)]).collect();
        points[4321][1] = 50.0;
        points[98_765][1] = -50.0;
        let thin = thin_out(&points);
        assert!(thin.len() <= MAX_POINTS);
        assert!(thin.contains(&points[4321]) && thin.contains(&points[98_765]));
        assert!(thin.windows(2).all(|pair| pair[0][0] <= pair[1][0]));
    }

    #[test]
    fn smoothing_is_an_average_without_lag() {
        assert!(smooth(&[3.0; 50], 10).iter().all(|average| (average - 3.0).abs() <= 1e-12));
        let ramp: Vec<f64> = (0..100).map(f64::from).collect();
        for (i, average) in smooth(&ramp, 10).into_iter().enumerate().take(95) {
            assert!((average - i as f64).abs() <= 1e-9, "{average} at {i}");
        }
        assert_eq!(smooth(&[1.0, 2.0], 1), [1.0, 2.0]);
        assert!(smooth(&[], 10).is_empty());
    }
}
