//! What one training step draws: a time for every image, and with it the image's coefficients.
//!
//! The device does the rest, `z = a x_0 + sigma eps` and `loss = sum over images of weight * sum over values of (out -
//! target)^2` with `target = c_x x_0 + c_eps eps`; it needs to know neither schedule nor prediction target.

use super::{PredictionTarget, Schedule};

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
    /// The time of image `image` in step `step`, uniform on `1..=steps`.
    pub fn time(&self, step: u32, image: u32, steps: usize) -> usize {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let [word, ..] = (self.philox)([0, image, step, self.stream], key);
        // The top of a 32 x 32 bit product: uniform to one part in 2^32 / steps.
        1 + ((word as u64 * steps as u64) >> 32) as usize
    }
}

/// All that a training step needs to know about one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageCoefficients {
    /// What the network is told: `t - 1`.
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
    /// Coefficients of one of `images` images of `values` values at time `t`, for the simple loss: the squared error
    /// averaged over values and images (Ho et al. 2020, eq. 14).
    pub fn simple(
        schedule: &Schedule,
        target: PredictionTarget,
        t: usize,
        images: usize,
        values: usize,
    ) -> ImageCoefficients {
        let level = schedule.level(t);
        let (c_x, c_eps) = target.target(level);
        ImageCoefficients {
            time: (t - 1) as f32,
            a: level.a as f32,
            sigma: level.sigma as f32,
            c_x: c_x as f32,
            c_eps: c_eps as f32,
            weight: (1.0 / (images as f64 * values as f64)) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn times_cover_the_schedule_evenly() {
        let draw = TimestepDraw { philox: mix, seed: 7, stream: 3 };
        let (steps, draws) = (10, 100_000);
        let mut counts = vec![0u32; steps + 1];
        for image in 0..draws {
            counts[draw.time(0, image, steps)] += 1;
        }
        assert_eq!(counts[0], 0);
        // 5 standard deviations of a count of mean 10,000.
        assert!(counts[1..].iter().all(|&count| count.abs_diff(draws / 10) <= 475), "{counts:?}");
    }

    #[test]
    fn extreme_words_stay_within_the_schedule() {
        let time = |philox: Philox| TimestepDraw { philox, seed: 0, stream: 0 }.time(0, 0, 1000);
        assert_eq!(time(|_, _| [0; 4]), 1);
        assert_eq!(time(|_, _| [u32::MAX; 4]), 1000);
    }

    #[test]
    fn counter_and_key_are_image_step_stream_and_seed() {
        let echo: Philox = |counter, key| {
            assert_eq!((counter, key), ([0, 5, 9, 2], [0x89ab_cdef, 0x0123_4567]));
            [1 << 31; 4]
        };
        assert_eq!(TimestepDraw { philox: echo, seed: 0x0123_4567_89ab_cdef, stream: 2 }.time(9, 5, 1000), 501);
    }

    #[test]
    fn coefficients_belong_to_the_time() {
        let schedule = Schedule::linear(1000, 1e-4, 0.02).unwrap();
        let image = ImageCoefficients::simple(&schedule, PredictionTarget::Epsilon, 260, 64, 3072);
        assert_eq!((image.time, image.c_x, image.c_eps), (259.0, 0.0, 1.0));
        assert!((image.a * image.a + image.sigma * image.sigma - 1.0).abs() <= 1e-6);
        assert!(image.a * image.a <= 0.5);
        assert_eq!(image.weight, 1.0 / (64.0 * 3072.0));
    }
}
