//! Experiments: each table and figure of the sources by name, with what came of their claims.
//!
//! An [`Experiment`] is a function that fills a [`Page`]; this module finds it by name, says what it needs, and writes
//! the page whatever happens to the experiment. What it trains comes from [`Context::trained`], which trains a
//! configuration once and finds it again, in the same experiment or another one.

pub mod bayes;
mod context;
mod ens;
mod ho;
mod images;
mod page;
mod points_2d;
mod runs;
mod schedules;
mod score;
mod snr_weights;
mod thesis;
mod won;

use std::path::{Path, PathBuf};
use std::time::Instant;

pub use context::{Context, Event, Need, Settings};
pub use page::{Claim, Page, Verdict};

use crate::report::html::document;
use crate::report::{escape, replace_file};
use crate::train::nearest;
use crate::{Error, Result};

/// What can be run.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// The paper and its table or figure.
    pub source: &'static str,
    /// What it cannot do without, beside the program itself.
    pub needs: &'static [Need],
    /// What is run with `--quick`, and what without, with the machine and the time that it takes.
    pub sizes: [&'static str; 2],
    run: fn(&mut Context, &mut Page) -> Result<()>,
}

/// All experiments, in the order in which they are best read.
pub const ALL: &[Experiment] = &[
    Experiment {
        name: "schedules",
        about: "Noise schedules: log SNR against time, and how much of an image survives the last step",
        source: "Kumar, Fig. 3.2; the schedules of all five sources",
        needs: &[],
        sizes: ["all of it, below a second", "the same"],
        run: schedules::run,
    },
    Experiment {
        name: "snr-weights",
        about: "What the variational bound makes of the squared error of each prediction target",
        source: "Kumar, Fig. 4.10 and Table 3.2",
        needs: &[],
        sizes: ["all of it, below a second", "the same"],
        run: snr_weights::run,
    },
    Experiment {
        name: "thesis-2d-data",
        about: "The four sets of points of the plane",
        source: "Kumar, Fig. 4.1",
        needs: &[],
        sizes: ["all of it, below a second", "the same"],
        run: points_2d::data,
    },
    Experiment {
        name: "thesis-2d-noising",
        about: "How points become noise as time goes on",
        source: "Kumar, Fig. 4.2",
        needs: &[],
        sizes: ["all of it, below a second", "the same"],
        run: points_2d::noising,
    },
    Experiment {
        name: "ens-table-1",
        about: "Digits 1, 2, 3: what the prediction target, learned variance and guidance do to samples and likelihood",
        source: "Ambilduke et al., Table 1",
        needs: &[Need::Mnist],
        sizes: [
            "16x16, networks of 0.6 M weights, 2,000 steps; about 25 minutes on two cores",
            "the paper's; a GPU, hours",
        ],
        run: ens::table_1,
    },
    Experiment {
        name: "ens-figures",
        about: "Samples of the same models, a row each, in grey and binarised",
        source: "Ambilduke et al., Figs. 1 and 2, and the poster",
        needs: &[Need::Mnist],
        sizes: ["the runs of ens-table-1, and a minute", "the same runs, full size"],
        run: ens::figures,
    },
    Experiment {
        name: "ens-strip",
        about: "A digit on its way from noise, every hundredth step",
        source: "the example strips of Ambilduke et al.'s program",
        needs: &[Need::Mnist],
        sizes: ["a run of ens-table-1, and seconds", "the same run, full size"],
        run: ens::strip,
    },
    Experiment {
        name: "thesis-table-4.1",
        about: "Losses and samples of networks that predict x, ε, v or the score of points, weighted or by the bound",
        source: "Kumar, Table 4.1",
        needs: &[],
        sizes: [
            "clusters, weighted, x, ε and v, one seed: 6 minutes on two cores",
            "96 networks: some hours on 16 cores",
        ],
        run: thesis::table_4_1,
    },
    Experiment {
        name: "thesis-loss-curves",
        about: "Weighted and rescaled test losses against the epoch",
        source: "Kumar, Fig. 4.8",
        needs: &[],
        sizes: ["clusters, one seed", "four sets, three seeds"],
        run: thesis::loss_curves,
    },
    Experiment {
        name: "thesis-nelbo-curves",
        about: "The variational bound against the epoch, and how near it comes to the best that is possible",
        source: "Kumar, Fig. 4.9",
        needs: &[],
        sizes: ["clusters, one seed", "four sets, three seeds"],
        run: thesis::nelbo_curves,
    },
    Experiment {
        name: "thesis-loss-by-t",
        about: "Where in time the loss of each target lies, early in training and late",
        source: "Kumar, Fig. 4.14 and appendix 1 to 3",
        needs: &[],
        sizes: ["clusters", "four sets"],
        run: thesis::loss_by_time,
    },
    Experiment {
        name: "thesis-loss-variance",
        about: "How much the loss of single points varies, against time",
        source: "Kumar, Fig. 4.11",
        needs: &[],
        sizes: ["clusters", "four sets"],
        run: thesis::variance_by_time,
    },
    Experiment {
        name: "thesis-samples-2d",
        about: "Samples of every target and training beside the data",
        source: "Kumar, Fig. 4.12",
        needs: &[],
        sizes: ["clusters, 4,000 samples by 512 steps", "four sets, 10,000 samples by 512 steps"],
        run: thesis::samples_2d,
    },
    Experiment {
        name: "thesis-steps-sweep",
        about: "Samples by 4 to 512 steps for every target",
        source: "Kumar, Fig. 4.13 and appendix 4 to 6",
        needs: &[],
        sizes: ["clusters, weighted, 4,000 samples", "four sets, both trainings, 10,000 samples"],
        run: thesis::steps_sweep,
    },
    Experiment {
        name: "thesis-table-4.2",
        about: "x, ε and v on CIFAR-10, weighted and by the bound: losses and samples",
        source: "Kumar, Table 4.2 and Figs. 4.3, 4.15 to 4.17",
        needs: &[Need::Cifar10],
        sizes: [
            "six networks of a hundredth of the weights, 400 steps each; about 15 minutes on two cores",
            "six networks of 58 M weights; a GPU, days",
        ],
        run: thesis::table_4_2,
    },
    Experiment {
        name: "ho-bound",
        about: "The ends of the variational bound, and its weights of ε against time",
        source: "notes on Ho et al. (2020), the bound",
        needs: &[],
        sizes: ["all of it, below a second", "the same"],
        run: ho::bound,
    },
    Experiment {
        name: "ho-interpolation",
        about: "Two images mixed at several noise levels and decoded",
        source: "notes on Ho et al. (2020), interpolation",
        needs: &[],
        sizes: [
            "digits of 16x16, a run of ens-table-1 (needs MNIST), and a minute",
            "CIFAR-10 (needs it); a GPU, a day",
        ],
        run: ho::interpolation,
    },
    Experiment {
        name: "ho-progressive-coding",
        about: "Rate and distortion of sending an image step by step",
        source: "notes on Ho et al. (2020), progressive coding",
        needs: &[],
        sizes: [
            "digits of 16x16, a run of ens-table-1 (needs MNIST), 8 images",
            "CIFAR-10 (needs it), 256 images; a GPU, a day",
        ],
        run: ho::coding,
    },
    Experiment {
        name: "ho-ablation",
        about: "The bound against the simple loss, μ against ε, learned against fixed variance",
        source: "notes on Ho et al. (2020), ablation; Ambilduke et al., section 4.1",
        needs: &[Need::Mnist],
        sizes: ["as ens-table-1, three more runs; about 12 minutes on two cores", "the same, full size; a GPU, hours"],
        run: ho::ablation,
    },
    Experiment {
        name: "langevin",
        about: "Langevin dynamics between two modes, annealed and plain",
        source: "Ambilduke et al., section 1; Kumar, section 3.2",
        needs: &[],
        sizes: ["20,000 samples, seconds", "100,000 samples, a minute"],
        run: score::langevin,
    },
    Experiment {
        name: "score-matching",
        about: "Implicit, sliced and denoising score matching find a score that is known",
        source: "Kumar, section 3.2",
        needs: &[],
        sizes: ["100,000 samples, a second", "1,000,000 samples, seconds"],
        run: score::score_matching,
    },
    Experiment {
        name: "won-mnist",
        about: "Two plain networks on MNIST: samples, losses, distances",
        source: "Vu Minh and Won, Figs. 2 to 6",
        needs: &[Need::Mnist],
        sizes: ["5,000 digits, 600 steps of 32; about 5 minutes on two cores", "50 epochs each; a GPU, an hour"],
        run: won::mnist,
    },
    Experiment {
        name: "won-cifar",
        about: "Three plain networks of growing size on CIFAR-10",
        source: "Vu Minh and Won, Figs. 8 to 13",
        needs: &[Need::Cifar10],
        sizes: [
            "5,000 images, 300, 300 and 20 steps of 32; about 10 minutes on two cores",
            "60 epochs each; a GPU, hours",
        ],
        run: won::cifar,
    },
    Experiment {
        name: "won-progress",
        about: "Digits on their way from noise at chosen times",
        source: "Vu Minh and Won, Figs. 7 and 14",
        needs: &[Need::Mnist],
        sizes: ["a run of won-mnist, and seconds", "the same run, full size"],
        run: won::progress,
    },
];

/// The experiment of this name.
///
/// # Errors
/// An unknown name; the nearest one is suggested.
pub fn find(name: &str) -> Result<&'static Experiment> {
    ALL.iter().find(|experiment| experiment.name == name).ok_or_else(|| {
        let hint = match nearest(name, ALL.iter().map(|experiment| experiment.name)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "`ddpm experiment list` names them".into(),
        };
        Error::Config(format!("unknown experiment \"{name}\"; {hint}"))
    })
}

impl Experiment {
    /// Runs the experiment and writes its page into the folder of its name. Returns the page's path.
    ///
    /// # Errors
    /// What it needs and does not have, or what went wrong in it; a page of what was done by then is written all the same.
    pub fn run(&self, context: &mut Context) -> Result<PathBuf> {
        for &need in self.needs {
            context.check(need, self.name)?;
        }
        let Settings { quick, seed, .. } = *context.settings();
        let mut page = Page::new(self.name, self.about);
        page.fact("source", self.source);
        page.fact("size", if quick { format!("quick: {}", self.sizes[0]) } else { self.sizes[1].into() });
        if quick && self.sizes[1] != "the same" {
            page.fact("full size", self.sizes[1]);
        }
        page.fact("seed", seed.to_string());
        page.command(context.settings().command(self.name));

        let started = Instant::now();
        let result = (self.run)(context, &mut page);
        page.fact("time", format!("{:.0} s", started.elapsed().as_secs_f64().ceil()));
        for run in context.runs() {
            page.command(format!("ddpm train --config {}", run.join("config.toml").display()));
        }
        if let Err(error) = &result {
            page.text(format!("This page ends before the experiment did: {error}."));
        }
        let path = page.write(&context.settings().out.join(self.name))?;
        result.map(|()| path)
    }
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
