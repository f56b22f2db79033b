//! The numbers of Kumar's Table 4.1.

use super::cell::{Cell, Training};
use crate::data::points::PointSet;
use crate::diffusion::PredictionTarget;
use anyhow::{Result, bail};

/// The thesis' numbers for a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Published {
    /// NELBO, or the weighted loss.
    pub loss: f64,
    /// Distance of the means of samples and data.
    pub mean: f64,
    /// Distance of their covariances.
    pub covariance: f64,
}

/// The row of a set and a target: NELBO, mean and covariance distance of NELBO training; the same of weighted training.
fn row(set: PointSet, target: PredictionTarget) -> Option<[f64; 6]> {
    use PointSet::{Clusters, Rings, SwissRoll, Waves};
    use PredictionTarget::{Epsilon, Score, V, X0};
    Some(match (set, target) {
        (Clusters, X0) => [0.6777, 0.1754, 0.5746, 0.4754, 0.4300, 0.2715],
        (Clusters, Epsilon) => [2.3636, 0.0364, 0.0706, 0.3522, 0.0634, 0.1430],
        (Clusters, V) => [2.5396, 0.0307, 0.0409, 0.8264, 0.0389, 0.0363],
        (Clusters, Score) => [0.7657, 0.2279, 0.1498, 2.6934, 0.2688, 0.1633],
        (Rings, X0) => [0.8785, 0.2744, 0.3807, 0.4932, 0.2807, 0.3974],
        (Rings, Epsilon) => [2.5700, 0.0914, 0.1107, 0.4266, 0.0983, 0.0366],
        (Rings, V) => [2.5452, 0.0459, 0.0718, 0.9227, 0.0453, 0.0088],
        (Rings, Score) => [0.9577, 0.2254, 0.1563, 3.0981, 0.2220, 0.1637],
        (SwissRoll, X0) => [0.8640, 0.1133, 0.2645, 0.4934, 0.5256, 0.6875],
        (SwissRoll, Epsilon) => [2.5324, 0.0689, 0.0941, 0.4261, 0.0857, 0.0824],
        (SwissRoll, V) => [2.4861, 0.0418, 0.0598, 0.9171, 0.0427, 0.0269],
        (SwissRoll, Score) => [0.9493, 0.1266, 0.1972, 3.0274, 0.0893, 0.1227],
        (Waves, X0) => [0.9104, 0.1593, 0.5559, 0.4939, 0.1869, 0.6911],
        (Waves, Epsilon) => [2.6805, 0.0405, 0.0757, 0.4500, 0.0748, 0.0778],
        (Waves, V) => [2.6873, 0.0447, 0.0738, 0.9411, 0.0131, 0.0271],
        (Waves, Score) => [1.0210, 0.0353, 0.1369, 3.4165, 0.0178, 0.1676],
        (_, PredictionTarget::ScoreScaled | PredictionTarget::Mu) => return None,
    })
}

/// The thesis' numbers for a cell.
///
/// # Errors
/// A cell that its table does not have.
pub(super) fn published(cell: &Cell) -> Result<Published> {
    let Some(row) = row(cell.set, cell.target) else { bail!("Kumar's Table 4.1 has no row for {}", cell.name()) };
    let [loss, mean, covariance] = match cell.training {
        Training::Nelbo => [row[0], row[1], row[2]],
        Training::Weighted => [row[3], row[4], row[5]],
    };
    Ok(Published { loss, mean, covariance })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_cell_and_of_no_other() {
        let cell = |target, training| Cell::new(PointSet::Waves, target, training);
        let found = published(&cell(PredictionTarget::V, Training::Nelbo)).unwrap();
        assert_eq!(found, Published { loss: 2.6873, mean: 0.0447, covariance: 0.0738 });
        assert_eq!(published(&cell(PredictionTarget::Score, Training::Weighted)).unwrap().loss, 3.4165);
        let missing = published(&cell(PredictionTarget::Mu, Training::Weighted)).unwrap_err().to_string();
        assert_eq!(missing, "Kumar's Table 4.1 has no row for waves μ");
    }
}
