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
    use crate::diffusion::mixture::standard_normal;
    use rand::SeedableRng;
    use rayon::prelude::*;

    /// Points that stand for the distribution: their own scatter moves a loss by 0.4 %.
    const REFERENCE: usize = 8000;
    /// Noisy points at a time.
    const NOISY: usize = 160;
    /// Parts of `ln t` over [`BOUND_RANGE`], and as wide ones before it, which begin where the noise is 0.03.
    const PARTS: i32 = 24;
    const PARTS_BEFORE: i32 = 7;

    /// `Var[x_0 | z]` of noisy points at time `t`, averaged over the axes: each posterior is over a sample of the
    /// distribution, by Bayes' rule. Good where the noise is wide of the sample's gaps.
    fn image_errors(reference: &[f32], clean: &[f32], t: f64) -> Vec<f64> {
        let level = Continuous::VpCosine.level(t);
        let normals = standard_normal(clean.len(), &mut rand::rngs::Xoshiro256PlusPlus::seed_from_u64(t.to_bits()));
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
        clean.par_chunks_exact(2).zip(normals.par_chunks_exact(2)).map(of_point).collect()
    }

    /// The mean over noisy points of a sum of their errors, each times a weight, and its standard error.
    fn weighed(errors: &[(f64, Vec<f64>)], weight: impl Fn(f64) -> f64) -> [f64; 2] {
        let of_point = |i: usize| errors.iter().map(|(t, errors)| weight(*t) * errors[i]).sum::<f64>();
        let sums: Vec<f64> = (0..NOISY).map(of_point).collect();
        let mean = sums.iter().sum::<f64>() / NOISY as f64;
        let variance = sums.iter().map(|sum| (sum - mean).powi(2)).sum::<f64>() / (NOISY - 1) as f64;
        [mean, (variance / NOISY as f64).sqrt()]
    }

    /// The literals stand for what the thesis' losses are compared with, so another way to compute them has to find them:
    /// the clusters, of which all is exact, show how good that way is.
    #[test]
    fn the_least_losses_are_those_of_bayes_rule() {
        let ([lo, hi], length) = (BOUND_RANGE, TIMES[1] - TIMES[0]);
        let step = (hi / lo).ln() / f64::from(PARTS);
        let middles = (-PARTS_BEFORE..PARTS).map(|i| lo * ((f64::from(i) + 0.5) * step).exp());
        // All after the bound's range is one part more.
        let late = 0.5 * (hi + TIMES[1]);
        let width = |t: f64| if t > hi { TIMES[1] - hi } else { t * step };
        let first = lo * (-f64::from(PARTS_BEFORE) * step).exp();
        let times: Vec<f64> = middles.chain([late]).collect();
        let snr = |t: f64| Continuous::VpCosine.level(t).snr();
        for set in PointSet::ALL {
            let standardisation = set.standardisation();
            let reference = draw(set, 11, 0, REFERENCE, &standardisation);
            let clean = draw(set, 12, 0, NOISY, &standardisation);
            let errors: Vec<_> = times.iter().map(|&t| (t, image_errors(&reference, &clean, t))).collect();
            let x0 = weighed(&errors, |t| width(t) / length);
            let [earliest, _] = weighed(&errors[..1], snr);
            // Before the first part the noise is nearly as unknown as it was: its error falls from 1.
            let before = 0.5 * (1.0 + earliest) * (first - TIMES[0]) / length;
            let [epsilon, error] = weighed(&errors, |t| width(t) / length * snr(t));
            let in_range = |t: f64| lo < t && t < hi;
            let slope = |t: f64| if in_range(t) { -Continuous::VpCosine.snr_derivative(t) } else { 0.0 };
            let bound = weighed(&errors, |t| width(t) * slope(t));
            let Optima { x0: known_x0, epsilon: known_epsilon, v } = optima(set);
            assert!((v - known_x0 - known_epsilon).abs() <= 1e-3, "{}: {v}", set.name());
            for (what, [found, standard_error], known) in [
                ("x0", x0, known_x0),
                ("epsilon", [before + epsilon, error], known_epsilon),
                ("the bound", bound, best_bound(set)),
            ] {
                // Four standard errors of the noisy points, and one part in a hundred for the reference and the literals.
                let [off, spread] = [found - known, standard_error].map(|of| of / known);
                assert!(spread <= 0.015, "{}, {what}: {spread} would say nothing", set.name());
                let is_near = off.abs() <= 4.0 * spread + 0.01;
                assert!(is_near, "{}, {what}: {known}, and by Bayes' rule {found}, {spread}", set.name());
            }
        }
    }
}
