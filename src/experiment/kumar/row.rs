//! A row of Table 4.1.

use super::cell::Cell;
use super::published::Published;
use crate::experiment::spread::Measured;

/// The measures of the networks of a cell that differ in their seed.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The first of the networks.
    pub cell: Cell,
    /// The error of the target, with weighted training; the bound, with the other.
    pub losses: Measured,
    pub rescaled: Measured,
    /// Distances of the means of samples and data.
    pub means: Measured,
    /// Distances of their covariances.
    pub covariances: Measured,
    /// The least possible loss, where it is known.
    pub least: Option<f64>,
    /// The numbers of the thesis.
    pub published: Published,
}

impl Row {
    /// A row without measures.
    pub fn new(cell: Cell, least: Option<f64>, published: Published) -> Row {
        let [losses, rescaled, means, covariances] = std::array::from_fn(|_| Measured::default());
        Row { cell, losses, rescaled, means, covariances, least, published }
    }
}
