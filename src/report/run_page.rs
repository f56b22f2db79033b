//! The page of a run, `report.html`: all there is to see of it, while it trains and afterwards.

use super::html::{code_block, document, facts_list, png_figure, svg_figure};
use super::plot::escape;
use super::table::Table;
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Sheets shown on a page: the last one large, some of the earlier ones small.
const EARLIER_SHEETS: usize = 7;
const LIVE: &str = include_str!("page/live.js");

/// The contents of the page of a run.
#[derive(Clone, Debug)]
pub struct RunPage {
    /// Name of the run.
    pub title: String,
    /// How far it is.
    pub status: Status,
    /// Name and value of what is shown at a glance: device, parameters, speed, times.
    pub facts: Vec<(String, String)>,
    /// Samples of the data, to compare with those of the model.
    pub data: Option<Sheet>,
    /// Samples of the model, in the order in which they were drawn.
    pub sheets: Vec<Sheet>,
    /// The way from noise to samples.
    pub strip: Option<Sheet>,
    /// The loss against the step, for broad and for narrow pages.
    pub curve: [String; 2],
    /// The distance of samples from the data against the step, likewise, where it is measured.
    pub distances: Option<[String; 2]>,
    /// The processes that have trained here.
    pub parts: Table,
    /// The complete configuration, as TOML.
    pub config: String,
}

/// How far a run is.
#[derive(Clone, Debug)]
pub enum Status {
    /// It trains; the page renews itself.
    Training {
        /// Steps that are done, in words.
        done: String,
        /// Present work and the time left, in words that follow these.
        now: String,
        /// Time of writing, in seconds since 1970.
        written: u64,
        /// Seconds after which the page is worth reading again.
        every: u64,
        /// Seconds of silence after which the process must be taken for dead.
        patience: u64,
        /// Date of writing, for readers.
        date: String,
        /// The command that goes on with it.
        go_on: String,
    },
    /// It came to its end.
    Finished(String),
    /// It ended early: the reason, and the command that goes on with it.
    Ended { reason: String, go_on: String },
}

/// A picture with its caption.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// Words below the picture.
    pub caption: String,
    /// The picture.
    pub content: Content,
}

/// A picture that can stand in a page.
#[derive(Clone, Debug)]
pub enum Content {
    /// The bytes of a PNG file.
    Png(Vec<u8>),
    /// An SVG document.
    Svg(String),
}

impl Sheet {
    /// Reads a PNG or SVG file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(caption: &str, path: &Path) -> Result<Sheet> {
        let is_svg = path.extension().is_some_and(|extension| extension == "svg");
        let content = if is_svg {
            Content::Svg(fs::read_to_string(path).map_err(Error::io(path))?)
        } else {
            Content::Png(fs::read(path).map_err(Error::io(path))?)
        };
        Ok(Sheet { caption: caption.into(), content })
    }

    fn html(&self) -> String {
        match &self.content {
            Content::Png(png) => png_figure(&self.caption, png),
            Content::Svg(svg) => svg_figure(&self.caption, svg),
        }
    }
}

impl RunPage {
    /// Renders the page.
    pub fn html(&self) -> String {
        let mut page = self.status.html() + &facts_list(&self.facts);
        page += &self.samples();
        page += "<h2>Training</h2>\n<figure>\n";
        for (class, svg) in
            ["broad wide", "narrow"].into_iter().cycle().zip(self.curve.iter().chain(self.distances.iter().flatten()))
        {
            page += &format!("<div class=\"{class}\">{svg}</div>\n");
        }
        page += "</figure>\n";
        if !self.parts.rows().is_empty() {
            page += &format!("<h2>Processes</h2>\n{}", self.parts.html());
        }
        if !self.config.is_empty() {
            page += &format!("<h2>Configuration</h2>\n{}", code_block(&self.config));
        }
        if matches!(self.status, Status::Training { .. }) {
            page += &format!("<script>\n{LIVE}</script>\n");
        }
        document(&self.title, "A training run of ddpm.", &page)
    }

    fn samples(&self) -> String {
        let (last, earlier) = match self.sheets.split_last() {
            Some((last, earlier)) => (Some(last), earlier),
            None => (None, &[][..]),
        };
        let mut html = String::new();
        if last.is_some() || self.data.is_some() {
            let pair: String = last.into_iter().chain(&self.data).map(Sheet::html).collect();
            html += &format!("<h2>Samples</h2>\n<div class=\"pair\">\n{pair}</div>\n");
        }
        if let Some(strip) = &self.strip {
            html += &format!("<div class=\"whole\">\n{}</div>\n", strip.html());
        }
        if !earlier.is_empty() {
            let earlier: String = earlier.iter().map(Sheet::html).collect();
            // Letters of a plot must not become too small.
            let class = if matches!(self.sheets[0].content, Content::Svg(_)) { "sheets plots" } else { "sheets" };
            html += &format!("<h2>Earlier samples</h2>\n<div class=\"{class}\">\n{earlier}</div>\n");
        }
        html
    }
}

impl Status {
    fn html(&self) -> String {
        let how = |go_on: &str| format!("To go on from the last checkpoint: <code>{}</code>", escape(go_on));
        match self {
            Status::Training { done, now, written, every, patience, date, go_on } => format!(
                "<p class=\"status training\" id=\"training\" data-written=\"{written}\" data-every=\"{every}\" \
                 data-patience=\"{patience}\"><b>Training</b>: {done}{now}. Written {date}; while the run is alive, this page \
                 renews itself.</p>\n\
                 <p class=\"status broken\" id=\"silent\" hidden><b>No news since {date}</b>: {done}. The process was \
                 killed, or it is held up. {how}</p>\n",
                done = escape(done),
                now = escape(now),
                how = how(go_on),
            ),
            Status::Finished(words) => format!("<p class=\"status\"><b>Finished</b>: {}.</p>\n", escape(words)),
            Status::Ended { reason, go_on } => {
                let reason = escape(reason.trim_end_matches('.'));
                format!("<p class=\"status broken\"><b>Ended early</b>: {reason}. {}</p>\n", how(go_on))
            }
        }
    }
}

/// Reads the last of the sheets `step-*` of a folder and some earlier ones, evenly spread.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn read_sheets(folder: &Path) -> Result<Vec<Sheet>> {
    let mut sheets: Vec<(u64, PathBuf)> = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            let path = entry.map_err(Error::io(folder))?.path();
            sheets.extend(step_of(&path).map(|step| (step, path)));
        }
    }
    sheets.sort();
    let Some(last) = sheets.len().checked_sub(1) else { return Ok(Vec::new()) };
    let shown = last.min(EARLIER_SHEETS);
    let chosen = (0..=shown).map(|i| &sheets[last - (shown - i) * last / shown.max(1)]);
    chosen.map(|(step, path)| Sheet::read(&format!("samples after step {step}"), path)).collect()
}

/// The step of a sheet, by its name: `step-00000500.png`.
fn step_of(path: &Path) -> Option<u64> {
    let is_picture = path.extension().is_some_and(|extension| extension == "png" || extension == "svg");
    path.file_stem()?.to_str()?.strip_prefix("step-")?.parse().ok().filter(|_| is_picture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{LossCurve, Record, grid};

    fn page(status: Status) -> RunPage {
        let mut curve = LossCurve::default();
        (0..100).for_each(|step| curve.add(&Record { step, loss: 0.5, ..Record::default() }));
        RunPage {
            title: "a & b".into(),
            status,
            facts: vec![("device".into(), "cpu".into())],
            data: None,
            sheets: Vec::new(),
            strip: None,
            curve: curve.svgs(),
            distances: None,
            parts: Table::default(),
            config: "[data]\nsource = \"<glyphs>\"\n".into(),
        }
    }

    #[test]
    fn a_page_stands_alone_and_the_last_sheet_comes_first_beside_the_data() {
        let folder = tempfile::tempdir().unwrap();
        let picture = grid(&[0.0; 16], [1, 4, 4, 1], None);
        for step in (100..=2000).step_by(100) {
            picture.write_png(&folder.path().join(format!("step-{step:08}.png"))).unwrap();
        }
        picture.write_png(&folder.path().join("denoising.png")).unwrap();
        fs::write(folder.path().join("step-00002100.png.damaged"), "").unwrap();
        let sheet = |caption: &str| Sheet { caption: caption.into(), content: Content::Png(picture.png()) };
        let page = RunPage {
            data: Some(sheet("the data")),
            sheets: read_sheets(folder.path()).unwrap(),
            strip: Some(sheet("a strip")),
            ..page(Status::Finished("2000 steps".into()))
        };
        let html = page.html();
        for expected in ["<title>a &amp; b</title>", "<dt>device</dt><dd>cpu</dd>", "&lt;glyphs&gt;", "step 100<"] {
            assert!(html.contains(expected), "{expected} is missing");
        }
        assert_eq!(html.matches("data:image/png;base64,").count(), EARLIER_SHEETS + 3);
        let places = ["step 2000<", "the data<", "a strip<", "step 100<"].map(|words| html.find(words).unwrap());
        assert!(places.is_sorted(), "{places:?}");
        assert!(!html.contains("src=\"http") && !html.contains("<script"), "the page must stand alone, and still");
    }

    #[test]
    fn only_the_page_of_a_run_that_trains_renews_itself() {
        let training = Status::Training {
            done: "step 3 of 12".into(),
            now: ", about 3m left".into(),
            written: 1_800_000_000,
            every: 5,
            patience: 120,
            date: "2027-01-15T08:00:00Z".into(),
            go_on: "ddpm train --resume --out 'a & b'".into(),
        };
        let html = page(training).html();
        assert!(html.contains("location.reload()") && html.contains("data-patience=\"120\""), "{html}");
        assert_eq!(html.matches("3m left").count(), 1, "a killed run has no time left");
        assert!(html.contains("id=\"silent\" hidden") && html.contains("--out 'a &amp; b'</code>"), "{html}");
        let ended = Status::Ended { reason: "the disk is full.".into(), go_on: "ddpm train".into() };
        for status in [Status::Finished("12 steps".into()), ended] {
            let html = page(status).html();
            assert!(!html.contains("<script") && !html.contains("http-equiv") && !html.contains(".."), "{html}");
        }
    }

    #[test]
    fn a_run_without_steps_or_samples_has_a_page_too() {
        let empty = RunPage { curve: LossCurve::default().svgs(), ..page(Status::Finished("0 steps".into())) };
        assert!(empty.html().contains("no data yet"));
        assert!(read_sheets(Path::new("nowhere")).unwrap().is_empty());
    }
}
