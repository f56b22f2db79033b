use crate::ch5_guided::{guided, guided_by_images};
use ddpm::diffusion::NoiseLevel;

#[test]
fn no_guidance_is_the_conditional_and_minus_one_the_unconditional_output() {
    assert_eq!((guided(0.3, -7.7, 0.0), guided(0.3, -7.7, -1.0)), (0.3, -7.7));
    assert!((guided(2.0, 1.0, 3.0) - 5.0).abs() <= 1e-15);
}

#[test]
fn noise_and_images_are_guided_alike() {
    for alpha_bar in [0.99, 0.5, 0.01] {
        let at = NoiseLevel::variance_preserving(alpha_bar);
        for w in [-1.0, 0.0, 2.0, 8.0] {
            let (noise, images) = (guided(0.4, -1.1, w), guided_by_images(0.9, [0.4, -1.1], w, at));
            assert!((noise - images).abs() <= 1e-12, "{w} at {at:?}: {noise} {images}");
        }
    }
}
