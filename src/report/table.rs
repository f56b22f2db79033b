//! Tables of results as Markdown, plain text, CSV and HTML.

use std::fmt::Write;

use super::plot::escape;

/// A table under construction: a header, and rows of as many cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(header: &[&str]) -> Table {
        Table { header: header.iter().map(|&cell| cell.into()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it does not have one cell for each column.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(cells.len(), self.header.len(), "one cell for each column of {:?}", self.header);
        self.rows.push(cells);
    }

    /// The rows, without the header.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// Columns in which every cell is a number, or nothing, stand to the right.
    fn to_the_right(&self, column: usize) -> bool {
        let number = |cell: &String| cell.chars().all(|c| "+-.,0123456789e×±()% ".contains(c) || c == '–');
        self.rows.iter().all(|row| number(&row[column]))
    }

    /// GitHub's Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            format!("| {} |\n", cells.iter().map(|c| c.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
        };
        let rules: Vec<String> =
            (0..self.header.len()).map(|i| if self.to_the_right(i) { "---:" } else { "---" }.into()).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        line(&self.header) + &line(&rules) + &rows
    }

    /// Aligned plain text.
    pub fn text(&self) -> String {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        let column =
            |i: usize| (lines().map(|cells| cells[i].chars().count()).max().unwrap_or(0), self.to_the_right(i));
        let columns: Vec<(usize, bool)> = (0..self.header.len()).map(column).collect();
        let cell = |(text, &(width, right)): (&String, &(usize, bool))| {
            if right { format!("{text:>width$}") } else { format!("{text:width$}") }
        };
        let line = |cells: &Vec<String>| {
            let cells: Vec<String> = cells.iter().zip(&columns).map(cell).collect();
            cells.join("  ").trim_end().to_owned() + "\n"
        };
        lines().map(line).collect()
    }

    /// RFC 4180: cells with commas, quotes or line breaks are quoted.
    pub fn csv(&self) -> String {
        let cell = |text: &String| match text.contains([',', '"', '\n']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.clone(),
        };
        let line = |cells: &Vec<String>| cells.iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
        std::iter::once(&self.header).chain(&self.rows).map(line).collect()
    }

    /// An HTML table.
    pub fn html(&self) -> String {
        let right: Vec<bool> = (0..self.header.len()).map(|i| self.to_the_right(i)).collect();
        let mut html = String::from("<div class=\"wide\"><table>\n");
        let mut line = |tag: &str, cells: &[String]| {
            html += "<tr>";
            for (cell, right) in cells.iter().zip(&right) {
                let class = if *right { " class=\"right\"" } else { "" };
                write!(html, "<{tag}{class}>{}</{tag}>", escape(cell)).expect("a string takes every write");
            }
            html += "</tr>\n";
        };
        line("th", &self.header);
        self.rows.iter().for_each(|row| line("td", row));
        html + "</table></div>\n"
    }
}

/// A number with so many significant digits, without an exponent where that is readable.
pub fn digits(value: f64, significant: usize) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-4..7).contains(&magnitude) {
        return format!("{value:.*e}", significant.saturating_sub(1));
    }
    let decimals = (significant as i32 - 1 - magnitude).max(0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Table {
        let mut table = Table::new(&["model", "a < b"]);
        table.row(["x, \"raw\"", "1.5"]);
        table.row(["a|b", ""]);
        table
    }

    #[test]
    fn a_table_is_written_in_each_way() {
        assert_eq!(example().markdown(), "| model | a < b |\n| --- | ---: |\n| x, \"raw\" | 1.5 |\n| a\\|b |  |\n");
        assert_eq!(example().text(), "model     a < b\nx, \"raw\"    1.5\na|b\n");
        assert_eq!(example().csv(), "model,a < b\n\"x, \"\"raw\"\"\",1.5\na|b,\n");
        let html = example().html();
        assert!(html.contains("<th class=\"right\">a &lt; b</th>") && html.contains("<td>x, &quot;raw&quot;</td>"));
    }

    #[test]
    fn numbers_have_the_digits_that_are_asked_for() {
        let cases = [(0.351_26, "0.3513"), (2.5652e-5, "2.565e-5"), (-10.571, "-10.57"), (57_489_857.0, "5.749e7")];
        for (value, text) in cases {
            assert_eq!(digits(value, 4), text);
        }
        assert_eq!(digits(1234.5, 2), "1234");
        assert_eq!((digits(f64::NAN, 3), digits(0.0, 3)), ("–".into(), "0".into()));
    }
}
