//! Lines, bands, bars, boxes, dots and clouds as SVG paths.

use super::axis::Scale;
use super::panel::{Mark, Plot, Series};
use super::svg::add;
use std::fmt::Write;

/// More points of a line than this cannot be told apart.
const MAX_POINTS: usize = 1200;

impl Plot {
    /// Draws one series in `colour`.
    pub(super) fn draw_series(&self, svg: &mut String, series: &Series, colour: &str, x: &Scale, y: &Scale) {
        match series.mark {
            Mark::Dots => {
                let dots = self.dots(&series.points, x, y);
                add(svg, format_args!("<path class=\"dots\" stroke=\"{colour}\" d=\"{dots}\"/>"));
            }
            Mark::Cloud | Mark::Backdrop => {
                let class = if series.mark == Mark::Backdrop { "cloud backdrop" } else { "cloud" };
                let cloud = self.cloud_path(&series.points, x, y);
                add(
                    svg,
                    format_args!(
                        "<g transform=\"scale(.1)\"><path class=\"{class}\" stroke=\"{colour}\" d=\"{cloud}\"/></g>"
                    ),
                );
            }
            Mark::Band => {
                let area = self.area(series, x, y);
                add(svg, format_args!("<path class=\"band\" style=\"fill:{colour}\" d=\"{area}\"/>"));
            }
            Mark::Bars => {
                let bars = self.bars(series, x, y);
                add(svg, format_args!("<path class=\"bars\" stroke=\"{colour}\" d=\"{bars}\"/>"));
            }
            Mark::Boxes => {
                let boxes = self.box_path(series, x, y);
                add(svg, format_args!("<path class=\"boxes\" style=\"fill:{colour}\" d=\"{boxes}\"/>"));
            }
            Mark::Line | Mark::Dashed | Mark::Faint | Mark::Beads => {
                let class = match series.mark {
                    Mark::Dashed => "line dashed",
                    Mark::Faint => "line faint",
                    _ => "line",
                };
                let line = self.line_path(&series.points, x, y);
                add(svg, format_args!("<path class=\"{class}\" stroke=\"{colour}\" d=\"{line}\"/>"));
                if series.mark == Mark::Beads {
                    let dots = self.dots(&series.points, x, y);
                    add(svg, format_args!("<path class=\"beads\" stroke=\"{colour}\" d=\"{dots}\"/>"));
                }
            }
        }
    }

    fn line_path(&self, points: &[[f64; 2]], x: &Scale, y: &Scale) -> String {
        let (mut path, mut pen_down) = (String::new(), false);
        for [px, py] in thin_out(points) {
            let shown = self.x.shows(px) && self.y.shows(py);
            if shown {
                let command = if pen_down { 'L' } else { 'M' };
                push(&mut path, format_args!("{command}{:.1} {:.1}", x.place(px), y.place(py)));
            }
            pen_down = shown;
        }
        path
    }

    fn dots(&self, points: &[[f64; 2]], x: &Scale, y: &Scale) -> String {
        let mut path = String::new();
        for &[px, py] in points.iter().filter(|p| self.x.shows(p[0]) && self.y.shows(p[1])) {
            push(&mut path, format_args!("M{:.1} {:.1}h0", x.place(px), y.place(py)));
        }
        path
    }

    /// Whole tenths of a place, each point relative to the one before: 8 bytes a point.
    fn cloud_path(&self, points: &[[f64; 2]], x: &Scale, y: &Scale) -> String {
        let (mut path, mut last) = (String::new(), [0, 0]);
        for &[px, py] in points.iter().filter(|p| self.x.shows(p[0]) && self.y.shows(p[1])) {
            let place = [x.place(px), y.place(py)].map(|v| (10.0 * v).round() as i64);
            let [dx, dy] = [place[0] - last[0], place[1] - last[1]];
            let space = if dy < 0 { "" } else { " " };
            push(&mut path, format_args!("m{dx}{space}{dy}h0"));
            last = place;
        }
        path
    }

    /// Along the upper edge and back along the lower one.
    fn area(&self, series: &Series, x: &Scale, y: &Scale) -> String {
        let ends = series.points.iter().zip(&series.spans);
        let ends = ends.filter(|(p, span)| self.x.shows(p[0]) && span.iter().all(|v| v.is_finite()));
        let ends: Vec<[f64; 3]> =
            ends.map(|(p, span)| [x.place(p[0]), y.place_within(span[0]), y.place_within(span[1])]).collect();
        let mut path = String::new();
        for (i, [px, _, high]) in ends.iter().enumerate() {
            push(&mut path, format_args!("{}{px:.1} {high:.1}", if i == 0 { 'M' } else { 'L' }));
        }
        ends.iter().rev().for_each(|[px, low, _]| push(&mut path, format_args!("L{px:.1} {low:.1}")));
        path + if ends.is_empty() { "" } else { "Z" }
    }

    fn box_path(&self, series: &Series, x: &Scale, y: &Scale) -> String {
        let mut path = String::new();
        for (edges, spans) in series.points.chunks(2).zip(series.spans.chunks(2)) {
            let [left, right] = [edges[0], edges[1]].map(|edge| x.place_within(edge[0]));
            let [low, high] = spans[0].map(|end| y.place_within(end));
            push(&mut path, format_args!("M{left:.1} {low:.1}V{high:.1}H{right:.1}V{low:.1}Z"));
        }
        path
    }

    fn bars(&self, series: &Series, x: &Scale, y: &Scale) -> String {
        let mut path = String::new();
        for (p, [low, high]) in series.points.iter().zip(&series.spans) {
            if self.x.shows(p[0]) && low.is_finite() && high.is_finite() {
                let (px, low, high) = (x.place(p[0]), y.place_within(*low), y.place_within(*high));
                push(&mut path, format_args!("M{:.1} {low:.1}h8m-4 0V{high:.1}m-4 0h8", px - 4.0));
            }
        }
        path
    }
}

fn push(path: &mut String, what: std::fmt::Arguments<'_>) {
    path.write_fmt(what).expect("a string takes every write");
}

/// At most [`MAX_POINTS`] points that look like all of them: the lowest and the highest of each stretch, in order.
pub(super) fn thin_out(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
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

#[cfg(test)]
mod tests {
    use super::super::axis::Axis;
    use super::*;

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

    /// A rule of the style sheet would win over an attribute.
    #[test]
    fn areas_are_filled_by_a_style() {
        let plot = Plot::new("", "", "").boxes("box", vec![[0.0, 0.0, 2.0, 1.0], [1.0, 1.0, 3.0, 2.0]]);
        let svg = plot.band(vec![[0.0, 0.0, 1.0], [3.0, 1.0, 2.0]]).line("middle", vec![[0.0, 0.5], [3.0, 1.5]]).svg();
        for area in ["<path class=\"boxes\"", "<path class=\"band\""] {
            let line = svg.lines().find(|line| line.starts_with(area)).unwrap();
            assert!(line.contains(" style=\"fill:#"), "{line}");
        }
        let boxes = svg.lines().find(|line| line.contains("class=\"boxes\"")).unwrap();
        assert_eq!((boxes.matches('M').count(), boxes.matches('Z').count()), (2, 2), "{boxes}");
    }

    #[test]
    fn a_cloud_is_short_and_does_not_drift() {
        let points: Vec<[f64; 2]> = (0..2000).map(|i| [f64::from(i * 37 % 1000), f64::from(i * 91 % 1000)]).collect();
        let plot = Plot::new("", "", "").x_range(0.0, 1000.0).y_range(0.0, 1000.0);
        let scale = |axis: &Axis, from, to| axis.scale([].into_iter(), from, to);
        let path = plot.cloud_path(&points, &scale(&plot.x, 0.0, 150.0), &scale(&plot.y, 150.0, 0.0));
        assert!(path.len() <= 12 * points.len(), "{} bytes", path.len());
        let mut at = [0i64; 2];
        for step in path.split('m').skip(1) {
            let step = step.trim_end_matches("h0").replace('-', " -");
            let parts: Vec<i64> = step.split_whitespace().map(|v| v.parse().unwrap()).collect();
            at = [at[0] + parts[0], at[1] + parts[1]];
        }
        let last = points[1999];
        assert_eq!(at, [(1.5 * last[0]).round() as i64, (1500.0 - 1.5 * last[1]).round() as i64]);
    }
}
