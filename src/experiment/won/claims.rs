//! The verdicts on the report: functions of the measures of its models.

use super::models::Outcome;
use crate::experiment::verdict::{Claim, Verdict};
use crate::report::digits;
use anyhow::{Context as _, Result};

/// The steps that are left when a frame is taken, as the report numbers them.
pub(super) const FRAMES: [usize; 7] = [499, 200, 100, 50, 10, 5, 0];

/// Judges DM1 and DM2.
pub(super) fn judge_mnist(one: Outcome, two: Outcome) -> Result<Claim> {
    let (one, two) = one.frechet.zip(two.frechet).context("the samples of DM1 and DM2 were not judged")?;
    Ok(Claim::new(
        "Vu Minh and Won, section 5",
        "DM2 draws clearer and more varied digits than DM1.",
        Verdict::of(two < one),
        format!("Fréchet distance {} for DM1, {} for DM2", digits(one, 3), digits(two, 3)),
    ))
}

/// Judges C1, C2 and C3, in this order.
pub(super) fn judge_cifar(results: [Outcome; 3]) -> Claim {
    let rough: Vec<String> =
        results.iter().map(|r| format!("{} {}", r.network.name(), digits(r.roughness, 3))).collect();
    let rough = rough.join(", ");
    let (verdict, evidence) = match results.map(|result| result.frechet) {
        [Some(c1), Some(c2), Some(c3)] => {
            (Verdict::of(c3 < c2 && c2 < c1), format!("by Fréchet distance; roughness: {rough}"))
        }
        _ => (
            Verdict::NotDecided,
            format!("needs the full size, 60 epochs on a GPU; after a few hundred steps, roughness: {rough}"),
        ),
    };
    let claim = "C3 draws best, C2 has clearer edges than C1, and C1 draws little more than coloured noise.";
    Claim::new("Vu Minh and Won, section 5", claim, verdict, evidence)
}

/// Judges the mean correlation of each frame of [`FRAMES`] with the result.
pub(super) fn judge_progress(likeness: &[f64; FRAMES.len()]) -> Claim {
    let [t499, _, t100, ..] = likeness;
    Claim::new(
        "Vu Minh and Won, section 5",
        "The shape of the digit can be recognised at about t = 100.",
        Verdict::of(*t100 > 0.5 && *t499 < 0.3),
        format!("mean correlation of a frame with the result, t = 499 to 0: {likeness:.2?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Confirmed, NotDecided, Refuted};
    use super::*;
    use crate::experiment::won::networks::Network;

    fn outcome(network: Network, frechet: Option<f64>) -> Outcome {
        Outcome { network, frechet, roughness: 0.1 }
    }

    #[test]
    fn the_larger_network_of_digits_must_be_nearer() {
        let verdict =
            |one, two| judge_mnist(outcome(Network::Dm1, Some(one)), outcome(Network::Dm2, Some(two))).unwrap().verdict;
        assert_eq!([verdict(9.0, 8.0), verdict(8.0, 9.0), verdict(8.0, f64::NAN)], [Confirmed, Refuted, Refuted]);
        assert!(judge_mnist(outcome(Network::Dm1, None), outcome(Network::Dm2, Some(1.0))).is_err());
    }

    #[test]
    fn the_networks_of_photographs_must_be_in_order() {
        let verdict = |distances: [Option<f64>; 3]| {
            let [c1, c2, c3] = distances;
            judge_cifar([outcome(Network::C1, c1), outcome(Network::C2, c2), outcome(Network::C3, c3)]).verdict
        };
        assert_eq!(verdict([Some(9.0), Some(8.0), Some(7.0)]), Confirmed);
        assert_eq!(verdict([Some(9.0), Some(8.0), Some(8.5)]), Refuted);
        assert_eq!(verdict([Some(7.0), Some(8.0), Some(6.0)]), Refuted);
        assert_eq!(verdict([Some(9.0), None, Some(7.0)]), NotDecided);
    }

    #[test]
    fn the_shape_must_come_late_and_be_there_at_100() {
        let verdict = |t499, t100| judge_progress(&[t499, 0.3, t100, 0.8, 0.9, 0.99, 1.0]).verdict;
        assert_eq!([verdict(0.1, 0.6), verdict(0.4, 0.6), verdict(0.1, 0.5)], [Confirmed, Refuted, Refuted]);
    }
}
