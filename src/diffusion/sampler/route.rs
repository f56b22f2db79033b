//! The route of a sampler: the times it visits, from noise to image.

use super::step::{SamplerStep, Update};
use crate::diffusion::level::NoiseLevel;
use crate::diffusion::prediction::PredictionTarget;
use crate::diffusion::process::{Process, TimePoint};
use crate::{Error, Result};

/// The points that a sampler visits, numbered from 0, the noisiest.
pub(super) struct Route<'a> {
    pub process: &'a Process,
    pub target: PredictionTarget,
    clip: f64,
    times: Vec<f64>,
    points: Vec<TimePoint>,
}

impl<'a> Route<'a> {
    /// The route through `times`, which are given in ascending order; `clip_x0` bounds `|x_0|`.
    ///
    /// # Errors
    /// A target that the process does not allow, a bound that is not positive, times outside the process.
    pub fn new(
        process: &'a Process,
        times: &[f64],
        target: PredictionTarget,
        clip_x0: Option<f64>,
    ) -> Result<Route<'a>> {
        target.validate(process)?;
        let clip = clip_x0.unwrap_or(f64::INFINITY);
        if clip.is_nan() || clip <= 0.0 {
            return Err(Error::Config(format!("bound of the predicted image: wanted a positive number, not {clip}")));
        }
        let times: Vec<f64> = times.iter().rev().copied().collect();
        let points = times.iter().map(|&t| process.point(t)).collect();
        Ok(Route { process, target, clip, times, points })
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Point `k`.
    pub fn point(&self, k: usize) -> &TimePoint {
        &self.points[k]
    }

    /// Noise level of point `k`; after the last point that of clean data.
    pub fn level(&self, k: usize) -> NoiseLevel {
        self.points.get(k).map_or(NoiseLevel::CLEAN, |point| point.level)
    }

    /// The step that evaluates the network at point `k` and moves by `update`.
    pub fn step(&self, k: usize, update: Update) -> SamplerStep {
        self.step_at(self.times[k], &self.points[k], update)
    }

    /// The step that evaluates the network at time `t`, which need not be on the route.
    pub fn step_at(&self, t: f64, at: &TimePoint, update: Update) -> SamplerStep {
        let (x0, time) = (self.target.x0(at), self.process.network_time(t));
        let Update { m_z, m_x, m_previous, m_out, rho, log_variance } = update;
        SamplerStep { time, p_z: x0.z, p_out: x0.out, clip: self.clip, m_z, m_x, m_previous, m_out, rho, log_variance }
    }
}
