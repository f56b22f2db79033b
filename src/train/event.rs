//! Events of a run, for whoever watches it.

use super::trainer::Trainer;
use crate::data::Dataset;
use crate::report::{EvaluationRecord, Record};
use std::path::Path;

/// An event of a run.
pub enum Event<'a> {
    /// Everything is allocated; the first step follows.
    Ready { trainer: &'a Trainer, dataset: &'a Dataset },
    /// A step is done.
    Step(&'a Record),
    /// A sheet of samples was drawn.
    Sheet(&'a Path),
    /// Samples were measured, in `share` of the time of the run so far; `is_best`: as none before.
    Evaluated { record: &'a EvaluationRecord, is_best: bool, share: f64 },
    /// Something that the user should know, in a line.
    Warning(&'a str),
}
