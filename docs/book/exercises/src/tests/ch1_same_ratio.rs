use crate::ch1_same_ratio::variance_preserving;
use ddpm::diffusion::Continuous;

#[test]
fn ratio_and_variance_are_as_asked() {
    for t in [0.0, 0.2, 0.5, 0.8, 1.0] {
        let exploding = Continuous::Ve { sigma_min: 0.01, sigma_max: 50.0 }.level(t);
        let got = variance_preserving(exploding.noise_ratio());
        assert!((got.norm() - 1.0).abs() <= 1e-14, "{t}: {got:?}");
        assert!((got.log_snr() - exploding.log_snr()).abs() <= 1e-12, "{t}: {got:?}");
    }
}

#[test]
fn the_cosine_has_the_same_levels_at_other_times() {
    for ratio in [0.02, 1.0, 30.0] {
        let want = Continuous::VpCosine.level(Continuous::VpCosine.time_of_noise(ratio));
        let got = variance_preserving(ratio);
        assert!((got.a - want.a).abs() <= 1e-14 && (got.sigma - want.sigma).abs() <= 1e-14, "{ratio}: {got:?}");
    }
}
