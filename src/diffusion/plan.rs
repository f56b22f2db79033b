//! Plan of sampling: the steps of a sampler, and the noise to start from.

use super::prediction::PredictionTarget;
use super::process::Process;
use super::sampler::{Sampler, SamplerStep};
use super::timesteps::Spacing;
use crate::{Error, Result};

/// Evaluations per sample in continuous time, unless set.
const CONTINUOUS_STEPS: usize = 512;

/// The way from noise to samples.
#[derive(Clone, Debug)]
pub struct SamplePlan {
    /// The steps, in the order in which they are taken.
    pub steps: Vec<SamplerStep>,
    /// The time of the process at each of them.
    pub times: Vec<f64>,
    /// Scale of the noise that samples start from.
    pub start_scale: f64,
}

impl SamplePlan {
    /// The plan of a sampler that evaluates the network so many times; 0: once for every noise level, 512 times in
    /// continuous time. Langevin dynamics has a number of its own. `from` leaves the way before that time out: it begins at
    /// the nearest of its times.
    ///
    /// # Errors
    /// As [`Sampler::steps`], more evaluations than a schedule has noise levels, and Langevin dynamics from a time on.
    pub fn new(
        sampler: Sampler,
        process: &Process,
        target: PredictionTarget,
        evaluations: usize,
        clip_x0: Option<f64>,
        from: Option<f64>,
    ) -> Result<SamplePlan> {
        let mut times = if sampler.visits_times() {
            let times = match (process, evaluations) {
                (Process::Discrete(schedule), 0) => schedule.steps(),
                (Process::Continuous { .. }, 0) => CONTINUOUS_STEPS,
                (_, evaluations) => sampler.times_of(evaluations),
            };
            process.sampling_times(times, Spacing::Linspace)?
        } else {
            Vec::new()
        };
        if let Some(t) = from {
            if !sampler.visits_times() {
                return Err(Error::Config(
                    "Langevin dynamics has noise levels of its own, and cannot begin at a time; choose another sampler"
                        .into(),
                ));
            }
            times.truncate(nearest(&times, t) + 1);
        }
        let steps = sampler.steps(process, &times, target, clip_x0)?;
        let start_scale = sampler.start_scale(process, &times)?;
        let times = steps.iter().map(|step| process.time_at(step.time)).collect();
        Ok(SamplePlan { steps, times, start_scale })
    }

    /// The number of steps after which a sample is at time `t`, or not yet past it; all of them at a time before the last.
    /// `None` of a time before which no sample is.
    pub fn stage_at(&self, t: f64) -> Option<usize> {
        let at = self.times.iter().rposition(|&time| time >= t).filter(|_| t >= 0.0)?;
        let is_past = at + 1 == self.times.len() && self.times[at] > t;
        Some(if is_past { self.times.len() } else { at })
    }
}

/// Place of the time nearest to `t`; of two equally near, the first.
///
/// # Panics
/// If there are no times.
pub(super) fn nearest(times: &[f64], t: f64) -> usize {
    let distance = |i: &usize| (times[*i] - t).abs();
    (0..times.len()).min_by(|i, j| distance(i).total_cmp(&distance(j))).expect("a time at least")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Schedule;

    #[test]
    fn a_time_has_its_stage() {
        let process = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap());
        let plan = |sampler| SamplePlan::new(sampler, &process, PredictionTarget::Epsilon, 4, None, None).unwrap();
        let ddim = plan(Sampler::Ddim { eta: 0.0 });
        assert_eq!(ddim.times, [1000.0, 667.0, 334.0, 1.0]);
        let stages = [1000.0, 700.0, 667.0, 500.0, 1.0, 0.0].map(|t| ddim.stage_at(t));
        assert_eq!(stages, [0, 0, 1, 1, 3, 4].map(Some));
        assert_eq!([1001.0, -1.0, f64::NAN].map(|t| ddim.stage_at(t)), [None; 3]);
        // A step of Heun's method is at its end after the second evaluation.
        let heun = plan(Sampler::Heun);
        assert_eq!((heun.times.clone(), heun.stage_at(1.0)), (vec![1000.0, 1.0, 1.0], Some(2)));
    }

    /// The way of a multistep method begins anew, and with nothing from before: unlike a part of the whole way.
    #[test]
    fn a_way_from_a_time_on_visits_the_same_times_and_remembers_nothing() {
        let process = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap());
        let plan = |sampler, from| SamplePlan::new(sampler, &process, PredictionTarget::Epsilon, 20, None, from);
        for sampler in Sampler::all().into_iter().filter(|sampler| sampler.visits_times()) {
            let whole = plan(sampler, None).unwrap();
            for (t, first) in
                [(1000.0, 1000.0), (510.0, if sampler == Sampler::Heun { 556.0 } else { 527.0 }), (0.0, 1.0)]
            {
                let part = plan(sampler, Some(t)).unwrap();
                assert_eq!((part.times[0], part.steps[0].m_previous), (first, 0.0), "{sampler:?} from {t}");
                let skipped = whole.times.len() - part.times.len();
                assert_eq!(part.times, whole.times[skipped..], "{sampler:?} from {t}");
                if matches!(sampler, Sampler::Ancestral { .. } | Sampler::Ddim { .. }) {
                    assert_eq!(part.steps, whole.steps[skipped..], "{sampler:?} from {t}");
                }
            }
        }
        let langevin = Sampler::Langevin(crate::diffusion::Langevin::default());
        assert!(plan(langevin, Some(500.0)).unwrap_err().to_string().contains("another sampler"));
    }
}
