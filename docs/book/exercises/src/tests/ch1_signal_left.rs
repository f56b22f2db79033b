use crate::ch1_signal_left::{alpha_bar, first_time_with};
use ddpm::diffusion::Schedule;

#[test]
fn the_table_is_the_programs() {
    let schedule = Schedule::linear(1000, 1e-4, 0.02).unwrap();
    let betas: Vec<f64> = (1..=1000).map(|t| schedule.beta(t)).collect();
    let table = alpha_bar(&betas);
    assert_eq!(table.len(), 1001);
    for (t, got) in table.iter().enumerate() {
        assert!((got - schedule.alpha_bar(t)).abs() <= 1e-14, "{t}: {got}");
    }
}

#[test]
fn half_of_the_signal_is_gone_when_the_chapter_says() {
    for (schedule, half) in [(Schedule::linear(1000, 1e-4, 0.02), 260), (Schedule::cosine(1000), 497)] {
        let schedule = schedule.unwrap();
        let table: Vec<f64> = (0..=1000).map(|t| schedule.alpha_bar(t)).collect();
        assert_eq!(first_time_with(&table, 0.5), Some(half));
        assert_eq!(first_time_with(&table, 1.0), Some(0));
        assert_eq!(first_time_with(&table, 0.0), None);
    }
}
