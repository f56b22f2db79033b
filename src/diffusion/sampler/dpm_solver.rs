//! DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): the second-order multistep solver of the probability flow in
//! `lambda = ln(a / sigma)`.
//!
//! ```text
//! z_s = (sigma_s / sigma_t) z_t + (a_s - a_t sigma_s / sigma_t) D
//! ```
//!
//! where `D` is `x_0` extrapolated linearly in `lambda` from the two latest estimates to the middle of the step. The
//! first and the last step are of first order.

use super::route::Route;
use super::step::{SamplerStep, Update};

/// A step for every point of the route.
pub(super) fn steps(route: &Route) -> Vec<SamplerStep> {
    let step = |k: usize| {
        let [t, s] = route.levels(k);
        let shrink = s.sigma / t.sigma;
        let weight = s.a - t.a * shrink;
        let extrapolation = if k > 0 && k < route.first_order_from {
            let [before, _] = route.levels(k - 1);
            (s.log_snr() - t.log_snr()) / (2.0 * (t.log_snr() - before.log_snr()))
        } else {
            0.0
        };
        let update = Update {
            m_z: shrink,
            m_x: weight * (1.0 + extrapolation),
            m_previous: -weight * extrapolation,
            ..Update::default()
        };
        route.step(k, update)
    };
    (0..route.len()).map(step).collect()
}
