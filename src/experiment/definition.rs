//! The definition of an experiment, and how it is run.

use super::context::Context;
use super::page::Page;
use super::settings::{Need, Settings};
use crate::invocation;
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::time::Instant;

/// An experiment: a function that fills a page, and a description for readers and for the list.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    /// The name on the command line.
    pub name: &'static str,
    /// The subject, in a line.
    pub about: &'static str,
    /// The paper and its table or figure.
    pub source: &'static str,
    /// The inputs that it cannot run without.
    pub needs: Needs,
    /// The work, the machine and the time with `--quick`.
    pub quick: &'static str,
    /// The same without `--quick`, where it differs.
    pub full: Option<&'static str>,
    /// The experiment itself.
    pub run: fn(&mut Context, &mut Page) -> Result<()>,
}

/// The inputs that an experiment cannot run without.
#[derive(Clone, Copy, Debug)]
pub enum Needs {
    /// None.
    Nothing,
    /// One input in either size.
    Always(Need),
    /// Another input with `--quick` than without.
    BySize { quick: Need, full: Need },
}

impl Needs {
    /// The input of a size.
    pub fn of(self, quick: bool) -> Option<Need> {
        match self {
            Needs::Nothing => None,
            Needs::Always(need) => Some(need),
            Needs::BySize { quick: need, .. } if quick => Some(need),
            Needs::BySize { full, .. } => Some(full),
        }
    }

    /// The inputs for the list of experiments; empty if there are none.
    pub fn words(self) -> String {
        match self {
            Needs::Nothing => String::new(),
            Needs::Always(need) => need.word().into(),
            Needs::BySize { quick, full } => format!("{} with --quick, {} without", quick.word(), full.word()),
        }
    }
}

/// The quick size of the experiments that are the same in either size.
pub(super) const INSTANT: &str = "all of it, below a second";

impl Experiment {
    /// Runs the experiment and writes its page into the folder of its name. Returns the page's path.
    ///
    /// # Errors
    /// A missing input, or a failure on the way; a page of the part that was done is written all the same.
    pub fn run(&self, context: &mut Context) -> Result<PathBuf> {
        let Settings { quick, seed, .. } = *context.settings();
        if let Some(need) = self.needs.of(quick) {
            context.check(need).context(self.name)?;
        }
        let mut page = Page::new(self.name, self.about);
        page.fact("source", self.source);
        page.fact(
            "size",
            if quick { format!("quick: {}", self.quick) } else { self.full.unwrap_or(self.quick).into() },
        );
        if let (true, Some(full)) = (quick, self.full) {
            page.fact("full size", full);
        }
        page.fact("seed", seed.to_string());
        page.command(context.settings().command(self.name));

        let started = Instant::now();
        let result = (self.run)(context, &mut page).context(self.name);
        page.fact("time", format!("{:.0} s", started.elapsed().as_secs_f64().ceil()));
        for run in context.runs() {
            page.command(invocation::command(["train", "--config", &run.join("config.toml").to_string_lossy()]));
        }
        if let Err(error) = &result {
            page.text(format!("This page ends before the experiment did: {error:#}."));
        }
        let path = page.write(&context.settings().out.join(self.name))?;
        result.map(|()| path)
    }
}
