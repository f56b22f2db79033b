//! A forward process as training, sampling and likelihood see it: a schedule, discrete or continuous, and the times
//! that belong to it.
//!
//! A time is an `f64` throughout. In a table it is a whole number in `1..=T`, and the network's time input is `t - 1`,
//! the index that published models were trained with; in continuous time it lies in `[t_min, t_max]`, a part of `[0,
//! 1]`, and the network's time input is `1000 t`. Both are on the scale that sinusoidal embeddings are made for.

use super::continuous::Continuous;
use super::level::NoiseLevel;
use super::schedule::Schedule;
use super::timesteps::{Spacing, subset};
use crate::{Error, Result};

/// Forward process: how data become noise.
#[derive(Clone, Debug)]
pub enum Process {
    /// `T` steps.
    Discrete(Schedule),
    /// Continuous time. Training, sampling and evaluation keep to `[t_min, t_max]`: some weights grow without bound at
    /// 0, and at 1 nothing may be left of the image.
    Continuous { schedule: Continuous, t_min: f64, t_max: f64 },
}

/// The noise levels that mark one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimePoint {
    /// The level at the time itself.
    pub level: NoiseLevel,
    /// The level one step earlier, `t - 1` of a table. Continuous time has no such thing: there it is `level`.
    pub before: NoiseLevel,
}

impl Process {
    /// A process in continuous time.
    ///
    /// # Errors
    /// An impossible schedule, or a range that is not ascending within `[0, 1]`.
    pub fn continuous(schedule: Continuous, t_min: f64, t_max: f64) -> Result<Process> {
        schedule.validate()?;
        if !(0.0 <= t_min && t_min < t_max && t_max <= 1.0) {
            return Err(Error::Config(format!(
                "continuous time: wanted 0 <= t_min < t_max <= 1, not t_min = {t_min} and t_max = {t_max}"
            )));
        }
        Ok(Process::Continuous { schedule, t_min, t_max })
    }

    /// Signal and noise scale at `t`, a time of the process or 0.
    pub fn level(&self, t: f64) -> NoiseLevel {
        match self {
            Process::Discrete(schedule) => schedule.level(index(t)),
            Process::Continuous { schedule, .. } => schedule.level(t),
        }
    }

    /// The level at `t` and, of a table, the one before; `t` is at least 1 there.
    pub fn point(&self, t: f64) -> TimePoint {
        let level = self.level(t);
        let before = match self {
            Process::Discrete(_) => self.level(t - 1.0),
            Process::Continuous { .. } => level,
        };
        TimePoint { level, before }
    }

    /// Time input of the network at `t`: `t - 1`, or `1000 t` in continuous time.
    pub fn network_time(&self, t: f64) -> f64 {
        match self {
            Process::Discrete(_) => t - 1.0,
            Process::Continuous { .. } => 1000.0 * t,
        }
    }

    /// Time that belongs to a time input of the network: the inverse of [`Process::network_time`].
    pub fn time_at(&self, network_time: f64) -> f64 {
        match self {
            Process::Discrete(_) => network_time + 1.0,
            Process::Continuous { .. } => network_time / 1000.0,
        }
    }

    /// A uniform word as a uniform time: on `1..=T`, or inside `(t_min, t_max)`.
    pub fn time(&self, word: u32) -> f64 {
        match self {
            // The top of a 32 x 32 bit product: uniform to one part in 2^32 / T.
            Process::Discrete(schedule) => (1 + ((u64::from(word) * schedule.steps() as u64) >> 32)) as f64,
            Process::Continuous { t_min, t_max, .. } => {
                t_min + (t_max - t_min) * (f64::from(word) + 0.5) / (1u64 << 32) as f64
            }
        }
    }

    /// The times that a sampler visits in `n` steps, ascending, without the clean end. A table gives
    /// [`subset`]; continuous time the uniform grid `1/n, 2/n, ..., 1`, of which times outside `[t_min, t_max]` move to
    /// its ends: a network is never evaluated at times that it was not trained at. Fewer than `n` where times coincide.
    ///
    /// # Errors
    /// `n` is 0 or more than a table has; a spacing other than linspace in continuous time.
    pub fn sampling_times(&self, n: usize, spacing: Spacing) -> Result<Vec<f64>> {
        match self {
            Process::Discrete(schedule) => {
                Ok(subset(schedule.steps(), n, spacing)?.into_iter().map(|t| t as f64).collect())
            }
            Process::Continuous { .. } if n == 0 => {
                Err(Error::Config("sampling steps: wanted at least 1, not 0".into()))
            }
            Process::Continuous { .. } if spacing != Spacing::Linspace => {
                Err(Error::Config(format!("spacing in continuous time: wanted linspace, not {spacing:?}")))
            }
            Process::Continuous { t_min, t_max, .. } => {
                let mut times: Vec<f64> = (1..=n).map(|k| (k as f64 / n as f64).clamp(*t_min, *t_max)).collect();
                times.dedup();
                Ok(times)
            }
        }
    }

    /// Checks that `times` are times of this process, ascending, and at least one.
    ///
    /// # Errors
    /// When they are not.
    pub(super) fn check_times(&self, times: &[f64]) -> Result<()> {
        let (range, within): (String, Box<dyn Fn(f64) -> bool>) = match self {
            Process::Discrete(schedule) => {
                let last = schedule.steps();
                (format!("1..={last}"), Box::new(move |t| t.fract() == 0.0 && t >= 1.0 && t <= last as f64))
            }
            Process::Continuous { t_max, .. } => (format!("(0, {t_max}]"), Box::new(|t| t > 0.0 && t <= *t_max)),
        };
        if times.is_empty() || !times.iter().all(|&t| within(t)) || !times.is_sorted_by(|s, t| s < t) {
            return Err(Error::Config(format!("sampling times: wanted ascending times within {range}, not {times:?}")));
        }
        Ok(())
    }

    /// The latest time: the noisiest level that is trained and sampled.
    pub fn last_time(&self) -> f64 {
        match self {
            Process::Discrete(schedule) => schedule.steps() as f64,
            Process::Continuous { t_max, .. } => *t_max,
        }
    }

    /// Share of the signal in what is left of an image at the latest time, `a / sqrt(a^2 + sigma^2)`: samples start from
    /// noise of that size alone, as if it were 0.
    pub fn signal_left(&self) -> f64 {
        let last = self.level(self.last_time());
        last.a / last.norm()
    }

    /// Least noise relative to the signal, `sigma / a`.
    pub fn least_noise(&self) -> f64 {
        let first = match self {
            Process::Discrete(_) => 1.0,
            Process::Continuous { t_min, .. } => *t_min,
        };
        self.level(first).noise_ratio()
    }

    /// The time whose noise relative to the signal, `sigma / a`, is `ratio`: exactly in continuous time, the nearest
    /// ratio of a table.
    ///
    /// # Errors
    /// A ratio that the process does not reach; of a table, by more than a hundredth.
    pub fn time_of_noise(&self, ratio: f64) -> Result<f64> {
        let noise = |t: f64| self.level(t).noise_ratio();
        let (first, last, slack, time) = match self {
            Process::Discrete(schedule) => {
                let distance = |t: &usize| (noise(*t as f64) / ratio).ln().abs();
                let nearest = (1..=schedule.steps()).min_by(|s, t| distance(s).total_cmp(&distance(t)));
                let nearest = nearest.expect("a schedule has at least one step");
                (1.0, schedule.steps() as f64, 1.01, nearest as f64)
            }
            Process::Continuous { schedule, t_min, t_max } => {
                (*t_min, *t_max, 1.0 + 1e-9, schedule.time_of_noise(ratio).clamp(*t_min, *t_max))
            }
        };
        if !(ratio > 0.0 && ratio * slack >= noise(first) && ratio <= slack * noise(last)) {
            return Err(Error::Config(format!(
                "noise level {ratio:.4}: the noise schedule has {:.4} to {:.4}, relative to the signal",
                noise(first),
                noise(last)
            )));
        }
        Ok(time)
    }
}

/// A whole time as the index of a table.
fn index(t: f64) -> usize {
    debug_assert!(t >= 0.0 && t.fract() == 0.0, "time {t} of a table");
    t as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::rng;
    use rand::Rng;

    fn table() -> Process {
        Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap())
    }

    fn cosine(t_min: f64, t_max: f64) -> Process {
        Process::continuous(Continuous::VpCosine, t_min, t_max).unwrap()
    }

    #[test]
    fn times_cover_the_schedule_evenly() {
        let process = Process::Discrete(Schedule::linear(10, 1e-4, 0.02).unwrap());
        let (mut counts, draws, mut rng) = ([0u32; 11], 100_000, rng(7));
        for _ in 0..draws {
            counts[process.time(rng.next_u32()) as usize] += 1;
        }
        assert_eq!(counts[0], 0);
        // 5 standard deviations of a count of mean 10,000.
        assert!(counts[1..].iter().all(|&count| count.abs_diff(draws / 10) <= 475), "{counts:?}");
    }

    #[test]
    fn words_become_times_of_the_process() {
        let (table, cosine) = (table(), cosine(0.05, 0.95));
        assert_eq!([0, 1 << 31, u32::MAX].map(|word| table.time(word)), [1.0, 501.0, 1000.0]);
        let [first, middle, last] = [0, 1 << 31, u32::MAX].map(|word| cosine.time(word));
        assert!(first > 0.05 && first <= 0.05 + 1e-9 && (middle - 0.5).abs() <= 1e-9 && last >= 0.95 - 1e-9, "{last}");
        assert!(last <= 0.95);
    }

    #[test]
    fn the_time_input_is_the_index_or_a_thousand_times_the_time() {
        assert_eq!((table().network_time(1.0), table().network_time(1000.0)), (0.0, 999.0));
        assert_eq!(cosine(0.0, 1.0).network_time(0.25), 250.0);
        assert_eq!((table().time_at(999.0), cosine(0.0, 1.0).time_at(250.0)), (1000.0, 0.25));
    }

    #[test]
    fn points_of_a_table_know_the_level_before() {
        let (process, schedule) = (table(), Schedule::linear(1000, 1e-4, 0.02).unwrap());
        assert_eq!(process.point(1.0), TimePoint { level: schedule.level(1), before: NoiseLevel::CLEAN });
        assert_eq!(process.point(9.0), TimePoint { level: schedule.level(9), before: schedule.level(8) });
    }

    #[test]
    fn sampling_times_are_a_subset_or_a_grid() {
        assert_eq!(table().sampling_times(4, Spacing::Linspace).unwrap(), [1.0, 334.0, 667.0, 1000.0]);
        assert_eq!(cosine(0.0, 0.999).sampling_times(4, Spacing::Linspace).unwrap(), [0.25, 0.5, 0.75, 0.999]);
        assert_eq!(cosine(0.3, 0.7).sampling_times(5, Spacing::Linspace).unwrap(), [0.3, 0.4, 0.6, 0.7]);
        assert_eq!(cosine(0.0, 1.0).sampling_times(1, Spacing::Linspace).unwrap(), [1.0]);
        assert!(cosine(0.0, 1.0).sampling_times(0, Spacing::Linspace).is_err());
        assert!(cosine(0.0, 1.0).sampling_times(4, Spacing::Leading).is_err());
        assert!(table().sampling_times(1001, Spacing::Linspace).is_err());
    }

    #[test]
    fn a_noise_level_has_its_time() {
        let t = cosine(0.0, 0.999).time_of_noise(1.0).unwrap();
        assert!((t - 0.5).abs() <= 1e-12);
        assert!(cosine(0.0, 0.9).time_of_noise(10.0).is_err());
        let t = table().time_of_noise(1.0).unwrap();
        let neighbours = [t - 1.0, t, t + 1.0].map(|t| table().level(t).log_snr().abs());
        assert!(neighbours[1] <= neighbours[0] && neighbours[1] <= neighbours[2], "{neighbours:?}");
        assert_eq!(table().time_of_noise(0.01).unwrap(), 1.0);
        for ratio in [0.005, 1e4, 0.0, -1.0, f64::NAN] {
            assert!(table().time_of_noise(ratio).is_err(), "{ratio}");
        }
    }

    #[test]
    fn impossible_ranges_are_refused() {
        for (t_min, t_max) in [(0.5, 0.5), (-0.1, 1.0), (0.0, 1.1), (f64::NAN, 1.0)] {
            assert!(Process::continuous(Continuous::VpCosine, t_min, t_max).is_err(), "{t_min}..{t_max}");
        }
    }
}
