//! Mixtures of images at one noise level (Ho et al. 2020, section 4.3): a start for [`ImageSampler`](super::ImageSampler).

use crate::diffusion::NoiseLevel;
use crate::diffusion::interpolation::interpolate;
use crate::engine::random::{Philox, RngState, Stream};

/// The noise that images are given before they are mixed.
const SOURCE_NOISE: Stream = Stream::new(15);

/// Images `[n, h, w, c]` of so many values each at a noise level. The noise of image `i` is a function of the seed and `i`,
/// the same at every level.
pub fn noised(images: &[f32], values: usize, level: NoiseLevel, seed: u64) -> Vec<f32> {
    let noise = Philox::new(RngState { seed, step: 0, first_image: 0 }, SOURCE_NOISE);
    let (a, sigma) = (level.a as f32, level.sigma as f32);
    let mut z = vec![0.0; images.len()];
    for (i, (z, image)) in z.chunks_exact_mut(values).zip(images.chunks_exact(values)).enumerate() {
        noise.fill_normal(i as u32, 0, z);
        z.iter_mut().zip(image).for_each(|(z, x)| *z = a * x + sigma * *z);
    }
    z
}

/// Mixtures of two latents, from the first alone to the second alone in equal parts: `[count, h, w, c]`.
pub fn mixtures(one: &[f32], other: &[f32], count: usize) -> Vec<f32> {
    let kappa = |k: usize| k as f32 / (count - 1).max(1) as f32;
    (0..count).flat_map(|k| interpolate(one, other, kappa(k))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixtures_go_from_one_to_the_other_and_noise_is_that_of_the_level() {
        let images: Vec<f32> = (0..2 * 20_000).map(|i| if i < 20_000 { 0.5 } else { -0.25 }).collect();
        let level = NoiseLevel { a: 0.6, sigma: 0.8 };
        let z = noised(&images, 20_000, level, 3);
        for (z, image) in z.chunks_exact(20_000).zip([0.3, -0.15]) {
            let mean = z.iter().sum::<f32>() / 20_000.0;
            let variance = z.iter().map(|z| (z - mean).powi(2)).sum::<f32>() / 20_000.0;
            // Four standard errors.
            assert!((mean - image).abs() <= 0.023 && (variance - 0.64).abs() <= 0.026, "{mean} {variance}");
        }
        assert_eq!(noised(&images, 20_000, NoiseLevel::CLEAN, 3), images);
        let (one, other) = z.split_at(20_000);
        let mixed = mixtures(one, other, 5);
        assert_eq!((&mixed[..20_000], &mixed[80_000..]), (one, other));
        assert!((mixed[40_007] - 0.5 * (one[7] + other[7])).abs() <= 1e-6);
    }
}
