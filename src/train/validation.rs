//! Validation: the loss on samples that are not trained on, and when to stop because of it.

use super::config::TrainConfig;
use crate::report::Record;

/// A mean loss and its standard error.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct MeanLoss {
    /// Mean over samples.
    pub loss: f64,
    /// Standard error of that mean; 0 for a single sample.
    pub standard_error: f64,
}

impl MeanLoss {
    /// Computes the mean of the losses of samples.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(losses: &[f64]) -> MeanLoss {
        assert!(!losses.is_empty(), "a mean needs samples");
        let n = losses.len() as f64;
        let loss = losses.iter().sum::<f64>() / n;
        let squares: f64 = losses.iter().map(|l| (l - loss).powi(2)).sum();
        MeanLoss { loss, standard_error: (squares / (n * (n - 1.0).max(1.0))).sqrt() }
    }
}

/// Follows the validations of a run: which was the best, and whether the run has gone on long enough without a better
/// one (Prechelt 1998). The state is a function of the log, so that a resumed run stops where it would have.
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    patience: u64,
    min_delta: f64,
    best: Option<(u64, f64)>,
    without_progress: u64,
}

impl EarlyStopping {
    /// Begins with nothing validated.
    pub fn new(train: &TrainConfig) -> EarlyStopping {
        EarlyStopping { patience: train.patience, min_delta: train.min_delta, best: None, without_progress: 0 }
    }

    /// Takes note of a step; returns true if its validation is the best so far, by at least the least difference.
    pub fn note(&mut self, record: &Record) -> bool {
        let Some(loss) = record.validation_loss.map(f64::from) else { return false };
        let is_best = self.best.is_none_or(|(_, best)| loss < best - self.min_delta);
        if is_best {
            self.best = Some((record.step, loss));
            self.without_progress = 0;
        } else {
            self.without_progress += 1;
        }
        is_best
    }

    /// Returns true once the patience is over.
    pub fn is_over(&self) -> bool {
        self.patience > 0 && self.without_progress >= self.patience
    }

    /// The step of the best validation.
    pub fn best_step(&self) -> Option<u64> {
        self.best.map(|(step, _)| step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_standard_error_are_the_textbook_s() {
        let MeanLoss { loss, standard_error } = MeanLoss::of(&[1.0, 2.0, 3.0, 6.0]);
        assert_eq!(loss, 3.0);
        assert!((standard_error - (14.0 / 12.0f64).sqrt()).abs() <= 1e-15);
        assert_eq!(MeanLoss::of(&[2.5]).standard_error, 0.0);
    }

    #[test]
    fn stopping_waits_for_the_patience_and_keeps_the_best() {
        let train = TrainConfig { patience: 3, min_delta: 0.1, ..TrainConfig::default() };
        let mut stopping = EarlyStopping::new(&train);
        // The fourth is lower than the second, but not by enough.
        let losses = [Some(1.0), Some(0.5), None, Some(0.45), Some(0.6), Some(0.7)];
        let mut best = Vec::new();
        for (step, validation_loss) in (1..).zip(losses) {
            assert!(!stopping.is_over(), "step {step}");
            if stopping.note(&Record { step, validation_loss, ..Record::default() }) {
                best.push(step);
            }
        }
        assert!(stopping.is_over());
        assert_eq!((best, stopping.best_step()), (vec![1, 2], Some(2)));
    }

    #[test]
    fn a_loss_that_is_not_a_number_is_never_the_best() {
        let mut stopping = EarlyStopping::new(&TrainConfig { patience: 1, ..TrainConfig::default() });
        stopping.note(&Record { validation_loss: Some(1.0), ..Record::default() });
        assert!(!stopping.note(&Record { validation_loss: Some(f32::NAN), ..Record::default() }));
        assert!(stopping.is_over());
    }
}
