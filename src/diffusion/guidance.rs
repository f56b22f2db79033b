//! Classifier-free guidance (Ho and Salimans 2022, eq. 6): one network, evaluated twice, with the class and without.
//!
//! ```text
//! out = (1 + w) out_class - w out_none = out_none + (1 + w) (out_class - out_none)
//! ```
//!
//! `w = 0` is the conditional model and `w = -1` the unconditional one; other papers' scale is `1 + w`. The rule is
//! linear, and the outputs for different targets are linear maps of each other at equal `z`, so it may be applied to any
//! [`PredictionTarget`](super::prediction::PredictionTarget). In terms of densities it samples from `p(z) p(class | z)^(1 + w)`.

/// The weights of the outputs with the class and without.
pub fn weights(w: f64) -> [f64; 2] {
    [1.0 + w, -w]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::mixture::{Mixture, standard_normal, walk};
    use crate::diffusion::timesteps::Spacing;
    use crate::diffusion::{PredictionTarget, Process, Sampler, Schedule, Variance, rng};

    #[test]
    fn no_guidance_is_the_conditional_and_minus_one_the_unconditional_model() {
        let (class, none) = (0.123_456_789, -9.87);
        let guided = |w: f64| weights(w)[0] * class + weights(w)[1] * none;
        assert_eq!((guided(0.0), guided(-1.0)), (class, none));
        assert!((guided(2.0) - (none + 3.0 * (class - none))).abs() <= 1e-14);
    }

    #[test]
    fn guidance_is_the_same_for_every_target() {
        let point = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap()).point(300.0);
        let (z, class, none) = (0.4, -0.7, 0.9);
        let [on, off] = weights(1.5);
        for target in [PredictionTarget::Epsilon, PredictionTarget::V, PredictionTarget::Score, PredictionTarget::Mu] {
            let x0 = target.x0(&point);
            let of_outputs = x0.apply(z, on * class + off * none);
            let of_images = on * x0.apply(z, class) + off * x0.apply(z, none);
            assert!((of_outputs - of_images).abs() <= 1e-12 * of_images.abs().max(1.0), "{target:?}");
        }
    }

    #[test]
    fn stronger_guidance_moves_a_class_away_from_the_other() {
        let process = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap());
        let times = process.sampling_times(50, Spacing::Linspace).unwrap();
        let sampler = Sampler::Ancestral { variance: Variance::FixedSmall };
        let target = PredictionTarget::Epsilon;
        let steps = sampler.steps(&process, &times, target, None).unwrap();
        let class = Mixture::new(&[(1.0, 0.5, 0.5)]);
        let both = Mixture::new(&[(0.5, 0.5, 0.5), (0.5, -0.5, 0.5)]);
        let mean = |w: f64| {
            let [on, off] = weights(w);
            let output = |z, point: &_| on * class.output(target, z, point) + off * both.output(target, z, point);
            let samples = walk(&process, &steps, standard_normal(4000, &mut rng(0)), &mut rng(1), output);
            samples.iter().sum::<f64>() / samples.len() as f64
        };
        let means = [-1.0, 0.0, 1.0, 3.0].map(mean);
        // Without the class 0, of the class 1/2; 0.03 is 3 standard errors of 4000 samples.
        assert!(means[0].abs() <= 0.035 && (means[1] - 0.5).abs() <= 0.03, "{means:?}");
        assert!(means[2] >= means[1] + 0.1 && means[3] >= means[2] + 0.1, "{means:?}");
    }
}
