use crate::ch2_score_of_v::score_of_v;
use ddpm::diffusion::{NoiseLevel, PredictionTarget, Process, Schedule};

#[test]
fn true_velocities_give_true_scores() {
    let (x0, eps) = (0.3, -0.8);
    for alpha_bar in [0.999, 0.5, 1e-3] {
        let at = NoiseLevel::variance_preserving(alpha_bar);
        let got = score_of_v(at.a * x0 + at.sigma * eps, at.a * eps - at.sigma * x0, at);
        assert!((got + eps / at.sigma).abs() <= 1e-12, "{alpha_bar}: {got}");
    }
}

#[test]
fn the_conversion_is_the_programs() {
    let process = Process::Discrete(Schedule::cosine(1000).unwrap());
    for t in [1.0, 300.0, 999.0] {
        let at = process.point(t);
        let want = PredictionTarget::V.score(&at).apply(0.7, -1.1);
        let got = score_of_v(0.7, -1.1, at.level);
        assert!((got - want).abs() <= 1e-9 * want.abs(), "{t}: {got} instead of {want}");
    }
}
