//! Noise schedules by name, with their settings: what configurations choose from.

use super::continuous::Continuous;
use super::process::Process;
use super::schedule::Schedule;
use crate::Result;
use serde::{Deserialize, Serialize};

/// Growth of the noise with time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "schedule", rename_all = "kebab-case")]
pub enum NoiseSchedule {
    /// beta linear in time (Ho et al. 2020).
    Linear(BetaRange),
    /// The root of beta linear in time (Rombach et al. 2022).
    ScaledLinear(BetaRange),
    /// beta a logistic function of time, from -6 to 6 (Xu et al. 2022).
    Sigmoid(BetaRange),
    /// alpha_bar a squared cosine of time (Nichol and Dhariwal 2021).
    Cosine(Steps),
    /// Every beta by itself.
    Betas(Betas),
    /// Continuous time: a = cos(pi t / 2), sigma = sin(pi t / 2).
    VpCosine(TimeRange),
    /// Continuous time: the limit of `linear` for ever more steps, from the rate `beta_min` to `beta_max` (Song et al. 2021).
    VpLinear(Rates),
    /// Continuous time, exploding variance: a = 1, sigma geometric in t.
    Ve(NoiseRange),
}

/// Settings of a schedule between two variances.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BetaRange {
    /// Number of noise levels T.
    pub timesteps: usize,
    /// Variance of the first step.
    pub beta_start: f64,
    /// Variance of the last step.
    pub beta_end: f64,
    /// Rescale the schedule so that no signal is left at the last level (Lin et al. 2024, algorithm 1).
    pub zero_terminal_snr: bool,
}

/// Settings of a schedule without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Steps {
    /// Number of noise levels T.
    pub timesteps: usize,
    /// As in [`BetaRange`].
    pub zero_terminal_snr: bool,
}

/// A schedule given as a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Betas {
    /// Variance of every step.
    pub betas: Vec<f64>,
    /// As in [`BetaRange`].
    pub zero_terminal_snr: bool,
}

/// Range of continuous time that is trained and sampled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeRange {
    /// Earliest time.
    pub t_min: f64,
    /// Latest time.
    pub t_max: f64,
}

/// Settings of `vp-linear`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Rate at which noise is added at time 0. Files before had it under the name that the variances of steps have.
    #[serde(alias = "beta_start")]
    pub beta_min: f64,
    /// Rate at which noise is added at time 1.
    #[serde(alias = "beta_end")]
    pub beta_max: f64,
    /// Earliest time.
    pub t_min: f64,
    /// Latest time.
    pub t_max: f64,
}

/// Settings of `ve`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NoiseRange {
    /// Noise at time 0.
    pub sigma_min: f64,
    /// Noise at time 1.
    pub sigma_max: f64,
    /// Earliest time.
    pub t_min: f64,
    /// Latest time.
    pub t_max: f64,
}

impl Default for BetaRange {
    fn default() -> BetaRange {
        BetaRange { timesteps: 1000, beta_start: 1e-4, beta_end: 0.02, zero_terminal_snr: false }
    }
}

impl Default for Steps {
    fn default() -> Steps {
        Steps { timesteps: 1000, zero_terminal_snr: false }
    }
}

impl Default for TimeRange {
    fn default() -> TimeRange {
        TimeRange { t_min: 0.001, t_max: 0.999 }
    }
}

impl Default for Rates {
    fn default() -> Rates {
        Rates { beta_min: 0.1, beta_max: 20.0, t_min: 0.001, t_max: 0.999 }
    }
}

impl Default for NoiseRange {
    fn default() -> NoiseRange {
        NoiseRange { sigma_min: 0.01, sigma_max: 50.0, t_min: 0.001, t_max: 0.999 }
    }
}

impl Default for NoiseSchedule {
    fn default() -> NoiseSchedule {
        NoiseSchedule::Linear(BetaRange::default())
    }
}

impl NoiseSchedule {
    /// Every schedule with its default settings.
    pub fn all() -> [NoiseSchedule; 8] {
        let range = BetaRange::default();
        [
            NoiseSchedule::Linear(range),
            NoiseSchedule::ScaledLinear(range),
            NoiseSchedule::Sigmoid(range),
            NoiseSchedule::cosine(),
            NoiseSchedule::Betas(Betas::default()),
            NoiseSchedule::VpCosine(TimeRange::default()),
            NoiseSchedule::VpLinear(Rates::default()),
            NoiseSchedule::Ve(NoiseRange::default()),
        ]
    }

    /// `linear` of so many steps, from `beta_start` to 0.02.
    pub fn linear(timesteps: usize, beta_start: f64) -> NoiseSchedule {
        NoiseSchedule::Linear(BetaRange { timesteps, beta_start, ..BetaRange::default() })
    }

    /// `cosine` of as many steps as it has unless set.
    pub fn cosine() -> NoiseSchedule {
        NoiseSchedule::Cosine(Steps::default())
    }

    /// `vp-cosine` between two times.
    pub fn vp_cosine(t_min: f64, t_max: f64) -> NoiseSchedule {
        NoiseSchedule::VpCosine(TimeRange { t_min, t_max })
    }

    /// The forward process.
    ///
    /// # Errors
    /// Settings that no process has.
    pub fn process(&self) -> Result<Process> {
        let table = |make: fn(usize, f64, f64) -> Result<Schedule>, range: &BetaRange| {
            let schedule = make(range.timesteps, range.beta_start, range.beta_end)?;
            Ok(discrete(schedule, range.zero_terminal_snr))
        };
        match self {
            NoiseSchedule::Linear(range) => table(Schedule::linear, range),
            NoiseSchedule::ScaledLinear(range) => table(Schedule::scaled_linear, range),
            NoiseSchedule::Sigmoid(range) => table(Schedule::sigmoid, range),
            NoiseSchedule::Cosine(steps) => Ok(discrete(Schedule::cosine(steps.timesteps)?, steps.zero_terminal_snr)),
            NoiseSchedule::Betas(Betas { betas, zero_terminal_snr }) => {
                Ok(discrete(Schedule::from_betas(betas)?, *zero_terminal_snr))
            }
            NoiseSchedule::VpCosine(TimeRange { t_min, t_max }) => {
                Process::continuous(Continuous::VpCosine, *t_min, *t_max)
            }
            NoiseSchedule::VpLinear(Rates { beta_min, beta_max, t_min, t_max }) => {
                Process::continuous(Continuous::VpLinear { b0: *beta_min, b1: *beta_max }, *t_min, *t_max)
            }
            NoiseSchedule::Ve(NoiseRange { sigma_min, sigma_max, t_min, t_max }) => {
                Process::continuous(Continuous::Ve { sigma_min: *sigma_min, sigma_max: *sigma_max }, *t_min, *t_max)
            }
        }
    }
}

fn discrete(schedule: Schedule, zero_terminal_snr: bool) -> Process {
    Process::Discrete(if zero_terminal_snr { schedule.with_zero_terminal_snr() } else { schedule })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_makes_a_process_and_has_a_name_of_its_own() {
        for schedule in NoiseSchedule::all() {
            let named = serde_json::to_value(&schedule).unwrap();
            assert_eq!(serde_json::from_value::<NoiseSchedule>(named.clone()).unwrap(), schedule);
            assert_eq!(schedule.process().is_err(), named["schedule"] == "betas", "{named}");
        }
    }
}
