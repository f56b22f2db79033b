//! Pages that need nothing else, neither files nor network; `report.html` shows all there is to see of a run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::evaluations::{distance_curve, read_evaluations};
use super::metrics::{Record, read_metrics};
use super::plot::{escape, loss_curve};
use crate::files::replace_file;
use crate::{Error, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Sheets shown on a page: the last one large, some of the earlier ones small.
const EARLIER_SHEETS: usize = 7;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c1e21;--soft:#666c75;--page:#fff;--card:#f5f6f8;--edge:#dde0e4}\
@media(prefers-color-scheme:dark){:root{--ink:#e3e5e8;--soft:#9aa1ab;--page:#111315;--card:#1b1d20;--edge:#33373c}}\
body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page)}\
h1{margin:0;font-size:1.7rem}h2{margin:2.2rem 0 .6rem;font-size:1.15rem}.soft{color:var(--soft)}\
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.6rem;margin:1.2rem 0}\
dl div{padding:.5rem .8rem;border:1px solid var(--edge);border-radius:.5rem;background:var(--card)}\
dt{font-size:.8rem;color:var(--soft)}dd{margin:0;font-weight:600;overflow-wrap:anywhere}\
figure{margin:0}figcaption{font-size:.85rem;color:var(--soft)}\
img{display:block;max-width:100%;height:auto;border-radius:.4rem;image-rendering:pixelated}\
.sheets{display:grid;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr));gap:.8rem;margin-top:.8rem}.sheets img{image-rendering:auto}\
.plot{display:block;width:100%;height:auto;border-radius:.5rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.4rem 0 1.2rem;font-size:.9rem}th,td{padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--edge);text-align:left;vertical-align:top}\
th{font-weight:600}.right{text-align:right;font-variant-numeric:tabular-nums}td.right{white-space:nowrap}.caption{margin:1.2rem 0 .2rem;font-weight:600}\
.claim{margin:.5rem 0;padding:.1rem .9rem;border:1px solid var(--edge);border-left:5px solid #888;border-radius:.5rem;background:var(--card)}\
.claim p{margin:.4rem 0}.claim.confirmed{border-left-color:#009e73}.claim.refuted{border-left-color:#d55e00}\
pre{overflow:auto;padding:1rem;border:1px solid var(--edge);border-radius:.5rem;background:var(--card);font-size:.85rem}";

/// The contents of a page.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub title: String,
    /// Name and value of what is shown at a glance: device, parameters, speed, times.
    pub facts: Vec<(String, String)>,
    /// Plots as SVG documents.
    pub plots: Vec<String>,
    /// In the order in which they were made.
    pub sheets: Vec<Sheet>,
    /// The complete configuration, as TOML.
    pub config: String,
}

/// A PNG image with its caption.
#[derive(Clone, Debug)]
pub struct Sheet {
    pub caption: String,
    pub png: Vec<u8>,
}

impl Report {
    /// Renders the page as HTML.
    pub fn html(&self) -> String {
        let mut page = facts_list(&self.facts);
        if let Some((last, earlier)) = self.sheets.split_last() {
            page += "<h2>Samples</h2>\n";
            page += &png_figure(&last.caption, &last.png);
            if !earlier.is_empty() {
                page += "<div class=\"sheets\">\n";
                earlier.iter().for_each(|sheet| page += &png_figure(&sheet.caption, &sheet.png));
                page += "</div>\n";
            }
        }
        if !self.plots.is_empty() {
            page += "<h2>Training</h2>\n";
            self.plots.iter().for_each(|plot| page += plot);
        }
        if !self.config.is_empty() {
            page += &format!("<h2>Configuration</h2>\n<pre>{}</pre>\n", escape(self.config.trim_end()));
        }
        document(&self.title, "A training run of ddpm.", &page)
    }
}

/// Wraps `body`, which is HTML, in a page.
pub fn document(title: &str, subtitle: &str, body: &str) -> String {
    let (title, subtitle) = (escape(title), escape(subtitle));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<h1>{title}</h1>\n<p class=\"soft\">{subtitle}</p>\n{body}</html>\n"
    )
}

/// Shows names and values in boxes; an empty text if there are none.
pub fn facts_list(facts: &[(String, String)]) -> String {
    let fact =
        |(name, value): &(String, String)| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value));
    if facts.is_empty() {
        String::new()
    } else {
        format!("<dl>\n{}</dl>\n", facts.iter().map(fact).collect::<String>())
    }
}

/// Embeds a PNG image in a page.
pub fn png_figure(caption: &str, png: &[u8]) -> String {
    let (caption, data) = (escape(caption), BASE64_STANDARD.encode(png));
    format!(
        "<figure><img alt=\"{caption}\" src=\"data:image/png;base64,{data}\"><figcaption>{caption}</figcaption></figure>\n"
    )
}

/// Embeds an SVG document in a page.
pub fn svg_figure(caption: &str, svg: &str) -> String {
    format!("<figure>{svg}<figcaption>{}</figcaption></figure>\n", escape(caption))
}

/// Writes `report.html` and `loss.svg` from what a run directory holds (`metrics.jsonl`,
/// `evaluations.jsonl`, `samples/*.png` and `config.toml`, as far as they are there) and from `facts`. Returns the page's path.
///
/// # Errors
/// If a file cannot be read or written.
pub fn write_run_report(run: &Path, title: &str, facts: &[(&str, String)]) -> Result<PathBuf> {
    let metrics = run.join("metrics.jsonl");
    let records = if metrics.exists() { read_metrics(&metrics)? } else { Vec::new() };
    let curve = loss_curve(&records).svg();
    replace_file(&run.join("loss.svg"), curve.as_bytes())?;

    let distances = distance_curve(&read_evaluations(&run.join("evaluations.jsonl"))?);
    let config = run.join("config.toml");
    let report = Report {
        title: title.into(),
        facts: facts.iter().map(|(name, value)| ((*name).into(), value.clone())).chain(last_loss(&records)).collect(),
        plots: [curve].into_iter().chain(distances.map(|plot| plot.svg())).collect(),
        sheets: read_sheets(&run.join("samples"))?,
        config: if config.exists() { fs::read_to_string(&config).map_err(Error::io(&config))? } else { String::new() },
    };
    let page = run.join("report.html");
    replace_file(&page, report.html().as_bytes())?;
    Ok(page)
}

/// The mean loss over the last fiftieth of the run.
fn last_loss(records: &[Record]) -> Option<(String, String)> {
    let last = &records[records.len() - records.len().div_ceil(50)..];
    let mean = last.iter().map(|record| f64::from(record.loss)).sum::<f64>() / last.len() as f64;
    (!last.is_empty()).then(|| ("loss at the end".into(), format!("{mean:.4}")))
}

/// The last sheet of a folder and some earlier ones, evenly spread.
fn read_sheets(folder: &Path) -> Result<Vec<Sheet>> {
    let mut paths = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            paths.push(entry.map_err(Error::io(folder))?.path());
        }
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
    // By length first, so that step_900 comes before step_1000.
    paths.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    let Some(last) = paths.len().checked_sub(1) else { return Ok(Vec::new()) };
    let shown = last.min(EARLIER_SHEETS);
    let chosen = (0..=shown).map(|i| &paths[last - (shown - i) * last / shown.max(1)]);
    let read = |path: &PathBuf| {
        let caption = path.file_stem().unwrap_or_default().to_string_lossy().replace(['_', '-'], " ");
        Ok(Sheet { caption, png: fs::read(path).map_err(Error::io(path))? })
    };
    chosen.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{MetricsLog, grid};

    #[test]
    fn a_run_directory_becomes_one_page() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        fs::create_dir(run.join("samples")).unwrap();
        fs::write(run.join("config.toml"), "[data]\nsource = \"<glyphs>\"\n").unwrap();
        let mut log = MetricsLog::create(&run.join("metrics.jsonl")).unwrap();
        (0..100).for_each(|step| log.write(&Record { step, loss: 0.5, ..Record::default() }).unwrap());
        for step in (100..=2000).step_by(100) {
            let sheet = grid(&[0.0; 16], [1, 4, 4, 1], None);
            sheet.write_png(&run.join(format!("samples/step_{step}.png"))).unwrap();
        }
        let path = write_run_report(run, "a & b", &[("device", "cpu".into())]).unwrap();
        let page = fs::read_to_string(path).unwrap();
        for expected in
            ["<title>a &amp; b</title>", "<dt>device</dt><dd>cpu</dd>", "&lt;glyphs&gt;", "0.5000", "step 100<"]
        {
            assert!(page.contains(expected), "{expected} is missing");
        }
        assert_eq!(page.matches("data:image/png;base64,").count(), EARLIER_SHEETS + 1);
        assert!(page.find("step 2000").unwrap() < page.find("step 100<").unwrap(), "the last sheet comes first");
        assert!(!page.contains("src=\"http"), "the page must stand alone");
        assert!(run.join("loss.svg").exists() && !run.join("report.html.part").exists());
    }

    #[test]
    fn an_empty_run_directory_gives_a_page_too() {
        let folder = tempfile::tempdir().unwrap();
        let page = fs::read_to_string(write_run_report(folder.path(), "run", &[]).unwrap()).unwrap();
        assert!(page.contains("no data yet"));
    }
}
