//! Coefficients of one image in a training step, a function of the image's time.
//!
//! The device does the rest, `z = a x_0 + sigma eps` and `loss = sum over images of weight * sum over values of (out -
//! target)^2` with `target = c_x x_0 + c_eps eps`; it depends on neither schedule nor prediction target.

use super::prediction::PredictionTarget;
use super::process::Process;
use super::weighting::LossWeighting;
use crate::Result;

/// Reduction of the squared errors of an image's values to its loss. The batch is averaged in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// All coefficients of one image in a training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageCoefficients {
    /// Time input of the network.
    pub time: f32,
    /// Scale of the image in `z`.
    pub a: f32,
    /// Scale of the noise in `z`.
    pub sigma: f32,
    /// Share of the image in the target.
    pub c_x: f32,
    /// Share of the noise in the target.
    pub c_eps: f32,
    /// Factor of the image's squared error, summed over its values.
    pub weight: f32,
}

impl ImageCoefficients {
    /// Coefficients at time `t` of one image of a batch of `[images, values per image]`.
    ///
    /// # Errors
    /// A target or a weighting that the process does not allow.
    pub fn new(
        process: &Process,
        target: PredictionTarget,
        weighting: LossWeighting,
        t: f64,
        [images, values]: [usize; 2],
        reduction: Reduction,
    ) -> Result<ImageCoefficients> {
        let at = process.point(t);
        let (c_x, c_eps) = target.target(&at);
        let values = match reduction {
            Reduction::Mean => values as f64,
            Reduction::Sum => 1.0,
        };
        Ok(ImageCoefficients {
            time: process.network_time(t) as f32,
            a: at.level.a as f32,
            sigma: at.level.sigma as f32,
            c_x: c_x as f32,
            c_eps: c_eps as f32,
            weight: (weighting.weight(target, process, t)? / (images as f64 * values)) as f32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Schedule;

    fn table(steps: usize) -> Process {
        Process::Discrete(Schedule::linear(steps, 1e-4, 0.02).unwrap())
    }

    #[test]
    fn coefficients_belong_to_the_time() {
        let (target, weighting) = (PredictionTarget::Epsilon, LossWeighting::Simple);
        let image = |reduction| ImageCoefficients::new(&table(1000), target, weighting, 260.0, [64, 3072], reduction);
        let mean = image(Reduction::Mean).unwrap();
        assert_eq!((mean.time, mean.c_x, mean.c_eps), (259.0, 0.0, 1.0));
        assert!((mean.a * mean.a + mean.sigma * mean.sigma - 1.0).abs() <= 1e-6);
        assert!(mean.a * mean.a <= 0.5);
        assert_eq!(mean.weight, 1.0 / (64.0 * 3072.0));
        assert_eq!(image(Reduction::Sum).unwrap().weight, 1.0 / 64.0);
    }

    #[test]
    fn a_score_divided_by_sigma_is_learnt_as_noise() {
        // The raw score's simple loss is the noise's at every time; a scaled head also has its targets.
        let process = table(1000);
        for t in [1.0, 40.0, 1000.0] {
            let of = |target| {
                ImageCoefficients::new(&process, target, LossWeighting::Simple, t, [2, 3], Reduction::Mean).unwrap()
            };
            let (noise, scaled, raw) =
                (of(PredictionTarget::Epsilon), of(PredictionTarget::ScoreScaled), of(PredictionTarget::Score));
            assert_eq!(noise, scaled);
            // Output s of the raw head is output -sigma s of the noise head.
            let (noise_error, raw_error) = (0.3 * noise.sigma, -0.3);
            let (want, got) = (noise.weight * noise_error * noise_error, raw.weight * raw_error * raw_error);
            assert!((got - want).abs() <= 1e-6 * want, "{t}: {got} instead of {want}");
        }
    }
}
