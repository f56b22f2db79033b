//! Experiments: the tables and figures of the sources by name, with verdicts on their claims.
//!
//! An [`Experiment`] is defined beside its code, in a file or folder named after its paper, and does four separate
//! things: it defines the runs to train, measures them, shows the measurements on a [`Page`], and judges the claims of
//! the source by the measured values alone. Trained networks come from [`Context::trained`], which trains a
//! configuration once for all experiments.

pub mod ambilduke;
mod context;
mod definition;
mod event;
pub mod ho;
mod images;
mod judge;
pub mod kumar;
mod numbers;
mod page;
mod runs;
pub mod schedules;
pub mod scores;
mod settings;
mod spread;
mod verdict;
pub mod won;

pub use context::Context;
pub use definition::{Experiment, Needs};
pub use event::Event;
pub use page::Page;
pub use settings::{Need, Settings};
pub use verdict::{Claim, Verdict};

use crate::files::replace_file;
use crate::report::escape;
use crate::report::html::document;
use crate::train::nearest;
use crate::{Error, Result, invocation};
use std::path::{Path, PathBuf};

/// All experiments, in the order in which they are best read.
pub const ALL: &[Experiment] = &[
    schedules::SCHEDULES,
    kumar::snr_weights::SNR_WEIGHTS,
    kumar::point_sets::DATA,
    kumar::point_sets::NOISING,
    ambilduke::table_1::TABLE_1,
    ambilduke::figures::FIGURES,
    ambilduke::figures::STRIP,
    ambilduke::guidance::GUIDANCE,
    kumar::table_4_1::TABLE_4_1,
    kumar::epochs::LOSS_CURVES,
    kumar::epochs::NELBO_CURVES,
    kumar::times::LOSS_BY_T,
    kumar::times::LOSS_VARIANCE,
    kumar::samples::SAMPLES,
    kumar::steps::STEPS_SWEEP,
    kumar::table_4_2::TABLE_4_2,
    ho::bound::BOUND,
    ho::interpolation::INTERPOLATION,
    ho::coding::CODING,
    ho::ablation::ABLATION,
    scores::LANGEVIN,
    scores::SCORE_MATCHING,
    won::tables::MNIST,
    won::tables::CIFAR,
    won::progress::PROGRESS,
];

/// Finds an experiment by name.
///
/// # Errors
/// An unknown name; the nearest one is suggested.
pub fn find(name: &str) -> Result<&'static Experiment> {
    ALL.iter().find(|experiment| experiment.name == name).ok_or_else(|| {
        let hint = match nearest(name, ALL.iter().map(|experiment| experiment.name)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("`{}` names them", invocation::command(["experiment", "list"])),
        };
        Error::Config(format!("unknown experiment \"{name}\"; {hint}"))
    })
}

/// Writes `index.html` of an output folder: the experiments whose pages are there, with their verdicts.
///
/// # Errors
/// If a page cannot be read or the index cannot be written.
pub fn write_index(out: &Path) -> Result<PathBuf> {
    let mut body =
        String::from("<div class=\"wide\"><table>\n<tr><th>experiment</th><th>source</th><th>verdicts</th></tr>\n");
    for experiment in ALL {
        let path = out.join(experiment.name).join("verdicts.json");
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let claims: Vec<serde_json::Value> =
            serde_json::from_str(&text).map_err(|e| Error::format(&path, e.to_string()))?;
        let count = |word: &str| claims.iter().filter(|claim| claim["verdict"] == word).count();
        let verdicts = format!(
            "{} confirmed, {} refuted, {} not decided",
            count("confirmed"),
            count("refuted"),
            count("not-decided")
        );
        let [name, about, source] = [experiment.name, experiment.about, experiment.source].map(escape);
        body += &format!(
            "<tr><td><a href=\"{name}/index.html\">{name}</a><br><span class=\"soft\">{about}</span></td>\
             <td>{source}</td><td>{verdicts}</td></tr>\n"
        );
    }
    body += "</table></div>\n";
    let path = out.join("index.html");
    replace_file(&path, document("Experiments", "The tables and figures of the sources.", &body).as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests;
