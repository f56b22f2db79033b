//! The result of an experiment: a folder with its tables, plots and pictures as files, and a page that gathers them.
//!
//! ```text
//! index.html     everything on one page that needs no other file
//! report.md      the same as text, with links to the files
//! verdicts.json  the claims of the source and the verdicts
//! table-*.csv, *.svg, *.png
//! ```

use super::verdict::Claim;
use crate::files::replace_file;
use crate::report::html::{document, facts_list, png_figure, svg_figure};
use crate::report::{Figure, Picture, Table, escape};
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
enum Item {
    Heading(String),
    Text(String),
    Table { stem: String, caption: String, table: Table },
    Plot { stem: String, caption: String, svg: String },
    Picture { stem: String, caption: String, png: Vec<u8> },
}

/// A page under construction.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    about: String,
    facts: Vec<(String, String)>,
    commands: Vec<String>,
    claims: Vec<Claim>,
    items: Vec<Item>,
}

impl Page {
    /// An empty page.
    pub fn new(title: &str, about: &str) -> Page {
        let (title, about) = (title.into(), about.into());
        Page { title, about, facts: Vec::new(), commands: Vec::new(), claims: Vec::new(), items: Vec::new() }
    }

    /// Adds a line to the facts at the top.
    pub fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push((name.into(), value.into()));
    }

    /// Adds a command that repeats a part of the experiment.
    pub fn command(&mut self, command: impl Into<String>) {
        let command = command.into();
        if !self.commands.contains(&command) {
            self.commands.push(command);
        }
    }

    /// Adds a heading.
    pub fn heading(&mut self, text: &str) {
        self.items.push(Item::Heading(text.into()));
    }

    /// Adds a paragraph.
    pub fn text(&mut self, text: impl Into<String>) {
        self.items.push(Item::Text(text.into()));
    }

    /// Adds a table, which is also written as `table-STEM.csv`.
    pub fn table(&mut self, stem: &str, caption: &str, table: Table) {
        self.items.push(Item::Table { stem: format!("table-{stem}"), caption: caption.into(), table });
    }

    /// Adds a figure, which is also written as `STEM.svg`.
    pub fn plot(&mut self, stem: &str, caption: &str, figure: &Figure) {
        self.items.push(Item::Plot { stem: stem.into(), caption: caption.into(), svg: figure.svg() });
    }

    /// Adds a picture, which is also written as `STEM.png`.
    pub fn picture(&mut self, stem: &str, caption: &str, picture: &Picture) {
        self.items.push(Item::Picture { stem: stem.into(), caption: caption.into(), png: picture.png() });
    }

    /// Adds claims with their verdicts.
    pub fn claims(&mut self, claims: impl IntoIterator<Item = Claim>) {
        self.claims.extend(claims);
    }

    /// Writes the folder. Returns the path of its `index.html`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let write = |name: String, bytes: &[u8]| replace_file(&folder.join(name), bytes);
        for item in &self.items {
            match item {
                Item::Table { stem, table, .. } => write(format!("{stem}.csv"), table.csv().as_bytes())?,
                Item::Plot { stem, svg, .. } => write(format!("{stem}.svg"), svg.as_bytes())?,
                Item::Picture { stem, png, .. } => write(format!("{stem}.png"), png)?,
                Item::Heading(_) | Item::Text(_) => {}
            }
        }
        let verdicts = serde_json::to_string_pretty(&self.claims).expect("claims are plain text");
        write("verdicts.json".into(), verdicts.as_bytes())?;
        write("report.md".into(), self.markdown().as_bytes())?;
        write("index.html".into(), self.html().as_bytes())?;
        Ok(folder.join("index.html"))
    }

    fn claims_table(&self) -> Table {
        let mut table = Table::new(&["claim", "source", "verdict", "what the numbers say", "test"]);
        for claim in &self.claims {
            let Claim { source, claim, test, verdict, evidence } = claim;
            table.row([claim, source, verdict.word(), evidence, test].map(str::to_owned));
        }
        table
    }

    fn markdown(&self) -> String {
        let mut page = format!("# {}\n\n{}\n\n", self.title, self.about);
        self.facts.iter().for_each(|(name, value)| page += &format!("- {name}: {value}\n"));
        if !self.claims.is_empty() {
            page += &format!("\n## Claims\n\n{}", self.claims_table().markdown());
        }
        for item in &self.items {
            page += &match item {
                Item::Heading(text) => format!("\n## {text}\n"),
                Item::Text(text) => format!("\n{text}\n"),
                Item::Table { caption, table, .. } => format!("\n{caption}\n\n{}", table.markdown()),
                Item::Plot { stem, caption, .. } => format!("\n![{caption}]({stem}.svg)\n\n{caption}\n"),
                Item::Picture { stem, caption, .. } => format!("\n![{caption}]({stem}.png)\n\n{caption}\n"),
            };
        }
        if !self.commands.is_empty() {
            page += &format!("\n## Commands\n\n```\n{}\n```\n", self.commands.join("\n"));
        }
        page
    }

    fn html(&self) -> String {
        let mut body = facts_list(&self.facts);
        if !self.claims.is_empty() {
            body += "<h2>Claims</h2>\n";
        }
        for Claim { source, claim, test, verdict, evidence } in &self.claims {
            let [source, claim, test, evidence] = [source, claim, test, evidence].map(|text| escape(text));
            let test = if test.is_empty() { test } else { format!("<p class=\"soft\">Test: {test}</p>") };
            let (class, word) = (verdict.word().replace(' ', "-"), verdict.word());
            body += &format!(
                "<div class=\"claim {class}\"><p><b>{word}</b> {claim} <span class=\"soft\">({source})</span></p>\
                 <p class=\"soft\">{evidence}</p>{test}</div>\n"
            );
        }
        for item in &self.items {
            body += &match item {
                Item::Heading(text) => format!("<h2>{}</h2>\n", escape(text)),
                Item::Text(text) => format!("<p>{}</p>\n", escape(text)),
                Item::Table { caption, table, .. } => {
                    format!("<p class=\"caption\">{}</p>\n{}", escape(caption), table.html())
                }
                Item::Plot { caption, svg, .. } => svg_figure(caption, svg),
                Item::Picture { caption, png, .. } => png_figure(caption, png),
            };
        }
        if !self.commands.is_empty() {
            body += &format!("<h2>Commands</h2>\n<pre>{}</pre>\n", escape(&self.commands.join("\n")));
        }
        document(&self.title, &self.about, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::verdict::Verdict;
    use crate::report::{Plot, grid};

    #[test]
    fn a_page_is_a_folder_of_files_and_stands_alone() {
        let mut page = Page::new("demo & more", "Shows what a page is.");
        page.fact("size", "quick");
        page.command("ddpm experiment demo --quick");
        page.command("ddpm experiment demo --quick");
        page.heading("Results");
        page.text("One < two.");
        let mut table = Table::new(&["a", "b"]);
        table.row(["1", "2"]);
        page.table("numbers", "Some numbers.", table);
        page.plot("curve", "A curve.", &Plot::new("", "t", "y").line("y", vec![[0.0, 0.0], [1.0, 1.0]]).figure());
        page.picture("image", "An image.", &grid(&[0.0; 4], [1, 2, 2, 1], None));
        page.claims([
            Claim::new("a paper, p. 3", "1 < 2", Verdict::of(1 < 2), "1 and 2"),
            Claim::new("a paper, p. 4", "2 < 1", Verdict::of(2 < 1), "2 and 1"),
        ]);

        let folder = tempfile::tempdir().unwrap();
        let index = page.write(folder.path()).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("table-numbers.csv"), "a,b\n1,2\n");
        assert!(read("curve.svg").starts_with("<svg") && folder.path().join("image.png").exists());
        let verdicts: serde_json::Value = serde_json::from_str(&read("verdicts.json")).unwrap();
        assert_eq!((&verdicts[0]["verdict"], &verdicts[1]["verdict"]), (&"confirmed".into(), &"refuted".into()));
        let markdown = read("report.md");
        for part in ["# demo & more", "| 1 | 2 |", "![A curve.](curve.svg)", "| 2 < 1 | a paper, p. 4 | refuted |"] {
            assert!(markdown.contains(part), "{part} is missing in {markdown}");
        }
        let html = fs::read_to_string(index).unwrap();
        for part in ["<title>demo &amp; more", "One &lt; two.", "<svg", "data:image/png", "<b>refuted</b> 2 &lt; 1"] {
            assert!(html.contains(part), "{part} is missing");
        }
        assert_eq!(html.matches("ddpm experiment demo").count(), 1);
        assert!(!html.contains("src=\"http"), "the page must stand alone");
    }
}
