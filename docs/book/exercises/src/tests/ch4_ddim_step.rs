use crate::ch4_ddim_step::ddim_step;
use ddpm::diffusion::mixture::Mixture;
use ddpm::diffusion::{NoiseLevel, PredictionTarget, Process, Sampler, Schedule};

#[test]
fn true_noise_leads_to_the_true_value_at_the_earlier_time() {
    let schedule = Schedule::linear(1000, 1e-4, 0.02).unwrap();
    let (x0, eps) = (0.4, -1.3);
    for (t, s) in [(1000, 750), (750, 2), (2, 1), (1, 0)] {
        let [at, to] = [t, s].map(|t| schedule.level(t));
        let got = ddim_step(at.a * x0 + at.sigma * eps, eps, at, to);
        assert!((got - to.a * x0 - to.sigma * eps).abs() <= 1e-9, "{t} to {s}: {got}");
    }
}

/// The whole walk with the best network for a mixture of two modes, beside the program's own table of coefficients.
#[test]
fn fifty_steps_end_where_the_programs_end() {
    let process = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap());
    let times: Vec<f64> = (1..=50).map(|k| f64::from(20 * k)).collect();
    let target = PredictionTarget::Epsilon;
    let steps = Sampler::Ddim { eta: 0.0 }.steps(&process, &times, target, None).unwrap();
    let mixture = Mixture::new(&[(0.2, -1.0, 0.1), (0.8, 1.0, 0.1)]);
    for start in [-1.7, -0.2, 0.1, 2.0] {
        let (mut yours, mut ours) = (start, start);
        for (k, step) in steps.iter().enumerate() {
            let t = times[times.len() - 1 - k];
            let at = process.point(t);
            let next = if k + 1 < steps.len() { process.level(t - 20.0) } else { NoiseLevel::CLEAN };
            yours = ddim_step(yours, mixture.output(target, yours, &at), at.level, next);
            ours = step.apply(ours, mixture.output(target, ours, &at), 0.0, 0.0);
        }
        assert!((yours - ours).abs() <= 1e-9, "from {start}: {yours} instead of {ours}");
        assert!((yours.abs() - 1.0).abs() <= 0.5, "{yours} lies at no mode");
    }
}
