//! The learning rate, which changes with the step by rule.

use super::config::{LrSchedule, TrainConfig};

/// Learning rate of a step, counted from 0: linear up to its peak in the warm-up, then constant or half a cosine.
pub fn learning_rate(train: &TrainConfig, step: u64) -> f64 {
    let end = train.lr_horizon();
    let warmup = train.warmup_steps.min(end);
    if step < warmup {
        return train.learning_rate * (step + 1) as f64 / warmup as f64;
    }
    match train.lr_schedule {
        LrSchedule::Constant => train.learning_rate,
        LrSchedule::Cosine => {
            let progress = (step - warmup) as f64 / (end - warmup).max(1) as f64;
            train.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_ends_at_the_peak_and_never_outlasts_the_run() {
        let train = TrainConfig { steps: 10, warmup_steps: 4, learning_rate: 1.0, ..TrainConfig::default() };
        let rates: Vec<f64> = (0..10).map(|s| learning_rate(&train, s)).collect();
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let short = TrainConfig { steps: 2, warmup_steps: 5000, learning_rate: 1.0, ..train };
        assert_eq!((learning_rate(&short, 0), learning_rate(&short, 1)), (0.5, 1.0));
    }

    #[test]
    fn the_cosine_falls_from_the_peak_towards_zero() {
        let train = TrainConfig {
            steps: 12,
            warmup_steps: 2,
            learning_rate: 2.0,
            lr_schedule: LrSchedule::Cosine,
            ..TrainConfig::default()
        };
        let rates: Vec<f64> = (2..12).map(|s| learning_rate(&train, s)).collect();
        assert_eq!(rates[0], 2.0);
        assert!((rates[5] - 1.0).abs() <= 1e-12);
        assert!(rates.is_sorted_by(|a, b| a > b) && rates[9] > 0.0);
    }

    #[test]
    fn the_course_may_end_elsewhere_than_the_run() {
        let whole =
            TrainConfig { steps: 40, lr_schedule: LrSchedule::Cosine, warmup_steps: 5, ..TrainConfig::default() };
        let longer = TrainConfig { steps: 80, lr_steps: 40, ..whole.clone() };
        assert!((0..40).all(|step| learning_rate(&whole, step) == learning_rate(&longer, step)));
        assert!((40..80).all(|step| learning_rate(&longer, step) == 0.0));
    }
}
