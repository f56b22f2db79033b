use crate::ch3_noise_weight::noise_weight;
use ddpm::diffusion::{LossWeighting, PredictionTarget, Process, Schedule};

fn table(schedule: &Schedule) -> Vec<f64> {
    (0..=schedule.steps()).map(|t| schedule.alpha_bar(t)).collect()
}

#[test]
fn weights_have_the_published_values() {
    let alpha_bar = table(&Schedule::linear(1000, 1e-3, 0.02).unwrap());
    for (t, want) in [(2, 0.510), (3, 0.2575), (10, 0.0608), (100, 0.00830), (1000, 0.0102)] {
        let got = noise_weight(&alpha_bar, t);
        assert!((got - want).abs() <= 0.006 * want, "{t}: {got} instead of {want}");
    }
}

#[test]
fn weights_are_the_programs() {
    let schedule = Schedule::cosine(1000).unwrap();
    let (alpha_bar, process) = (table(&schedule), Process::Discrete(schedule));
    for t in 2..=1000 {
        let want = LossWeighting::Vlb.weight(PredictionTarget::Epsilon, &process, t as f64).unwrap();
        let got = noise_weight(&alpha_bar, t);
        assert!((got - want).abs() <= 1e-7 * want, "{t}: {got} instead of {want}");
    }
}
