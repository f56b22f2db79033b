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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::points::draw;
    use rayon::prelude::*;

    /// Points that stand for the distribution.
    const REFERENCE: usize = 8000;
    /// Noisy points at a time.
    const NOISY: usize = 160;

    /// The mean over noisy points of `Var[x_0 | z]`, averaged over the axes, at time `t`: each posterior is over a sample of the
    /// distribution, by Bayes' rule. Good where the noise is wide of the sample's gaps.
    fn image_error(reference: &[f32], clean: &[f32], t: f64) -> f64 {
        let level = Continuous::VpCosine.level(t);
        let normals = crate::diffusion::mixture::standard_normal(clean.len(), &mut rand_of(t));
        let of_point = |(x, eps): (&[f32], &[f64])| {
            let z = [0, 1].map(|k| level.a * f64::from(x[k]) + level.sigma * eps[k]);
            let log_weight = |x: &[f32]| {
                let squares: f64 = (0..2).map(|k| (z[k] - level.a * f64::from(x[k])).powi(2)).sum();
                -0.5 * squares / level.sigma.powi(2)
            };
            let largest = reference.chunks_exact(2).map(log_weight).fold(f64::NEG_INFINITY, f64::max);
            let (mut total, mut sum, mut squares) = (0.0, [0.0; 2], 0.0);
            for x in reference.chunks_exact(2) {
                let weight = (log_weight(x) - largest).exp();
                total += weight;
                (0..2).for_each(|k| sum[k] += weight * f64::from(x[k]));
                squares += weight * (f64::from(x[0]).powi(2) + f64::from(x[1]).powi(2));
            }
            0.5 * (squares / total - (sum[0] / total).powi(2) - (sum[1] / total).powi(2))
        };
        let points: Vec<f64> = clean.par_chunks_exact(2).zip(normals.par_chunks_exact(2)).map(of_point).collect();
        points.iter().sum::<f64>() / points.len() as f64
    }

    fn rand_of(t: f64) -> rand::rngs::Xoshiro256PlusPlus {
        rand::SeedableRng::seed_from_u64(t.to_bits())
    }

    /// The integral over a range of the error times a weight, by the middles of equal parts of `ln t`.
    fn integral(errors: &[(f64, f64)], range: [f64; 2], weight: impl Fn(f64) -> f64) -> f64 {
        let inside = errors.iter().filter(|(t, _)| range[0] < *t && *t < range[1]);
        inside.map(|(t, error)| t * STEP * weight(*t) * error).sum()
    }

    /// Width of a part of `ln t`: 24 of them reach from 0.05 to 0.95.
    const STEP: f64 = 0.122_686_5;

    /// The literals stand for what the thesis' losses are compared with, so another way to compute them has to find them: the
    /// clusters, of which all is exact, show how good that way is.
    #[test]
    fn the_least_losses_are_those_of_bayes_rule() {
        let [lo, hi] = BOUND_RANGE;
        assert!((STEP - (hi / lo).ln() / 24.0).abs() <= 1e-6);
        for set in PointSet::ALL {
            let standardisation = set.standardisation();
            let reference = draw(set, 11, 0, REFERENCE, &standardisation);
            let clean = draw(set, 12, 0, NOISY, &standardisation);
            // Seven parts before 0.05, which begin where the noise is 0.03; all after 0.95 is one.
            let middles = (-7..24).map(|i| lo * ((f64::from(i) + 0.5) * STEP).exp());
            let errors: Vec<(f64, f64)> = middles.map(|t| (t, image_error(&reference, &clean, t))).collect();
            let first = lo * (-7.0 * STEP).exp();
            let last = image_error(&reference, &clean, 0.5 * (hi + TIMES[1]));
            let snr = |t: f64| Continuous::VpCosine.level(t).snr();
            // Before the first part the noise is nearly as unknown as it was: its error falls from 1.
            let first_epsilon = 0.5 * (1.0 + snr(errors[0].0) * errors[0].1) * (first - TIMES[0]);
            let length = TIMES[1] - TIMES[0];
            let x0 = (integral(&errors, [first, hi], |_| 1.0) + last * (TIMES[1] - hi)) / length;
            let late = snr(0.5 * (hi + TIMES[1])) * last * (TIMES[1] - hi);
            let epsilon = (first_epsilon + integral(&errors, [first, hi], snr) + late) / length;
            let bound = integral(&errors, BOUND_RANGE, |t| -Continuous::VpCosine.snr_derivative(t));
            let Optima { x0: known_x0, epsilon: known_epsilon, v } = optima(set);
            assert!((v - known_x0 - known_epsilon).abs() <= 1e-3, "{}: {v}", set.name());
            for (what, found, known) in
                [("x0", x0, known_x0), ("epsilon", epsilon, known_epsilon), ("the bound", bound, best_bound(set))]
            {
                let off = found / known - 1.0;
                assert!(off.abs() <= 0.025, "{}, {what}: {known}, and by Bayes' rule {found}", set.name());
            }
        }
    }
}
