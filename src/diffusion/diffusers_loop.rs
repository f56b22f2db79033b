//! The sampling loops of diffusers (0.42): the same steps as ours, along times and levels that its schedulers lay out.
//!
//! - Times: each of three spacings, with DPM-Solver's grid of one more, the last left out. Ours are 1 later: `t` here is
//!   in `1..=T`.
//! - DDIM goes from `t` to the level `T / n` earlier, also where that is not the next time it visits.
//! - The level at the end is clean, or that of the first time (`set_alpha_to_one`, `final_sigmas_type`).
//! - Ancestral steps and DDIM add noise in the last step as in any other, unless it starts at the first time.

use super::level::NoiseLevel;
use super::plan::{SamplePlan, nearest};
use super::prediction::PredictionTarget;
use super::process::{Process, TimePoint};
use super::sampler::Sampler;
use super::sampler::route::{Route, RoutePoint};
use super::schedule::Schedule;
use super::timesteps::Spacing;
use crate::{Error, Result};

/// `alpha_bar` at the end of a schedule without signal there, as DPM-Solver's: a logarithm must exist.
const LEAST_ALPHA_BAR: f64 = 1.0 / (1 << 24) as f64;
/// `beta_tilde` in the last step where the variance is learned: its own is 0.
const LEAST_VARIANCE: f64 = 1e-20;

/// Settings of diffusers' schedulers that say how a loop visits the times of its schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct DiffusersLoop {
    /// Spacing of the times; `None`: that of the scheduler's class.
    pub spacing: Option<Spacing>,
    /// Added to the times of leading spacing.
    pub steps_offset: usize,
    /// DDIM ends at clean data, not at the level of the first time.
    pub set_alpha_to_one: bool,
    /// DPM-Solver ends at the level of the first time, not at clean data.
    pub final_sigma_min: bool,
    /// Order of DPM-Solver, 1 or 2.
    pub solver_order: usize,
    /// The last of fewer than 15 steps of DPM-Solver is of first order.
    pub lower_order_final: bool,
    /// The last step of DPM-Solver is of first order.
    pub euler_at_final: bool,
    /// DPM-Solver visits no time with a smaller `ln(a / sigma)`.
    pub lambda_min_clipped: f64,
}

impl Default for DiffusersLoop {
    fn default() -> DiffusersLoop {
        DiffusersLoop {
            spacing: None,
            steps_offset: 0,
            set_alpha_to_one: true,
            final_sigma_min: false,
            solver_order: 2,
            lower_order_final: true,
            euler_at_final: false,
            lambda_min_clipped: f64::NEG_INFINITY,
        }
    }
}

impl DiffusersLoop {
    /// `true` for samplers that diffusers has a loop of.
    pub fn has(sampler: Sampler) -> bool {
        matches!(sampler, Sampler::Ancestral { .. } | Sampler::Ddim { .. } | Sampler::DpmSolver)
    }

    /// The plan of `n` evaluations; 0: one for every time. `from` leaves the way before that time out.
    ///
    /// # Errors
    /// More evaluations than times, times beyond the schedule, settings of the sampler that are impossible.
    pub fn plan(
        &self,
        sampler: Sampler,
        schedule: &Schedule,
        target: PredictionTarget,
        n: usize,
        clip_x0: Option<f64>,
        from: Option<f64>,
    ) -> Result<SamplePlan> {
        let last = schedule.steps();
        let n = if n == 0 { last } else { n };
        if n > last {
            return Err(Error::Config(format!(
                "sampling steps: wanted 1 to {last}, the length of the noise schedule, not {n}"
            )));
        }
        let mut times = self.times(sampler, schedule, n);
        if times.is_empty() || times[0] > last {
            return Err(Error::Config(format!(
                "{n} sampling steps: the spacing and the offset of the scheduler lead to times outside 1..={last}"
            )));
        }
        let process = Process::Discrete(schedule.clone());
        let first_order_end = self.euler_at_final || (self.lower_order_final && times.len() < 15);
        let mut points = self.points(sampler, schedule, &times, n);
        if let Some(t) = from {
            let skipped = nearest(&points.iter().map(|point| point.time).collect::<Vec<_>>(), t);
            points.drain(..skipped);
            times.drain(..skipped);
        }
        let mut route = Route::through(&process, points, target, clip_x0)?;
        if self.solver_order == 1 {
            route.first_order_from = 0;
        } else if first_order_end {
            route.first_order_from = route.first_order_from.min(times.len() - 1);
        }
        let mut steps = sampler.steps_along(&route)?;
        if let Some(step) = steps.last_mut() {
            if times[times.len() - 1] == 1 {
                step.rho = 0.0;
            } else if let Some([small, _]) = &mut step.log_variance {
                *small = LEAST_VARIANCE.ln();
            }
        }
        let times = times.into_iter().map(|t| t as f64).collect();
        Ok(SamplePlan { steps, times, start_scale: 1.0 })
    }

    /// The times to visit, descending and distinct.
    fn times(&self, sampler: Sampler, schedule: &Schedule, n: usize) -> Vec<usize> {
        let steps = schedule.steps();
        let dpm = sampler == Sampler::DpmSolver;
        // DPM-Solver counts from the last time that is not clipped.
        let kept = |t: &usize| 0.5 * level(schedule, *t).log_snr() >= self.lambda_min_clipped;
        let last = if dpm { (1..=steps).filter(kept).count() } else { steps };
        let spacing = self.spacing.unwrap_or(if dpm { Spacing::Linspace } else { Spacing::Leading });
        let (grid, first) = if dpm { (n + 1, 1) } else { (n, 0) };
        let mut times: Vec<usize> = match spacing {
            Spacing::Linspace => {
                let stride = last.saturating_sub(1) as f64 / (grid - 1).max(1) as f64;
                (first..grid).rev().map(|k| (k as f64 * stride).round_ties_even() as usize + 1).collect()
            }
            Spacing::Leading => (first..grid).rev().map(|k| k * (last / grid) + self.steps_offset + 1).collect(),
            Spacing::Trailing => trailing(last, steps as f64 / n as f64),
        };
        times.dedup();
        times
    }

    fn points(&self, sampler: Sampler, schedule: &Schedule, times: &[usize], n: usize) -> Vec<RoutePoint> {
        let end = match sampler {
            Sampler::Ddim { .. } if !self.set_alpha_to_one => schedule.level(1),
            Sampler::DpmSolver if self.final_sigma_min => schedule.level(1),
            _ => NoiseLevel::CLEAN,
        };
        let stride = schedule.steps() / n;
        let dpm = sampler == Sampler::DpmSolver;
        let level_at = |t: usize| if dpm { level(schedule, t) } else { schedule.level(t) };
        let point = |(k, &t): (usize, &usize)| {
            let next = match sampler {
                Sampler::Ddim { .. } => t.checked_sub(stride).filter(|&s| s > 0),
                _ => times.get(k + 1).copied(),
            };
            let at = TimePoint { level: level_at(t), before: schedule.level(t - 1) };
            RoutePoint { time: t as f64, at, next: next.map_or(end, level_at) }
        };
        times.iter().enumerate().map(point).collect()
    }
}

/// The level at a time, with a little signal where the schedule has none.
fn level(schedule: &Schedule, t: usize) -> NoiseLevel {
    match schedule.alpha_bar(t) {
        0.0 => NoiseLevel::variance_preserving(LEAST_ALPHA_BAR),
        _ => schedule.level(t),
    }
}

/// `round(last - k ratio)` while positive, in numpy's arithmetic, which multiplies a rounded difference.
fn trailing(last: usize, ratio: f64) -> Vec<usize> {
    let last = last as f64;
    let (count, delta) = ((last / ratio).ceil() as usize, (last - ratio) - last);
    let times = (0..count).map(|k| (last + k as f64 * delta).round_ties_even());
    times.take_while(|&t| t >= 1.0).map(|t| t as usize).collect()
}
