//! Interpolation in the latent space of one noise level (Ho et al. 2020, section 4.3): two images are noised to the same
//! time, mixed there, and the mixture is taken back by the steps of a sampler whose times end at it.

/// `(1 - kappa) one + kappa other`; the ends are exactly the inputs.
pub fn interpolate(one: &[f32], other: &[f32], kappa: f32) -> Vec<f32> {
    assert_eq!(one.len(), other.len(), "values of two latents");
    one.iter().zip(other).map(|(one, other)| (1.0 - kappa) * one + kappa * other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::mixture::{Mixture, walk};
    use crate::diffusion::{PredictionTarget, Process, Sampler, Schedule, Variance, rng};

    #[test]
    fn the_ends_are_what_the_images_alone_become() {
        let process = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap());
        let times: Vec<f64> = (1..=500).map(f64::from).collect();
        let (target, sampler) = (PredictionTarget::Epsilon, Sampler::Ancestral { variance: Variance::FixedSmall });
        let steps = sampler.steps(&process, &times, target, None).unwrap();
        let data = Mixture::new(&[(0.5, -1.0, 0.1), (0.5, 1.0, 0.1)]);
        let decode = |z: &[f32]| {
            let z = z.iter().map(|z| f64::from(*z)).collect();
            walk(&process, &steps, z, &mut rng(4), |z, at| data.output(target, z, at))
        };
        // An image of four values and its opposite, noised alike.
        let level = process.level(500.0);
        let noise = [0.4, -1.1, 0.3, 0.9];
        let noised = |x0: f64| noise.map(|eps| (level.a * x0 + level.sigma * eps) as f32);
        let (one, other) = (noised(-1.0), noised(1.0));
        assert_eq!(decode(&interpolate(&one, &other, 0.0)), decode(&one));
        assert_eq!(decode(&interpolate(&one, &other, 1.0)), decode(&other));
        // Off the middle each has its own share.
        for (kappa, want) in [(0.25, [0.75, 0.25]), (0.9, [0.1, 0.9])] {
            let values = interpolate(&[1.0, 0.0, 4.0], &[0.0, 1.0, 8.0], kappa);
            let wanted = [want[0], want[1], 4.0 * want[0] + 8.0 * want[1]];
            assert!(values.iter().zip(wanted).all(|(value, want)| (value - want).abs() <= 1e-6), "{kappa}: {values:?}");
        }
        let middle = interpolate(&one, &other, 0.5);
        for (k, z) in middle.iter().enumerate() {
            assert!((f64::from(*z) - level.sigma * noise[k]).abs() <= 1e-6, "value {k}: {z}");
        }
        assert!(decode(&middle).iter().all(|x| (x.abs() - 1.0).abs() <= 0.5), "{:?}", decode(&middle));
    }
}
