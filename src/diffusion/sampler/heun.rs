//! Heun's method for the probability flow (Karras et al. 2022, algorithm 1 without churn): second order, two
//! evaluations of the network a step.
//!
//! In the variables `y = z / a` and `s = sigma / a` the flow is `dy/ds = d` with `d = (y - x_0) / s`, and a step from
//! `s` to `s'` is
//!
//! ```text
//! y~ = y + (s' - s) d              the slope at the start
//! y' = y + (s' - s) (d + d~) / 2   and at y~, averaged
//! ```
//!
//! The first line is a step of DDIM. It lies on the line from `y` to `x_0`, so that `d = (y~ - x_0) / s'` too, and the
//! second line is
//!
//! ```text
//! y' = y~ + (s / s' - 1) / 2 (x_0~ - x_0)
//! ```
//!
//! which needs the estimates at both evaluations and nothing else: a step is two rows of the table. The last step, to
//! clean data, is the first line alone.

use super::route::Route;
use super::step::{SamplerStep, Update};

/// Two steps for every point of the route but the last, which has one.
pub(super) fn steps(route: &Route) -> Vec<SamplerStep> {
    let pair = |k: usize| {
        let [t, s] = route.levels(k);
        let shrink = s.sigma / t.sigma;
        let predict = Update { m_z: shrink, m_x: s.a - t.a * shrink, ..Update::default() };
        let correct = (k + 1 < route.len()).then(|| {
            let weight = 0.5 * s.a * (t.noise_ratio() / s.noise_ratio() - 1.0);
            route.step(k + 1, Update { m_z: 1.0, m_x: weight, m_previous: -weight, ..Update::default() })
        });
        [route.step(k, predict)].into_iter().chain(correct)
    };
    (0..route.len()).flat_map(pair).collect()
}
