use crate::ch2_best_denoiser::best_denoiser;
use ddpm::diffusion::NoiseLevel;
use ddpm::diffusion::mixture::Mixture;

#[test]
fn it_is_the_programs_mixture_of_one() {
    let mixture = Mixture::new(&[(1.0, 0.5, 0.3)]);
    for alpha_bar in [0.9999, 0.5, 1e-4] {
        let at = NoiseLevel::variance_preserving(alpha_bar);
        for z in [-3.0, 0.0, 0.4, 2.0] {
            let (got, want) = (best_denoiser(z, 0.5, 0.3, at), mixture.x0(z, at));
            assert!((got - want).abs() <= 1e-12, "{z} at {at:?}: {got} instead of {want}");
        }
    }
}

#[test]
fn clean_data_are_returned_and_of_pure_noise_the_mean() {
    assert!((best_denoiser(0.7, 0.5, 0.3, NoiseLevel::CLEAN) - 0.7).abs() <= 1e-15);
    assert!((best_denoiser(9.0, 0.5, 0.3, NoiseLevel { a: 0.0, sigma: 1.0 }) - 0.5).abs() <= 1e-15);
}
