//! A row of Table 4.2, and the numbers of the thesis.

use super::cell::Training;
use super::targets;
use crate::diffusion::PredictionTarget;
use crate::experiment::spread::Measured;
use anyhow::{Result, bail};

/// The targets of the table; the thesis leaves out the score.
pub(super) const TARGETS: [PredictionTarget; 3] =
    [PredictionTarget::X0, PredictionTarget::Epsilon, PredictionTarget::V];

/// The thesis' numbers of a row: the loss or NELBO, and FID.
pub(super) struct Published {
    pub loss: &'static str,
    pub fid: &'static str,
}

/// The thesis' numbers of a row.
///
/// # Errors
/// A row that its table does not have.
pub(super) fn published(target: PredictionTarget, training: Training) -> Result<Published> {
    let (loss, fid) = match (target, training) {
        (PredictionTarget::X0, Training::Weighted) => ("0.05", "16.96"),
        (PredictionTarget::X0, Training::Nelbo) => ("0.09", "13.54"),
        (PredictionTarget::Epsilon, Training::Weighted) => ("0.06", "13.75"),
        (PredictionTarget::Epsilon, Training::Nelbo) => ("0.84", "24.26"),
        (PredictionTarget::V, Training::Weighted) => ("0.12", "18.24"),
        (PredictionTarget::V, Training::Nelbo) => ("0.86", "18.18"),
        _ => bail!("Kumar's Table 4.2 has no row for {}", targets::name(target)),
    };
    Ok(Published { loss, fid })
}

/// A row of the table, over seeds.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub target: PredictionTarget,
    pub training: Training,
    /// The mean error of the target over all times, the mean over the dimensions.
    pub own: Measured,
    /// The bound over [`BOUND_RANGE`](super::cell::BOUND_RANGE).
    pub nelbo: Measured,
    pub fid: Option<Measured>,
}

impl Row {
    /// The target and the training, for sentences.
    pub fn name(&self) -> String {
        format!("{} {}", targets::name(self.target), self.training.name())
    }
}
