//! A grid of panels with one title and one legend, which lies above the panels and so never covers data.

use std::path::Path;

use super::axis::Scale;
use super::panel::{Mark, Plot};
use super::svg::{COLOURS, add, escape, text};
use crate::Result;
use crate::files::replace_file;

/// The left margin of a panel with its own tick labels and y label.
const LEFT: f64 = 72.0;
/// The margin under a panel with its own tick labels and x label.
const BOTTOM: f64 = 46.0;
/// Between panels, and on the right.
const GAP: f64 = 18.0;
const TITLE: f64 = 34.0;
const LEGEND_LINE: f64 = 20.0;
const PANEL_TITLE: f64 = 22.0;
const ROW_TITLE: f64 = 24.0;
/// A letter's width, on average and rather more than less.
const LETTER: f64 = 7.3;

const STYLE: &str = "\
.plot{font:13px system-ui,sans-serif;color:#222}.plot .page{fill:#fff}.plot text{fill:currentColor}.plot .title{font-size:16px;font-weight:600}\
.plot .panel{font-weight:600}.plot path{fill:none}.plot .frame,.plot .tick{stroke:currentColor;stroke-width:1}.plot .tick{opacity:.14}\
.plot .line{stroke-width:2;stroke-linejoin:round}.plot .dashed{stroke-dasharray:6 4;stroke-width:1.6}.plot .faint{stroke-width:1;opacity:.3}\
.plot .dots,.plot .beads,.plot .cloud{stroke-linecap:round}.plot .dots{stroke-width:3;opacity:.6}.plot .beads{stroke-width:6.5}\
.plot .cloud{stroke-width:19;opacity:.65}.plot .backdrop{opacity:.3}.plot path.band{opacity:.2;stroke:none}.plot .bars{stroke-width:1.3}\
.plot path.boxes{opacity:.75;stroke:#fff;stroke-width:.4}\
@media(prefers-color-scheme:dark){.plot{color:#ddd}.plot .page{fill:#181a1d}.plot .line,.plot .cloud{filter:brightness(1.4)}.plot .faint{opacity:.45}}";

/// A figure under construction.
#[derive(Clone, Debug)]
pub struct Figure {
    title: String,
    columns: usize,
    row_titles: Vec<String>,
    panel_size: [f64; 2],
    shared: bool,
    panels: Vec<Plot>,
}

impl Figure {
    /// A figure without panels, so many of which will stand side by side.
    ///
    /// # Panics
    /// If that is none.
    pub fn new(title: &str, columns: usize) -> Figure {
        assert!(columns > 0, "a figure has at least one column");
        Figure {
            title: title.into(),
            columns,
            row_titles: Vec::new(),
            panel_size: [280.0, 200.0],
            shared: false,
            panels: Vec::new(),
        }
    }

    /// Adds a panel, row by row. Its title stands above it: give columns their titles in the first row.
    pub fn panel(mut self, panel: Plot) -> Figure {
        self.panels.push(panel);
        self
    }

    /// Sets the titles at the left of the rows.
    pub fn row_titles(mut self, titles: &[&str]) -> Figure {
        self.row_titles = titles.iter().map(|&title| title.into()).collect();
        self
    }

    /// Width and height of the area between the axes of each panel.
    pub fn panel_size(mut self, width: f64, height: f64) -> Figure {
        self.panel_size = [width, height];
        self
    }

    /// Gives all panels the same axes, labelled at the left and lower edges of the figure only.
    pub fn shared_axes(mut self) -> Figure {
        self.shared = true;
        self
    }

    /// Writes [`Figure::svg`] to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        replace_file(path, self.svg().as_bytes())
    }

    /// The figure as an SVG document, which may also stand inside an HTML page.
    pub fn svg(&self) -> String {
        let legend = Legend::of(&self.panels);
        let layout = Layout::of(self, &legend);
        let title = escape(&self.title);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             style=\"min-width:{least:.0}px;max-width:{most:.0}px\" role=\"img\">\
             <style>{STYLE}</style>\n<title>{title}</title>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n",
            width = layout.width,
            height = layout.height,
            // Smaller letters would be hard to read on a narrow page, which can be pushed sideways instead.
            least = 0.76 * layout.width,
            // Letters that are larger than those around them are no easier to read.
            most = 1.25 * layout.width,
        );
        if !self.title.is_empty() {
            add(&mut svg, format_args!("<text class=\"title\" x=\"{GAP}\" y=\"24\">{title}</text>"));
        }
        legend.draw(&mut svg, &layout);
        for (row, title) in self.row_titles.iter().enumerate().take(layout.rows) {
            let middle = layout.top(row) + self.panel_size[1] / 2.0;
            upright(&mut svg, " class=\"panel\"", 16.0, middle, title);
        }
        let united: Vec<[f64; 2]> =
            if self.shared { self.panels.iter().flat_map(Plot::extent).collect() } else { vec![] };
        for (i, panel) in self.panels.iter().enumerate() {
            let (row, column) = (i / self.columns, i % self.columns);
            let points = if self.shared { united.clone() } else { panel.extent().collect() };
            let (left, top) = (layout.left(column), layout.top(row));
            let [width, height] = self.panel_size;
            let x = panel.x.scale(points.iter().map(|p| p[0]), left, left + width);
            let y = panel.y.scale(points.iter().map(|p| p[1]), top + height, top);
            let last_in_column = i + self.columns >= self.panels.len();
            let frame = Frame {
                left,
                top,
                right: left + width,
                bottom: top + height,
                labels: [!self.shared || last_in_column, !self.shared || column == 0],
            };
            frame.draw(&mut svg, panel, &x, &y);
            if panel.extent().next().is_none() {
                text(&mut svg, "", [left + width / 2.0, top + height / 2.0], "middle", "no data yet");
            }
            draw_marks(&mut svg, panel, &legend, &x, &y);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn draw_marks(svg: &mut String, panel: &Plot, legend: &Legend, x: &Scale, y: &Scale) {
    let mut before = COLOURS[0];
    for (i, series) in panel.series.iter().enumerate() {
        let leader = panel.series[i..].iter().find(|s| !s.mark.accompanies()).unwrap_or(series);
        let colour = match (leader.mark, leader.name.is_empty()) {
            (Mark::Dashed, true) => before,
            (Mark::Dashed, false) | (Mark::Backdrop, _) => "currentColor",
            _ => legend.colour(&leader.name),
        };
        panel.draw_series(svg, series, colour, x, y);
        before = colour;
    }
}

/// Where things lie.
struct Layout {
    width: f64,
    height: f64,
    rows: usize,
    /// Where the panels of the first column and of the first row begin.
    first: [f64; 2],
    /// From the beginning of one panel to that of the next.
    pitch: [f64; 2],
    legend_top: f64,
}

impl Layout {
    fn of(figure: &Figure, legend: &Legend) -> Layout {
        let [width, height] = figure.panel_size;
        let rows = figure.panels.len().div_ceil(figure.columns).max(1);
        let columns = figure.columns.min(figure.panels.len()).max(1);
        let titled = |row: usize| {
            figure.panels.iter().skip(row * figure.columns).take(figure.columns).any(|panel| !panel.title.is_empty())
        };
        let later_titles = (1..rows).any(titled);
        let row_title = if figure.row_titles.is_empty() { 0.0 } else { ROW_TITLE };
        let left = row_title + LEFT;
        let pitch = match figure.shared {
            true => [width + GAP / 2.0, height + GAP / 2.0 + if later_titles { PANEL_TITLE } else { 0.0 }],
            false => [width + LEFT + GAP, height + BOTTOM + GAP / 2.0 + if later_titles { PANEL_TITLE } else { 6.0 }],
        };
        let total = left + (columns - 1) as f64 * pitch[0] + width + GAP;
        let legend_top = if figure.title.is_empty() { 6.0 } else { TITLE };
        let head = legend_top + LEGEND_LINE * legend.lines(total) as f64;
        let first_row = head + if titled(0) { PANEL_TITLE } else { 8.0 };
        Layout {
            width: total,
            height: first_row + (rows - 1) as f64 * pitch[1] + height + BOTTOM,
            rows,
            first: [left, first_row],
            pitch,
            legend_top,
        }
    }

    fn left(&self, column: usize) -> f64 {
        self.first[0] + column as f64 * self.pitch[0]
    }

    fn top(&self, row: usize) -> f64 {
        self.first[1] + row as f64 * self.pitch[1]
    }
}

/// The area between the axes of a panel, and whether its x and y axes carry labels.
struct Frame {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    labels: [bool; 2],
}

impl Frame {
    fn draw(&self, svg: &mut String, panel: &Plot, x: &Scale, y: &Scale) {
        let &Frame { left, top, right, bottom, labels } = self;
        let middle = (left + right) / 2.0;
        if !panel.title.is_empty() {
            text(svg, " class=\"panel\"", [middle, top - 8.0], "middle", &panel.title);
        }
        for (value, label) in x.ticks(60.0) {
            let at = x.place(value);
            add(svg, format_args!("<path class=\"tick\" d=\"M{at:.1} {top:.1}V{bottom:.1}\"/>"));
            if labels[0] {
                text(svg, "", [at, bottom + 17.0], "middle", &label);
            }
        }
        for (value, label) in y.ticks(45.0) {
            let at = y.place(value);
            add(svg, format_args!("<path class=\"tick\" d=\"M{left:.1} {at:.1}H{right:.1}\"/>"));
            if labels[1] {
                text(svg, "", [left - 7.0, at + 4.5], "end", &label);
            }
        }
        add(svg, format_args!("<path class=\"frame\" d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\"/>"));
        if labels[0] {
            text(svg, "", [middle, bottom + 35.0], "middle", &panel.x.label);
        }
        if labels[1] {
            upright(svg, "", left - 56.0, (top + bottom) / 2.0, &panel.y.label);
        }
    }
}

/// Text that runs upwards, around a middle.
fn upright(svg: &mut String, class: &str, x: f64, middle: f64, content: &str) {
    let content = escape(content);
    add(
        svg,
        format_args!(
            "<text{class} transform=\"translate({x:.1} {middle:.1})rotate(-90)\" text-anchor=\"middle\">{content}</text>"
        ),
    );
}

/// The names of all panels, in the order in which they appear; a name has the same colour in every panel.
struct Legend<'a> {
    entries: Vec<(&'a str, Mark)>,
}

impl<'a> Legend<'a> {
    fn of(panels: &'a [Plot]) -> Legend<'a> {
        let mut entries: Vec<(&str, Mark)> = Vec::new();
        for series in panels.iter().flat_map(|panel| &panel.series).filter(|series| !series.mark.accompanies()) {
            if !entries.iter().any(|(name, _)| *name == series.name) {
                entries.push((&series.name, series.mark));
            }
        }
        Legend { entries }
    }

    fn colour(&self, name: &str) -> &'static str {
        let coloured = self.entries.iter().filter(|(_, mark)| !mark.is_plain());
        let position = coloured.into_iter().position(|(entry, _)| *entry == name).unwrap_or(0);
        COLOURS[position % COLOURS.len()]
    }

    /// The position of each entry that has a name, for a figure of this width.
    fn places(&self, width: f64) -> Vec<(&'a str, Mark, [f64; 2])> {
        let (mut x, mut line, mut places) = (GAP, 0.0, Vec::new());
        for &(name, mark) in self.entries.iter().filter(|(name, _)| !name.is_empty()) {
            let entry = 26.0 + LETTER * name.chars().count() as f64;
            if x > GAP && x + entry > width {
                (x, line) = (GAP, line + 1.0);
            }
            places.push((name, mark, [x, line]));
            x += entry + 14.0;
        }
        places
    }

    fn lines(&self, width: f64) -> usize {
        self.places(width).last().map_or(0, |(.., [_, line])| *line as usize + 1)
    }

    fn draw(&self, svg: &mut String, layout: &Layout) {
        for (name, mark, [x, line]) in self.places(layout.width) {
            let y = layout.legend_top + LEGEND_LINE * line + 10.0;
            let (colour, dashes) = match mark {
                Mark::Dashed => ("currentColor", " class=\"dashed\""),
                Mark::Backdrop => ("currentColor", " class=\"backdrop\""),
                _ => (self.colour(name), ""),
            };
            add(svg, format_args!("<path{dashes} stroke=\"{colour}\" stroke-width=\"3\" d=\"M{x:.1} {y:.1}h18\"/>"));
            text(svg, "", [x + 24.0, y + 4.5], "start", name);
        }
    }
}

impl Plot {
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_name_has_one_colour_and_one_entry_in_all_panels() {
        let line = |name: &str| Plot::new("panel", "t", "loss").line(name, vec![[0.0, 1.0], [1.0, 2.0]]);
        let both = line("x").dashed_line("", vec![[0.0, 1.0], [1.0, 1.5]]).line("eps", vec![[0.0, 1.0], [1.0, 3.0]]);
        let svg = Figure::new("", 2).panel(both).panel(line("eps")).row_titles(&["row"]).svg();
        assert_eq!(svg.matches(">eps</text>").count(), 1);
        assert_eq!(svg.matches(COLOURS[0]).count(), 3, "the line, its dashed companion and the legend");
        assert_eq!(svg.matches(COLOURS[1]).count(), 3, "a line in each panel and the legend");
        assert_eq!(svg.matches(">panel</text>").count(), 2);
    }

    #[test]
    fn shared_axes_are_labelled_once() {
        let panel = |top: f64| Plot::new("", "x in pixels", "y").scatter("", vec![[0.0, 0.0], [1.0, top]]);
        let figure = [1.0, 2.0, 3.0].map(panel).into_iter().fold(Figure::new("", 2), Figure::panel).shared_axes();
        let svg = figure.svg();
        // Of three panels, the second and the third have nothing below them, the first and the third nothing left.
        assert_eq!(svg.matches(">x in pixels</text>").count(), 2);
        assert_eq!(svg.matches(">y</text>").count(), 2);
        assert_eq!(svg.matches(">3.0</text>").count() + svg.matches(">3</text>").count(), 2, "{svg}");
    }

    #[test]
    fn a_long_legend_wraps_and_the_panels_make_room() {
        let names: Vec<String> = (0..12).map(|i| format!("a rather long name, number {i}")).collect();
        let plot =
            names.iter().fold(Plot::new("t", "x", "y"), |plot, name| plot.line(name, vec![[0.0, 0.0], [1.0, 1.0]]));
        let few = Plot::new("t", "x", "y").line("a", vec![[0.0, 0.0], [1.0, 1.0]]);
        let height = |svg: &str| -> f64 {
            let view = svg.split("viewBox=\"0 0 ").nth(1).unwrap().split('"').next().unwrap();
            view.split(' ').nth(1).unwrap().parse().unwrap()
        };
        assert!(height(&plot.svg()) >= height(&few.svg()) + 3.0 * LEGEND_LINE);
    }
}
