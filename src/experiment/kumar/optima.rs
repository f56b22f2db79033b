//! The least possible losses on the sets of points: exact for the clusters; for the other sets numbers from a grid of
//! 6 million points, good to a hundredth.

use super::bayes::{Clusters, Optima};
use super::cell::{BOUND_RANGE, RESCALED_RANGE, TIMES, own_range};
use crate::data::points::PointSet;
use crate::diffusion::{Continuous, PredictionTarget, Process};
use crate::experiment::numbers::spaced;

fn clusters() -> Clusters {
    Clusters::new(&PointSet::Clusters.standardisation())
}

/// The least possible weighted losses.
pub(super) fn optima(set: PointSet) -> Optima {
    let known = |x0, epsilon, v| Optima { x0, epsilon, v };
    match set {
        PointSet::Clusters => clusters().optima(Continuous::VpCosine, TIMES),
        PointSet::Rings => known(0.489, 0.426, 0.9155),
        PointSet::SwissRoll => known(0.489, 0.425, 0.9145),
        PointSet::Waves => known(0.486, 0.443, 0.929),
    }
}

/// The least possible bound over [`BOUND_RANGE`].
pub(super) fn best_bound(set: PointSet) -> f64 {
    match set {
        PointSet::Clusters => clusters().nelbo(Continuous::VpCosine, BOUND_RANGE),
        PointSet::Rings => 4.058,
        PointSet::SwissRoll => 4.026,
        PointSet::Waves => 4.37,
    }
}

/// The least possible error of a target over [`own_range`], where it is known.
pub(super) fn best_own(set: PointSet, target: PredictionTarget) -> Option<f64> {
    let Optima { x0, epsilon, v } = optima(set);
    match target {
        PredictionTarget::X0 => Some(x0),
        PredictionTarget::Epsilon => Some(epsilon),
        PredictionTarget::V => Some(v),
        PredictionTarget::Score if set == PointSet::Clusters => {
            Some(clusters().score_optimum(Continuous::VpCosine, own_range(target)))
        }
        _ => None,
    }
}

/// The least possible rescaled loss over [`RESCALED_RANGE`], where it is known.
pub(super) fn best_rescaled(set: PointSet) -> Option<f64> {
    (set == PointSet::Clusters).then(|| clusters().optima(Continuous::VpCosine, RESCALED_RANGE).x0)
}

/// The least possible error of a target on the clusters against time.
pub(super) fn best_by_time(target: PredictionTarget) -> Vec<[f64; 2]> {
    let (clusters, [lo, hi]) = (clusters(), own_range(target));
    let process = Process::Continuous { schedule: Continuous::VpCosine, t_min: lo, t_max: hi };
    let error = |t: f64| target.error_ratio(&process.point(t)) * clusters.image_error(process.level(t));
    spaced(lo, hi, 120).into_iter().map(|t| [t, error(t)]).collect()
}
