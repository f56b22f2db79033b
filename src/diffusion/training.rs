//! What one training step draws: a time for every image, and with it the image's coefficients.
//!
//! The device does the rest, `z = a x_0 + sigma eps` and `loss = sum over images of weight * sum over values of (out -
//! target)^2` with `target = c_x x_0 + c_eps eps`; it needs to know neither schedule nor prediction target.

use super::{LossWeighting, PredictionTarget, Process};
use crate::Result;

/// Counter-based random numbers, Philox4x32-10: four words that depend on the counter and the key alone.
pub type Philox = fn(counter: [u32; 4], key: [u32; 2]) -> [u32; 4];

/// Draws the times of a training run. A time depends on the seed, the step and the image's index in it, and on nothing
/// else: neither on how a batch is split nor on the device.
#[derive(Clone, Copy, Debug)]
pub struct TimestepDraw {
    /// The generator.
    pub philox: Philox,
    /// Seed of the run.
    pub seed: u64,
    /// The stream of random numbers that belongs to times.
    pub stream: u32,
}

impl TimestepDraw {
    /// The time of image `image` in step `step`, uniform on the times of the process.
    pub fn time(&self, step: u32, image: u32, process: &Process) -> f64 {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let [word, ..] = (self.philox)([0, image, step, self.stream], key);
        process.time(word)
    }
}

/// How the squared errors of an image's values become its loss. The batch is averaged in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// All that a training step needs to know about one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageCoefficients {
    /// What the network is told of the time.
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

    /// A generator good enough to count with: 64-bit finalisers over counter and key.
    fn mix(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
        let mut state = u64::from(key[0]) | u64::from(key[1]) << 32;
        for word in counter {
            state = (state ^ u64::from(word)).wrapping_add(0x9e37_79b9_7f4a_7c15);
            state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            state ^= state >> 31;
        }
        [state as u32, (state >> 32) as u32, 0, 0]
    }

    fn table(steps: usize) -> Process {
        Process::Discrete(Schedule::linear(steps, 1e-4, 0.02).unwrap())
    }

    #[test]
    fn times_cover_the_schedule_evenly() {
        let draw = TimestepDraw { philox: mix, seed: 7, stream: 3 };
        let (process, draws) = (table(10), 100_000);
        let mut counts = [0u32; 11];
        for image in 0..draws {
            counts[draw.time(0, image, &process) as usize] += 1;
        }
        assert_eq!(counts[0], 0);
        // 5 standard deviations of a count of mean 10,000.
        assert!(counts[1..].iter().all(|&count| count.abs_diff(draws / 10) <= 475), "{counts:?}");
    }

    #[test]
    fn extreme_words_stay_within_the_schedule() {
        let time = |philox: Philox| TimestepDraw { philox, seed: 0, stream: 0 }.time(0, 0, &table(1000));
        assert_eq!(time(|_, _| [0; 4]), 1.0);
        assert_eq!(time(|_, _| [u32::MAX; 4]), 1000.0);
    }

    #[test]
    fn counter_and_key_are_image_step_stream_and_seed() {
        let echo: Philox = |counter, key| {
            assert_eq!((counter, key), ([0, 5, 9, 2], [0x89ab_cdef, 0x0123_4567]));
            [1 << 31; 4]
        };
        let draw = TimestepDraw { philox: echo, seed: 0x0123_4567_89ab_cdef, stream: 2 };
        assert_eq!(draw.time(9, 5, &table(1000)), 501.0);
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
