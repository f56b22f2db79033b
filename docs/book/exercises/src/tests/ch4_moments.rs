use crate::ch4_moments::step;
use ddpm::diffusion::timesteps::{Spacing, subset};
use ddpm::diffusion::{NoiseLevel, Schedule};

#[test]
fn deviations_are_those_of_the_chapter() {
    let schedule = Schedule::linear(1000, 1e-4, 0.02).unwrap();
    for (n, want) in [(1000, 0.2963), (250, 0.2870), (100, 0.2718), (50, 0.2522), (20, 0.2121), (10, 0.1636)] {
        let times = subset(1000, n, Spacing::Linspace).unwrap();
        let mut moments = [0.0, 1.0];
        for k in (0..n).rev() {
            let s = if k == 0 { NoiseLevel::CLEAN } else { schedule.level(times[k - 1]) };
            moments = step(moments, schedule.level(times[k]), s);
        }
        let [mean, deviation] = [moments[0], moments[1].sqrt()];
        assert!((mean - 0.5).abs() <= 3e-4, "{n} steps: mean {mean}");
        assert!((deviation - want).abs() <= 1e-4, "{n} steps: {deviation} instead of {want}");
    }
}
