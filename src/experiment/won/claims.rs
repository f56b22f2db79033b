//! The verdicts on the report: functions of the measures of its models.

use super::models::Outcome;
use crate::experiment::spread::Measured;
use crate::experiment::verdict::{Claim, Verdict};
use anyhow::{Context as _, Result};

/// The steps that are left when a frame is taken, as the report numbers them.
pub(super) const FRAMES: [usize; 7] = [499, 200, 100, 50, 10, 5, 0];

/// Judges DM1 and DM2.
pub(super) fn judge_mnist(one: &Outcome, two: &Outcome) -> Result<Claim> {
    let (one, two) = one.frechet.as_ref().zip(two.frechet.as_ref()).context("the samples were not judged")?;
    Ok(Claim::new(
        "Vu Minh and Won, section 5.2",
        "DM2 draws clearer and more varied digits than DM1.",
        one.minus(two).above(0.0),
        format!("Fréchet distance {} for DM1, {} for DM2", one.show(3), two.show(3)),
    )
    .tested("difference of the distances by seed, 95 % interval; one below 0 would refute it"))
}

/// Judges C1, C2 and C3, in this order.
pub(super) fn judge_cifar(results: &[Outcome; 3]) -> [Claim; 2] {
    const SOURCE: &str = "Vu Minh and Won, section 5.3";
    let list = |of: &dyn Fn(&Outcome) -> Option<String>| {
        let shown = results.iter().filter_map(|outcome| Some(format!("{} {}", outcome.network.name(), of(outcome)?)));
        shown.collect::<Vec<_>>().join(", ")
    };
    let (order, distances) = match results.each_ref().map(|outcome| outcome.frechet.as_ref()) {
        [Some(c1), Some(c2), Some(c3)] => (
            Verdict::all([c1.minus(c2).above(0.0), c2.minus(c3).above(0.0)]),
            format!("Fréchet distance: {}", list(&|outcome| Some(outcome.frechet.as_ref()?.show(3)))),
        ),
        _ => (Verdict::NotDecided, "needs the full size, 60 epochs on a GPU".into()),
    };
    let [c1, c2, c3] = results.each_ref().map(|outcome| &outcome.roughness);
    [
        Claim::new(SOURCE, "C3 draws best, then C2, then C1.", order, distances)
            .tested("differences of the distances by seed, 95 % interval; one below 0 would refute it"),
        Claim::new(
            SOURCE,
            "C1 draws little more than coloured noise, C2 and C3 have clearer edges.",
            Verdict::all([c1.minus(c2).above(0.0), c1.minus(c3).above(0.0)]),
            format!("roughness, 1 for white noise: {}", list(&|outcome| Some(outcome.roughness.show(3)))),
        )
        .tested("differences of the roughness by seed, 95 % interval; one below 0 would refute it"),
    ]
}

/// Judges the correlation of each frame of [`FRAMES`] with the result, a value for each sample.
pub(super) fn judge_progress(likeness: &[Measured; FRAMES.len()]) -> Claim {
    let [t499, _, t100, ..] = likeness;
    let means: Vec<String> = likeness.iter().map(|frame| frame.show(2)).collect();
    Claim::new(
        "Vu Minh and Won, section 5.2",
        "The shape of the digit can be recognised at about t = 100.",
        Verdict::all([t100.above(0.5), t499.below(0.3)]),
        format!("correlation of a frame with the result, t = 499 to 0: {}", means.join(", ")),
    )
    .tested(
        "mean over samples of one network, 95 % interval; one below 0.5 at t = 100, or above 0.3 at t = 499, where nothing \
         should be seen yet, would refute it",
    )
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;
    use crate::experiment::verdict::verdicts;
    use crate::experiment::won::networks::Network;

    fn around(value: f64) -> Measured {
        [0.99, 1.0, 1.01].into_iter().map(|factor| factor * value).collect()
    }

    fn outcome(network: Network, frechet: Option<f64>, roughness: f64) -> Outcome {
        Outcome { network, frechet: frechet.map(around), roughness: around(roughness) }
    }

    #[test]
    fn the_larger_network_of_digits_must_be_nearer() {
        let judged = |one, two| judge_mnist(&outcome(Network::Dm1, one, 0.1), &outcome(Network::Dm2, two, 0.1));
        let verdict = |one, two| judged(Some(one), Some(two)).unwrap().verdict;
        assert_eq!([verdict(9.0, 8.0), verdict(8.0, 9.0), verdict(8.0, 8.0)], [Confirmed, Refuted, NotDecided]);
        assert!(judged(None, Some(1.0)).is_err());
        let one_seed = Outcome {
            network: Network::Dm2,
            frechet: Some([1.0].into_iter().collect()),
            ..outcome(Network::Dm2, None, 0.1)
        };
        let other = Outcome { frechet: Some([9.0].into_iter().collect()), ..one_seed.clone() };
        assert_eq!(judge_mnist(&other, &one_seed).unwrap().verdict, NotDecided);
    }

    #[test]
    fn the_networks_of_photographs_must_be_in_order() {
        let judged = |distances: [Option<f64>; 3], roughness: [f64; 3]| {
            let networks = [Network::C1, Network::C2, Network::C3];
            verdicts(&judge_cifar(&std::array::from_fn(|i| outcome(networks[i], distances[i], roughness[i]))))
        };
        assert_eq!(judged([Some(9.0), Some(8.0), Some(7.0)], [0.5, 0.1, 0.05]), [Confirmed, Confirmed]);
        assert_eq!(judged([Some(9.0), Some(8.0), Some(8.5)], [0.1, 0.2, 0.05]), [Refuted, Refuted]);
        assert_eq!(judged([Some(7.0), Some(8.0), Some(6.0)], [0.2, 0.1, 0.2]), [Refuted, NotDecided]);
        assert_eq!(judged([Some(9.0), None, Some(7.0)], [0.5, 0.1, 0.05]), [NotDecided, Confirmed]);
    }

    #[test]
    fn the_shape_must_come_late_and_be_there_at_100() {
        let verdict = |t499, t100| judge_progress(&[t499, 0.3, t100, 0.8, 0.9, 0.99, 1.0].map(around)).verdict;
        assert_eq!([verdict(0.1, 0.6), verdict(0.4, 0.6), verdict(0.1, 0.4)], [Confirmed, Refuted, Refuted]);
        assert_eq!(verdict(0.1, 0.5), NotDecided);
    }
}
