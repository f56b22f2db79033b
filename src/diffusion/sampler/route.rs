//! The route of a sampler: the noise levels it visits, from noise to image.

use super::step::{SamplerStep, Update};
use crate::diffusion::level::NoiseLevel;
use crate::diffusion::prediction::PredictionTarget;
use crate::diffusion::process::{Process, TimePoint};
use crate::{Error, Result};

/// The points that a sampler visits, numbered from 0, the noisiest.
pub(in crate::diffusion) struct Route<'a> {
    pub process: &'a Process,
    pub target: PredictionTarget,
    /// Number of the first step that a multistep method takes in first order, besides step 0.
    pub first_order_from: usize,
    clip: f64,
    points: Vec<RoutePoint>,
}

/// A point of a route: an evaluation of the network, and the level to go to from there.
#[derive(Clone, Copy, Debug)]
pub(in crate::diffusion) struct RoutePoint {
    /// The time of the process.
    pub time: f64,
    /// Its noise levels.
    pub at: TimePoint,
    /// The level after the step.
    pub next: NoiseLevel,
}

impl<'a> Route<'a> {
    /// The route through `times`, which are given in ascending order, to clean data; `clip_x0` bounds `|x_0|`.
    ///
    /// # Errors
    /// As [`Route::through`].
    pub fn new(
        process: &'a Process,
        times: &[f64],
        target: PredictionTarget,
        clip_x0: Option<f64>,
    ) -> Result<Route<'a>> {
        let mut next = NoiseLevel::CLEAN;
        let point = |&time: &f64| {
            let at = process.point(time);
            RoutePoint { time, at, next: std::mem::replace(&mut next, at.level) }
        };
        let mut points: Vec<RoutePoint> = times.iter().map(point).collect();
        points.reverse();
        Route::through(process, points, target, clip_x0)
    }

    /// The route through these points, the noisiest first. Steps to a noisy level are of second order but for the first.
    ///
    /// # Errors
    /// A target that the process does not allow, a bound that is not positive.
    pub fn through(
        process: &'a Process,
        points: Vec<RoutePoint>,
        target: PredictionTarget,
        clip_x0: Option<f64>,
    ) -> Result<Route<'a>> {
        target.validate(process)?;
        let clip = clip_x0.unwrap_or(f64::INFINITY);
        if clip.is_nan() || clip <= 0.0 {
            return Err(Error::Config(format!("bound of the predicted image: wanted a positive number, not {clip}")));
        }
        let noisy = points.iter().take_while(|point| point.next.sigma > 0.0).count();
        Ok(Route { process, target, first_order_from: noisy, clip, points })
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Point `k`.
    pub fn point(&self, k: usize) -> &RoutePoint {
        &self.points[k]
    }

    /// Noise levels before and after the step from point `k`.
    pub fn levels(&self, k: usize) -> [NoiseLevel; 2] {
        [self.points[k].at.level, self.points[k].next]
    }

    /// The step that evaluates the network at point `k` and moves by `update`.
    pub(super) fn step(&self, k: usize, update: Update) -> SamplerStep {
        self.step_at(self.points[k].time, &self.points[k].at, update)
    }

    /// The step that evaluates the network at time `t`, which need not be on the route.
    pub(super) fn step_at(&self, t: f64, at: &TimePoint, update: Update) -> SamplerStep {
        let (x0, time) = (self.target.x0(at), self.process.network_time(t));
        let out_per_score = self.target.out_per_score(at);
        let Update { m_z, m_x, m_previous, m_out, rho, log_variance } = update;
        SamplerStep {
            time,
            p_z: x0.z,
            p_out: x0.out,
            out_per_score,
            clip: self.clip,
            m_z,
            m_x,
            m_previous,
            m_out,
            rho,
            log_variance,
        }
    }
}
