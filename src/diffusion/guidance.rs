//! Guidance towards a class.
//!
//! Classifier-free (Ho and Salimans 2022, eq. 6): one network, evaluated twice, with the class and without.
//!
//! ```text
//! out = (1 + w) out_class - w out_none = out_none + (1 + w) (out_class - out_none)
//! ```
//!
//! `w = 0` is the conditional model and `w = -1` the unconditional one; other papers' scale is `1 + w`. The rule is
//! linear, and the outputs for different targets are linear maps of each other at equal `z`, so it may be applied to any
//! [`PredictionTarget`](super::prediction::PredictionTarget). In terms of densities it samples from `p(z) p(class | z)^(1 + w)`.
//!
//! By a classifier (Dhariwal and Nichol 2021, eq. 14) whose `ln p(class | z_t)` has a gradient: the score is moved,
//!
//! ```text
//! S = S_0 + gamma grad ln p(class | z_t)      out = out_0 + (d out / d S) gamma grad ln p(class | z_t)
//! ```
//!
//! and the output with it, in which every target is linear: predicted noise becomes `eps - gamma sigma grad ln p`.
//! `gamma = 1` is Bayes' rule, the conditional model.

use super::sampler::SamplerStep;

/// The weights of the outputs with the class and without.
pub fn weights(w: f64) -> [f64; 2] {
    [1.0 + w, -w]
}

/// The shift of the network's output in a step, per gradient of a classifier's log-probability, for the scale `gamma`.
pub fn shift_per_gradient(step: &SamplerStep, gamma: f64) -> f64 {
    gamma * step.out_per_score
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::mixture::{Mixture, standard_normal, walk};
    use crate::diffusion::timesteps::Spacing;
    use crate::diffusion::{NoiseLevel, PredictionTarget, Process, Sampler, Schedule, TimePoint, Variance, rng};

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

    /// A classifier that is Bayes' rule: of the class among both, each half of all.
    fn gradient_of_classifier(class: &Mixture, both: &Mixture, z: f64, at: &TimePoint) -> f64 {
        class.score(z, at.level) - both.score(z, at.level)
    }

    #[test]
    fn the_gradient_of_the_exact_classifier_is_that_of_its_log_probability() {
        let point = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap()).point(200.0);
        let [class, other, both] = classes();
        // p(class | z) by the densities of the noised classes, which are normal.
        let density = |mean: f64, z: f64| {
            let NoiseLevel { a, sigma } = point.level;
            let variance = (a * 0.5).powi(2) + sigma * sigma;
            (-0.5 * (z - a * mean).powi(2) / variance).exp()
        };
        let log_p = |z: f64| (density(0.5, z) / (density(0.5, z) + density(-0.5, z))).ln();
        for z in [-1.5, -0.2, 0.0, 0.7, 2.0] {
            let h = 1e-5;
            let want = (log_p(z + h) - log_p(z - h)) / (2.0 * h);
            let found = gradient_of_classifier(&class, &both, z, &point);
            assert!((found - want).abs() <= 1e-6, "{z}: {found}, differences {want}");
            let of_other = gradient_of_classifier(&other, &both, z, &point);
            assert!(of_other * found < 0.0, "{z}: the other class lies the other way");
        }
    }

    fn classes() -> [Mixture; 3] {
        let [class, other] = [0.5, -0.5].map(|mean| Mixture::new(&[(1.0, mean, 0.5)]));
        [class, other, Mixture::new(&[(0.5, 0.5, 0.5), (0.5, -0.5, 0.5)])]
    }

    /// At scale 1 the score is that of the class, so every sampler draws, to rounding, what the conditional model draws
    /// with the same noise, whatever the target.
    #[test]
    fn the_exact_classifier_at_scale_one_makes_the_conditional_model() {
        let process = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap());
        let times = process.sampling_times(20, Spacing::Linspace).unwrap();
        let [class, _, both] = classes();
        for target in [PredictionTarget::Epsilon, PredictionTarget::X0, PredictionTarget::V, PredictionTarget::Score] {
            for sampler in
                [Sampler::Ancestral { variance: Variance::FixedSmall }, Sampler::Ddim { eta: 0.0 }, Sampler::DpmSolver]
            {
                let steps = sampler.steps(&process, &times, target, None).unwrap();
                let points: Vec<TimePoint> =
                    steps.iter().map(|step| process.point(process.time_at(step.time))).collect();
                let drawn = |output: &dyn Fn(f64, &TimePoint) -> f64| {
                    walk(&process, &steps, standard_normal(2000, &mut rng(0)), &mut rng(1), output)
                };
                let conditional = drawn(&|z, at| class.output(target, z, at));
                let guided = |gamma: f64| {
                    drawn(&|z, at| {
                        let step = points.iter().position(|point| point == at).expect("a step at every time");
                        let shift = shift_per_gradient(&steps[step], gamma);
                        both.output(target, z, at) + shift * gradient_of_classifier(&class, &both, z, at)
                    })
                };
                for (guided, wanted) in guided(1.0).iter().zip(&conditional) {
                    assert!((guided - wanted).abs() <= 1e-9 * wanted.abs().max(1.0), "{target:?} {sampler:?}");
                }
                let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
                let means = [0.0, 1.0, 3.0].map(|gamma| mean(&guided(gamma)));
                // Four standard errors of 2000 samples whose deviations are 0.71 and 0.5.
                assert!(
                    means[0].abs() <= 0.064 && (means[1] - 0.5).abs() <= 0.045,
                    "{target:?} {sampler:?}: {means:?}"
                );
                assert!(means[2] >= means[1] + 0.1, "{target:?} {sampler:?}: {means:?}");
            }
        }
    }
}
