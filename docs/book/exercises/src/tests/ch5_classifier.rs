use crate::ch5_classifier::classifier_gradient;
use ddpm::diffusion::NoiseLevel;
use ddpm::diffusion::mixture::Mixture;

/// Bayes' rule for scores: the push is what the class's score has more than that of all data.
#[test]
fn the_push_is_the_difference_of_two_scores() {
    for mean in [0.5, -0.8] {
        let (class, both) = (Mixture::new(&[(1.0, mean, 1.0)]), Mixture::new(&[(0.5, mean, 1.0), (0.5, -mean, 1.0)]));
        for alpha_bar in [0.99, 0.5, 0.01] {
            let at = NoiseLevel::variance_preserving(alpha_bar);
            for z in [-2.0, -0.3, 0.0, 1.4] {
                let want = class.score(z, at) - both.score(z, at);
                let got = classifier_gradient(z, mean, at);
                assert!((got - want).abs() <= 1e-10, "{mean}, {z} at {at:?}: {got} instead of {want}");
            }
        }
    }
}
